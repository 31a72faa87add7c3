"""The rows of an output folder as pyarrow, tarfile and NumPy read them, and nothing of ours."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

ARRAYS = ("codes", "scales", "chunk_frames")
_MEMBERS = {"codes.npy": "codes", "scales.npy": "scales", "chunks.npy": "chunk_frames"}


def stored_rows(out: Path, split: str = "") -> list[dict[str, Any]]:
    """Every row of `data/`, in the files' order: columns with one value, and arrays as shape and
    bytes."""
    found: list[dict[str, Any]] = []
    for path in sorted((out / "data").iterdir()):
        if path.name.startswith(split):
            found += _of_parquet(path) if path.suffix == ".parquet" else _of_tar(path)
    return [{name: _single(value) for name, value in row.items()} for row in found]


def _single(value: Any) -> Any:
    """JSON writes a float32 in few digits."""
    return float(np.float32(value)) if isinstance(value, float) else value


def by_id(out: Path, split: str = "") -> dict[str, dict[str, Any]]:
    """The same by id, each of which is there once."""
    rows = stored_rows(out, split)
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def array(kind: str, values: Any) -> Any:
    """An array so that it can be compared."""
    if values is None:
        return None
    made = np.array(values, kind)
    return made.shape, made.tobytes()


def codes_of(row: dict[str, Any]) -> np.ndarray:
    """uint16 `[n_q, frames]`."""
    shape, content = row["codes"]
    return np.frombuffer(content, "<u2").reshape(shape)


def _of_parquet(path: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row["codes"] = array("<u2", row["codes"])
        row["scales"] = array("<f4", row["scales"])
        row["chunk_frames"] = array("<u2", row["chunk_frames"])
    return rows


def _of_tar(path: Path) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, ending = member.name.partition(".")
            file = tar.extractfile(member)
            if ending and file is not None:
                groups.setdefault(key, {})[ending] = file.read()
    rows = []
    for members in groups.values():
        row = json.loads(members.pop("json"))
        row.pop("crc32")
        row["scales"] = None
        for ending, content in members.items():
            found = np.load(io.BytesIO(content))
            row[_MEMBERS[ending]] = array(found.dtype.str, found)
        rows.append(row)
    return rows
