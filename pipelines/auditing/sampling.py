"""Which recordings are decoded: a seeded sample in proportion over shards, lengths and loudness, plus the worst by the survey."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.auditing.passing import limit, number
from pipelines.auditing.survey import Entry
from tokenizer.errors import UsageError

STRATA = 3
"""classes of length, and of loudness"""
WORST_SHARE = 4
"""one of the worst for so many of the sample"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A recording to audit, and why."""

    entry: Entry
    why: str
    """ "sample", "worst", "asked", "all" or, already audited when it was tokenized, "in passing" """


def choose(entries: Sequence[Entry], *, sample: int, seed: int = 0, ids: Sequence[str] = (), all: bool = False) -> list[Chosen]:
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
    if not entries:
        raise UsageError("no recording to audit: no shard is committed, or none can be read")
    if ids:
        return _named(entries, ids)
    if all:
        return [Chosen(entry, "all") for entry in entries]
    drawn = set(stratified(strata(entries), sample, seed))
    worst = [i for i in by_suspicion(entries) if i not in drawn][: -(-sample // WORST_SHARE)]
    why = {**dict.fromkeys(drawn, "sample"), **dict.fromkeys(worst, "worst")}
    return [Chosen(entries[i], why[i]) for i in sorted(why)]


def choose_share(entries: Sequence[Entry], share: float, planned: Sequence[str]) -> list[Chosen]:
    """The recordings that an audit in passing takes, in the corpus's order; at least one, where there is one.

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
    """Each entry's stratum: its shard, and its class of length and of loudness over the corpus."""
    lengths = _classes([float(entry.num_samples) for entry in entries])
    levels = _classes([-np.inf if entry.level is None else entry.level for entry in entries])
    return [(entry.shard, length, level) for entry, length, level in zip(entries, lengths, levels, strict=True)]


def stratified(keys: Sequence[tuple[str, int, int]], count: int, seed: int) -> list[int]:
    """Systematic sampling over shuffled strata: every stratum gets its share to within one, every entry the same chance."""
    rng = random.Random(seed)
    order = sorted(range(len(keys)), key=lambda i: (keys[i], rng.random()))
    if count >= len(order):
        return order
    step = len(order) / count
    first = rng.random() * step
    return [order[min(len(order) - 1, int(first + k * step))] for k in range(count)]


def by_suspicion(entries: Sequence[Entry]) -> list[int]:
    """Indices of the entries that look odd, the oddest first; those that look ordinary are left out."""
    levels = np.array([entry.level for entry in entries if entry.level is not None])
    middle = float(np.median(levels)) if levels.size else 0.0
    scores = {i: suspicion(entry, middle) for i, entry in enumerate(entries)}
    return sorted((i for i, score in scores.items() if score > 0), key=lambda i: (-scores[i], i))


def suspicion(entry: Entry, middle: float) -> float:
    """How odd an entry looks: stuck codes, impossible scales, flags, a level far from the corpus's `middle` (dB)."""
    away = 0.0 if entry.level is None else max(0.0, abs(entry.level - middle) - 6.0)
    impossible = 50.0 if entry.loudest > 2.0 else 0.0
    return 100.0 * entry.stuck + impossible + away + 10.0 * len(entry.flags)


def _named(entries: Sequence[Entry], ids: Sequence[str]) -> list[Chosen]:
    known = {entry.recording.id: entry for entry in entries}
    missing = [id for id in ids if id not in known]
    if missing:
        raise UsageError(f"--ids: no committed row {missing[0]!r}: `codecshards inspect` tells what is there and what failed")
    return [Chosen(known[id], "asked") for id in dict.fromkeys(ids)]


def _classes(values: Sequence[float]) -> list[int]:
    """Which third each value is in, by rank."""
    ranks = np.argsort(np.argsort(np.array(values), kind="stable"), kind="stable")
    return [int(rank * STRATA // len(values)) for rank in ranks]
