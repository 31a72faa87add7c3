"""What findings are concluded from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.choose.survey import Survey
from pipelines.auditing.judge.clicks import ClickMeter
from pipelines.auditing.judge.reencode import Comparison
from pipelines.auditing.judge.suspicions import HeardMeter
from pipelines.auditing.measure.measures import Sums
from pipelines.auditing.results import Figure, RecordingAudit
from pipelines.corpus.reader import DecodeReport
from pipelines.output.formats.schema import Row
from pipelines.output.inspect import CodebookUse
from tokenizer.codecs.base import CodecSpec


@dataclass(frozen=True, slots=True)
class SecondLook:
    """What --reencode showed: the source encoded again, and read by a second decoder."""

    comparison: Comparison
    refused: str | None = None
    """why the codec would not encode the source again"""
    reader: str | None = None
    """by which second way the source was read, or why it was not"""
    readers_fault: str | None = None
    """what tells the two readings apart; None when they agree, or there was one only"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about one recording when its source and its codes have been read."""

    row: Row
    spec: CodecSpec
    report: DecodeReport
    sums: Sums
    figures: Mapping[str, Figure]
    """of the measures that were asked for"""
    sound: HeardMeter
    clicks: ClickMeter | None
    """None where the codec has no chunks that could join badly"""
    second_look: SecondLook | None
    """None without --reencode: what needs it is not concluded"""

    @property
    def comparison(self) -> Comparison | None:
        return self.second_look.comparison if self.second_look else None


@dataclass(frozen=True, slots=True)
class Others:
    """What a recording is compared with: the rest of its corpus."""

    levels: NDArray[np.float64]
    """in dB, of many recordings or of all"""
    copies: Mapping[str, str]
    """for each recording that is another's copy, the id of the first"""


@dataclass(frozen=True, slots=True)
class CorpusEvidence:
    """What is known about the corpus when its recordings are audited."""

    survey: Survey
    use: Sequence[CodebookUse]
    sizes: tuple[int, ...]
    recordings: Sequence[RecordingAudit]
