"""What codes that differ tell: stored ones against those of the source encoded again.

equal codes, other scales                     wrong scale
codes of one chunk at the place of another    shifted chunks
levels that are each other's                  codebook order
equal once the channels are swapped           channel swap
one code throughout a chunk                   zeroed chunk
a few codes, each off by one bit              bit flips
whole chunks differ, others are equal         corrupt codes
few codes differ, more at higher levels       device difference: float ties and reduced precision
same scales, other codes                      other codec
similar scales, other codes                   other resampling, other audio
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipelines.auditing.judge.evidence import Evidence
from pipelines.auditing.judge.reencode import EQUAL, ChunkMatch, Comparison
from pipelines.auditing.results import FindingName, Remark, Severity

SAME_SCALE = 1e-5
"""relative: what float32 sums in another order differ by"""
CLOSE_SCALE = 0.12
"""relative, 1 dB: the same sound after another resampler"""
FEW = 0.01
"""share of codes up to which bit flips are looked for"""
MOST_NAMED = 8


def name_differences(evidence: Evidence, comparison: Comparison) -> Iterator[Remark]:
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
        wrong -= {i for remark in found for i in _all_of(pick, matches, wrong)}
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
            f"other codes than the source gives in {name_few(sorted(wrong))}, of {len(matches)}; "
            "the rest agrees"
        )
        yield remark_on(FindingName.CORRUPT, detail, sorted(wrong))


def _all_of(
    pick: Callable[..., Iterator[Remark]], matches: dict[int, ChunkMatch], among: set[int]
) -> set[int]:
    """The chunks that an explanation holds for (a finding names only the first few)."""
    return {i for i in among if any(True for _ in pick({i: matches[i]}))}


def _scales(matches: dict[int, ChunkMatch]) -> Iterator[Remark]:
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
        where = "every chunk" if len(off) == len(ratios) else name_few(sorted(off))
        yield remark_on(
            FindingName.WRONG_SCALE,
            f"the scale of {where} is {times} of what the source gives; the codes agree",
            sorted(off),
        )


def _resampled(comparison: Comparison, evidence: Evidence) -> Iterator[Remark]:
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
        yield remark_on(FindingName.OTHER_RESAMPLING, detail)


def match_is_audible(match: ChunkMatch) -> bool:
    """Near silence a scale is the codec's epsilon, and rounding decides it."""
    scales = (match.scale_stored or 0.0, match.scale_fresh or 0.0)
    return max(scales) > 1e-6 or not np.isfinite(scales).all()


def _order(comparison: Comparison) -> Iterator[Remark]:
    shares = comparison.cross / max(1, comparison.frames)
    order = shares.argmax(axis=1)
    matched = shares.max(axis=1) >= EQUAL
    if (
        matched.all()
        and len(set(order.tolist())) == comparison.n_q
        and (order != np.arange(comparison.n_q)).any()
    ):
        detail = f"the levels are stored in the order {', '.join(str(level) for level in order)}"
        yield remark_on(FindingName.CODEBOOK_ORDER, detail)


def _swap(comparison: Comparison) -> Iterator[Remark]:
    if comparison.swapped is not None and comparison.swapped >= EQUAL:
        detail = (
            "the codes are those of the source with left and right swapped "
            f"({comparison.swapped:.1%} equal)"
        )
        yield remark_on(FindingName.CHANNEL_SWAP, detail)


def _zeroed(wrong: dict[int, ChunkMatch]) -> Iterator[Remark]:
    found = sorted(i for i, match in wrong.items() if match.stuck)
    if found:
        yield remark_on(
            FindingName.ZEROED,
            f"one code throughout in {name_few(found)}, where the source has sound",
            found,
        )


def _shifted(wrong: dict[int, ChunkMatch]) -> Iterator[Remark]:
    moved = {i: match for i, match in wrong.items() if match.neighbour}
    if moved:
        steps = {match.neighbour for match in moved.values()}
        by = " or ".join(
            "one chunk late" if step > 0 else "one chunk early" for step in sorted(steps)
        )
        yield remark_on(
            FindingName.SHIFTED,
            f"{name_few(sorted(moved))}: what the source has there is stored {by}",
            sorted(moved),
        )
    lagging = {i: match for i, match in wrong.items() if match.lag and not match.neighbour}
    if lagging:
        lags = sorted({match.lag for match in lagging.values()})
        detail = (
            f"{name_few(sorted(lagging))}: codes are shifted by "
            f"{', '.join(f'{lag:+d}' for lag in lags)} frames"
        )
        yield remark_on(FindingName.SHIFTED, detail, sorted(lagging))


def _small(comparison: Comparison, evidence: Evidence) -> Iterator[Remark]:
    """Differences of a few codes in chunks that otherwise agree."""
    touched = {i: match for i, match in comparison.chunks.items() if match.differing and match.same}
    if not touched:
        return
    differing = sum(match.differing for match in touched.values())
    flips = sum(match.single_bit for match in touched.values())
    codes = comparison.frames * comparison.n_q
    if flips == differing and differing <= max(1, FEW * codes):
        plural = "codes differ" if differing > 1 else "code differs"
        detail = f"{differing} {plural} by one bit each, in {name_few(sorted(touched))}"
        # Above the last level rounding would have changed the codes below; on it, one tie in a
        # hundred differs by a bit.
        if differing == 1 == sum(match.last_level for match in touched.values()):
            yield replace(
                remark_on(
                    FindingName.BIT_FLIPS, f"{detail}: damage or a float tie", sorted(touched)
                ),
                severity=Severity.WARNING,
            )
        else:
            yield remark_on(
                FindingName.BIT_FLIPS,
                f"{detail}: damaged after they were computed",
                sorted(touched),
            )
    elif 2 * sum(match.orphans for match in touched.values()) > differing:
        # A code that rounding has changed leaves another residual, and the levels below it change
        # too; damage does not.
        yield remark_on(
            FindingName.CORRUPT,
            f"{differing} codes differ in {name_few(sorted(touched))}",
            sorted(touched),
        )
    else:
        yield _device(comparison, evidence, differing / codes)


def _device(comparison: Comparison, evidence: Evidence, share: float) -> Remark:
    levels = comparison.by_level
    detail = (
        f"{share:.2%} of codes differ, from {1 - levels[0]:.2%} at the first level to "
        f"{1 - levels[-1]:.2%} at the last: "
        f"float ties or reduced precision on another device (stored: {evidence.spec.device}, "
        f"{evidence.spec.dtype})"
    )
    return Remark(FindingName.DEVICE, detail)


def _everywhere(wrong: dict[int, ChunkMatch], comparison: Comparison, evidence: Evidence) -> Remark:
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
        return remark_on(
            FindingName.OTHER_CODEC,
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
        return remark_on(FindingName.OTHER_RESAMPLING, detail)
    scales = (
        "this codec has no scales to tell by" if off is None else f"scales are off by {off:.1%}"
    )
    return remark_on(
        FindingName.OTHER_AUDIO,
        f"{said}, {scales}: other audio, or another codec, than the source and codec of the corpus",
    )


def name_few(indices: list[int]) -> str:
    """The first chunks by their numbers, and how many more there are."""
    named = ", ".join(str(i) for i in indices[:MOST_NAMED])
    more = f" and {len(indices) - MOST_NAMED} more" if len(indices) > MOST_NAMED else ""
    return f"chunk{'s' if len(indices) > 1 else ''} {named}{more}"


def remark_on(name: FindingName, detail: str, chunks: Sequence[int] = ()) -> Remark:
    """With the first few of the chunks that it is about."""
    return Remark(name, detail, tuple(chunks[:MOST_NAMED]))
