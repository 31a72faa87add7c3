"""Kernels in Triton, each of which does in one pass over memory what torch's operations do in many.

    convolve    normalise, ELU and pad what comes in; an implicit product with the taps; bias; the
                mean and spread of what goes out
    moments     those of a row's tiles together: the next layer's scale and shift
    join        normalise and add the two branches of a residual block, and ELU
    recur       a step of an LSTM's first layer and the step before of its second
    quantize    every level of residual vector quantization

Signals are `[rows, samples, channels]`: the channels that a product adds up lie side by side at any
stride. Every row has a length of its own; a tile beyond its end does nothing.

Products on tensor cores have 11 bits of mantissa. "exact" takes each number in two such parts and
three products of them ("3xTF32", Ootomo and Yokota, "Recovering single precision accuracy from
Tensor Cores", 2022), and adds few of them there at a time, since tensor cores cut off where float32
rounds; the sums are added up in float32.

Triton's wheel comes with torch's CUDA builds for Linux.
"""

# mypy: ignore-errors
# The language of the kernels has Python's grammar and types of its own.

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def convolve(
    signal,
    scales,
    shifts,
    lengths,
    weight,
    bias,
    out,
    tiles,
    in_samples,
    out_samples,
    in_channels: tl.constexpr,
    out_channels: tl.constexpr,
    taps: tl.constexpr,
    stride: tl.constexpr,
    dilation: tl.constexpr,
    left: tl.constexpr,
    right: tl.constexpr,
    reflects: tl.constexpr,
    scaled: tl.constexpr,
    elu: tl.constexpr,
    exact: tl.constexpr,
    measured: tl.constexpr,
    frames_block: tl.constexpr,
    sum_block: tl.constexpr,
    out_block: tl.constexpr,
):
    """A tile of `frames_block` frames and `out_block` channels of a row.

    signal: float32 `[rows, in_samples, in_channels]`; with `scaled`, times its scales and with its
        shifts, `[rows, in_channels]` each.
    lengths: int64 `[rows]`, of what comes in.
    weight: float32 `[2, out_channels, taps * in_channels]`, a tap's channels side by side, in two
        parts that tensor cores take as they are.
    out: float32 `[rows, out_samples, out_channels]`.
    tiles: float32 `[rows, 3, tiles]`: of each tile how many numbers are its row's own, their mean,
        and the sum of their squared distances from it.
    """
    row = tl.program_id(2).to(tl.int64)
    start = tl.program_id(0) * frames_block
    column = tl.program_id(1) * out_block
    length = tl.load(lengths + row).to(tl.int32)
    own_frames = (length + stride - 1) // stride
    tile = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    all_tiles = tl.num_programs(0) * tl.num_programs(1)
    about = tiles + row * 3 * all_tiles + tile
    if start >= own_frames:
        if measured:
            tl.store(about, 0.0)
            tl.store(about + all_tiles, 0.0)
            tl.store(about + 2 * all_tiles, 0.0)
        return

    frames = start + tl.arange(0, frames_block)
    outs = column + tl.arange(0, out_block)
    at = row * in_samples * in_channels
    per_row = row * in_channels
    padding = tl.maximum(right + (stride - length % stride) % stride, left)
    last = length + tl.maximum(padding + 1 - length, 0) - 1
    if scaled and in_channels == sum_block:
        scale = tl.load(scales + per_row + tl.arange(0, sum_block))
        shift = tl.load(shifts + per_row + tl.arange(0, sum_block))
    total = tl.zeros((frames_block, out_block), tl.float32)
    for block in range((taps * in_channels + sum_block - 1) // sum_block):
        inner = block * sum_block + tl.arange(0, sum_block)
        if in_channels % sum_block == 0:
            tap = block // (in_channels // sum_block)
            channel = (block % (in_channels // sum_block)) * sum_block + tl.arange(0, sum_block)
            place = (frames * stride + tap * dilation - left)[:, None]
        else:
            tap = inner // in_channels
            channel = inner % in_channels
            place = (frames * stride)[:, None] + (tap * dilation - left)[None, :]
        own = (place >= 0) & (place < length)
        if reflects:
            mirrored = last - tl.abs(last - tl.abs(place))
            source = tl.where(own, place, mirrored)
            known = (source >= 0) & (source < length)
        else:
            source = place
            known = own
        if in_channels % sum_block != 0:
            known = known & (inner < taps * in_channels)[None, :]
        source = tl.where(known, source, 0)
        where = at + source * in_channels + channel[None, :]
        x = tl.load(signal + where, mask=known, other=0.0)
        if scaled:
            if in_channels != sum_block:
                scale = tl.load(scales + per_row + channel)
                shift = tl.load(shifts + per_row + channel)
            x = x * scale[None, :] + shift[None, :]
        if elu:
            x = tl.where(x > 0, x, tl.exp(tl.minimum(x, 0.0)) - 1.0)
        if scaled:
            x = tl.where(known, x, 0.0)
        taken = (inner < taps * in_channels)[:, None]
        at_weight = weight + outs[None, :] * (taps * in_channels) + inner[:, None]
        high = tl.load(at_weight, mask=taken, other=0.0)
        if exact:
            low = tl.load(at_weight + taps * in_channels * out_channels, mask=taken, other=0.0)
            x_high = (x.to(tl.uint32, bitcast=True) & 0xFFFFE000).to(tl.float32, bitcast=True)
            # The least first; and not added to the total within the tensor cores, which do not
            # round.
            part = tl.dot(x - x_high, high, input_precision="tf32")
            part = tl.dot(x_high, low, part, input_precision="tf32")
            total += tl.dot(x_high, high, part, input_precision="tf32")
        else:
            total = tl.dot(x, high, total, input_precision="tf32")
    total += tl.load(bias + outs)[None, :]
    own = (frames < own_frames)[:, None]
    goes = (row * out_samples + frames)[:, None] * out_channels + outs[None, :]
    tl.store(out + goes, total, mask=own)
    if measured:
        count = (tl.minimum(own_frames - start, frames_block) * out_block).to(tl.float32)
        mean = tl.sum(tl.where(own, total, 0.0)) / count
        apart = tl.where(own, total - mean, 0.0)
        tl.store(about, count)
        tl.store(about + all_tiles, mean)
        tl.store(about + 2 * all_tiles, tl.sum(apart * apart))


@triton.jit
def moments(
    tiles,
    weight,
    offset,
    scale,
    shift,
    condition,
    eps,
    count_of_tiles,
    channels: tl.constexpr,
    tile_block: tl.constexpr,
    tile_blocks: tl.constexpr,
):
    """A row's mean and variance from its tiles' (Chan, Golub and LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances", 1979), as the scale and shift that
    normalise it and the condition of that.

    tiles: as `convolve` writes them.
    weight, offset: float32 `[channels]`, of the normalisation.
    scale, shift: float32 `[rows, channels]`, and condition: float32 `[rows]`, to be written.
    """
    row = tl.program_id(0).to(tl.int64)
    at = tiles + row * 3 * count_of_tiles
    many = tl.arange(0, tile_block)
    count = 0.0
    total = 0.0
    for block in range(tile_blocks):
        known = block * tile_block + many < count_of_tiles
        of_tile = tl.load(at + block * tile_block + many, mask=known, other=0.0)
        means = tl.load(at + count_of_tiles + block * tile_block + many, mask=known, other=0.0)
        count += tl.sum(of_tile)
        total += tl.sum(of_tile * means)
    mean = total / count
    spread = 0.0
    for block in range(tile_blocks):
        known = block * tile_block + many < count_of_tiles
        of_tile = tl.load(at + block * tile_block + many, mask=known, other=0.0)
        means = tl.load(at + count_of_tiles + block * tile_block + many, mask=known, other=0.0)
        within = tl.load(at + 2 * count_of_tiles + block * tile_block + many, mask=known, other=0.0)
        spread += tl.sum(within + of_tile * (means - mean) * (means - mean))
    variance = spread / count
    grown = tl.sqrt((variance + mean * mean) / (variance + eps))
    tl.store(condition + row, tl.maximum(grown, 1.0))
    each = tl.arange(0, channels)
    factor = tl.load(weight + each) / tl.sqrt(variance + eps)
    tl.store(scale + row * channels + each, factor)
    tl.store(shift + row * channels + each, tl.load(offset + each) - mean * factor)


@triton.jit
def join(
    first,
    second,
    first_scale,
    second_scale,
    first_shift,
    second_shift,
    lengths,
    out,
    samples,
    channels: tl.constexpr,
    scaled: tl.constexpr,
    elu: tl.constexpr,
    samples_block: tl.constexpr,
):
    """The sum of two signals, as float32 `[rows, samples, channels]` all three.

    With `scaled`, each is taken times its scale and with its shift, float32 `[rows, channels]`.
    Beyond a row's end nothing is written.
    """
    row = tl.program_id(1).to(tl.int64)
    own = tl.program_id(0) * samples_block + tl.arange(0, samples_block)
    each = tl.arange(0, channels)
    length = tl.minimum(tl.load(lengths + row).to(tl.int32), samples)
    if tl.program_id(0) * samples_block >= length:
        return
    known = (own < length)[:, None]
    where = row * samples * channels + own[:, None] * channels + each[None, :]
    x = tl.load(first + where, mask=known, other=0.0)
    y = tl.load(second + where, mask=known, other=0.0)
    if scaled:
        per_row = row * channels + each
        shift = tl.load(first_shift + per_row) + tl.load(second_shift + per_row)
        x = x * tl.load(first_scale + per_row)[None, :] + shift[None, :]
        y = y * tl.load(second_scale + per_row)[None, :]
    x += y
    if elu:
        x = tl.where(x > 0, x, tl.exp(tl.minimum(x, 0.0)) - 1.0)
    tl.store(out + where, x, mask=known)


@triton.jit(do_not_specialize=["step"])
def recur(
    projected,
    states,
    cells,
    weight,
    bias,
    step,
    steps,
    rows,
    size: tl.constexpr,
    exact: tl.constexpr,
    rows_block: tl.constexpr,
    units_block: tl.constexpr,
    sum_block: tl.constexpr,
):
    """Step `step` of the first of two layers of `size` units, and the one before of the second.

    projected: float32 `[rows, steps, 4 * size]`: what comes into the first layer times its weights,
        with all of its biases; of the gates input, forget, cell and output.
    states: float32 `[2, steps + 1, rows, size]`, of which the first are zero.
    cells: float32 `[2, rows, size]`, zero before the first step.
    weight: float32 `[3, 4 * size, size]`: what the first layer's state, as the first layer
        remembers it and as it comes into the second, and the second layer's are multiplied by.
    bias: float32 `[4 * size]`, of the second layer, both together.
    """
    layer = tl.program_id(2)
    own_step = step - layer
    if (own_step < 0) | (own_step >= steps):
        return
    mine = tl.program_id(0) * rows_block + tl.arange(0, rows_block)
    known = (mine < rows)[:, None]
    column = tl.arange(0, 4 * units_block)
    first_unit = tl.program_id(1) * units_block
    gate_column = (column // units_block) * size + first_unit + column % units_block
    # The layer's own state of the step before; of the second, before it what the first has given.
    of_step = rows.to(tl.int64) * size
    remembered = (layer * (steps + 1) + own_step) * of_step
    given = (own_step + 1) * of_step
    place = mine[:, None] * size
    total = tl.zeros((rows_block, 4 * units_block), tl.float32)
    if layer == 0:
        total = gates(
            total, states + remembered + place, known, weight, gate_column, size, exact, sum_block
        )
        at = (mine.to(tl.int64)[:, None] * steps + own_step) * (4 * size) + gate_column[None, :]
        total += tl.load(projected + at, mask=known, other=0.0)
    else:
        weight += 4 * size * size
        total = gates(
            total, states + given + place, known, weight, gate_column, size, exact, sum_block
        )
        weight += 4 * size * size
        total = gates(
            total, states + remembered + place, known, weight, gate_column, size, exact, sum_block
        )
        total += tl.load(bias + gate_column)[None, :]
    by_gate = tl.permute(tl.reshape(total, (rows_block, 4, units_block)), (0, 2, 1))
    even, odd = tl.split(tl.reshape(by_gate, (rows_block, units_block, 2, 2)))
    opened, taken = tl.split(even)
    kept, shown = tl.split(odd)
    unit = first_unit + tl.arange(0, units_block)
    place = place + unit[None, :]
    cell = tl.load(cells + layer * of_step + place, mask=known, other=0.0)
    cell = logistic(kept) * cell + logistic(opened) * (2.0 * logistic(2.0 * taken) - 1.0)
    tl.store(cells + layer * of_step + place, cell, mask=known)
    state = logistic(shown) * (2.0 * logistic(2.0 * cell) - 1.0)
    tl.store(states + remembered + of_step + place, state, mask=known)


@triton.jit
def gates(
    total,
    state,
    known,
    weight,
    gate_column,
    size: tl.constexpr,
    exact: tl.constexpr,
    sum_block: tl.constexpr,
):
    """`total` and what a state `[rows, size]` gives to it, by weights `[4 * size, size]`."""
    some = tl.arange(0, sum_block)
    for block in range(size // sum_block):
        x = tl.load(state + block * sum_block + some[None, :], mask=known, other=0.0)
        w = tl.load(weight + gate_column[None, :] * size + (block * sum_block + some)[:, None])
        if exact:
            total += tl.dot(x, w, input_precision="tf32x3", max_num_imprecise_acc=1)
        else:
            total = tl.dot(x, w, total, input_precision="tf32")
    return total


@triton.jit
def logistic(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
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
    some = tl.arange(0, sum_block)
    mine = residual + many[:, None] * dim + some[None, :]
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
            scores = tl.zeros((frames_block, entries_block), tl.float32)
            for part in range(dim // sum_block):
                x = tl.load(mine + part * sum_block, mask=known[:, None], other=0.0)
                entry = tl.load(book + each[None, :] * dim + part * sum_block + some[:, None])
                scores += tl.dot(x, entry, input_precision="tf32x3", max_num_imprecise_acc=1)
            scores += tl.load(halves + level * entries + each)[None, :]
            top, where = tl.max(scores, 1, return_indices=True)
            where = where.to(tl.int32)
            place = where + block * entries_block
            if exact:
                rest = tl.where(
                    tl.arange(0, entries_block)[None, :] == where[:, None], float("-inf"), scores
                )
                next_top, next_where = tl.max(rest, 1, return_indices=True)
                next_place = next_where.to(tl.int32) + block * entries_block
                # The second of all is the loser of the two best, or the second where the best is.
                better = top > best
                challenger = tl.where(better, next_top, top)
                its_place = tl.where(better, next_place, place)
                held = tl.where(better, best, second)
                held_place = tl.where(better, chosen, other)
                other = tl.where(challenger > held, its_place, held_place)
                second = tl.maximum(challenger, held)
            chosen = tl.where(top > best, place, chosen)
            best = tl.maximum(top, best)
        # All threads are through with the residual before any of them changes it, and the other
        # way round.
        tl.debug_barrier()
        size = tl.zeros((frames_block,), tl.float32)
        apart = tl.zeros((frames_block,), tl.float32)
        for part in range(dim // sum_block):
            at = part * sum_block + some[None, :]
            x = tl.load(mine + part * sum_block, mask=known[:, None], other=0.0)
            taken = tl.load(book + chosen[:, None] * dim + at)
            if exact:
                between = taken - tl.load(book + other[:, None] * dim + at)
                size += tl.sum(x * x, 1)
                apart += tl.sum(between * between, 1)
            tl.store(mine + part * sum_block, x - taken, mask=known[:, None])
        tl.debug_barrier()
        if exact:
            bound = moves * moves * apart + (noise * size) * (noise * size)
            sure = tl.minimum(sure, 2.0 * (best - second) / tl.maximum(tl.sqrt(bound), 1e-20))
        tl.store(codes + level * count + many, chosen.to(tl.int16), mask=known)
    if exact:
        tl.store(certainty + many, sure, mask=known)
