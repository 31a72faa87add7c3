"""`export_codes`: an output folder to documents of token ids."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.exporting.arrow import ArrowWriter, write_dictionary
from pipelines.exporting.megatron import MegatronWriter
from pipelines.exporting.new_folder import new_folder
from pipelines.exporting.texts import FOLDER, TextTokenizer
from pipelines.exporting.token_map import DELAY, TokenMap
from pipelines.exporting.writers import SplitWriter
from pipelines.loader.in_order import CodedRow, InOrder
from pipelines.system.streams import counted
from tokenizer.errors import ShardError, UsageError

MAP = "export.json"
FORMATS: dict[str, type[SplitWriter]] = {"megatron": MegatronWriter, "arrow": ArrowWriter}


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written."""

    new: str
    documents: dict[str, int]
    """by split"""
    tokens: int
    vocabulary: int
    """how many ids there are"""
    dtype: str
    without_text: int
    """documents that have no text, where a tokenizer was given"""


def export_codes(
    out: str,
    new: str,
    *,
    to: str,
    pattern: str = DELAY,
    text_tokenizer: str | None = None,
    n_q: int | None = None,
    where: str | None = None,
    partial: bool = False,
    quiet: bool = False,
) -> ExportResult:
    """Write the codes of `out` as documents of token ids that training programs read.

    Args:
        out: an output of `tokenize`.
        new: folder to make; it is there whole or not at all.
        to: "megatron" (`SPLIT.bin`, `SPLIT.idx`) or "arrow" (`datasets.load_from_disk`).
        pattern: "delay", "flatten", "coarse-first" or, for codecs whose levels run at different
            rates, "interleaved".
        text_tokenizer: hub name or folder of a Hugging Face tokenizer; None leaves texts out.
        n_q: how many codebooks, from the first; None is all.
        where: condition on the rows, in SQL's words; None is all.
        partial: accept an `out` that lacks some of its shards.
        quiet: show nothing.

    Raises:
        UsageError: anything that makes it impossible, in one line.
        ShardError: damage; it names the shard.
    """
    if to not in FORMATS:
        raise UsageError(f"--to {to}: choose one of {', '.join(FORMATS)}")
    rows = InOrder(out, n_q, where=where, partial=partial)
    texts = None if text_tokenizer is None else TextTokenizer(text_tokenizer)
    ids = TokenMap.of(pattern, rows.spec, rows.n_q, texts.size if texts else 0)
    with new_folder(new) as folder:
        work = _Export(folder, FORMATS[to], ids, texts)
        for split, row in counted(rows, rows.rows, f"exporting to {new}", quiet=quiet):
            if row is not None:
                work.add(split, row)
        work.close()
        _write_map(folder, to, work, rows, where)
    return ExportResult(
        new,
        {split: writer.written.documents for split, writer in work.writers.items()},
        sum(writer.written.tokens for writer in work.writers.values()),
        ids.size,
        FORMATS[to].dtype(ids.size),
        work.without_text,
    )


class _Export:
    """Rows to the writers of their splits."""

    def __init__(
        self, folder: Path, kind: type[SplitWriter], ids: TokenMap, texts: TextTokenizer | None
    ) -> None:
        self.folder, self.kind, self.ids, self.texts = folder, kind, ids, texts
        self.writers: dict[str, SplitWriter] = {}
        self.without_text = 0

    def add(self, split: str, row: CodedRow) -> None:
        if split not in self.writers:
            self.writers[split] = self.kind(self.folder, split, self.ids.size)
        text: list[int] = []
        if self.texts is not None:
            text = self.texts.ids(row.text) if row.text else []
            self.without_text += not text
        try:
            document = self.ids.document(row.codes.codes, text)
        except ValueError as error:
            raise ShardError(f"{row.id}: {error}") from error
        self.writers[split].add(row, document)

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()
        if self.kind is ArrowWriter:
            write_dictionary(self.folder, list(self.writers))
        if self.texts is not None:
            self.texts.save(self.folder)


def _write_map(folder: Path, to: str, work: _Export, rows: InOrder, where: str | None) -> None:
    """What says how ids map back; the same rows give the same bytes."""
    about: dict[str, Any] = {
        "format": "codecshards export",
        "version": 1,
        "to": to,
        "vocabulary": work.ids.to_json(),
        "document": "bos, (text_start text text_end), audio_start codes audio_end, eos",
        "tokenizer": None if work.texts is None else FOLDER,
        "codec": asdict(rows.spec) | {"frame_rate": rows.spec.frame_rate},
        "where": where,
        "splits": {split: asdict(writer.written) for split, writer in work.writers.items()},
        "decoding": "ids to codes: codecshards.codes_from_tokens; num_samples, chunk_frames and "
        "scales (the RMS that each chunk was divided by, null for codecs without) are columns "
        + ("beside input_ids" if to == "arrow" else "of SPLIT.documents.parquet"),
    }
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    (folder / MAP).write_text(text, encoding="utf-8")
