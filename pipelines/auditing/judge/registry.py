"""Every finding, one row each: how much it matters, what it means, and the rule that raises it.

A rule is given what is known (`evidence`) and says what it sees. There are three kinds: of one
recording, of one recording among all others, and of the corpus. Several rows may share a rule that
decides between them; it runs once. Rows without a rule are raised where reading fails. Findings
come out in the order of these rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipelines.auditing.choose.survey import Entry, levels_of
from pipelines.auditing.judge.among_others import (
    collapse_flags,
    duplicate_flag,
    duplicates,
    level_flag,
    nothing_compared,
)
from pipelines.auditing.judge.causes import explain
from pipelines.auditing.judge.evidence import CorpusEvidence, Evidence, Others
from pipelines.auditing.judge.flags import (
    band_flag,
    impossible_scales,
    meter_flags,
    silence_flag,
)
from pipelines.auditing.judge.second_look import not_encoded_again, readers_differ
from pipelines.auditing.results import Finding, FindingName, RecordingAudit, Remark, Severity

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
MOST_LEVELS = 10_000
"""recordings' levels that tell what is usual in the corpus"""


@dataclass(frozen=True, slots=True)
class FindingKind:
    """One finding."""

    name: str
    severity: Severity
    """unless the rule says otherwise of what it sees"""
    help: str
    """what it means, for people who look at the page"""
    of_recording: Callable[[Evidence], Iterator[Remark]] | None = None
    among_others: Callable[[Entry, Others], Iterator[Remark]] | None = None
    of_corpus: Callable[[CorpusEvidence], Iterator[Remark]] | None = None


def _of_shards(evidence: CorpusEvidence) -> Iterator[Remark]:
    yield from evidence.survey.remarks


def _of_the_reader(evidence: Evidence) -> Iterator[Remark]:
    yield from meter_flags(evidence.report.audio.flags)


_ROWS = (
    FindingKind(
        FindingName.DAMAGED_SHARD,
        ERROR,
        "A shard cannot be read, or is not what was committed.",
        of_corpus=_of_shards,
    ),
    FindingKind(
        FindingName.OTHER_CODEC,
        ERROR,
        "The codes are another codec's, or of other weights.",
        of_recording=explain,
        of_corpus=_of_shards,
    ),
    FindingKind(
        FindingName.CHANGED_SOURCE,
        ERROR,
        "The source's bytes are not those that were tokenized.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.WRONG_BANDWIDTH,
        ERROR,
        "Fewer or more codebooks are stored than the corpus has.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.NOT_RESAMPLED,
        ERROR,
        "The source was taken for one of the codec's rate.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.TRUNCATED,
        ERROR,
        "The codes are of less than the source.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.DURATION,
        ERROR,
        "The codes are of more than the source: stored lengths are exact.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.WRONG_SCALE,
        ERROR,
        "The codes are right, and come back too loud or too quiet.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.CODEBOOK_ORDER,
        ERROR,
        "The codebooks' levels are stored in another order.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.CHANNEL_SWAP, ERROR, "Left and right are swapped.", of_recording=explain
    ),
    FindingKind(
        FindingName.ZEROED,
        ERROR,
        "A chunk holds one code throughout, where the source has sound.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.SHIFTED,
        ERROR,
        "Chunks, or codes within them, are stored at another place.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.BIT_FLIPS,
        ERROR,
        "A few codes differ by one bit each, as damaged memory does it.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.CORRUPT,
        ERROR,
        "Some codes are not those that the source gives; the others are.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.DEVICE,
        INFO,
        "Few codes differ, as between devices or precisions: no error.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.OTHER_RESAMPLING,
        ERROR,
        "The source was resampled in another way.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.OTHER_AUDIO,
        ERROR,
        "The codes are of other audio than the source.",
        of_recording=explain,
    ),
    FindingKind(
        FindingName.SILENCE,
        WARNING,
        "The source is silent: the measures say nothing of it.",
        of_recording=lambda e: silence_flag(e.report.audio.flags, e.sums.pair),
    ),
    FindingKind(
        FindingName.ANTIPHASE,
        WARNING,
        "Left and right cancel in mono, which the codec normalises by.",
        of_recording=_of_the_reader,
    ),
    FindingKind(
        FindingName.CLIPPING,
        WARNING,
        "The source is clipped.",
        of_recording=_of_the_reader,
    ),
    FindingKind(
        FindingName.LOW_BANDWIDTH,
        WARNING,
        "The source has nothing above 8 kHz.",
        of_recording=lambda e: band_flag(e.sums.spectral.spectrum, e.spec.sample_rate),
    ),
    FindingKind(
        FindingName.SCALE_OUTLIER,
        WARNING,
        "A loudness that no recording has, or far from the corpus's.",
        of_recording=lambda e: impossible_scales(e.row.codes.scales),
        among_others=lambda entry, others: level_flag(entry, others.levels),
    ),
    FindingKind(
        FindingName.BOUNDARY_CLICKS,
        WARNING,
        "Chunks begin with clicks that the source does not have.",
        of_recording=lambda e: e.clicks.remarks() if e.clicks else iter(()),
    ),
    FindingKind(
        FindingName.NOT_ENCODED_AGAIN,
        ERROR,
        "The codec refuses a source that it once encoded.",
        of_recording=not_encoded_again,
    ),
    FindingKind(
        FindingName.READERS_DIFFER,
        ERROR,
        "Two decoders read the source differently.",
        of_recording=readers_differ,
    ),
    FindingKind(
        FindingName.DUPLICATE,
        WARNING,
        "The same audio, byte for byte, as an earlier recording.",
        among_others=lambda entry, others: duplicate_flag(entry.recording.id, others.copies),
    ),
    FindingKind(
        FindingName.COLLAPSE,
        WARNING,
        "A codebook uses few of its codes, or few of them often.",
        of_corpus=lambda e: collapse_flags(e.use, int(e.survey.counts[0].sum()), e.sizes),
    ),
    FindingKind(
        FindingName.NOTHING_COMPARED,
        ERROR,
        "No recording could be compared with its source.",
        of_corpus=lambda e: nothing_compared(e.recordings),
    ),
    FindingKind(
        FindingName.UNREADABLE_SOURCE,
        WARNING,
        "The source cannot be read now, so nothing was compared.",
    ),
    FindingKind(
        FindingName.NOT_AUDITED,
        ERROR,
        "The audit itself failed: nobody knows whether the codes are right.",
    ),
)

FINDINGS: dict[str, FindingKind] = {row.name: row for row in _ROWS}
"""by name. A row that is added here, by whatever package, is raised, counted, and shown"""


def judge(remark: Remark) -> Finding:
    """A remark with what it matters."""
    severity = FINDINGS[remark.name].severity if remark.severity is None else remark.severity
    return Finding(remark.name, severity, remark.detail, remark.chunks)


def of_recording(evidence: Evidence) -> Iterator[Finding]:
    """Everything that can be said of a recording alone."""
    for rule in dict.fromkeys(row.of_recording for row in FINDINGS.values() if row.of_recording):
        yield from map(judge, rule(evidence))


def of_corpus(evidence: CorpusEvidence) -> Iterator[Finding]:
    """Everything that is odd about the corpus itself."""
    for rule in dict.fromkeys(row.of_corpus for row in FINDINGS.values() if row.of_corpus):
        yield from map(judge, rule(evidence))


def in_corpus(
    entries: Sequence[Entry], recordings: Iterable[tuple[Entry, RecordingAudit]]
) -> tuple[RecordingAudit, ...]:
    """Recordings with what only the whole corpus shows added to their findings."""
    levels = levels_of(entries)
    others = Others(levels[:: 1 + len(levels) // MOST_LEVELS], duplicates(entries))
    rules = list(dict.fromkeys(row.among_others for row in FINDINGS.values() if row.among_others))
    return tuple(
        replace(
            result,
            findings=(
                *result.findings,
                *(judge(remark) for rule in rules for remark in rule(entry, others)),
            ),
        )
        for entry, result in recordings
    )
