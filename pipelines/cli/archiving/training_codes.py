"""Codes of output folders as segments to train a coder on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from pipelines.loader.dataset import CodesDataset
from pipelines.loader.sample import Sample
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.codebooks.vectors import codebook_vectors
from tokenizer.coding.training.corpus import Segments, lengths_of, share_of
from tokenizer.coding.transformer.shape import PAST_SECONDS, Shape, preset_shape
from tokenizer.errors import UsageError


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    preset: str = "small"
    n_q: int | None = None
    hours: float = 20.0
    hold_out: tuple[str, ...] = ()
    hold_out_share: float = 0.05
    leave_out: tuple[str, ...] = ()
    codebooks: bool = True

    def __post_init__(self) -> None:
        if not self.hours > 0:
            raise UsageError(f"--hours {self.hours}: give more than 0")
        if not 0 <= self.hold_out_share < 1:
            raise UsageError(f"--hold-out-share {self.hold_out_share}: give 0 or more, below 1")


@dataclass(frozen=True, slots=True)
class Read:
    """What was found."""

    shape: Shape
    segment_frames: int
    train: Segments
    held_out: Segments
    codebooks: list[NDArray[np.float32]] | None
    unmatched: tuple[str, ...] = ()
    """globs, each behind its flag, of which no recording that was read has an id"""


def read_codes(outs: Sequence[str], wanted: Wanted) -> Read:
    """Segments of all recordings of some folders, or of a sample of them.

    Raises:
        UsageError: folders of different codecs, or a codec that the transformer does not take.
        ShardError: damage.
    """
    sets = [CodesDataset(out, wanted.n_q) for out in outs]
    spec, n_q = sets[0].spec, sets[0].n_q
    for one in sets[1:]:
        _require_alike(sets[0], one)
    if spec.level_repeats is not None:
        raise UsageError(
            f"{sets[0].root}: the levels of {spec.codec} run at different rates, which the "
            "transformer does not take; use --coder static"
        )
    sizes, segment = spec.sizes[:n_q], segment_frames(spec)
    chunked = segment if spec.chunk_length is not None else None
    shape = preset_shape(wanted.preset, sizes, spec.frame_rate, chunked)
    train, held_out = Segments(sizes), Segments(sizes)
    unmatched = [("--hold-out", glob) for glob in wanted.hold_out]
    unmatched += [("--leave-out", glob) for glob in wanted.leave_out]
    for sample in _sampled(sets, wanted.hours * 3600):
        unmatched = [one for one in unmatched if not fnmatchcase(sample.id, one[1])]
        if _among(sample.id, wanted.leave_out) or not sample.frames:
            continue
        held = _among(sample.id, wanted.hold_out) or share_of(sample.id) < wanted.hold_out_share
        lengths = lengths_of(sample.chunk_frames.tolist(), segment)
        (held_out if held else train).add(sample.codes, lengths, sample.id)
    codebooks = codebook_vectors(spec, n_q) if wanted.codebooks else None
    told = tuple(f"{flag} {glob}" for flag, glob in unmatched)
    return Read(shape, segment, train, held_out, codebooks, told)


def segment_frames(spec: CodecSpec) -> int:
    """Frames of a segment: of a whole chunk, or twice of what the transformer sees."""
    if spec.chunk_length is not None:
        return -(-spec.chunk_length // spec.frame_length)
    return max(1, round(2 * PAST_SECONDS * spec.frame_rate))


def _require_alike(first: CodesDataset, other: CodesDataset) -> None:
    one, two = first.spec, other.spec
    if (one.weights_sha256, first.n_q, one.sizes[: first.n_q]) != (
        two.weights_sha256,
        other.n_q,
        two.sizes[: other.n_q],
    ):
        raise UsageError(
            f"{other.root} has codes of another codec ({two.codec}, {other.n_q} levels) than "
            f"{first.root} ({one.codec}, {first.n_q} levels): give folders of one codec, or --n-q"
        )


def _sampled(sets: Sequence[CodesDataset], seconds: float) -> Iterator[Sample]:
    """Recordings of all sets in a shuffled order that does not change, up to this much audio."""
    ends = np.cumsum([len(one) for one in sets])
    total = 0.0
    for number in np.random.default_rng(0).permutation(int(ends[-1])):
        which = int(np.searchsorted(ends, number, side="right"))
        sample = sets[which][int(number - (ends[which] - len(sets[which])))]
        yield sample
        total += sample.seconds
        if total >= seconds:
            return


def _among(id: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(id, glob) for glob in globs)
