"""Why what is stored is not what the source gives: one name for each cause, from the most to the
least decisive evidence.

the source's bytes have another hash         changed source (nothing else is concluded from it)
fewer or more codebooks                      wrong bandwidth
another length                               resampler off, truncated, duration mismatch
other codes, or other scales                 what `differences` makes of them
nothing but code 0 throughout a chunk        zeroed chunk, seen without encoding again
nothing, and the source not encoded again    what it sounds like (`suspicions`)
nothing at all                               what is lost is the codec's own loss
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.auditing.judge.differences import name_differences, name_few, remark_on
from pipelines.auditing.judge.evidence import Evidence
from pipelines.auditing.judge.reencode import Comparison
from pipelines.auditing.results import FindingName, Remark
from pipelines.output.formats.lost import lost_frames
from pipelines.output.formats.schema import Row, encode_meta

OF_OTHER_SOUND = frozenset(
    {FindingName.OTHER_AUDIO, FindingName.OTHER_RESAMPLING, FindingName.OTHER_CODEC}
)
"""what chunks that lie elsewhere in the recording look like"""


def explain(evidence: Evidence) -> Iterator[Remark]:
    """Every cause that the evidence shows, most decisive first; what it only sounds like, where
    there is none and the source was not encoded again."""
    causes = list(_certain(evidence))
    yield from causes
    if FindingName.ZEROED not in {cause.name for cause in causes}:
        yield from stuck_chunks(evidence.row)
    if not causes and evidence.comparison is None:
        yield from evidence.sound.remarks()


def _certain(evidence: Evidence) -> Iterator[Remark]:
    """Nothing when stored and source agree."""
    if evidence.report.source_sha256 != evidence.row.source_sha256:
        yield remark_on(FindingName.CHANGED_SOURCE, _change(evidence))
        return
    yield from _bandwidth(evidence)
    length = list(_length(evidence))
    yield from length
    names = {remark.name for remark in length}
    if FindingName.NOT_RESAMPLED in names or evidence.comparison is None:
        return
    # Without its beginning every chunk is another one, and of the same audio all the same.
    ignored = OF_OTHER_SOUND if FindingName.TRUNCATED in names else frozenset()
    for remark in name_differences(evidence, evidence.comparison):
        if remark.name not in ignored:
            yield remark


def _change(evidence: Evidence) -> str:
    was, now = evidence.row.source_sha256[:12], evidence.report.source_sha256[:12]
    said = (
        f"the source's bytes have changed since it was tokenized (SHA-256 {was}… then, {now}… now)"
    )
    if evidence.row.codes.num_samples != evidence.report.audio.num_samples:
        said += f", and so has its length: {_lengths(evidence)}"
    return said


def stuck_chunks(row: Row) -> Iterator[Remark]:
    """Zeroed chunks, seen without encoding: one code throughout, in a chunk that is not silent, or
    of which `expand --allow-damaged` says that its codes are lost."""
    lost = lost_frames(encode_meta(row.meta))
    ends = np.cumsum(row.codes.chunk_frames.astype(np.int64))
    found = []
    for i, (end, frames) in enumerate(
        zip(ends, row.codes.chunk_frames.astype(np.int64), strict=True)
    ):
        codes = row.codes.codes[:, end - frames : end]
        silent = row.codes.scales is not None and bool(row.codes.scales[i] < 1e-6)
        gone = any(first < end and end - frames < behind for first, behind in lost)
        if frames >= 10 and (gone or not silent) and bool((codes == 0).all()):
            found.append(i)
    if found:
        why = ", where an archive was damaged (lost_codes in meta)" if lost else ""
        yield remark_on(FindingName.ZEROED, f"nothing but code 0 in {name_few(found)}{why}", found)


def _bandwidth(evidence: Evidence) -> Iterator[Remark]:
    stored, expected = evidence.row.codes.n_q, evidence.spec.n_q
    if stored != expected:
        kept, whole = evidence.spec.bandwidth_of(stored), evidence.spec.bandwidth
        detail = (
            f"{stored} codebooks are stored ({kept:.4g} kbps), the corpus has {expected} "
            f"({whole:.4g} "
            "kbps)"
        )
        yield remark_on(FindingName.WRONG_BANDWIDTH, detail)


def _length(evidence: Evidence) -> Iterator[Remark]:
    """Any difference in length is wrong, as the stored one is exact: one remark, named by what it
    looks like."""
    audio, stored = evidence.report.audio, evidence.row.codes.num_samples
    if stored == audio.num_samples:
        return
    rate = evidence.spec.sample_rate
    if audio.source_sample_rate != rate and abs(stored - audio.source_samples) <= 1:
        name = FindingName.NOT_RESAMPLED
        detail = (
            f"as many samples as the source has at {audio.source_sample_rate} Hz: it was taken for "
            f"{rate} Hz, not resampled"
        )
    elif stored < audio.num_samples:
        name = FindingName.TRUNCATED
        missing = (audio.num_samples - stored) / rate
        detail = f"{missing:.3f} s of the source are missing from the codes" + _where(
            evidence.comparison
        )
    else:
        name = FindingName.DURATION
        detail = f"{(stored - audio.num_samples) / rate:.3f} s more than the source has"
    yield remark_on(name, f"{detail}; {_lengths(evidence)}")


def _lengths(evidence: Evidence) -> str:
    stored, found = evidence.row.codes.num_samples, evidence.report.audio.num_samples
    rate = evidence.spec.sample_rate
    return (
        f"stored {stored} samples ({stored / rate:.3f} s), the source has {found} "
        f"({found / rate:.3f} s) at {rate} Hz"
    )


def _where(comparison: Comparison | None) -> str:
    """Where something is missing: at the end when what is there is as it should be."""
    if comparison is None or not comparison.chunks:
        return ""
    equal = np.mean([match.same for match in comparison.chunks.values()])
    return (
        ", at its end"
        if equal > 0.5
        else ", not at its end alone: what is there is not its beginning"
    )
