"""Everything that is measured while a source and its reconstruction pass by side by side, and what it says in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.auditing.causes import Cause, Evidence, name_causes, stuck_chunks
from pipelines.auditing.flags import ClickMeter, band_flag, duration_flag, impossible_scales, meter_flags
from pipelines.auditing.heard import HeardMeter
from pipelines.auditing.measures import Measures
from pipelines.auditing.pairs import Block
from pipelines.auditing.reencode import Comparison
from pipelines.auditing.results import Figure, Finding, RecordingAudit
from pipelines.auditing.windows import open_windowed
from pipelines.decoding import DecodeReport
from pipelines.shards.schema import Row
from tokenizer.codecs.base import CodecSpec


class Meters:
    """The measures and flags of one recording, fed with segments of `segment` samples (the last one may be shorter)."""

    def __init__(self, spec: CodecSpec, metrics: Sequence[str]) -> None:
        self.segment = spec.chunk_stride or spec.sample_rate
        self._spec, self._metrics = spec, metrics
        self._measures = Measures(spec.channels, spec.sample_rate)
        self._clicks = ClickMeter((spec.chunk_length or 0) - spec.chunk_stride) if spec.chunk_stride else None
        self._heard = HeardMeter()
        self._windowed = open_windowed(metrics, spec.sample_rate, self.segment)

    def add(self, source: Block, decoded: Block) -> None:
        """Take in the next segment of both, float32 `[channels, n]`."""
        self._measures.add(source, decoded)
        self._heard.add(source, decoded)
        if self._clicks:
            self._clicks.add(source, decoded)
        for windowed in self._windowed:
            windowed.add(source, decoded)

    def latest(self, metric: str) -> float | None:
        """The value of a cheap measure for the segment that was added last; None where it is not applicable."""
        return self._measures.series[metric][-1]

    def figures(self) -> dict[str, Figure]:
        """Over the whole recording; call it once, at the end, and before `series`."""
        figures = self._measures.figures() | {windowed.metric: windowed.figure() for windowed in self._windowed}
        return {name: _rounded(figures[name]) for name in self._metrics}

    def series(self) -> dict[str, tuple[float | None, ...]]:
        """A value a segment."""
        series = {**self._measures.series, **{windowed.metric: windowed.series for windowed in self._windowed}}
        return {name: tuple(None if v is None else round(v, 4) for v in series[name]) for name in self._metrics}

    def findings(self, row: Row, report: DecodeReport, comparison: Comparison | None) -> Iterator[Finding]:
        """What can be said of the recording alone, without the rest of its corpus."""
        spec = self._spec
        causes = list(name_causes(Evidence(row, spec, report, comparison)))
        yield from causes
        if Cause.ZEROED not in {finding.name for finding in causes}:
            yield from stuck_chunks(row)
        if not causes and comparison is None:
            yield from self._heard.findings()
        yield from duration_flag(row.codes.num_samples, report.audio.num_samples, spec.sample_rate)
        yield from meter_flags(report.audio.flags)
        yield from band_flag(self._measures.spectral.spectrum, spec.sample_rate)
        yield from impossible_scales(row.codes.scales)
        yield from self._clicks.findings() if self._clicks else ()


def record(row: Row, shard: str, chosen: str, segment: int) -> RecordingAudit:
    """A recording's result as far as its row tells: figures and findings are still to come."""
    return RecordingAudit(
        id=row.id,
        shard=shard,
        chosen=chosen,
        source_uri=row.source_uri,
        seconds=round(row.codes.seconds, 6),
        segment_seconds=segment / row.codes.sample_rate,
        source_sample_rate=row.source_sample_rate,
        source_channels=row.source_channels,
    )


def _rounded(figure: Figure) -> Figure:
    """With as many digits as mean anything."""
    return figure if figure.value is None else Figure(round(figure.value, 6))
