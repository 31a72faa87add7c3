"""The whole audit: survey, sample, one recording after the other, report and page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from itertools import count
from typing import Any

from pipelines.auditing.choose.sampling import Chosen, choose, choose_share
from pipelines.auditing.choose.share import ALL, limit
from pipelines.auditing.choose.survey import Entry, Survey, take_survey
from pipelines.auditing.judge.among_others import duplicates
from pipelines.auditing.judge.evidence import CorpusEvidence
from pipelines.auditing.judge.limits import missed_limits
from pipelines.auditing.judge.registry import in_corpus, of_corpus
from pipelines.auditing.measure.windows import open_windowed
from pipelines.auditing.options import AuditOptions
from pipelines.auditing.page.clips import MOST_HEARD
from pipelines.auditing.page.site import worst_first, write_site
from pipelines.auditing.page.stale_files import media_of, remove_media, remove_page, reported_media
from pipelines.auditing.places import REPORT, TABLE
from pipelines.auditing.recording import Auditor, AuditSettings
from pipelines.auditing.report import (
    Corpus,
    hours_by_rate,
    scale_histogram,
    summarise,
    to_parquet,
)
from pipelines.auditing.results import RecordingAudit
from pipelines.auditing.saved_results import Parts, PassingParts
from pipelines.auditing.since import stale_words
from pipelines.auditing.while_tokenizing import WHY as IN_PASSING
from pipelines.auditing.while_tokenizing import PassingSettings
from pipelines.corpus.reader import DecodeSettings
from pipelines.corpus.sources import Source, open_source
from pipelines.output.formats import shard_format
from pipelines.output.inspect import counted_use
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.records import Totals
from pipelines.output.manifest.since import state_of
from pipelines.output.plans.together import Plans
from pipelines.output.storage import open_storage
from pipelines.tokenizing.jobs import CodecSettings
from pipelines.tokenizing.progress import Display, open_display
from tokenizer.codecs import batch_chunks
from tokenizer.codecs.registry import stored_amount
from tokenizer.errors import SourceError, UsageError


@dataclass(frozen=True, slots=True)
class AuditReport:
    """An audit that was done. In a notebook it shows itself, with players."""

    out: str
    report: Mapping[str, Any]
    """what `OUT/audit/report.json` holds"""
    recordings: tuple[RecordingAudit, ...]

    @property
    def passed(self) -> bool:
        """No limit was missed and nothing that was written is wrong."""
        return bool(self.report["passed"])

    def _repr_html_(self) -> str:
        from pipelines.auditing.page.notebook import to_html

        return to_html(self.out, self.report, self.recordings)

    def __repr__(self) -> str:
        return (
            f"AuditReport({self.out}, {len(self.recordings)} recordings, "
            f"{'passed' if self.passed else 'failed'})"
        )


def audit(
    out: str | os.PathLike[str],
    sample: int | None = None,
    options: AuditOptions | None = None,
    **asked: Any,
) -> AuditReport:
    """Decode a sample of what `tokenize` wrote to `out`, measure it against the sources, and make a
    page to listen to.

    An audit that was interrupted goes on where it stopped when it is asked for again.

    Args:
        out: output folder of `tokenize`.
        sample: recordings to draw, 20 unless something else is said.
        options: everything else at once.
        asked: fields of `AuditOptions` by name, as `workers=0` or `all=True`; they win over those
            of `options`.

    Raises:
        OutputError: not an output of `tokenize`, or OUT cannot be written.
        UsageError: nothing to audit, no such id, a codec of other weights, a package that a measure
            needs.
        SourceError: the corpus has gone.
    """
    options = _with(
        options or AuditOptions(), asked if sample is None else {**asked, "sample": sample}
    )
    with open_display(options.quiet) as display:
        named = os.fspath(out) if isinstance(out, os.PathLike) else out
        return _Audit(named, options, display, None).work()


def _with(options: AuditOptions, asked: Mapping[str, Any]) -> AuditOptions:
    known = [field.name for field in fields(AuditOptions)]
    for name in asked:
        if name not in known:
            raise UsageError(f"audit has no option {name!r}: choose from {', '.join(known)}")
    return replace(options, **asked)


def audit_share(out: str, share: float, options: AuditOptions) -> AuditReport:
    """The report on a share of a corpus, most of which `tokenize` has audited in passing; the rest
    is audited now.

    Args:
        out: output folder of `tokenize`.
        share: of the recordings, above 0 and at most 1, as `tokenize` was given it.
        options: those that `tokenize` had; what they say of the choice of recordings counts for
            nothing.

    Raises:
        CodecshardsError: as for `audit`.
    """
    with open_display(options.quiet) as display:
        return _Audit(out, options, display, share).work()


class _Audit:
    """One audit of one output folder."""

    def __init__(
        self, out: str, options: AuditOptions, display: Display, share: float | None
    ) -> None:
        self._out, self._options, self._display, self._share = out, options, display, share
        options.compute.require_here()
        self._storage = open_storage(out)
        self._manifest = Manifest(self._storage)
        self._stored = self._manifest.require_config()
        self._config, self._spec = self._stored.config, self._stored.codec
        self._form = shard_format(self._config.format)
        # What a measure needs is looked for before hours of work, not after.
        open_windowed(options.metrics, self._spec.sample_rate, self._spec.sample_rate)

    @cached_property
    def _plan(self) -> Plans:
        return self._manifest.read_plans()

    def work(self) -> AuditReport:
        for line in stale_words(self._manifest):
            self._display.message(line)
        self._state = state_of(self._manifest)
        self._display.message(f"reading the shards of {self._out} …")
        survey = take_survey(
            self._manifest, self._plan, self._form, self._stored, set(self._options.ids)
        )
        chosen = self._chosen(survey)
        shards = {record.shard: record.sha256 for record in self._manifest.records()}
        parts = Parts(self._storage, self._fingerprint(self._options), shards, self._state)
        recordings = self._results(survey, chosen, parts, shards)
        report = self._publish(survey, recordings)
        remove_media(self._storage, parts.media() - media_of(recordings))
        parts.clear()
        return AuditReport(self._out, report, recordings)

    def _chosen(self, survey: Survey) -> list[Chosen]:
        options = self._options
        if survey.remarks and not survey.entries:  # every shard is damaged: that is the report
            return []
        if self._share is None:
            drawn = {name: getattr(options, name) for name in ("sample", "seed", "ids", "all")}
            return choose(survey.entries, **drawn)
        return choose_share(survey.entries, self._share, self._plan.ids())

    def _results(
        self,
        survey: Survey,
        chosen: Sequence[Chosen],
        parts: Parts,
        shards: Mapping[str, str | None],
    ) -> tuple[RecordingAudit, ...]:
        """What was found out about each, and the page's files of as many as a page has room for.

        Which are worst, and so to be heard, is known when all are measured: where they are too
        many, those are done again.
        """
        settings = replace(self._settings(), heard=min(len(chosen), MOST_HEARD))
        options = self._passing_settings(chosen).options
        many = options != self._options
        measured = Parts(self._storage, self._fingerprint(options), shards, self._state)
        earlier = self._found_in_passing(chosen, options)
        found = {
            one.entry.recording.id: parts.read(one) or (measured.read(one) if many else None)
            for one in chosen
        }
        done = {id: result for id, result in found.items() if result is not None} | earlier
        self._say(len(chosen), len(done), len(earlier))
        self._do(replace(settings, options=options), measured if many else parts, chosen, done)
        if many:
            worst = {
                result.id
                for result in worst_first(in_corpus(survey.entries, _named(chosen, done)))[
                    :MOST_HEARD
                ]
            }
            self._display.message(f"measured; now the sound of the worst {MOST_HEARD}")
            done = {
                id: r if id in worst else replace(r, page=None)
                for id, r in done.items()
                if id not in worst or r.page
            }
            self._do(
                settings, parts, [one for one in chosen if one.entry.recording.id in worst], done
            )
        return in_corpus(survey.entries, _named(chosen, done))

    def _passing_settings(self, chosen: Sequence[Chosen]) -> PassingSettings:
        """As `tokenize` had them, where it audited in passing."""
        if self._share is None:
            return PassingSettings.over(
                ALL, [one.entry.recording.id for one in chosen], self._options
            )
        below = limit(self._share, self._plan.ids())
        return PassingSettings.over(below, self._plan.ids(), self._options)

    def _found_in_passing(
        self, chosen: Sequence[Chosen], options: AuditOptions
    ) -> dict[str, RecordingAudit]:
        """What `tokenize` found out in passing."""
        if self._share is None:
            return {}
        parts = PassingParts(self._storage, self._form, options)
        return {
            one.entry.recording.id: result
            for one in chosen
            if (result := parts.read(one)) is not None
        }

    def _say(self, chosen: int, done: int, earlier: int) -> None:
        if self._share is not None:
            rest = ", the others are now" if earlier < chosen else ""
            self._display.message(f"{earlier} of {chosen} recordings were audited in passing{rest}")
        if done > earlier:
            self._display.message(f"resuming: {done} of {chosen} recordings are done")

    def _do(
        self,
        settings: AuditSettings,
        parts: Parts,
        chosen: Sequence[Chosen],
        done: dict[str, RecordingAudit],
    ) -> None:
        """Audit those that are not done."""
        todo = [one for one in chosen if one.entry.recording.id not in done]
        if not todo:
            return
        number = count(len(chosen) - len(todo) + 1)

        def finished(one: Chosen, result: RecordingAudit) -> None:
            parts.write(one, result)
            done[result.id] = result
            said = ", ".join(finding.name for finding in result.findings) or "nothing noticed"
            self._display.message(f"{next(number)}/{len(chosen)} {result.id}: {said}")

        if self._options.workers == 0:
            with closing(Auditor(settings)) as auditor:
                for one in todo:
                    finished(one, auditor.run(one))
            return
        from pipelines.auditing.on_cluster import audit_on_cluster

        audit_on_cluster(settings, todo, finished, self._display)

    def _precision(self) -> str:
        """That of the corpus, since `--reencode` compares codes. On a CPU, and for decoding alone,
        exact."""
        if (
            self._spec.precision == "exact"
            or not self._options.reencode
            or self._options.device == "cpu"
        ):
            return "exact"
        from torch.cuda import is_available

        return self._spec.precision if is_available() else "exact"

    def _fingerprint(self, options: AuditOptions) -> str:
        """Of what decides one recording's result: what was written, what is asked for, and who
        audits."""
        return options.fingerprint(
            {"stored": self._stored.to_json(), "auditor": version("codecshards")}
        )

    def _settings(self) -> AuditSettings:
        config, spec, options = self._config, self._spec, self._options
        bandwidth, n_q = stored_amount(spec, options.codec)
        return AuditSettings(
            out=self._storage.root,
            format=config.format,
            weights_sha256=spec.weights_sha256,
            codec=CodecSettings(
                codec=options.codec or spec.codec,
                revision=spec.revision if options.codec is None else None,
                bandwidth=bandwidth,
                n_q=n_q,
                device=options.device,
                batch_chunks=batch_chunks(options.device),
                precision=self._precision(),
            ),
            decode=DecodeSettings(
                source=self._source(),
                sample_rate=spec.sample_rate,
                channels=spec.channels,
                downmix=config.downmix,
                chosen=config.channels,
                stream=config.stream,
                allow_truncated=config.allow_truncated,
                allow_damaged=config.allow_damaged,
                timeout=options.decode_timeout,
            ),
            options=options,
        )

    def _source(self) -> Source:
        config = self._config
        try:
            # A source that has changed is found by its hash, and heard.
            return open_source(
                config.source,
                follow_links=config.follow_links,
                check_versions=False,
                moved=self._options.moved,
            )
        except SourceError as error:
            hint = f"if it has moved: --moved {config.sources[0]}=NEW"
            raise SourceError(f"{error}; {hint}") from error

    def _publish(self, survey: Survey, recordings: tuple[RecordingAudit, ...]) -> dict[str, Any]:
        """Write everything; the report comes last. What the last audit's page played goes once this
        one's is there."""
        corpus = self._corpus(survey, recordings)
        stale = reported_media(self._storage) - media_of(recordings)
        facts = {
            "out": self._out,
            "state": self._state,
            "version": version("codecshards"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "codec": asdict(self._spec),
            "options": self._options.to_json(),
        }
        report = summarise(
            corpus, recordings, missed_limits(self._options.limits, recordings), facts
        )
        text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
        if self._options.page:
            write_site(self._storage, report, recordings)
        else:  # its verdict would not be this one's
            remove_page(self._storage)
        self._storage.write(TABLE, to_parquet(recordings, self._options.metrics))
        self._storage.write(REPORT, (text + "\n").encode("utf-8", "backslashreplace"))
        remove_media(self._storage, stale)
        return report

    def _corpus(self, survey: Survey, recordings: Sequence[RecordingAudit]) -> Corpus:
        totals = Totals.over(self._manifest.records())
        use = counted_use(survey.counts, self._spec.sizes)
        return Corpus(
            recordings=totals.rows,
            seconds=totals.num_samples / self._spec.sample_rate,
            shards=totals.shards,
            surveyed=survey.shards,
            findings=tuple(of_corpus(CorpusEvidence(survey, use, self._spec.sizes, recordings))),
            codebooks=tuple(asdict(level) for level in use),
            scales=scale_histogram(survey.scales, survey.silent_chunks),
            source_hours=hours_by_rate(survey.entries, self._spec.sample_rate),
            duplicates=len(duplicates(survey.entries)),
        )


def _named(
    chosen: Sequence[Chosen], done: Mapping[str, RecordingAudit]
) -> Iterator[tuple[Entry, RecordingAudit]]:
    """Results in the order of `chosen`, with why each was chosen now."""
    for one in chosen:
        result = done[one.entry.recording.id]
        yield one.entry, result if result.chosen == IN_PASSING else replace(result, chosen=one.why)
