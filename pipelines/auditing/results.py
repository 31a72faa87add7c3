"""What an audit says: figures, findings, and one record per recording; all of it survives a round
trip through JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """what was written is not what the source says: the audit ends with exit code 1"""
    WARNING = "warning"
    """probably not what was meant; someone should listen"""
    INFO = "info"
    """worth knowing"""


class FindingName(StrEnum):
    """Every finding that ships, by the name that people see. What each is, how much it matters and
    which rule raises it is its row in `judge.registry`."""

    DAMAGED_SHARD = "damaged shard"
    OTHER_CODEC = "other codec"
    CHANGED_SOURCE = "changed source"
    WRONG_BANDWIDTH = "wrong bandwidth"
    NOT_RESAMPLED = "resampler off"
    TRUNCATED = "truncated"
    DURATION = "duration mismatch"
    WRONG_SCALE = "wrong scale"
    CODEBOOK_ORDER = "codebook order"
    CHANNEL_SWAP = "channel swap"
    ZEROED = "zeroed chunk"
    SHIFTED = "shifted chunks"
    BIT_FLIPS = "bit flips"
    CORRUPT = "corrupt codes"
    DEVICE = "device difference"
    OTHER_RESAMPLING = "other resampling"
    OTHER_AUDIO = "other audio"
    SILENCE = "silence"
    ANTIPHASE = "antiphase"
    CLIPPING = "clipping"
    LOW_BANDWIDTH = "low bandwidth"
    SCALE_OUTLIER = "scale outlier"
    BOUNDARY_CLICKS = "boundary clicks"
    NOT_ENCODED_AGAIN = "not encoded again"
    READERS_DIFFER = "readers differ"
    DUPLICATE = "duplicate"
    COLLAPSE = "codebook collapse"
    NOTHING_COMPARED = "nothing compared"
    UNREADABLE_SOURCE = "unreadable source"
    NOT_AUDITED = "not audited"


COMMON = 5
"""recordings at the least that must share a finding before it is the corpus's"""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, or the reason why there is none."""

    value: float | None
    reason: str | None = None
    """why the measure is not applicable; None when there is a value"""

    @classmethod
    def none(cls, reason: str) -> Figure:
        """Not applicable."""
        return cls(None, reason)


@dataclass(frozen=True, slots=True)
class Remark:
    """What a rule has seen, before it is known how much that matters."""

    name: str
    """a row of `judge.registry.FINDINGS`"""
    detail: str
    """one readable line"""
    chunks: tuple[int, ...] = ()
    """the chunks it is about, at most the first few; none when it is about all"""
    severity: Severity | None = None
    """None is that of its row"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was noticed, by name."""

    name: str
    """a row of `judge.registry.FINDINGS`"""
    severity: Severity
    detail: str
    """one readable line"""
    chunks: tuple[int, ...] = ()
    """the chunks it is about, at most the first few; none when it is about all"""


@dataclass(frozen=True, slots=True)
class RecordingAudit:
    """Everything that was found out about one recording."""

    id: str
    shard: str
    chosen: str
    """ "sample", "worst", "asked", "all" or "in passing" """
    source_uri: str
    seconds: float
    """as stored"""
    segment_seconds: float
    """time from one value of `series` to the next"""
    source_sample_rate: int
    source_channels: int
    source_seconds: float | None = None
    """length of the source at the codec's rate, as it is now; None when it was not read to its
    end"""
    text: str | None = None
    """the transcript, as the row has it; so are `language` and `speaker`"""
    language: str | None = None
    speaker: str | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """by metric, over the whole recording"""
    series: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """by metric, a value a segment; None where it is not applicable"""
    findings: tuple[Finding, ...] = ()
    equal_codes: tuple[float, ...] | None = None
    """share of equal codes per codebook level, after encoding the source again; None when that was
    not asked for"""
    second_reader: str | None = None
    """by which second way the source was read and held against the first, or why it was not; None
    when that was not asked for"""
    error: str | None = None
    """why it could not be compared; None when it was"""
    page: Mapping[str, Any] | None = None
    """names of the files that the page plays and shows"""

    @property
    def failed(self) -> bool:
        """Whether what was written is wrong."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """What can be written as JSON; `series` and `page` are the record's own, not copies: a
        recording's waveform alone is 1,600 numbers."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        own["figures"] = {name: asdict(figure) for name, figure in self.figures.items()}
        own["findings"] = tuple(asdict(finding) for finding in self.findings)
        return own

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RecordingAudit:
        """The inverse of `to_json`, after a round trip through text.

        Raises:
            KeyError, TypeError, ValueError: not such a record.
        """
        own = dict(values)
        own["figures"] = {name: Figure(**figure) for name, figure in own["figures"].items()}
        own["series"] = {name: tuple(series) for name, series in own["series"].items()}
        own["findings"] = tuple(finding_from_json(finding) for finding in own["findings"])
        own["equal_codes"] = None if own["equal_codes"] is None else tuple(own["equal_codes"])
        return cls(**own)


def common_findings(recordings: Sequence[RecordingAudit]) -> frozenset[str]:
    """Names of warnings and notes that most recordings share: they tell of the corpus, and of no
    recording in particular."""
    counts = Counter(
        name
        for recording in recordings
        for name in {f.name for f in recording.findings if f.severity is not Severity.ERROR}
    )
    return frozenset(
        name for name, count in counts.items() if count >= COMMON and 2 * count > len(recordings)
    )


def finding_from_json(values: Mapping[str, Any]) -> Finding:
    """A `Finding` from what `dataclasses.asdict` made of it."""
    return Finding(
        values["name"], Severity(values["severity"]), values["detail"], tuple(values["chunks"])
    )
