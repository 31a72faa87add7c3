"""A data set that `datasets.load_from_disk` opens: `SPLIT/data-00000-of-00003.arrow` …, in files of
bounded size, written as rows come."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.exporting.writers import SIDE, SplitWriter, side_values
from pipelines.loader.in_order import CodedRow

FILE_BYTES = 500_000_000
"""after which the next file begins"""
_BATCH_TOKENS, _BATCH_ROWS = 1 << 22, 1_000
"""after which rows are written"""


class ArrowWriter(SplitWriter):
    """A folder of one split."""

    def __init__(self, folder: Path, split: str, vocabulary: int) -> None:
        from datasets import Features

        super().__init__(folder, split, vocabulary)
        plain = pa.schema([("input_ids", pa.list_(pa.int32())), *SIDE])
        self._features = Features.from_arrow_schema(plain)
        self._schema = self._features.arrow_schema
        self._place = folder / split
        self._place.mkdir()
        self._files: list[Path] = []
        self._stream: Any = None
        self._rows: list[dict[str, Any]] = []
        self._waiting = self._bytes = 0

    @staticmethod
    def dtype(vocabulary: int) -> str:
        del vocabulary
        return "int32"

    def add(self, row: CodedRow, ids: NDArray[np.int64]) -> None:
        self.written.count(row, ids)
        self._rows.append({"input_ids": ids.astype(np.int32), **side_values(row)})
        self._waiting += len(ids)
        if self._waiting >= _BATCH_TOKENS or len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        if not self._files:
            self._open()
        self._end()
        names = []
        for number, path in enumerate(self._files):
            names.append(f"data-{number:05d}-of-{len(self._files):05d}.arrow")
            path.rename(self._place / names[-1])
        self._write_state(names)

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._stream is None:
            self._open()
        table = pa.Table.from_pylist(self._rows, self._schema)
        self._stream.write_table(table)
        self._bytes += table.nbytes
        self._rows, self._waiting = [], 0
        if self._bytes >= FILE_BYTES:
            self._end()

    def _open(self) -> None:
        self._files.append(self._place / f"data-{len(self._files):05d}.tmp")
        self._stream, self._bytes = pa.ipc.new_stream(str(self._files[-1]), self._schema), 0

    def _end(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _write_state(self, names: list[str]) -> None:
        """What `save_to_disk` writes beside the data."""
        from datasets import DatasetInfo

        DatasetInfo(features=self._features).write_to_directory(str(self._place))
        about = json.dumps([self.split, self.written.documents, self.written.tokens])
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": hashlib.sha256(about.encode()).hexdigest()[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": self.split,
        }
        (self._place / "state.json").write_text(json.dumps(state, indent=2) + "\n")


def write_dictionary(folder: Path, splits: list[str]) -> None:
    """What makes the folders of all splits one `DatasetDict`."""
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": splits}) + "\n")
