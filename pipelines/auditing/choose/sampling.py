"""Which recordings are decoded: a seeded sample in proportion over shards, lengths and loudness,
plus the worst by the survey."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.choose.share import limit, number
from pipelines.auditing.choose.survey import LOUD, Entry, columns_of, levels_of
from tokenizer.errors import UsageError

STRATA = 3
"""classes of length, and of loudness"""
ORDINARY_DB = 6.0
"""from the corpus's median, within which a level says nothing"""
WORST_SHARE = 4
"""one of the worst for so many of the sample"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A recording to audit, and why."""

    entry: Entry
    why: str
    """ "sample", "worst", "asked", "all" or, already audited when it was tokenized, "in passing"
    """


def choose(
    entries: Sequence[Entry],
    *,
    sample: int,
    seed: int = 0,
    ids: Sequence[str] = (),
    all: bool = False,
) -> list[Chosen]:
    """The recordings to audit, in the corpus's order.

    Args:
        entries: the survey.
        sample: size of the sample; a quarter as many of the worst come on top.
        seed: the same seed over the same corpus gives the same sample.
        ids: exactly these.
        all: all of them.

    Raises:
        UsageError: an id that is not there, or nothing to choose from.
    """
    if ids:
        return _named(entries, ids)
    if not entries:
        raise UsageError("no recording to audit: no shard is committed, or none can be read")
    if all:
        return [Chosen(entry, "all") for entry in entries]
    drawn = set(stratified(strata(entries), sample, seed))
    worst = [i for i in by_suspicion(entries) if i not in drawn][: -(-sample // WORST_SHARE)]
    why = {**dict.fromkeys(drawn, "sample"), **dict.fromkeys(worst, "worst")}
    return [Chosen(entries[i], why[i]) for i in sorted(why)]


def choose_share(entries: Sequence[Entry], share: float, planned: Iterable[str]) -> list[Chosen]:
    """The recordings that an audit in passing takes, in the corpus's order; at least one, where
    there is one.

    Args:
        entries: the survey.
        share: of the recordings.
        planned: every id of the corpus, those that failed included.

    Raises:
        UsageError: nothing to choose from.
    """
    if not entries:
        raise UsageError("no recording to audit: every one has failed")
    below = limit(share, planned)
    taken = [Chosen(entry, "sample") for entry in entries if number(entry.recording.id) < below]
    return taken or [Chosen(min(entries, key=lambda entry: number(entry.recording.id)), "sample")]


def strata(entries: Sequence[Entry]) -> list[tuple[str, int, int]]:
    """Each entry's stratum: its shard, and its class of length and of loudness over the corpus.

    Where a codec has no scales no loudness is known: there all entries are of one class.
    """
    known = columns_of(entries)
    lengths = np.array(known.lengths, np.float64)
    levels = np.array(known.levels)
    levels[np.isnan(levels)] = -np.inf
    return list(zip(known.shards, _classes(lengths), _classes(levels), strict=True))


def stratified(keys: Sequence[tuple[str, int, int]], count: int, seed: int) -> list[int]:
    """One entry from each of `count` intervals, of equal size and in order of length and loudness:
    of the shard whose turn it is.

    Lengths and loudness get their shares by the intervals, and shards by their turns, which come in
    proportion to their sizes and begin at random: a sample that is smaller than the number of
    shards takes none of them twice if it need not.
    """
    rng = random.Random(seed)
    order = sorted(range(len(keys)), key=lambda i: (keys[i][1:], rng.random()))
    if count >= len(order):
        return order
    sizes = Counter(shard for shard, _, _ in keys)
    turns = {shard: rng.random() for shard in sorted(sizes)}
    drawn = []
    for k in rng.sample(range(count), count):
        interval = order[k * len(order) // count : (k + 1) * len(order) // count]
        rng.shuffle(interval)
        drawn.append(min(interval, key=lambda i: turns[keys[i][0]] / sizes[keys[i][0]]))
        turns[keys[drawn[-1]][0]] += 1
    return drawn


def by_suspicion(entries: Sequence[Entry]) -> list[int]:
    """Indices of the entries that look odd; those that look ordinary are left out.

    What is odd in different ways takes turns, the oddest of each first, so that a hundred silent
    files do not hide a broken one.
    """
    known, levels = columns_of(entries), levels_of(entries)
    middle = float(np.median(levels)) if levels.size else 0.0
    away = np.abs(np.array(known.levels) - middle) > ORDINARY_DB
    looked_at = np.flatnonzero(away | np.array(known.marked, np.bool_))
    odd = [
        (-score, i, reason)
        for i in looked_at.tolist()
        for score, reason in [suspicion(entries[i], middle)]
        if score > 0
    ]
    before: Counter[str] = Counter()
    turns = []
    for score, i, reason in sorted(odd):
        turns.append((before[reason], score, i))
        before[reason] += 1
    return [i for _, _, i in sorted(turns)]


def suspicion(entry: Entry, middle: float) -> tuple[float, str]:
    """How odd an entry looks, and why: stuck codes, impossible scales, flags, a level far from the
    corpus's `middle` (dB)."""
    away = 0.0 if entry.level is None else max(0.0, abs(entry.level - middle) - ORDINARY_DB)
    found = [
        (100.0 * entry.stuck, "stuck"),
        (50.0 if entry.loudest > LOUD else 0.0, "scale"),
        (away, "level"),
    ]
    found += [(10.0, flag) for flag in entry.flags]
    return sum(score for score, _ in found), max(found)[1]


def _named(entries: Sequence[Entry], ids: Sequence[str]) -> list[Chosen]:
    wanted = set(ids)
    known = {one.recording.id: one for one in entries if one.recording.id in wanted}
    missing = [id for id in ids if id not in known]
    if missing:
        raise UsageError(
            f"--ids: no committed row {missing[0]!r}: `codecshards inspect` tells what is there "
            "and what failed"
        )
    return [Chosen(known[id], "asked") for id in dict.fromkeys(ids)]


def _classes(values: NDArray[np.float64]) -> list[int]:
    """Which third each value is in, by rank; equal values are in one, that of their middle rank."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - counts / 2
    classes: list[int] = (middles * STRATA / len(values)).astype(int)[where].tolist()
    return classes
