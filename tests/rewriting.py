"""Damage that checksums do not show: rows changed, the shard written again and its commit record
with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row
from pipelines.output.manifest.names import hash_file
from tokenizer.sealing import seal, unseal
from tokenizer.types import Codes


def rewrite(out: Path, id: str, change: Callable[[Codes], Codes]) -> None:
    """Change the codes of one recording of an output folder with Parquet shards."""
    form = shard_format("parquet")
    for path in sorted((out / "data").iterdir()):
        with path.open("rb") as file:
            rows = list(form.read(file, path.name))
        if id in [row.id for row in rows]:
            with path.open("rb") as file:
                footer = form.footer(file, path.name)
            changed: list[Row] = [
                replace(row, codes=change(row.codes)) if row.id == id else row for row in rows
            ]
            form.write(str(path), changed, footer)
            record = out / "manifest" / "commits" / f"{path.stem}.json"
            values = unseal(record.read_bytes()) | {
                "sha256": hash_file(str(path)),
                "bytes": path.stat().st_size,
            }
            record.write_bytes(seal(values))
            return
    raise KeyError(id)


def with_codes(codes: Codes, change: Callable[[np.ndarray], None]) -> Codes:
    """The same with its codes changed in place by `change`, on a copy."""
    values = codes.codes.copy()
    change(values)
    return replace(codes, codes=values)
