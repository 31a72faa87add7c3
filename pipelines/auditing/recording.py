"""One recording's audit: its source and its reconstruction side by side, segment by segment, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from pipelines.auditing.causes import Cause, Evidence, name_causes, stuck_chunks
from pipelines.auditing.clips import PageFiles
from pipelines.auditing.flags import ClickMeter, band_flag, duplicate_flag, duration_flag, meter_flags, scale_flags
from pipelines.auditing.heard import HeardMeter
from pipelines.auditing.measures import Measures
from pipelines.auditing.options import AuditOptions
from pipelines.auditing.pairs import Block, Pairs
from pipelines.auditing.reencode import Reencoder
from pipelines.auditing.results import Figure, Finding, RecordingAudit, Severity
from pipelines.auditing.sampling import Chosen
from pipelines.auditing.windows import open_windowed
from pipelines.decoding import Decoder, DecodeSettings, Decoding
from pipelines.manifest import data_name
from pipelines.shards import shard_format
from pipelines.shards.schema import Row
from pipelines.storage import open_storage
from pipelines.tokenize import CodecSettings
from tokenizer.codecs.base import Codec, split
from tokenizer.errors import CodecLoadError, RecordingError, ShapeError, ShardError
from tokenizer.types import Codes


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What every recording of an audit has in common; small and picklable."""

    out: str
    format: str
    weights_sha256: str
    """of the codec that wrote the corpus"""
    codec: CodecSettings
    decode: DecodeSettings
    options: AuditOptions
    fingerprint: str
    levels: tuple[float, ...]
    """dB, of the corpus's recordings: a thinned survey"""
    copies: Mapping[str, str]
    """recordings that are another's copy, and whose"""


class Auditor:
    """Holds a codec and a decoder, and audits recordings with them, one after the other."""

    def __init__(self, settings: AuditSettings, threads: int | None = None) -> None:
        self.settings = settings
        self.codec = load_same(settings, threads)
        self._decoder = Decoder(settings.decode)
        self._storage = open_storage(settings.out)
        self._format = shard_format(settings.format)

    def run(self, chosen: Chosen) -> RecordingAudit:
        """Audit one recording. What is wrong with it, its shard or its source is in the result.

        Raises:
            OutputError: OUT cannot be written.
        """
        try:
            row = self._row(chosen)
        except (ShardError, FileNotFoundError) as error:
            return unreadable(chosen, str(error))
        try:
            codes = decodable(row.codes, self.codec)
        except ShapeError as error:
            return undecodable(chosen, row, str(error))
        result = _Pass(self, row, codes, chosen).result()
        if not self.settings.options.page:
            return result
        files = PageFiles(self._storage, self.codec, self.opened, self.settings.options)
        return replace(result, page=files.write(result, row, codes, chosen))

    @contextmanager
    def opened(self, chosen: Chosen) -> Iterator[Decoding]:
        """The source, by the code and with the settings of tokenization."""
        # To its end, so that the decoder's process is free for the next one.
        yield from self._decoder.decode([chosen.entry.recording])

    def close(self) -> None:
        """End the decoder's process."""
        self._decoder.close()

    def _row(self, chosen: Chosen) -> Row:
        name = data_name(chosen.entry.shard, self._format)
        with self._storage.open(name) as file:
            row = self._format.read_one(file, f"{self.settings.out}/{name}", chosen.entry.recording.id)
        if row is None:
            raise ShardError(f"{name}: {chosen.entry.recording.id} is missing")
        return row


class _Pass:
    """One reading of a source and its codes."""

    def __init__(self, auditor: Auditor, row: Row, codes: Codes, chosen: Chosen) -> None:
        self._auditor, self._row, self._codes, self._chosen = auditor, row, codes, chosen
        spec, options = auditor.codec.spec, auditor.settings.options
        self._segment = spec.chunk_stride or spec.sample_rate
        overlap = (spec.chunk_length or 0) - (spec.chunk_stride or 0)
        self._measures = Measures(spec.channels, spec.sample_rate)
        self._clicks = ClickMeter(overlap) if spec.chunk_stride else None
        self._heard = HeardMeter()
        self._windowed = open_windowed(options.metrics, spec.sample_rate, self._segment)
        self._reencoder = Reencoder(auditor.codec, row.codes) if options.reencode else None

    def result(self) -> RecordingAudit:
        """Read both to their ends and say what there is."""
        try:
            with self._auditor.opened(self._chosen) as decoding:
                self._read(decoding)
                findings = tuple(self._findings(decoding))
        except RecordingError as error:
            finding = Finding("unreadable source", Severity.WARNING, f"{error.kind}: {error.message}")
            return self._record((*stuck_chunks(self._row), finding), error=error.message)
        equal = self._reencoder.comparison.by_level if self._reencoder else None
        return self._record(findings, equal_codes=equal, figures=self._figures(), series=self._series())

    def _read(self, decoding: Decoding) -> None:
        source: Iterator[Block] = iter(decoding)
        if self._reencoder:
            source = self._reencoder.watch(source)
        codec = self._auditor.codec
        for original, decoded in Pairs(source, codec.decode_stream(self._codes), codec.channels, self._segment):
            self._measures.add(original, decoded)
            self._heard.add(original, decoded)
            if self._clicks:
                self._clicks.add(original, decoded)
            for windowed in self._windowed:
                windowed.add(original, decoded)

    def _findings(self, decoding: Decoding) -> Iterator[Finding]:
        spec, settings, entry = self._auditor.codec.spec, self._auditor.settings, self._chosen.entry
        report = decoding.report
        evidence = Evidence(self._row, spec, report, self._reencoder.comparison if self._reencoder else None)
        causes = list(name_causes(evidence))
        yield from causes
        named = {finding.name for finding in causes}
        if Cause.ZEROED not in named:
            yield from stuck_chunks(self._row)
        if not causes and not self._reencoder:
            yield from self._heard.findings()
        yield from duration_flag(self._row.codes.num_samples, report.audio.num_samples, spec.sample_rate)
        yield from meter_flags(report.audio.flags)
        yield from band_flag(self._measures.spectral.spectrum, spec.sample_rate)
        yield from scale_flags(self._row.codes.scales, entry, np.array(settings.levels))
        yield from self._clicks.findings() if self._clicks else ()
        yield from duplicate_flag(entry.recording.id, dict(settings.copies))

    def _figures(self) -> dict[str, Figure]:
        figures = self._measures.figures() | {windowed.metric: windowed.figure() for windowed in self._windowed}
        return {name: rounded(figures[name]) for name in self._auditor.settings.options.metrics}

    def _series(self) -> dict[str, tuple[float | None, ...]]:
        series = {**self._measures.series, **{windowed.metric: windowed.series for windowed in self._windowed}}
        wanted = self._auditor.settings.options.metrics
        return {name: tuple(None if v is None else round(v, 4) for v in series[name]) for name in wanted}

    def _record(
        self,
        findings: tuple[Finding, ...],
        *,
        error: str | None = None,
        equal_codes: tuple[float, ...] | None = None,
        figures: Mapping[str, Figure] | None = None,
        series: Mapping[str, tuple[float | None, ...]] | None = None,
    ) -> RecordingAudit:
        row = self._row
        return RecordingAudit(
            id=row.id,
            shard=self._chosen.entry.shard,
            chosen=self._chosen.why,
            source_uri=row.source_uri,
            seconds=round(row.codes.seconds, 6),
            segment_seconds=self._segment / row.codes.sample_rate,
            source_sample_rate=row.source_sample_rate,
            source_channels=row.source_channels,
            figures=figures or {},
            series=series or {},
            findings=findings,
            equal_codes=equal_codes,
            error=error,
        )


def load_same(settings: AuditSettings, threads: int | None = None) -> Codec:
    """The codec that wrote the corpus.

    Raises:
        CodecLoadError: it cannot be loaded, or has other weights now.
    """
    codec = settings.codec.load(threads)
    if codec.spec.weights_sha256 != settings.weights_sha256:
        raise CodecLoadError(
            f"codec {codec.spec.codec} has other weights than the one that wrote {settings.out}: give the right one with --codec"
        )
    return codec


def decodable(codes: Codes, codec: Codec) -> Codes:
    """The codes as far as this codec can decode them: levels that it does not have are left out.

    Raises:
        ShapeError: chunks, codes or scales that the codec cannot have written.
    """
    kept = replace(codes, codes=codes.codes[: codec.spec.n_q])
    split(kept, codec.spec)
    return kept


def unreadable(chosen: Chosen, reason: str) -> RecordingAudit:
    """The result for a recording whose row cannot be read."""
    entry = chosen.entry
    return RecordingAudit(
        id=entry.recording.id,
        shard=entry.shard,
        chosen=chosen.why,
        source_uri=entry.recording.uri,
        seconds=0.0,
        segment_seconds=1.0,
        source_sample_rate=entry.source_sample_rate,
        source_channels=0,
        findings=(Finding("damaged shard", Severity.ERROR, reason),),
        error=reason,
    )


def undecodable(chosen: Chosen, row: Row, reason: str) -> RecordingAudit:
    """The result for codes that this codec cannot have written."""
    finding = Finding(Cause.CORRUPT, Severity.ERROR, f"the codes cannot be decoded: {reason}")
    return replace(unreadable(chosen, reason), seconds=row.codes.seconds, findings=(*stuck_chunks(row), finding))


def rounded(figure: Figure) -> Figure:
    """With as many digits as mean anything."""
    return figure if figure.value is None else Figure(round(figure.value, 6))
