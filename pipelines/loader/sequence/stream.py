"""The endless stream of recordings that batches are made of: position to data set, recording and
cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.loader.crop import Crop
from pipelines.loader.dataset import CodesDataset
from pipelines.loader.sample import Span
from pipelines.loader.sequence.mixing import Mixture, schedule
from pipelines.loader.sequence.order import BlockShuffle, FullShuffle, InOrder, Order, key_of
from tokenizer.codecs.codebooks.levels import first_levels
from tokenizer.errors import UsageError

SHUFFLES = ("auto", "full", "blocks", "none")
_BLOCK = 1024
"""positions that are worked out together"""
_SAME = (
    "sample_rate",
    "channels",
    "frame_length",
    "chunk_length",
    "chunk_stride",
    "codebook_size",
    "codebook_sizes",
    "level_repeats",
    "window_length",
    "window_context",
    "weights_sha256",
    "has_scales",
)
"""facts of a codec in which data sets of one mix agree"""


@dataclass(frozen=True, slots=True)
class Pick:
    """One recording of the stream."""

    source: int
    """number of its data set in the mix"""
    number: int
    """of the recording in its data set"""
    span: Span | None
    """the cut; None is all of it"""


class Stream:
    """Everything that comes, and when: a function of the seed and the position."""

    def __init__(
        self, mixture: Mixture, crop: Crop | None, seed: int, shuffle: str, epochs: int | None
    ) -> None:
        if shuffle not in SHUFFLES:
            raise UsageError(f"shuffle={shuffle!r}: choose one of {', '.join(SHUFFLES)}")
        _require_one_codec(mixture.datasets)
        self.datasets = mixture.datasets
        self.shares = mixture.shares
        self.spec = self.datasets[0].spec
        self.n_q = self.datasets[0].codebooks
        self.channels = self.datasets[0].channels
        self.sizes = self.spec.sizes[: self.datasets[0].n_q] * (self.channels or 1)
        """entries of the codebook of each row of a sample's codes"""
        self.crop = crop
        self._units = None if crop is None else crop.units(self.spec)
        self._seed = seed
        self._schedule = schedule(mixture.shares)
        self._orders = [
            _order(dataset, key_of(seed, number), shuffle)
            for number, dataset in enumerate(self.datasets)
        ]
        if epochs is not None and len(self.datasets) > 1:
            raise UsageError(
                "a mix has no epochs, since its data sets end at different times: give steps"
            )
        self.turn = None if epochs is None else epochs * len(self.datasets[0])
        """positions of one turn through the loader; None is endless"""
        self.end = self.turn
        """the position at which the present turn ends"""
        self._block_of = lru_cache(maxsize=8)(self._block)
        self._places_of = lru_cache(maxsize=8)(self._place_block)

    def picks(self, positions: NDArray[np.int64]) -> list[Pick]:
        """What is at positions, cuts included: opens the shards they lie in if there is a crop."""
        places = self._places(positions)
        spans: Sequence[Span | None] = [None] * len(places)
        if self.crop is not None and self._units is not None:
            lengths = np.array(
                [self.datasets[source].units(number) for source, number in places], np.int64
            )
            spans = self.crop.spans(self._units, lengths, self._seed, positions)
        return [
            Pick(source, number, span) for (source, number), span in zip(places, spans, strict=True)
        ]

    def _places(self, positions: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Data set and recording at each position."""
        if not len(positions):
            return []
        blocks, within = positions // _BLOCK, (positions % _BLOCK).tolist()
        return [
            self._places_of(block)[at] for block, at in zip(blocks.tolist(), within, strict=True)
        ]

    def _place_block(self, block: int) -> list[tuple[int, int]]:
        """The same for a whole block: a permutation's rounds cost the same for a few positions as
        for many."""
        sources, within = self._schedule(np.arange(block * _BLOCK, (block + 1) * _BLOCK))
        numbers = np.empty_like(within)
        for source in np.unique(sources).tolist():
            numbers[sources == source] = self._orders[source](within[sources == source])
        return list(zip(sources.tolist(), numbers.tolist(), strict=True))

    def pick(self, position: int) -> tuple[Pick, int]:
        """What is at one position, and its frames."""
        block, at = divmod(position, _BLOCK)
        return self._block_of(block)[at]

    def measures(self) -> tuple[str, ...]:
        """The columns of quality that all data sets have."""
        others = [set(dataset.measures) for dataset in self.datasets[1:]]
        return tuple(
            name for name in self.datasets[0].measures if all(name in other for other in others)
        )

    def frames(self, pick: Pick) -> int:
        return self.datasets[pick.source].frames(pick.number, pick.span)

    def _block(self, block: int) -> list[tuple[Pick, int]]:
        positions = np.arange(block * _BLOCK, (block + 1) * _BLOCK)
        return [(pick, self.frames(pick)) for pick in self.picks(positions)]

    def identity(self) -> dict[str, str]:
        """What decides the stream, in words that an error may show."""
        return {
            "data": ", ".join(
                f"{dataset.identity()} ({len(dataset)} recordings)" for dataset in self.datasets
            ),
            "weights": ", ".join(map(str, self.shares)),
            "n_q": str(self.n_q),
            "crop": str(self.crop),
            "seed": str(self._seed),
            "shuffle": ", ".join(type(order).__name__ for order in self._orders),
        }


def _order(dataset: CodesDataset, key: int, shuffle: str) -> Order:
    if shuffle == "none":
        return InOrder(len(dataset), key)
    if shuffle == "blocks" or (shuffle == "auto" and dataset.remote):
        return BlockShuffle(dataset.shard_rows, key)
    return FullShuffle(len(dataset), key)


def _require_one_codec(datasets: Sequence[CodesDataset]) -> None:
    first = datasets[0]
    for other in datasets[1:]:
        if other.n_q != first.n_q:
            raise UsageError(
                f"{other.root} is read with n_q={other.n_q}, {first.root} with {first.n_q}: give "
                "both the same n_q"
            )
        if other.channels != first.channels:
            raise UsageError(
                f"{other.root} is read with channels={other.channels}, {first.root} with "
                f"{first.channels}: give both the same"
            )
        for name, one in _facts(first).items():
            two = _facts(other)[name]
            if one != two:
                raise UsageError(
                    f"{other.root} and {first.root} are codes of different codecs: {name} is {two} "
                    f"and {one}"
                )


def _facts(dataset: CodesDataset) -> dict[str, object]:
    """Those of `_SAME`, of the codebooks that are read: others may be in one of a mix alone."""
    spec, sizes = dataset.spec, dataset.spec.sizes[: dataset.n_q]
    found = {name: getattr(spec, name) for name in _SAME}
    if spec.level_repeats is not None:
        found["level_repeats"] = first_levels(spec.level_repeats, dataset.n_q)
    return {**found, "codebook_size": max(sizes), "codebook_sizes": sizes}
