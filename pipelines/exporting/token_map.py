"""Which id stands for what, and documents of ids from codes and back.

    0 …                    ids of the text tokenizer, where there is one, as they are
    then                   pad, bos, eos, text_start, text_end, audio_start, audio_end
    then n_q * size        code `c` of codebook `k`: `first + k * size + c`; of codebooks of
                           different sizes, `first`, the sizes before it and `c`

A document is `bos`, `text_start` text `text_end` (where there is a text), `audio_start` codes
`audio_end`, `eos`. Codes stand as the loader's patterns have them, step by step, the codebooks of a
step in order. `delay` keeps `pad` in a step's empty places, so that every step has as many tokens;
`coarse-first` leaves them out, as half of all would be empty. `interleaved` is for codecs whose
levels run at different rates: there `k` is the place in a frame, as Orpheus has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.loader.patterns import CoarseFirst, Delay, Flatten, Ints, Pattern
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.codebooks.levels import cut_in_two, depth_first, first_levels
from tokenizer.codecs.codebooks.ranges import outside
from tokenizer.errors import ShapeError, UsageError

SPECIALS = ("pad", "bos", "eos", "text_start", "text_end", "audio_start", "audio_end")
PATTERNS = ("delay", "flatten", "coarse-first", "interleaved")
DELAY, FLATTEN, COARSE_FIRST, INTERLEAVED = PATTERNS
_EMPTY = -1


@dataclass(frozen=True, slots=True)
class TokenMap:
    """The ids of one export."""

    pattern: str
    """one of `PATTERNS`"""
    n_q: int
    codebook_size: int
    """entries of the largest codebook"""
    text_size: int = 0
    """ids below this are the text tokenizer's"""
    sizes: tuple[int, ...] | None = None
    """entries of each of the `n_q` codebooks, where they differ"""
    repeats: tuple[int, ...] | None = None
    """rows that each level has a frame, for `interleaved`"""

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise UsageError(f"--pattern {self.pattern}: choose one of {', '.join(PATTERNS)}")
        least = min(self.n_q, self.codebook_size, *(self.sizes or ()))
        if least < 1 or self.text_size < 0:
            raise UsageError(f"{self}: give at least one codebook of one code")
        if self.sizes is not None and len(self.sizes) != self.n_q:
            raise UsageError(f"{self}: {self.n_q} codebooks and {len(self.sizes)} sizes")
        if self.pattern == INTERLEAVED:
            if self.repeats is None or sum(self.repeats) != self.n_q:
                raise UsageError(
                    f"--pattern {INTERLEAVED}: it is for all rows of codecs whose levels run at "
                    f"different rates, not for {self.n_q} codebooks; choose another"
                )
            depth_first(self.repeats)

    @classmethod
    def of(cls, pattern: str, spec: CodecSpec, n_q: int, text_size: int = 0) -> TokenMap:
        """For the first `n_q` codebooks of a codec.

        Raises:
            UsageError: there is no such pattern, it is not for this codec, or a level of several
                rows would be cut in two.
        """
        own = spec.sizes[:n_q]
        different = own if spec.codebook_sizes is not None else None
        repeats = None
        if wrong := cut_in_two(spec.codec, spec.level_repeats, n_q):
            raise UsageError(f"{n_q} codebooks: {wrong}")
        if pattern == INTERLEAVED and spec.level_repeats is not None:
            repeats = first_levels(spec.level_repeats, n_q)
        return cls(pattern, n_q, max(own), text_size, different, repeats)

    @property
    def specials(self) -> dict[str, int]:
        """Id of every special token, by name."""
        return {name: self.text_size + number for number, name in enumerate(SPECIALS)}

    @property
    def first_code(self) -> int:
        """Id of code 0 of codebook 0."""
        return self.text_size + len(SPECIALS)

    @property
    def offsets(self) -> list[int]:
        """Id of code 0 of every codebook."""
        order = self._order
        ends = np.cumsum([self._own[row] for row in order], dtype=np.int64)
        firsts = np.empty(self.n_q, np.int64)
        firsts[order] = self.first_code + ends - np.array([self._own[row] for row in order])
        found: list[int] = firsts.tolist()
        return found

    @property
    def _own(self) -> tuple[int, ...]:
        """Entries of each codebook."""
        return self.sizes or (self.codebook_size,) * self.n_q

    @property
    def _order(self) -> list[int]:
        """Codebooks in the order of their ids."""
        return [*range(self.n_q)] if self.repeats is None else depth_first(self.repeats)

    @property
    def size(self) -> int:
        """Of the vocabulary."""
        return self.first_code + sum(self._own)

    def document(self, codes: NDArray[np.uint16], text: Sequence[int] = ()) -> NDArray[np.int64]:
        """The ids of one recording.

        Args:
            codes: uint16 `[n_q, frames]`.
            text: ids of its text by the tokenizer.

        Raises:
            ShapeError: another number of codebooks, a code or a text id that is none.
        """
        if codes.ndim != 2 or len(codes) != self.n_q:
            raise ShapeError(f"codes must be [{self.n_q}, frames], not {list(codes.shape)}")
        if wrong := outside(codes, self._own):
            raise ShapeError(wrong)
        if len(text) and not 0 <= min(text) <= max(text) < self.text_size:
            raise ShapeError(f"a text id outside of the {self.text_size} of the tokenizer")
        of = self.specials
        head = [of["bos"], *([of["text_start"], *text, of["text_end"]] if len(text) else [])]
        parts = [[*head, of["audio_start"]], self._audio(codes), [of["audio_end"], of["eos"]]]
        return np.concatenate([np.asarray(part, np.int64) for part in parts])

    def codes(self, ids: Ints) -> NDArray[np.uint16]:
        """The codes of a document, or of what a model has written of one: uint16 `[n_q, frames]`.
        Without `audio_start` all of it is audio that follows `text_end` or `bos`; a last frame that
        is not whole is dropped.

        Raises:
            ShapeError: a token that is no code of its step's codebook.
        """
        found = self._between(self._checked(ids))
        if self.pattern != DELAY:
            used = np.flatnonzero(found != self.specials["pad"])
            found = found[: used[-1] + 1 if len(used) else 0]
        if self.pattern in (FLATTEN, INTERLEAVED):
            order = self._order
            codes = np.empty((self.n_q, len(found) // self.n_q), np.uint16)
            codes[order] = self._flatten().invert(found - self.first_code, self.n_q)
            return codes
        grid = self._delayed(found) if self.pattern == DELAY else self._coarse_first(found)
        return self._grid_pattern().invert(grid)

    def text(self, ids: Ints) -> list[int] | None:
        """The ids of a document's text; None where there is none."""
        known, of = self._checked(ids), self.specials
        starts = np.flatnonzero(known == of["text_start"])
        if not len(starts):
            return None
        rest = known[starts[0] + 1 :]
        ends = np.flatnonzero(rest >= self.text_size)
        return [int(one) for one in (rest[: ends[0]] if len(ends) else rest)]

    def to_json(self) -> dict[str, Any]:
        audio: dict[str, Any] = {
            "pattern": self.pattern,
            "codebooks": self.n_q,
            "codebook_size": self.codebook_size,
            "offsets": self.offsets,
        }
        if self.sizes is not None:
            audio["codebook_sizes"] = [*self.sizes]
        if self.repeats is not None:
            audio["level_repeats"] = [*self.repeats]
        return {
            "size": self.size,
            "text": {"first": 0, "size": self.text_size} if self.text_size else None,
            "special": self.specials,
            "audio": audio,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TokenMap:
        """
        Raises:
            UsageError: not what `to_json` gives.
        """
        try:
            audio, text = values["audio"], values["text"]
            found = cls(
                str(audio["pattern"]),
                int(audio["codebooks"]),
                int(audio["codebook_size"]),
                int(text["size"]) if text else 0,
                *(
                    tuple(map(int, audio[name])) if name in audio else None
                    for name in ("codebook_sizes", "level_repeats")
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"no vocabulary of an export: {error!r}") from error
        if found.to_json() != dict(values):
            raise UsageError("no vocabulary of an export: its ids are laid out in another way")
        return found

    def _grid_pattern(self) -> Pattern:
        return Delay(_EMPTY) if self.pattern == DELAY else CoarseFirst(_EMPTY)

    def _flatten(self) -> Flatten:
        """Of codebooks in the order of their ids."""
        return Flatten(tuple(self._own[row] for row in self._order))

    def _audio(self, codes: NDArray[np.uint16]) -> NDArray[np.int64]:
        if self.pattern in (FLATTEN, INTERLEAVED):
            return self._flatten()(codes[self._order]) + self.first_code
        grid = self._grid_pattern()(codes)
        there = grid != _EMPTY
        ids = np.where(there, grid + np.array(self.offsets)[:, None], self.specials["pad"]).T
        return ids.reshape(-1) if self.pattern == DELAY else ids[there.T]

    def _checked(self, ids: Ints) -> NDArray[np.int64]:
        known = np.asarray(ids)
        if known.ndim != 1 or (known.size and known.dtype.kind not in "iu"):
            raise ShapeError(f"ids of one document are [tokens], not {list(known.shape)}")
        if known.size and not 0 <= known.min() <= known.max() < self.size:
            raise ShapeError(f"an id outside of the vocabulary of {self.size}")
        whole: NDArray[np.int64] = known.astype(np.int64)
        return whole

    def _between(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """What stands between `audio_start` and `audio_end`."""
        of = self.specials
        for name in ("audio_start", "text_end", "bos"):
            found = np.flatnonzero(ids == of[name])
            if len(found):
                ids = ids[found[0] + 1 :]
                break
        ends = np.flatnonzero((ids == of["audio_end"]) | (ids == of["eos"]))
        return ids[: ends[0]] if len(ends) else ids

    def _delayed(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """`[n_q, steps]` of codes, without steps of padding alone behind them."""
        steps = len(ids) // self.n_q
        grid = ids[: steps * self.n_q].reshape(steps, self.n_q).T
        empty = grid == self.specials["pad"]
        used = np.flatnonzero(~empty.all(axis=0))
        steps = int(used[-1]) + 1 if len(used) else 0
        codes = self._as_codes(grid, np.arange(self.n_q)[:, None], empty)
        return codes[:, :steps]

    def _coarse_first(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """`[n_q, 2 * frames]`, as `CoarseFirst` has them, of the frames that have all codebooks."""
        coarse = (ids >= self.first_code) & (ids < self.first_code + self._own[0])
        others = np.flatnonzero(~coarse)
        first = int(others[0]) if len(others) else len(ids)
        fine, width = ids[first:], self.n_q - 1
        if len(fine) > first * width:
            raise ShapeError("more codes of the finer codebooks than frames of the first one")
        levels = 1 + np.arange(len(fine)) % max(width, 1)
        fine = self._as_codes(fine, levels, np.zeros(len(fine), bool))
        if not width:
            return ids[None] - self.first_code
        frames = len(fine) // width
        grid = np.full((self.n_q, 2 * frames), _EMPTY, np.int64)
        grid[0, :frames] = ids[:frames] - self.first_code
        grid[1:, frames:] = fine[: frames * width].reshape(frames, width).T
        return grid

    def _as_codes(
        self, ids: NDArray[np.int64], levels: NDArray[np.int64], empty: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        codes = ids - np.array(self.offsets)[levels]
        if np.any(~empty & ((codes < 0) | (codes >= np.array(self._own)[levels]))):
            raise ShapeError(
                "a token that is no code of its step's codebook: keep generation to that "
                "codebook's tokens"
            )
        return np.where(empty, _EMPTY, codes)
