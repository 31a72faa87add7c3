"""Several data sets by weight: not on average, but in every window.

Which data set a position of the stream draws from is Tijdeman's schedule (R. Tijdeman, The chairman
assignment problem, Discrete Mathematics 32, 1980): after any number of positions, each of `k` data
sets has had its share to within `1 - 1 / (2k - 2)`. A window is the difference of two such counts,
so it is off by less than two recordings, wherever it lies. The schedule repeats after a period,
within which the shares are exact; it is computed once for a period and answers at any position in
constant time.

Shares whose common period is too long for that (a weight of one in a billion) are split in two
again and again instead: of the first `n` positions of a group, its first half has `floor(n × its
share)`, the other half the rest. That is as exact and answers as directly, in whole numbers of any
size; after any number of positions a data set of `k` is off by less than `1 + log2(k)` recordings,
rounded up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, lcm

import numpy as np
from numpy.typing import NDArray

from pipelines.loader.dataset import CodesDataset
from tokenizer.errors import UsageError

LONGEST_PERIOD = 10_000
"""positions that a schedule is computed for beforehand; tenths, thirds and percents need few"""


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Data sets and their shares of the stream, made by `mix`."""

    datasets: tuple[CodesDataset, ...]
    shares: tuple[Fraction, ...]
    """add up to 1"""


def mix(weights: Mapping[CodesDataset | Mixture, float]) -> Mixture:
    """Data sets by weight; weights need not add up to one, and a mix may be part of another.

    EnCodec trained on single sources, from music or from the rest with equal probability (its
    strategies s1 and s2), whatever the number of recordings:

        rest = mix({speech: 1, effects: 1})
        data = mix({music: 0.32, rest: 0.32})

    Raises:
        UsageError: no data set, one twice, weights that are not positive.
    """
    if not weights:
        raise UsageError("mix({}): give data sets and their weights")
    for dataset, weight in weights.items():
        if not isinstance(dataset, CodesDataset | Mixture):
            raise UsageError(f"mix takes data sets and mixes, not {type(dataset).__name__}")
        if (
            isinstance(weight, bool)
            or not isinstance(weight, int | float | Fraction)
            or not isfinite(weight)
            or weight <= 0
        ):
            raise UsageError(
                f"mix: weight {weight!r} of {dataset!r}: give a number above 0, or leave the data "
                "set out"
            )
    exact: dict[CodesDataset | Mixture, Fraction] = {
        dataset: Fraction(str(weight)) for dataset, weight in weights.items()
    }
    total = sum(exact.values())
    datasets: list[CodesDataset] = []
    shares: list[Fraction] = []
    for one, part in exact.items():
        inner = Mixture((one,), (Fraction(1),)) if isinstance(one, CodesDataset) else one
        datasets += inner.datasets
        shares += [part / total * share for share in inner.shares]
    if len(set(datasets)) < len(datasets):
        raise UsageError("mix: a data set occurs twice: add its weights up")
    return Mixture(tuple(datasets), tuple(shares))


class Schedule(ABC):
    """Positions of the stream to data sets and to positions in their own streams, with exactly the
    shares asked for."""

    @abstractmethod
    def __call__(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each position: the data set's number, and how often it has been drawn from before."""


def schedule(shares: tuple[Fraction, ...]) -> Schedule:
    """Shares add up to 1."""
    parts = whole_parts(shares)
    return Periodic(parts) if sum(parts) <= LONGEST_PERIOD else Halving(parts)


class Halving(Schedule):
    """For a period that is too long to be computed beforehand."""

    def __init__(self, parts: list[int]) -> None:
        # Small shares together: one among large ones would wait on theirs.
        self._parts = dict(sorted(enumerate(parts), key=lambda item: item[1]))

    def __call__(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        places = [self._place(position) for position in positions.tolist()]
        sources, earlier = zip(*places, strict=True) if places else ((), ())
        return np.array(sources, np.int64), np.array(earlier, np.int64)

    def _place(self, position: int) -> tuple[int, int]:
        group = list(self._parts)
        while len(group) > 1:
            first, rest = group[: len(group) // 2], group[len(group) // 2 :]
            part, whole = (sum(self._parts[source] for source in some) for some in (first, group))
            before, behind = position * part // whole, (position + 1) * part // whole
            group, position = (first, before) if behind > before else (rest, position - before)
        return group[0], position


class Periodic(Schedule):
    """From a table of one period."""

    def __init__(self, parts: list[int]) -> None:
        self.period = sum(parts)
        self._parts = np.array(parts, np.int64)
        turns = tijdeman(parts)
        self._sources = np.array(turns, np.int64)
        taken = np.zeros(len(parts), np.int64)
        earlier = np.empty(self.period, np.int64)
        for at, source in enumerate(turns):
            earlier[at] = taken[source]
            taken[source] += 1
        self._earlier = earlier

    def __call__(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        periods, within = np.divmod(positions, self.period)
        sources = self._sources[within]
        return sources, periods * self._parts[sources] + self._earlier[within]


def whole_parts(shares: tuple[Fraction, ...]) -> list[int]:
    """Shares as whole parts of the shortest period in which they are exact."""
    period = lcm(*(share.denominator for share in shares))
    return [int(share * period) for share in shares]


def tijdeman(parts: list[int]) -> list[int]:
    """Whose turn it is at each step of one period of `sum(parts)` steps, in whole numbers
    throughout."""
    period, k = sum(parts), len(parts)
    if k == 1:
        return [0]
    slack = 2 * k - 2
    taken = [0] * k
    turns = []
    for step in range(1, period + 1):
        # Those that are owed at least 1 / (2k - 2) may be served; first who would soonest be owed
        # too much.
        owed = [i for i in range(k) if slack * (parts[i] * step - taken[i] * period) >= period]
        chosen = min(owed, key=lambda i: (Fraction(slack * taken[i] + slack - 1, parts[i]), i))
        taken[chosen] += 1
        turns.append(chosen)
    return turns
