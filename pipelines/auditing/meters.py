"""Everything that is measured while a source and its reconstruction pass by side by side, and what
it says in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipelines.auditing.judge.clicks import ClickMeter
from pipelines.auditing.judge.evidence import Evidence, SecondLook
from pipelines.auditing.judge.registry import of_recording
from pipelines.auditing.judge.suspicions import HeardMeter
from pipelines.auditing.measure.measures import NOT_FINITE, Measures, usable
from pipelines.auditing.measure.pairs import Block
from pipelines.auditing.measure.registry import JUDGED_BY, MEASURES
from pipelines.auditing.measure.windows import open_windowed
from pipelines.auditing.page.clips import most_segments
from pipelines.auditing.page.kept_stretch import KeptStretch
from pipelines.auditing.results import Figure, Finding, RecordingAudit
from pipelines.corpus.reader import DecodeReport
from pipelines.output.formats.schema import Row
from tokenizer.codecs.base import CodecSpec


class Meters:
    """The measures and flags of one recording, fed with segments of `segment` samples (the last one
    may be shorter).

    Keeps `clip_seconds` of the source around the worst segment for the page; None keeps nothing.
    """

    def __init__(
        self, spec: CodecSpec, metrics: Sequence[str], clip_seconds: float | None = None
    ) -> None:
        self.segment = spec.chunk_stride or spec.sample_rate
        self._spec, self._metrics = spec, metrics
        self._measures = Measures(spec.channels, spec.sample_rate, metrics)
        self._clicks = (
            ClickMeter((spec.chunk_length or 0) - spec.chunk_stride) if spec.chunk_stride else None
        )
        self._heard = HeardMeter()
        self._windowed = open_windowed(metrics, spec.sample_rate, self.segment)
        self.kept = KeptStretch(0 if clip_seconds is None else most_segments(spec, clip_seconds))
        """of the source, around the worst segment: that with the largest log-mel distance, and
        where there is ViSQOL, which has a value a window, in the worst window"""
        self._figures: dict[str, Figure] = {}
        self._unjudged: list[Block] = []
        """segments of the source whose window is not complete"""

    def add(self, source: Block, decoded: Block) -> None:
        """Take in the next segment of both, float32 `[channels, n]`."""
        if not usable(decoded):
            decoded = np.full_like(decoded, np.nan)  # of which no meter says anything
        self._measures.add(source, decoded)
        self._heard.add(source, decoded)
        if self._clicks:
            self._clicks.add(source, decoded)
        for windowed in self._windowed:
            windowed.add(source, decoded)
        self._unjudged.append(source)
        if all(windowed.closed for windowed in self._windowed):
            self._judge()

    def figures(self) -> dict[str, Figure]:
        """Over the whole recording; call it once, at the end, and before `series` and `kept`."""
        figures = self._measures.figures() | {
            windowed.metric: windowed.figure() for windowed in self._windowed
        }
        self._judge()
        if not self._measures.usable:
            figures = dict.fromkeys(figures, Figure.none(NOT_FINITE))
        self._figures = {name: _rounded(figures[name]) for name in self._metrics}
        return self._figures

    def _judge(self) -> None:
        """Keep the segments whose windows are complete, now that it is known how bad they are."""
        series = self._series()
        judges = [name for name in JUDGED_BY if name in series]
        count = len(series[JUDGED_BY[-1]])
        segments, self._unjudged = self._unjudged, []
        for at, segment in enumerate(segments, count - len(segments)):
            self.kept.add(segment, _badness({name: series[name][at] for name in judges}))

    def _series(self) -> dict[str, list[float | None]]:
        return self._measures.series | {
            windowed.metric: windowed.series for windowed in self._windowed
        }

    def series(self) -> dict[str, tuple[float | None, ...]]:
        """A value a segment."""
        series = self._series()
        return {
            name: tuple(None if v is None else round(v, 4) + 0.0 for v in series[name])
            for name in self._metrics
        }

    def findings(
        self, row: Row, report: DecodeReport, second_look: SecondLook | None
    ) -> Iterator[Finding]:
        """What can be said of the recording alone, without the rest of its corpus; call it after
        `figures`."""
        yield from of_recording(
            Evidence(
                row=row,
                spec=self._spec,
                report=report,
                sums=self._measures.sums,
                figures=self._figures,
                sound=self._heard,
                clicks=self._clicks,
                second_look=second_look,
            )
        )


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
        text=row.text,
        language=row.language,
        speaker=row.speaker,
    )


def _badness(values: Mapping[str, float | None]) -> tuple[float, ...] | None:
    """Of a segment, by the measures that judge it, the first before the others; None where nothing
    can be said."""
    if values[JUDGED_BY[-1]] is None:
        return None
    return tuple(
        -np.inf if value is None else MEASURES[name].badness(value)
        for name, value in values.items()
    )


def _rounded(figure: Figure) -> Figure:
    """With as many digits as mean anything; adding 0 takes the minus from a zero."""
    return figure if figure.value is None else Figure(round(figure.value, 6) + 0.0)
