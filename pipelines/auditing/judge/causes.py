"""Why what is stored is not what the source gives: one name for each cause, from the most to the
least decisive evidence.

the source's bytes have another hash            changed source          nothing else is concluded from it
other lengths                                   resampler off, truncated, other length
fewer or more codebooks                         wrong bandwidth
equal codes, other scales                       wrong scale
codes of one chunk at the place of another      shifted chunks
levels that are each other's                    codebook order
equal once the channels are swapped             channel swap
one code throughout a chunk                     zeroed chunk
a few codes, each off by one bit                bit flips
whole chunks differ, others are equal           corrupt codes
few codes differ, more at higher levels         device difference       float ties and reduced precision: no error
same scales, other codes                        other codec
similar scales, other codes                     other resampling / other audio
nothing                                         what is lost is the codec's own loss
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from pipelines.auditing.judge.reencode import EQUAL, ChunkMatch, Comparison
from pipelines.auditing.results import Finding, Severity
from pipelines.corpus.reader import DecodeReport
from pipelines.output.formats.schema import Row
from tokenizer.codecs.base import CodecSpec


class Cause(StrEnum):
    """Every cause that can be told from the others."""

    CHANGED_SOURCE = "changed source"
    NOT_RESAMPLED = "resampler off"
    TRUNCATED = "truncated"
    OTHER_LENGTH = "other length"
    WRONG_BANDWIDTH = "wrong bandwidth"
    WRONG_SCALE = "wrong scale"
    SHIFTED = "shifted chunks"
    CODEBOOK_ORDER = "codebook order"
    CHANNEL_SWAP = "channel swap"
    ZEROED = "zeroed chunk"
    BIT_FLIPS = "bit flips"
    CORRUPT = "corrupt codes"
    DEVICE = "device difference"
    OTHER_CODEC = "other codec"
    OTHER_RESAMPLING = "other resampling"
    OTHER_AUDIO = "other audio"


SAME_SCALE = 1e-5
"""relative: what float32 sums in another order differ by"""
CLOSE_SCALE = 0.12
"""relative, 1 dB: the same sound after another resampler"""
FEW = 0.01
"""share of codes up to which bit flips are looked for"""
MOST_NAMED = 8
OF_OTHER_SOUND = frozenset({Cause.OTHER_AUDIO, Cause.OTHER_RESAMPLING, Cause.OTHER_CODEC})
"""what chunks that lie elsewhere in the recording look like"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about one recording when its source has been read."""

    row: Row
    spec: CodecSpec
    report: DecodeReport
    comparison: Comparison | None
    """None without --reencode: what needs it is not concluded"""


def name_causes(evidence: Evidence) -> Iterator[Finding]:
    """Every cause that the evidence shows, most decisive first; nothing when stored and source
    agree."""
    if evidence.report.source_sha256 != evidence.row.source_sha256:
        was, now = evidence.row.source_sha256[:12], evidence.report.source_sha256[:12]
        detail = (
            f"the source's bytes have changed since it was tokenized (SHA-256 {was}… then, {now}… "
            "now)"
        )
        yield _error(Cause.CHANGED_SOURCE, detail)
        return
    yield from _bandwidth(evidence)
    length = list(_length(evidence))
    yield from length
    if (
        any(finding.name == Cause.NOT_RESAMPLED for finding in length)
        or evidence.comparison is None
    ):
        return
    found = list(_codes(evidence, evidence.comparison))
    # Without its beginning every chunk is another one, and of the same audio all the same.
    beheaded = any(finding.name == Cause.TRUNCATED for finding in length)
    yield from (finding for finding in found if not (beheaded and finding.name in OF_OTHER_SOUND))


def stuck_chunks(row: Row) -> Iterator[Finding]:
    """Zeroed chunks, seen without encoding: one code throughout, in a chunk that is not silent."""
    ends = np.cumsum(row.codes.chunk_frames.astype(np.int64))
    found = []
    for i, (end, frames) in enumerate(
        zip(ends, row.codes.chunk_frames.astype(np.int64), strict=True)
    ):
        codes = row.codes.codes[:, end - frames : end]
        silent = row.codes.scales is not None and bool(row.codes.scales[i] < 1e-6)
        if frames >= 10 and not silent and bool((codes == 0).all()):
            found.append(i)
    if found:
        yield _error(Cause.ZEROED, f"nothing but code 0 in {_chunks(found)}", found)


def _bandwidth(evidence: Evidence) -> Iterator[Finding]:
    stored, expected = evidence.row.codes.n_q, evidence.spec.n_q
    if stored != expected:
        kept, whole = evidence.spec.bandwidth * stored / expected, evidence.spec.bandwidth
        detail = (
            f"{stored} codebooks are stored ({kept:g} kbps), the corpus has {expected} ({whole:g} "
            "kbps)"
        )
        yield _error(Cause.WRONG_BANDWIDTH, detail)


def _length(evidence: Evidence) -> Iterator[Finding]:
    audio, stored = evidence.report.audio, evidence.row.codes.num_samples
    if stored == audio.num_samples:
        return
    rate = evidence.spec.sample_rate
    if audio.source_sample_rate != rate and abs(stored - audio.source_samples) <= 1:
        detail = (
            f"as many samples as the source has at {audio.source_sample_rate} Hz: it was taken for "
            f"{rate} Hz, not resampled"
        )
        yield _error(Cause.NOT_RESAMPLED, detail)
    elif stored < audio.num_samples:
        missing = (audio.num_samples - stored) / rate
        yield _error(
            Cause.TRUNCATED,
            f"{missing:.3f} s of the source are missing from the "
            f"codes{_where(evidence.comparison)}",
        )
    else:
        yield _error(
            Cause.OTHER_LENGTH,
            f"{(stored - audio.num_samples) / rate:.3f} s more than the source has",
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


def _codes(evidence: Evidence, comparison: Comparison) -> Iterator[Finding]:
    matches = comparison.chunks
    wrong = {i for i, match in matches.items() if not match.same}
    resampled = list(_resampled(comparison, evidence))
    if resampled:
        yield from resampled
        return
    yield from _scales({i: match for i, match in matches.items() if i not in wrong})
    if comparison.equal:
        return
    whole = len(wrong) > len(matches) // 2
    explanations = (_order, _swap) if whole else ()
    for explain in explanations:
        found = list(explain(comparison))
        if found:
            yield from found
            return
    for pick in (_zeroed, _shifted):
        found = list(pick({i: matches[i] for i in wrong}))
        yield from found
        wrong -= {i for finding in found for i in _all_of(pick, matches, wrong)}
    if any(match.neighbour for match in matches.values()):
        # What a shift has pushed over an end is stored nowhere, and the last chunk is shorter than
        # its neighbour.
        wrong -= {0, max(matches) - 1, max(matches)}
    if not wrong:
        yield from _small(comparison, evidence)
    elif len(wrong) > len(matches) // 2:
        yield _everywhere({i: matches[i] for i in wrong}, comparison, evidence)
    else:
        detail = (
            f"other codes than the source gives in {_chunks(sorted(wrong))}, of {len(matches)}; "
            "the rest agrees"
        )
        yield _error(Cause.CORRUPT, detail, sorted(wrong))


def _all_of(
    pick: Callable[..., Iterator[Finding]], matches: dict[int, ChunkMatch], among: set[int]
) -> set[int]:
    """The chunks that an explanation holds for (a finding names only the first few)."""
    return {i for i in among if any(True for _ in pick({i: matches[i]}))}


def _scales(matches: dict[int, ChunkMatch]) -> Iterator[Finding]:
    """Chunks whose codes agree and whose scales do not."""
    ratios = {
        i: match.scale_stored / match.scale_fresh
        for i, match in matches.items()
        if match.scale_stored is not None and match.scale_fresh
    }
    off = {
        i: ratio
        for i, ratio in ratios.items()
        if not abs(ratio - 1) <= SAME_SCALE and match_is_audible(matches[i])
    }
    if off:
        values = sorted(off.values())
        times = (
            f"x{values[0]:.4g}"
            if values[-1] - values[0] < 1e-3 * abs(values[0])
            else f"x{values[0]:.4g} to x{values[-1]:.4g}"
        )
        where = "every chunk" if len(off) == len(ratios) else _chunks(sorted(off))
        yield _error(
            Cause.WRONG_SCALE,
            f"the scale of {where} is {times} of what the source gives; the codes agree",
            sorted(off),
        )


def _resampled(comparison: Comparison, evidence: Evidence) -> Iterator[Finding]:
    """Every scale a little off, each by a factor of its own, and some codes: a robust codec
    forgives another resampler most."""
    rate = evidence.report.audio.source_sample_rate
    if comparison.equal or rate == evidence.spec.sample_rate:
        return
    audible = [
        m
        for m in comparison.chunks.values()
        if m.scale_stored and m.scale_fresh and match_is_audible(m)
    ]
    ratios = np.array([(m.scale_stored or 0.0) / (m.scale_fresh or 1.0) for m in audible])
    off = np.abs(ratios - 1)
    if (
        len(off) > 1
        and off.min() > SAME_SCALE
        and off.max() <= CLOSE_SCALE
        and np.ptp(ratios) > SAME_SCALE
    ):
        equal = float(np.mean([match.equal for match in comparison.chunks.values()]))
        detail = (
            f"{equal:.1%} of codes are equal and scales are off by {np.median(off):.2%}: resampled "
            f"from {rate} Hz in another way"
        )
        yield _error(Cause.OTHER_RESAMPLING, detail)


def match_is_audible(match: ChunkMatch) -> bool:
    """Near silence a scale is the codec's epsilon, and rounding decides it."""
    scales = (match.scale_stored or 0.0, match.scale_fresh or 0.0)
    return max(scales) > 1e-6 or not np.isfinite(scales).all()


def _order(comparison: Comparison) -> Iterator[Finding]:
    shares = comparison.cross / max(1, comparison.frames)
    order = shares.argmax(axis=1)
    matched = shares.max(axis=1) >= EQUAL
    if (
        matched.all()
        and len(set(order.tolist())) == comparison.n_q
        and (order != np.arange(comparison.n_q)).any()
    ):
        detail = f"the levels are stored in the order {', '.join(str(level) for level in order)}"
        yield _error(Cause.CODEBOOK_ORDER, detail)


def _swap(comparison: Comparison) -> Iterator[Finding]:
    if comparison.swapped is not None and comparison.swapped >= EQUAL:
        detail = (
            "the codes are those of the source with left and right swapped "
            f"({comparison.swapped:.1%} equal)"
        )
        yield _error(Cause.CHANNEL_SWAP, detail)


def _zeroed(wrong: dict[int, ChunkMatch]) -> Iterator[Finding]:
    found = sorted(i for i, match in wrong.items() if match.stuck)
    if found:
        yield _error(
            Cause.ZEROED,
            f"one code throughout in {_chunks(found)}, where the source has sound",
            found,
        )


def _shifted(wrong: dict[int, ChunkMatch]) -> Iterator[Finding]:
    moved = {i: match for i, match in wrong.items() if match.neighbour}
    if moved:
        steps = {match.neighbour for match in moved.values()}
        by = " or ".join(
            "one chunk late" if step > 0 else "one chunk early" for step in sorted(steps)
        )
        yield _error(
            Cause.SHIFTED,
            f"{_chunks(sorted(moved))}: what the source has there is stored {by}",
            sorted(moved),
        )
    lagging = {i: match for i, match in wrong.items() if match.lag and not match.neighbour}
    if lagging:
        lags = sorted({match.lag for match in lagging.values()})
        detail = (
            f"{_chunks(sorted(lagging))}: codes are shifted by "
            f"{', '.join(f'{lag:+d}' for lag in lags)} frames"
        )
        yield _error(Cause.SHIFTED, detail, sorted(lagging))


def _small(comparison: Comparison, evidence: Evidence) -> Iterator[Finding]:
    """Differences of a few codes in chunks that otherwise agree."""
    touched = {i: match for i, match in comparison.chunks.items() if match.differing and match.same}
    if not touched:
        return
    differing = sum(match.differing for match in touched.values())
    flips = sum(match.single_bit for match in touched.values())
    codes = comparison.frames * comparison.n_q
    if flips == differing and differing <= max(1, FEW * codes):
        plural = "codes differ" if differing > 1 else "code differs"
        detail = f"{differing} {plural} by one bit each, in {_chunks(sorted(touched))}"
        # Above the last level rounding would have changed the codes below; on it, one tie in a
        # hundred differs by a bit.
        if differing == 1 == sum(match.last_level for match in touched.values()):
            yield replace(
                _error(Cause.BIT_FLIPS, f"{detail}: damage or a float tie", sorted(touched)),
                severity=Severity.WARNING,
            )
        else:
            yield _error(
                Cause.BIT_FLIPS, f"{detail}: damaged after they were computed", sorted(touched)
            )
    elif 2 * sum(match.orphans for match in touched.values()) > differing:
        # A code that rounding has changed leaves another residual, and the levels below it change
        # too; damage does not.
        yield _error(
            Cause.CORRUPT,
            f"{differing} codes differ in {_chunks(sorted(touched))}",
            sorted(touched),
        )
    else:
        yield _device(comparison, evidence, differing / codes)


def _device(comparison: Comparison, evidence: Evidence, share: float) -> Finding:
    levels = comparison.by_level
    detail = (
        f"{share:.2%} of codes differ, from {1 - levels[0]:.2%} at the first level to "
        f"{1 - levels[-1]:.2%} at the last: "
        f"float ties or reduced precision on another device (stored: {evidence.spec.device}, "
        f"{evidence.spec.dtype})"
    )
    return Finding(Cause.DEVICE, Severity.INFO, detail)


def _everywhere(
    wrong: dict[int, ChunkMatch], comparison: Comparison, evidence: Evidence
) -> Finding:
    """Most chunks have other codes, and no reordering explains them: what do the scales say?"""
    equal = float(np.mean([match.equal for match in wrong.values()]))
    ratios = [
        m.scale_stored / m.scale_fresh
        for m in wrong.values()
        if m.scale_stored is not None and m.scale_fresh
    ]
    ratios = [ratio for ratio in ratios if np.isfinite(ratio)]
    off = float(np.median(np.abs(np.array(ratios) - 1))) if ratios else None
    said = f"{equal:.1%} of codes are equal"
    if off is not None and off <= SAME_SCALE and comparison.by_level[0] >= EQUAL:
        return _device(comparison, evidence, 1 - equal)
    if off is not None and off <= SAME_SCALE:
        return _error(
            Cause.OTHER_CODEC,
            f"{said}, while the scales agree: the same audio, another codec or other weights",
        )
    audio = evidence.report.audio
    if (
        off is not None
        and off <= CLOSE_SCALE
        and audio.source_sample_rate != evidence.spec.sample_rate
    ):
        detail = (
            f"{said} and scales are off by {off:.2%}: resampled from {audio.source_sample_rate} Hz "
            "in another way"
        )
        return _error(Cause.OTHER_RESAMPLING, detail)
    scales = (
        "this codec has no scales to tell by" if off is None else f"scales are off by {off:.1%}"
    )
    return _error(
        Cause.OTHER_AUDIO,
        f"{said}, {scales}: other audio, or another codec, than the source and codec of the corpus",
    )


def _chunks(indices: list[int]) -> str:
    named = ", ".join(str(i) for i in indices[:MOST_NAMED])
    more = f" and {len(indices) - MOST_NAMED} more" if len(indices) > MOST_NAMED else ""
    return f"chunk{'s' if len(indices) > 1 else ''} {named}{more}"


def _error(cause: Cause, detail: str, chunks: list[int] | None = None) -> Finding:
    return Finding(cause, Severity.ERROR, detail, tuple((chunks or [])[:MOST_NAMED]))
