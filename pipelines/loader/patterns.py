"""Codes as models read them: several codebooks a frame to sequences, and back.

    codes         Delay              Flatten       CoarseFirst        Flatten("codebooks")
    a0 a1 a2      a0 a1 a2 ·         a0 b0 a1 …    a0 a1 a2 ·  ·  ·   a0 a1 a2 b0 b1 b2
    b0 b1 b2      ·  b0 b1 b2                      ·  ·  ·  b0 b1 b2

`Delay`: MusicGen (Copet et al. 2023, section 2.1 and figure 1; a sequence begins there with one
column of special tokens: `begin=True`). `Flatten`: the same paper's flattening, AudioLM's order.
`CoarseFirst`: what that paper calls the VALL-E pattern, all of the first codebook and then the
others in parallel (Wang et al. 2023). `Interleaved`: codecs whose levels run at different rates
(SNAC), each code before the finer ones of its time. A pattern is slices, written straight into the
batch: uint16 is widened in the one copy that is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tokenizer.codecs.codebooks.levels import depth_first
from tokenizer.errors import ShapeError, UsageError

Ints = NDArray[np.integer[Any]]


class Pattern(ABC):
    """How `[n_q, frames]` becomes `[rows, steps]` tokens, or `[steps]` for flattened ones."""

    flat: ClassVar[bool] = False
    """whether tokens have no codebook axis"""
    pad: int
    """token where there is no code"""

    @abstractmethod
    def steps(self, n_q: int, frames: int) -> int:
        """Length of the sequence."""

    @abstractmethod
    def write(self, codes: Ints, tokens: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        """Write codes `[n_q, frames]` into a row that holds padding; tokens and mask are `[n_q,
        steps]` or `[steps]`."""

    @abstractmethod
    def invert(self, tokens: Ints, n_q: int | None = None) -> NDArray[np.uint16]:
        """Tokens of one sequence back to uint16 `[n_q, frames]`; steps past the last whole frame
        are dropped.

        Raises:
            ShapeError: a token where a code should be that is none (padding, for one).
        """

    def check(self, n_q: int, codebook_size: int) -> None:
        """Refuse a pattern that does not fit the codes.

        Raises:
            UsageError: padding that is also a code, a wrong number of delays.
        """
        if 0 <= self.pad < codebook_size:
            raise UsageError(
                f"{type(self).__name__}(pad={self.pad}): that is a code; give {codebook_size} or "
                "more, or -1"
            )

    def check_sizes(self, sizes: Sequence[int]) -> None:
        """The same, for codebooks of which each has its own size; raises likewise."""
        self.check(len(sizes), max(sizes))

    def __call__(self, codes: Ints) -> NDArray[np.int64]:
        """The tokens of one sequence, int64 `[n_q, steps]` or `[steps]`."""
        steps = self.steps(*codes.shape)
        shape = (steps,) if self.flat else (codes.shape[0], steps)
        tokens = np.full(shape, self.pad, np.int64)
        self.write(codes, tokens, np.zeros(shape, bool))
        return tokens


@dataclass(frozen=True, slots=True)
class Parallel(Pattern):
    """Codes as they are: all codebooks of a frame at once."""

    pad: int = 1024

    def steps(self, n_q: int, frames: int) -> int:
        return frames

    def write(self, codes: Ints, tokens: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        tokens[:, : codes.shape[1]] = codes
        mask[:, : codes.shape[1]] = True

    def invert(self, tokens: Ints, n_q: int | None = None) -> NDArray[np.uint16]:
        return _as_codes(tokens, self.pad)


@dataclass(frozen=True, slots=True)
class Delay(Pattern):
    """Codebook `k` comes `k` steps later, so that a step may condition on the coarser codes of its
    frame."""

    pad: int = 1024
    delays: tuple[int, ...] | None = None
    """steps by which each codebook is late; None is 0, 1, 2, …"""
    begin: bool = False
    """one more column of padding in front, as MusicGen's first input"""

    def check(self, n_q: int, codebook_size: int) -> None:
        Pattern.check(self, n_q, codebook_size)
        if self.delays is not None and (len(self.delays) != n_q or min(self.delays) < 0):
            raise UsageError(f"Delay(delays={self.delays}): give {n_q} of them, 0 or more")

    def _shifts(self, n_q: int) -> list[int]:
        return [delay + self.begin for delay in (self.delays or range(n_q))]

    def steps(self, n_q: int, frames: int) -> int:
        return frames + max(self._shifts(n_q))

    def write(self, codes: Ints, tokens: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        frames = codes.shape[1]
        for level, shift in enumerate(self._shifts(len(codes))):
            tokens[level, shift : shift + frames] = codes[level]
            mask[level, shift : shift + frames] = True

    def invert(self, tokens: Ints, n_q: int | None = None) -> NDArray[np.uint16]:
        shifts = self._shifts(len(tokens))
        frames = max(0, tokens.shape[1] - max(shifts))
        return _as_codes(
            np.stack(
                [row[shift : shift + frames] for row, shift in zip(tokens, shifts, strict=True)]
            ),
            self.pad,
        )


@dataclass(frozen=True, slots=True)
class CoarseFirst(Pattern):
    """All of the first codebook, then all others in parallel: an autoregressive model's part and a
    parallel one's."""

    pad: int = 1024

    def steps(self, n_q: int, frames: int) -> int:
        return frames if n_q == 1 else 2 * frames

    def write(self, codes: Ints, tokens: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        frames = codes.shape[1]
        parts = ((slice(0, 1), 0), (slice(1, None), frames))
        for rows, first in parts[: len(codes)]:
            tokens[rows, first : first + frames] = codes[rows]
            mask[rows, first : first + frames] = True

    def invert(self, tokens: Ints, n_q: int | None = None) -> NDArray[np.uint16]:
        if len(tokens) == 1:
            return _as_codes(tokens, self.pad)
        frames = tokens.shape[1] // 2
        return _as_codes(
            np.concatenate([tokens[:1, :frames], tokens[1:, frames : 2 * frames]]), self.pad
        )


@dataclass(frozen=True, slots=True)
class Flatten(Pattern):
    """One code a step. Codebooks keep apart by offsets: code `c` of codebook `k` is token `k ×
    codebook_size + c`, or the sizes of the codebooks before it and `c`."""

    flat: ClassVar[bool] = True
    codebook_size: int | tuple[int, ...] = 1024
    """of all codebooks, or of each"""
    order: str = "frames"
    """ "frames": all codebooks of a frame, then the next frame; "codebooks": all of a codebook,
    then the next codebook"""
    pad: int = -1
    offsets: bool = True
    """False leaves codes as they are"""

    def __post_init__(self) -> None:
        if self.order not in ("frames", "codebooks"):
            raise UsageError(f"Flatten(order={self.order!r}): choose frames or codebooks")
        object.__setattr__(self, "codebook_size", _sizes(self.codebook_size, "Flatten"))

    def check(self, n_q: int, codebook_size: int) -> None:
        self.check_sizes([codebook_size] * n_q)

    def check_sizes(self, sizes: Sequence[int]) -> None:
        own = self._own(len(sizes))
        _require_room("Flatten", own, sizes)
        Pattern.check(self, len(sizes), sum(own) if self.offsets else max(sizes))

    def _own(self, n_q: int) -> list[int]:
        return _of_each(self.codebook_size, n_q, "Flatten")

    def _first_tokens(self, n_q: int) -> NDArray[np.int64]:
        own = self._own(n_q)
        return (_before(own) if self.offsets else np.zeros(n_q, np.int64))[:, None]

    def steps(self, n_q: int, frames: int) -> int:
        return n_q * frames

    def write(self, codes: Ints, tokens: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        n_q, frames = codes.shape
        place = tokens[: codes.size]
        view = (
            place.reshape(frames, n_q).T if self.order == "frames" else place.reshape(n_q, frames)
        )
        np.add(codes, self._first_tokens(n_q), out=view)
        mask[: codes.size] = True

    def invert(self, tokens: Ints, n_q: int | None = None) -> NDArray[np.uint16]:
        if n_q is None or n_q < 1:
            raise UsageError("Flatten.invert: give the number of codebooks, n_q")
        frames = len(tokens) // n_q
        whole = tokens[: frames * n_q].astype(np.int64)
        grid = (
            whole.reshape(frames, n_q).T if self.order == "frames" else whole.reshape(n_q, frames)
        )
        return _in_codebooks(grid - self._first_tokens(n_q), self._own(n_q))


@dataclass(frozen=True, slots=True)
class Interleaved(Pattern):
    """One code a step, for codecs whose levels run at different rates, as SNAC's three do: each
    code, then the finer ones of its time. Rows are in the order of levels; of `repeats` (1, 2, 4)

        rows     a  b0 b1  c0 c1 c2 c3
        steps    a  b0 c0 c1  b1 c2 c3

    which is the order of Orpheus and of others that flatten SNAC. With several channels a frame has
    those of the first, then of the next, at places of their own.
    """

    flat: ClassVar[bool] = True
    repeats: tuple[int, ...] = (1, 2, 4)
    """codes that each level has a frame, `CodecSpec.level_repeats`: each a multiple of the one
    before"""
    codebook_size: int = 4096
    offsets: str = "places"
    """ "places": the code at place `p` of a frame is token `p * codebook_size + c`, as Orpheus has
    them; "levels": `level * codebook_size + c`; "none": codes as they are"""
    pad: int = -1
    channels: int = field(default=1, repr=False)
    """for recordings whose channels come together; the loader gives it those of its data set"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "repeats", tuple(self.repeats))
        if self.offsets not in ("places", "levels", "none") or self.channels < 1:
            raise UsageError(f"{self}: choose places, levels or none, and 1 or more channels")
        _ = self._order

    @property
    def n_q(self) -> int:
        """Rows of codes that it takes."""
        return sum(self.repeats) * self.channels

    @property
    def _order(self) -> list[int]:
        """Row at each place of a frame."""
        return depth_first(self.repeats, self.channels)

    def check(self, n_q: int, codebook_size: int) -> None:
        if n_q != self.n_q:
            raise UsageError(
                f"Interleaved(repeats={self.repeats}, channels={self.channels}): that is "
                f"{self.n_q} rows of codes, not {n_q}"
            )
        _require_room("Interleaved", [self.codebook_size] * n_q, [codebook_size] * n_q)
        highest = int(self._first_tokens().max()) + self.codebook_size
        Pattern.check(self, n_q, codebook_size if self.offsets == "none" else highest)

    def _first_tokens(self) -> NDArray[np.int64]:
        """Token of code 0 at each place of a frame."""
        if self.offsets == "none":
            return np.zeros(self.n_q, np.int64)
        if self.offsets == "places":
            return np.arange(self.n_q) * self.codebook_size
        levels = np.repeat(np.arange(len(self.repeats)), self.repeats)
        return np.tile(levels[depth_first(self.repeats)], self.channels) * self.codebook_size

    def steps(self, n_q: int, frames: int) -> int:
        return n_q * frames

    def write(self, codes: Ints, tokens: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        place = tokens[: codes.size].reshape(codes.shape[1], len(codes)).T
        np.add(codes[self._order], self._first_tokens()[:, None], out=place)
        mask[: codes.size] = True

    def invert(self, tokens: Ints, n_q: int | None = None) -> NDArray[np.uint16]:
        if n_q not in (None, self.n_q):
            raise UsageError(f"{self}.invert: that is {self.n_q} rows of codes, not {n_q}")
        frames = len(tokens) // self.n_q
        grid = tokens[: frames * self.n_q].astype(np.int64).reshape(frames, self.n_q).T
        codes = np.empty_like(grid)
        codes[self._order] = grid - self._first_tokens()[:, None]
        return _in_codebooks(codes, [self.codebook_size] * self.n_q)


@dataclass(frozen=True, slots=True)
class EachChannel(Pattern):
    """A pattern for the codebooks of each channel alone, for recordings whose channels come
    together: `[channels * n_q, frames]`, the first channel's codebooks first. What the loader makes
    of a pattern that keeps codebooks apart; others take all as codebooks of one frame."""

    pattern: Pattern
    channels: int
    pad: int = field(init=False)

    def __post_init__(self) -> None:
        if self.pattern.flat or self.channels < 1:
            raise UsageError(
                f"EachChannel({self.pattern}, {self.channels}): give a pattern that keeps "
                "codebooks apart, and 1 or more channels"
            )
        object.__setattr__(self, "pad", self.pattern.pad)

    def check(self, n_q: int, codebook_size: int) -> None:
        self.pattern.check(n_q // self.channels, codebook_size)

    def check_sizes(self, sizes: Sequence[int]) -> None:
        self.pattern.check_sizes(sizes[: len(sizes) // self.channels])

    def steps(self, n_q: int, frames: int) -> int:
        return self.pattern.steps(n_q // self.channels, frames)

    def write(self, codes: Ints, tokens: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        n_q = len(codes) // self.channels
        for first in range(0, len(codes), n_q):
            rows = slice(first, first + n_q)
            self.pattern.write(codes[rows], tokens[rows], mask[rows])

    def invert(self, tokens: Ints, n_q: int | None = None) -> NDArray[np.uint16]:
        if tokens.ndim != 2 or len(tokens) % self.channels:
            raise ShapeError(
                f"tokens of {self.channels} channels are [channels * n_q, steps], not "
                f"{list(tokens.shape)}"
            )
        return np.concatenate(
            [self.pattern.invert(part, n_q) for part in np.split(tokens, self.channels)]
        )


def _sizes(given: int | Sequence[int], who: str) -> int | tuple[int, ...]:
    found = given if isinstance(given, int) else tuple(given)
    if not found or min([found] if isinstance(found, int) else found) < 1:
        raise UsageError(f"{who}(codebook_size={given}): give a size of 1 or more, or one of each")
    return found


def _of_each(sizes: int | tuple[int, ...], n_q: int, who: str) -> list[int]:
    if isinstance(sizes, int):
        return [sizes] * n_q
    if len(sizes) != n_q:
        raise UsageError(f"{who}(codebook_size={sizes}): give {n_q} sizes, or one for all")
    return list(sizes)


def _require_room(who: str, own: Sequence[int], sizes: Sequence[int]) -> None:
    """
    Raises:
        UsageError: a pattern's codebook has fewer entries than that of the codes.
    """
    for level, (one, size) in enumerate(zip(own, sizes, strict=True)):
        if one < size:
            which = "the codebooks have" if len(set(sizes)) == 1 else f"codebook {level} has"
            raise UsageError(f"{who}(codebook_size={one}): {which} {size} codes")


def _before(sizes: Sequence[int]) -> NDArray[np.int64]:
    """The sum of the sizes before each."""
    return np.concatenate([[0], np.cumsum(sizes[:-1], dtype=np.int64)])


def _in_codebooks(codes: NDArray[np.int64], sizes: Sequence[int]) -> NDArray[np.uint16]:
    """The same as codes.

    Raises:
        ShapeError: one that its codebook, of those sizes, does not have.
    """
    if codes.size and (codes.min() < 0 or np.any(codes >= np.array(sizes)[:, None])):
        raise ShapeError(
            "a token that is no code of its step's codebook: keep generation to that codebook's "
            "tokens"
        )
    return _as_codes(codes, -1)


def _as_codes(tokens: Ints, pad: int) -> NDArray[np.uint16]:
    if tokens.ndim != 2:
        raise ShapeError(f"tokens of one sequence are [n_q, steps], not {list(tokens.shape)}")
    if tokens.size and (
        int(tokens.min()) < 0 or int(tokens.max()) > 65_535 or np.any(tokens == pad)
    ):
        raise ShapeError(
            "padding or a special token where a code should be: keep generation to codes"
        )
    return np.ascontiguousarray(tokens, np.uint16)
