"""What an output folder has of its recordings' quality: which columns, their spread, and the
condition on them."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.output.formats.schema import ARROW_SCHEMA
from tokenizer.audio.quality import measure
from tokenizer.errors import UsageError

_TAKEN = frozenset(ARROW_SCHEMA.names) | {"seconds", "quality", "alignment", "crc32"}


def require_measures(names: Sequence[str]) -> None:
    """See that every measure can be had.

    Raises:
        UsageError: one is not there, cannot be loaded, or is called as something else in a row.
    """
    for name in names:
        if name in _TAKEN:
            raise UsageError(f"--quality {name}: rows have something else of that name")
        measure(name)
