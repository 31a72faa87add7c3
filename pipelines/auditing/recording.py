"""One recording's audit: its source and its reconstruction side by side, segment by segment, in
bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pipelines.auditing.choose.sampling import Chosen
from pipelines.auditing.judge.agreement import Agreement, Beside
from pipelines.auditing.judge.causes import stuck_chunks
from pipelines.auditing.judge.evidence import SecondLook
from pipelines.auditing.judge.reencode import Reencoder
from pipelines.auditing.judge.registry import judge
from pipelines.auditing.measure.pairs import Block, Pairs
from pipelines.auditing.meters import Meters, record
from pipelines.auditing.options import AuditOptions
from pipelines.auditing.page.clips import MOST_HEARD, PageFiles, choose_stretch
from pipelines.auditing.results import Finding, FindingName, RecordingAudit, Remark
from pipelines.auditing.saved_results import read_row
from pipelines.corpus.reader import Decoder, DecodeSettings, Decoding
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row
from pipelines.output.manifest.commits import Manifest
from pipelines.output.storage import open_storage
from pipelines.tokenizing.jobs import CodecSettings
from tokenizer.codecs.base import Codec, split
from tokenizer.errors import (
    CodecLoadError,
    FailureKind,
    RecordingError,
    ShapeError,
    ShardError,
    UsageError,
)
from tokenizer.types import Codes

NO_SECOND = "no other way"


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
    heard: int = MOST_HEARD
    """recordings that share the page's room for sound"""


class Auditor:
    """Holds a codec and a decoder, and audits recordings with them, one after the other."""

    def __init__(self, settings: AuditSettings, threads: int | None = None) -> None:
        self.settings = settings
        self.codec = load_same(settings, threads)
        self._decoder = Decoder(settings.decode)
        self._second = Decoder(replace(settings.decode, second=True))
        self._storage = open_storage(settings.out)
        self._manifest = Manifest(self._storage)
        self._format = shard_format(settings.format)

    def run(self, chosen: Chosen) -> RecordingAudit:
        """Audit one recording, without what only the rest of its corpus shows.

        What is wrong with it, its shard or its source is in the result, and so is whatever goes
        wrong here: one recording must not cost the others their audit.

        Raises:
            UsageError: OUT cannot be written.
        """
        try:
            return self._run(chosen)
        except UsageError:
            raise
        except Exception as error:
            return not_audited(
                chosen,
                f"{type(error).__name__}: {error} (a fault in codecshards: please report it)",
            )

    def _run(self, chosen: Chosen) -> RecordingAudit:
        try:
            row = read_row(self._manifest, self._format, chosen)
        except (ShardError, FileNotFoundError) as error:
            return unreadable(chosen, str(error))
        try:
            codes = decodable(row.codes, self.codec)
        except ShapeError as error:
            return undecodable(chosen, row, str(error))
        found = _Reading(self, row, codes, chosen)
        result = found.result()
        if not self.settings.options.page:
            return result
        kept = found.meters.kept
        stretch = choose_stretch(
            kept.worst, codes.num_samples, self.codec.spec, self.settings.options.clip_seconds
        )
        source = None if result.error is not None else kept.stretch(stretch.first_segment)
        files = PageFiles(self._storage, self.codec, self.settings.heard)
        return replace(result, page=files.write(row.id, codes, stretch, source))

    @contextmanager
    def opened(self, chosen: Chosen) -> Iterator[Decoding]:
        """The source, by the code and with the settings of tokenization."""
        # To its end, so that the decoder's process is free for the next one.
        yield from self._decoder.decode([chosen.entry.recording])

    @contextmanager
    def opened_again(self, chosen: Chosen) -> Iterator[Decoding]:
        """The source by a second way."""
        yield from self._second.decode([chosen.entry.recording])

    def close(self) -> None:
        """End the decoders' processes."""
        self._decoder.close()
        self._second.close()


class _Reading:
    """A source and its codes, read side by side."""

    def __init__(self, auditor: Auditor, row: Row, codes: Codes, chosen: Chosen) -> None:
        self._auditor, self._row, self._codes, self._chosen = auditor, row, codes, chosen
        options = auditor.settings.options
        self.meters = Meters(
            auditor.codec.spec, options.metrics, options.clip_seconds if options.page else None
        )
        self._reencoder = Reencoder(auditor.codec, row.codes) if options.reencode else None
        self._agreement = Agreement(auditor.codec.spec.sample_rate)

    def result(self) -> RecordingAudit:
        """Read both to their ends and say what there is."""
        entry = self._chosen.entry
        plain = record(self._row, entry.shard, self._chosen.why, self.meters.segment)
        try:
            with self._auditor.opened(self._chosen) as decoding:
                way = self._read(decoding)
                report = decoding.report
        except RecordingError as error:
            return replace(plain, error=error.message, findings=self._unread(error))
        look = None if self._reencoder is None else self._second_look(self._reencoder, way)
        return replace(
            plain,
            source_seconds=round(report.audio.num_samples / self._auditor.codec.sample_rate, 6),
            figures=self.meters.figures(),
            series=self.meters.series(),
            findings=tuple(self.meters.findings(self._row, report, look)),
            second_reader=way,
            equal_codes=look.comparison.by_level if look and look.comparison.frames else None,
        )

    def _unread(self, error: RecordingError) -> tuple[Finding, ...]:
        ours = error.kind is FailureKind.ENCODER
        name = FindingName.NOT_AUDITED if ours else FindingName.UNREADABLE_SOURCE
        remark = Remark(name, f"{error.kind}: {error.message}")
        return tuple(map(judge, (*stuck_chunks(self._row), remark)))

    def _second_look(self, reencoder: Reencoder, way: str | None) -> SecondLook:
        return SecondLook(
            reencoder.comparison,
            refused=None if reencoder.error is None else reencoder.error.message,
            reader=way,
            readers_fault=None if way in (None, NO_SECOND) else self._agreement.fault,
        )

    def _read(self, decoding: Decoding) -> str | None:
        """Read the source and its codes; returns the second way by which the source was read, if it
        was to be."""
        if self._reencoder is None:
            self._measure(iter(decoding))
            return None
        with self._auditor.opened_again(self._chosen) as again:
            beside = Beside(iter(again), self._agreement)
            self._measure(beside.watch(self._reencoder.watch(iter(decoding))))
            return again.report.audio.decoder if beside.error is None else NO_SECOND

    def _measure(self, source: Iterator[Block]) -> None:
        codec = self._auditor.codec
        for original, decoded in Pairs(
            source, codec.decode_stream(self._codes), codec.channels, self.meters.segment
        ):
            self.meters.add(original, decoded)


def load_same(settings: AuditSettings, threads: int | None = None) -> Codec:
    """The codec that wrote the corpus.

    Raises:
        CodecLoadError: it cannot be loaded, or has other weights now.
    """
    codec = settings.codec.load(threads)
    if codec.spec.weights_sha256 != settings.weights_sha256:
        raise CodecLoadError(
            f"codec {codec.spec.codec} has other weights than the one that wrote {settings.out}: "
            "give the right one with --codec"
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
    return _without_figures(chosen, reason, FindingName.DAMAGED_SHARD)


def not_audited(chosen: Chosen, reason: str) -> RecordingAudit:
    """The result for a recording that the audit failed on: nobody knows whether what was written is
    right."""
    return _without_figures(chosen, reason, FindingName.NOT_AUDITED)


def _without_figures(chosen: Chosen, reason: str, name: FindingName) -> RecordingAudit:
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
        findings=(judge(Remark(name, reason)),),
        error=reason,
    )


def undecodable(chosen: Chosen, row: Row, reason: str) -> RecordingAudit:
    """The result for codes that this codec cannot have written."""
    remark = Remark(FindingName.CORRUPT, f"the codes cannot be decoded: {reason}")
    return replace(
        unreadable(chosen, reason),
        seconds=row.codes.seconds,
        findings=tuple(map(judge, (*stuck_chunks(row), remark))),
    )
