"""How many bits the codes of a folder need: by what comes before them on their level, and by a
coder. Of a sample, since every code has to be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipelines.output.formats.coded.jobs import AT_ONCE, most_frames, stretches
from pipelines.output.formats.coded.writer import CodedFormat
from pipelines.reshaping.archiving.coders import Coder, choose_coder
from pipelines.reshaping.parents import Parent
from tokenizer.coding.base import TOTAL, Predictor
from tokenizer.errors import UsageError

SEGMENTS = 600
"""chunks that are looked at: ten minutes, where they are of a second"""
SHARDS = 8
"""that they are taken from, spread over all"""
LARGEST = 4096
"""codebook of which pairs can be counted"""
_PASSED_OVER = 3
WEIGHT = 200.0
"""codes that order 0 counts for where order 1 has seen a code's forerunner rarely"""

Segment = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class LevelEntropy:
    """Bits a code of one level."""

    level: int
    fixed: float
    """as many as its codebook takes: 10 of 1,024 entries"""
    order_0: float
    """by how often each code occurs"""
    order_1: float | None
    """by the code before it on its level; None where the codebook is too large for that"""
    coder: float


@dataclass(frozen=True, slots=True)
class Entropy:
    """What was found."""

    out: str
    coder: str
    recordings: int
    segments: int
    levels: tuple[LevelEntropy, ...]

    def mean(self, name: str) -> float | None:
        """Of all levels."""
        values = [getattr(one, name) for one in self.levels]
        return None if None in values else float(np.mean(values))

    def to_json(self) -> dict[str, Any]:
        """Everything, by name."""
        return asdict(self) | {"mean": {name: self.mean(name) for name in _COLUMNS}}


_COLUMNS = ("fixed", "order_0", "order_1", "coder")


def measure_entropy(out: str, coder: str | None = None, segments: int = SEGMENTS) -> Entropy:
    """Measure a sample.

    Order 0 and 1 are counted on one half of the recordings and measured on the other, and the other
    way round: pairs that were counted and measured on the same codes would look far too well.

    Args:
        out: output folder.
        coder: as `compress_codes` has it; None is also an archive's own.
        segments: chunks that are looked at.

    Raises:
        UsageError: no such coder, or fewer than two recordings.
        OutputError: not an output folder, or an unfinished one.
        ShardError: damage.
    """
    parent = Parent(out)
    form = parent.form_like()
    if coder is None and isinstance(form, CodedFormat) and form.predictor is not None:
        chosen = Coder(form.predictor, form.name)
    else:
        chosen = choose_coder(parent, coder)
    most = most_frames(chosen.predictor)
    sample = _sample(parent, most, segments)
    if len(sample) < 2:
        raise UsageError(f"{out}: --entropy takes two recordings or more")
    bits = coder_bits(chosen.predictor, [one for row in sample for one in row])
    levels = []
    for level, size in enumerate(parent.stored.codec.sizes):
        zero, one = order_bits([[segment[level] for segment in row] for row in sample], size)
        levels.append(LevelEntropy(level, float(np.log2(size)), zero, one, float(bits[level])))
    count = sum(map(len, sample))
    return Entropy(out, chosen.said, len(sample), count, tuple(levels))


def _sample(parent: Parent, most: int, segments: int) -> list[list[Segment]]:
    """Segments of recordings from all over a folder: of some shards, of every so many of their
    rows, and not all of one long recording."""
    records = [parent.manifest.record(name) for name in parent.names]
    numbers = [number for number, record in enumerate(records) if record.rows]
    numbers = numbers[:: max(1, -(-len(numbers) // SHARDS))]
    found: list[list[Segment]] = []
    for number in numbers:
        record, quota = records[number], max(1, segments // len(numbers))
        chunks = max(record.chunks, record.frames / most)
        every = max(1, round(chunks / quota))
        if parent.form.has_settings:  # what is passed over has to be decoded
            every = min(every, _PASSED_OVER)
        taken = 0
        for row in islice(parent.rows(number), 0, None, every):
            some = list(stretches(row.codes.codes, row.codes.chunk_frames, most))
            found.append(some[: max(1, quota // 8)])
            taken += len(found[-1])
            if taken >= quota:
                break
    return found


def coder_bits(predictor: Predictor, segments: Sequence[Segment]) -> NDArray[np.float64]:
    """Bits a code of each level, by the widths that a coder gives, without what a stream's end
    takes: `[n_q]`."""
    total, count = np.zeros(len(predictor.sizes)), 0
    left = iter(segments)
    while batch := list(islice(left, AT_ONCE)):
        for _, widths in predictor.intervals(batch):
            total -= np.log2(widths / TOTAL).sum(axis=1)
            count += widths.shape[1]
    return total / max(count, 1)


def order_bits(rows: Sequence[Sequence[Segment]], size: int) -> tuple[float, float | None]:
    """Bits a code by order 0, and by order 1.

    Args:
        rows: of each recording the codes of one level, `[frames]` of each segment.
        size: entries of the codebook.
    """
    halves = rows[::2], rows[1::2]
    zeros, ones, count = 0.0, 0.0, 0
    for known, asked in (halves, halves[::-1]):
        zero, one, more = bits_between(known, asked, size)
        zeros, ones, count = zeros + zero, ones + one, count + more
    return zeros / count, ones / count if size <= LARGEST else None


def bits_between(
    known: Sequence[Sequence[Segment]], asked: Sequence[Sequence[Segment]], size: int
) -> tuple[float, float, int]:
    """Bits that some recordings' codes take by order 0 and order 1 of others, and how many codes
    they are."""
    counts = np.zeros(size)
    for segment in _all(known):
        counts += np.bincount(segment, minlength=size)
    # Half a code more of each, so that none is impossible (Krichevsky and Trofimov, 1981).
    odds = (counts + 0.5) / (counts.sum() + 0.5 * size)
    pairs = _pairs(known, size)
    zeros, ones, count = 0.0, 0.0, 0
    for segment in _all(asked):
        zeros -= float(np.log2(odds[segment]).sum())
        count += len(segment)
        if pairs is not None:
            ones -= _by_pairs(segment, pairs, odds)
    return zeros, ones, count


def _all(rows: Sequence[Sequence[Segment]]) -> Iterator[Segment]:
    return (segment for row in rows for segment in row)


def _pairs(rows: Sequence[Sequence[Segment]], size: int) -> NDArray[np.float32] | None:
    """How often each code follows each: `[before, after]`."""
    if size > LARGEST:
        return None
    found = np.zeros((size, size), np.float32)
    for segment in _all(rows):
        np.add.at(found, (segment[:-1], segment[1:]), 1)
    return found


def _by_pairs(segment: Segment, pairs: NDArray[np.float32], odds: NDArray[np.float64]) -> float:
    """log2 of the odds of a segment, order 0 where pairs were seen rarely."""
    before, after = segment[:-1], segment[1:]
    seen = pairs[before].sum(axis=1)
    mixed = (pairs[before, after] + WEIGHT * odds[after]) / (seen + WEIGHT)
    return float(np.log2(mixed).sum() + np.log2(odds[segment[:1]]).sum())


def render_entropy(found: Entropy, console: Console | None = None) -> None:
    """Print a table."""
    console = console or Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for name in ("level", "fixed", "order 0", "order 1", found.coder):
        table.add_column(name, justify="right")
    for one in found.levels:
        table.add_row(str(one.level), *(_digits(getattr(one, name)) for name in _COLUMNS))
    table.add_row("mean", *(_digits(found.mean(name)) for name in _COLUMNS))
    console.print(
        f"bits a code, of {found.segments} chunks of {found.recordings} recordings; order 0 and 1 "
        "are counted on other recordings than they are measured on"
    )
    console.print(table)
    fixed, coder = found.mean("fixed") or 1.0, found.mean("coder") or 0.0
    console.print(
        f"by {found.coder} {100 * (1 - coder / fixed):.1f}% less than fixed, before heads"
    )


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
