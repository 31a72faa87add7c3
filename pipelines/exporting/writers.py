"""What a training program reads: one writer a format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.loader.in_order import CodedRow
from tokenizer.errors import UsageError

MOST_TOKENS = (1 << 31) - 1
"""of one document: lengths are int32 in both formats"""
SIDE = [
    ("id", pa.string()),
    ("text", pa.string()),
    ("language", pa.string()),
    ("speaker", pa.string()),
    ("num_samples", pa.int64()),
    ("chunk_frames", pa.list_(pa.uint16())),
    ("scales", pa.list_(pa.float32())),
]
"""columns beside the ids: what `codec.decode` needs besides the codes, and what people ask for"""


@dataclass(slots=True)
class Written:
    """What one split has become."""

    documents: int = 0
    tokens: int = 0
    dtype: str = ""
    """of the ids"""

    def count(self, row: CodedRow, ids: NDArray[np.int64]) -> None:
        """
        Raises:
            UsageError: more ids than a document may have.
        """
        if len(ids) > MOST_TOKENS:
            raise UsageError(
                f"{row.id}: {len(ids):,} tokens, a document may have {MOST_TOKENS:,}: leave it out "
                "with --where"
            )
        self.documents += 1
        self.tokens += len(ids)


class SplitWriter(ABC):
    """Writes the documents of one split, in order."""

    def __init__(self, folder: Path, split: str, vocabulary: int) -> None:
        """`folder`: of the whole export; `vocabulary`: how many ids there are."""
        self.folder, self.split = folder, split
        self.written = Written(dtype=self.dtype(vocabulary))

    @staticmethod
    @abstractmethod
    def dtype(vocabulary: int) -> str:
        """numpy's name of the type that holds ids of so many."""

    @abstractmethod
    def add(self, row: CodedRow, ids: NDArray[np.int64]) -> None:
        """Write one document."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left, and the files that name others."""


def side_values(row: CodedRow) -> dict[str, Any]:
    """The columns of `SIDE`."""
    codes = row.codes
    return {
        "id": row.id,
        "text": row.text,
        "language": row.language,
        "speaker": row.speaker,
        "num_samples": codes.num_samples,
        "chunk_frames": codes.chunk_frames,
        "scales": codes.scales,
    }
