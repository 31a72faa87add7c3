"""What only the rest of its corpus shows of a recording, and what is odd about the corpus."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.choose.survey import Entry, columns_of
from pipelines.auditing.results import FindingName, RecordingAudit, Remark
from pipelines.output.inspect import CodebookUse
from pipelines.system.words import fixed

FAR_DB = 20.0
"""a recording's level this far from the corpus's median, and beyond 4 robust standard deviations"""
COLLAPSED_SHARE = 1 / 64
"""perplexity over codebook size below which a level has collapsed: 16 of 1,024"""
DEAD_SHARE = 1 / 2
"""of the codebook that never occurs, from which a level has collapsed. The shipped codec uses 75%
of every level or more over any 20,000 frames of speech or of music, and 99% over 80,000"""
COUNTED_ENOUGH = 20
"""codes per entry of the codebook before its use says anything: 137 s with 1,024 entries"""


def level_flag(entry: Entry, levels: NDArray[np.float64]) -> Iterator[Remark]:
    """A recording far from the corpus's loudness; `levels` are those of all recordings that have
    one, in dB."""
    if entry.level is None or len(levels) < 8:
        return
    middle = float(np.median(levels))
    spread = 1.4826 * float(np.median(np.abs(levels - middle)))
    if abs(entry.level - middle) > max(4 * spread, FAR_DB):
        detail = (
            f"level {fixed(entry.level, 1)} dB, the corpus has {fixed(middle, 1)} ± "
            f"{fixed(spread, 1)} dB"
        )
        yield Remark(FindingName.SCALE_OUTLIER, detail)


def duplicates(entries: Sequence[Entry]) -> dict[str, str]:
    """For each recording that is another's copy (same source bytes, same part of them): the id of
    the first."""
    # Most are of nothing else: of each but a hash is kept, and only what shares one is looked at.
    hashes = np.array(columns_of(entries).contents)
    _, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    groups: defaultdict[object, list[str]] = defaultdict(list)
    for place in np.flatnonzero(counts[which] > 1).tolist():
        entry = entries[place]
        groups[entry.content].append(entry.recording.id)
    return {id: ids[0] for ids in groups.values() for id in ids[1:]}


def duplicate_flag(id: str, copies: Mapping[str, str]) -> Iterator[Remark]:
    """A recording with the same source bytes as an earlier one."""
    if id in copies:
        yield Remark(FindingName.DUPLICATE, f"the same audio, byte for byte, as {copies[id]}")


def collapse_flags(
    use: Sequence[CodebookUse], frames: int, sizes: Sequence[int]
) -> Iterator[Remark]:
    """Codebook levels that use few of their codes, or few of them often, over `frames` frames and
    codebooks of those sizes."""
    for level in use:
        size = sizes[level.level]
        if frames < COUNTED_ENOUGH * size:
            continue
        if level.perplexity < COLLAPSED_SHARE * size or 1 - level.used > DEAD_SHARE:
            dead = round((1 - level.used) * size)
            detail = (
                f"codebook {level.level}: perplexity {level.perplexity:g} of {size}, {dead} dead "
                "codes"
            )
            yield Remark(FindingName.COLLAPSE, detail)


def nothing_compared(recordings: Sequence[RecordingAudit]) -> Iterator[Remark]:
    """An audit that has compared nothing has found nothing wrong, and must not pass for that."""
    reasons = [recording.error for recording in recordings if recording.error is not None]
    if recordings and len(reasons) == len(recordings):
        detail = (
            f"none of {len(recordings)} recordings could be compared with its source, the first "
            f"because: {reasons[0]}"
        )
        yield Remark(FindingName.NOTHING_COMPARED, detail)
