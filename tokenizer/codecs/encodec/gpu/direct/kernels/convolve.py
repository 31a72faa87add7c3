"""Convolutions, with what lies between them."""

# mypy: ignore-errors
# The language of the kernels has Python's grammar and types of its own.

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["in_samples", "out_samples"])
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
    length = tl.load(lengths + row).to(tl.int32)
    own_frames = (length + stride - 1) // stride
    all_tiles = tl.num_programs(0) * tl.num_programs(1)
    tile = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    about = tiles + row * 3 * all_tiles + tile
    if start >= own_frames:
        if measured:
            describe(about, all_tiles, 0.0, 0.0, 0.0)
        return

    frames = start + tl.arange(0, frames_block)
    outs = tl.program_id(1) * out_block + tl.arange(0, out_block)
    total = convolved(
        signal + row * in_samples * in_channels,
        scales + row * in_channels,
        shifts + row * in_channels,
        length,
        weight,
        frames,
        outs,
        in_channels,
        out_channels,
        taps,
        stride,
        dilation,
        left,
        right,
        reflects,
        scaled,
        elu,
        exact,
        sum_block,
    )
    total += tl.load(bias + outs)[None, :]
    own = (frames < own_frames)[:, None]
    goes = (row * out_samples + frames)[:, None] * out_channels + outs[None, :]
    tl.store(out + goes, total, mask=own)
    if measured:
        count = (tl.minimum(own_frames - start, frames_block) * out_block).to(tl.float32)
        mean = tl.sum(tl.where(own, total, 0.0)) / count
        apart = tl.where(own, total - mean, 0.0)
        describe(about, all_tiles, count, mean, tl.sum(apart * apart))


@triton.jit
def describe(about, all_tiles, count, mean, spread):
    """Writes what `tiles` has of one tile."""
    tl.store(about, count)
    tl.store(about + all_tiles, mean)
    tl.store(about + 2 * all_tiles, spread)


@triton.jit
def convolved(
    signal,
    scales,
    shifts,
    length,
    weight,
    frames,
    outs,
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
    sum_block: tl.constexpr,
):
    """`frames` of the channels `outs` of a row, without their bias: `[frames, outs]`.

    signal, scales, shifts: of the row.
    """
    padding = tl.maximum(right + (stride - length % stride) % stride, left)
    last = length + tl.maximum(padding + 1 - length, 0) - 1
    terms: tl.constexpr = taps * in_channels
    if scaled and in_channels == sum_block:
        scale = tl.load(scales + tl.arange(0, sum_block))
        shift = tl.load(shifts + tl.arange(0, sum_block))
    total = tl.zeros((frames.shape[0], outs.shape[0]), tl.float32)
    for block in range((terms + sum_block - 1) // sum_block):
        inner = block * sum_block + tl.arange(0, sum_block)
        if in_channels % sum_block == 0:
            # One tap in the whole block: a place for each frame, and none to be divided for.
            tap = block // (in_channels // sum_block)
            channel = (block % (in_channels // sum_block)) * sum_block + tl.arange(0, sum_block)
            place = (frames * stride + tap * dilation - left)[:, None]
        else:
            tap = inner // in_channels
            channel = inner % in_channels
            place = (frames * stride)[:, None] + (tap * dilation - left)[None, :]
        source, known = found_at(place, length, last, reflects)
        if in_channels % sum_block != 0:
            known = known & (inner < terms)[None, :]
        source = tl.where(known, source, 0)
        x = tl.load(signal + source * in_channels + channel[None, :], mask=known, other=0.0)
        if scaled:
            if in_channels != sum_block:
                scale = tl.load(scales + channel)
                shift = tl.load(shifts + channel)
            x = x * scale[None, :] + shift[None, :]
        if elu:
            x = activated(x)
        if scaled:
            # Padding is of what the layer takes, after the normalisation.
            x = tl.where(known, x, 0.0)
        at = weight + outs[None, :] * terms + inner[:, None]
        total = added(total, x, at, (inner < terms)[:, None], terms * out_channels, exact)
    return total


@triton.jit
def found_at(place, length, last, reflects: tl.constexpr):
    """The sample that stands at each place of a row, in it or beyond its ends, and whether one
    does: else silence.

    last: of the row with the silence behind it that is reflected with it.
    """
    own = (place >= 0) & (place < length)
    source = place
    if reflects:
        mirrored = last - tl.abs(last - tl.abs(place))
        source = tl.where(own, place, mirrored)
        own = (source >= 0) & (source < length)
    return source, own


@triton.jit
def activated(x):
    """ELU."""
    return tl.where(x > 0, x, tl.exp(tl.minimum(x, 0.0)) - 1.0)


@triton.jit
def added(total, x, at, taken, to_rest: tl.constexpr, exact: tl.constexpr):
    """`total` and the product of `x` with the weights at `at`, whose second part lies `to_rest`
    behind."""
    high = tl.load(at, mask=taken, other=0.0)
    if exact:
        low = tl.load(at + to_rest, mask=taken, other=0.0)
        x_high = (x.to(tl.uint32, bitcast=True) & 0xFFFFE000).to(tl.float32, bitcast=True)
        # The least first; and not added to the total within the tensor cores, which do not round.
        part = tl.dot(x - x_high, high, input_precision="tf32")
        part = tl.dot(x_high, low, part, input_precision="tf32")
        total += tl.dot(x_high, high, part, input_precision="tf32")
    else:
        total = tl.dot(x, high, total, input_precision="tf32")
    return total


@triton.jit(do_not_specialize=["count_of_tiles"])
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


@triton.jit(do_not_specialize=["samples"])
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
        x = activated(x)
    tl.store(out + where, x, mask=known)
