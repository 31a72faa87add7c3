"""Residual vector quantization."""

# mypy: ignore-errors
# The language of the kernels has Python's grammar and types of its own.

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["count"])
def quantize(
    residual,
    moved,
    codebooks,
    halves,
    codes,
    certainty,
    count,
    noise,
    levels: tl.constexpr,
    entries: tl.constexpr,
    dim: tl.constexpr,
    exact: tl.constexpr,
    frames_block: tl.constexpr,
    entries_block: tl.constexpr,
    sum_block: tl.constexpr,
):
    """All levels of `frames_block` frames.

    residual: float32 `[count, dim]`: the frames, of which is left what no level has taken.
    moved: float32 `[count]`.
    codebooks: float32 `[levels, entries, dim]`; halves: float32 `[levels, entries]`.
    codes: int16 `[levels, count]`; certainty: float32 `[count]`, where `exact`.
    """
    many = tl.program_id(0).to(tl.int64) * frames_block + tl.arange(0, frames_block)
    known = many < count
    mine = residual + many[:, None] * dim + tl.arange(0, sum_block)[None, :]
    sure = tl.full((frames_block,), float("inf"), tl.float32)
    if exact:
        moves = tl.load(moved + many, mask=known, other=0.0)
    for level in range(levels):
        best = tl.full((frames_block,), float("-inf"), tl.float32)
        second = tl.full((frames_block,), float("-inf"), tl.float32)
        chosen = tl.zeros((frames_block,), tl.int32)
        other = tl.zeros((frames_block,), tl.int32)
        book = codebooks + level * entries * dim
        for block in range(entries // entries_block):
            each = block * entries_block + tl.arange(0, entries_block)
            scores = compared(mine, known, book, each, dim, sum_block)
            scores += tl.load(halves + level * entries + each)[None, :]
            best, chosen, second, other = ranked(
                scores, block * entries_block, best, chosen, second, other, exact
            )
        # All threads are through with the residual before any of them changes it, and the other
        # way round.
        tl.debug_barrier()
        size, apart = subtracted(mine, known, book, chosen, other, dim, exact, sum_block)
        tl.debug_barrier()
        if exact:
            bound = moves * moves * apart + (noise * size) * (noise * size)
            sure = tl.minimum(sure, 2.0 * (best - second) / tl.maximum(tl.sqrt(bound), 1e-20))
        tl.store(codes + level * count + many, chosen.to(tl.int16), mask=known)
    if exact:
        tl.store(certainty + many, sure, mask=known)


@triton.jit
def compared(mine, known, book, each, dim: tl.constexpr, sum_block: tl.constexpr):
    """Products of frames with the entries `each`, `[frames, each]`."""
    some = tl.arange(0, sum_block)
    scores = tl.zeros((mine.shape[0], each.shape[0]), tl.float32)
    for part in range(dim // sum_block):
        x = tl.load(mine + part * sum_block, mask=known[:, None], other=0.0)
        entry = tl.load(book + each[None, :] * dim + part * sum_block + some[:, None])
        scores += tl.dot(x, entry, input_precision="tf32x3", max_num_imprecise_acc=1)
    return scores


@triton.jit
def ranked(scores, first, best, chosen, second, other, exact: tl.constexpr):
    """The two best of all entries so far, with scores `[frames, entries]` of those from `first` on:
    their scores and which they are, `[frames]` each; without `exact` the best alone."""
    top, where = tl.max(scores, 1, return_indices=True)
    where = where.to(tl.int32)
    place = where + first
    better = top > best
    if exact:
        entries = tl.arange(0, scores.shape[1])
        rest = tl.where(entries[None, :] == where[:, None], float("-inf"), scores)
        next_top, next_where = tl.max(rest, 1, return_indices=True)
        # The second of all is the loser of the two best, or the second where the best is.
        challenger = tl.where(better, next_top, top)
        its_place = tl.where(better, next_where.to(tl.int32) + first, place)
        held = tl.where(better, best, second)
        held_place = tl.where(better, chosen, other)
        other = tl.where(challenger > held, its_place, held_place)
        second = tl.maximum(challenger, held)
    return tl.maximum(top, best), tl.where(better, place, chosen), second, other


@triton.jit
def subtracted(
    mine,
    known,
    book,
    chosen,
    other,
    dim: tl.constexpr,
    exact: tl.constexpr,
    sum_block: tl.constexpr,
):
    """Takes the chosen entries off the frames.

    Returns: with `exact`, the squared sizes that the frames had and the squared distances of the
    two best entries, `[frames]` each.
    """
    some = tl.arange(0, sum_block)
    size = tl.zeros(chosen.shape, tl.float32)
    apart = tl.zeros(chosen.shape, tl.float32)
    for part in range(dim // sum_block):
        at = part * sum_block + some[None, :]
        x = tl.load(mine + part * sum_block, mask=known[:, None], other=0.0)
        taken = tl.load(book + chosen[:, None] * dim + at)
        if exact:
            between = taken - tl.load(book + other[:, None] * dim + at)
            size += tl.sum(x * x, 1)
            apart += tl.sum(between * between, 1)
        tl.store(mine + part * sum_block, x - taken, mask=known[:, None])
    return size, apart
