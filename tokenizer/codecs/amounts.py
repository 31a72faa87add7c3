"""How many codebooks a codec is loaded with: by a bandwidth in kbps, by their number, or as it is
by default. Kinds of checkpoints and packages of others use it, so that all of them understand and
refuse the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from numbers import Integral, Real

from tokenizer.codecs.base import MAX_CODEBOOK, CodecSpec
from tokenizer.codecs.codebooks.levels import cut_in_two
from tokenizer.codecs.lookup import Checkpoint, weights_hash
from tokenizer.errors import CodecLoadError

DEFAULT_BANDWIDTH = 6.0
"""kbps, for codecs that offer it; others have all of their codebooks by default"""
_CLOSE = 1e-4
"""bandwidths that differ by less are the same: people write 2.2, and 7.75 for 7.7519"""


def kbps(sizes: Sequence[int], frame_rate: float) -> float:
    """What codebooks of these sizes come to, one code of each a frame."""
    return sum(math.log2(size) for size in sizes) * frame_rate / 1000


def plain_amount(bandwidth: float | None, n_q: int | None) -> tuple[int | float | None, int | None]:
    """The same two as Python's own numbers, which NumPy's are not.

    Raises:
        CodecLoadError: as `require_one_amount`.
    """
    require_one_amount(bandwidth, n_q)
    if bandwidth is not None and not isinstance(bandwidth, int | float):
        bandwidth = float(bandwidth)
    return bandwidth, None if n_q is None else int(n_q)


def require_one_amount(bandwidth: float | None, n_q: int | None) -> None:
    """
    Raises:
        CodecLoadError: both are given, or what cannot be.
    """
    if bandwidth is not None and (not is_number(bandwidth) or not 0 < bandwidth < math.inf):
        raise CodecLoadError(f"bandwidth {_said(bandwidth)}: give kbps above 0")
    if n_q is not None and (not is_whole(n_q) or n_q < 1):
        raise CodecLoadError(f"n_q {_said(n_q)}: give a number of codebooks, 1 or more")
    if bandwidth is not None and n_q is not None:
        raise CodecLoadError(
            f"bandwidth {bandwidth:g} and n_q {n_q}: both say how many codebooks; give one of them"
        )


def is_number(value: object) -> bool:
    """Whether it is one of Python's or NumPy's, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """Likewise of whole numbers: 2.0 is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _said(value: object) -> str:
    return str(value) if isinstance(value, Real) else repr(value)


def choose_codebooks(
    codec: str,
    sizes: Sequence[int],
    frame_rate: float,
    bandwidth: float | None,
    n_q: int | None,
    repeats: Sequence[int] | None = None,
) -> int:
    """How many of its codebooks a codec without bandwidths of its own is to use: all by default.

    Args:
        codec: its name, for messages.
        sizes: entries of each codebook that it has, the first ones first.
        frame_rate: frames a second.
        bandwidth: kbps; one that the first so many codebooks come to.
        n_q: a number of codebooks.
        repeats: rows that each level has a frame, as `CodecSpec.level_repeats` of all of them;
            `sizes` are then of rows, and whole levels are used.

    Raises:
        CodecLoadError: it has fewer, no number of them comes to that bandwidth, or a level would be
            cut in two.
    """
    require_one_amount(bandwidth, n_q)
    if n_q is not None:
        if wrong := cut_in_two(codec, repeats, n_q):
            raise CodecLoadError(f"n_q {n_q}: {wrong}")
        return require_codebooks(codec, n_q, len(sizes))
    if bandwidth is None:
        return len(sizes)
    counts = [*accumulate(repeats or [1] * len(sizes))]
    each = [kbps(sizes[:count], frame_rate) for count in counts]
    for count, found in zip(counts, each, strict=True):
        if abs(found - bandwidth) <= max(_CLOSE * found, 0.005):
            return count
    numbers = f"1 to {len(sizes)}" if repeats is None else f"one of {', '.join(map(str, counts))}"
    raise CodecLoadError(
        f"codec {codec} has no bandwidth {bandwidth:g}: its codebooks come to {_some(each)} kbps; "
        f"give one of these, or n_q, {numbers}"
    )


def require_codebooks(codec: str, n_q: int, most: int) -> int:
    """
    Raises:
        CodecLoadError: the codec has no such number of codebooks.
    """
    if 1 <= n_q <= most:
        return n_q
    there = "one codebook" if most == 1 else f"{most} codebooks"
    raise CodecLoadError(
        f"codec {codec} has {there}, not {n_q}: give n_q, {'1' if most == 1 else f'1 to {most}'}"
    )


def plain_spec(
    checkpoint: Checkpoint,
    sizes: Sequence[int],
    bandwidth: float | None,
    n_q: int | None,
    *,
    sample_rate: int,
    frame_length: int,
    channels: int = 1,
) -> CodecSpec:
    """The facts of a codec without chunks, scales and windows, all of whose codebooks have one
    size.

    Args:
        checkpoint: whose weight files are read for their hash.
        sizes: entries of each codebook that it has.
        bandwidth: kbps that are asked for.
        n_q: codebooks that are asked for.
        sample_rate: of what it encodes.
        frame_length: in samples.
        channels: likewise.

    Raises:
        CodecLoadError: it has no such bandwidth or number of codebooks.
    """
    rate = sample_rate / frame_length
    count = choose_codebooks(checkpoint.name, sizes, rate, bandwidth, n_q)
    return CodecSpec(
        codec=checkpoint.name,
        revision=checkpoint.revision,
        weights_sha256=weights_hash(checkpoint),
        bandwidth=round(kbps(sizes[:count], rate), 6),
        n_q=count,
        codebook_size=sizes[0],
        sample_rate=sample_rate,
        channels=channels,
        frame_length=frame_length,
        chunk_length=None,
        chunk_stride=None,
        has_scales=False,
    )


def require_storable(spec: CodecSpec) -> CodecSpec:
    """The same spec.

    Raises:
        CodecLoadError: it has codes that 16 bits do not hold, or says two things of its codebooks.
    """
    largest = max((spec.codebook_size, *(spec.codebook_sizes or ())))
    if largest > MAX_CODEBOOK:
        raise CodecLoadError(
            f"codec {spec.codec}: codebooks of {largest:,} entries; 16 bits hold {MAX_CODEBOOK:,}"
        )
    if spec.n_q < 1 or min(spec.codebook_size, *spec.sizes) < 1:
        raise CodecLoadError(f"codec {spec.codec}: it has no codebooks, or empty ones")
    if spec.codebook_sizes is not None and len(spec.codebook_sizes) != spec.n_q:
        raise CodecLoadError(
            f"codec {spec.codec}: {spec.n_q} codebooks and the sizes of {len(spec.codebook_sizes)}"
        )
    if spec.level_repeats is not None and sum(spec.level_repeats) != spec.n_q:
        raise CodecLoadError(
            f"codec {spec.codec}: levels of {spec.level_repeats} rows, and {spec.n_q} codebooks"
        )
    return spec


def _some(each: Sequence[float]) -> str:
    shown = [f"{one:.4g}" for one in each]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:4], "…", *shown[-2:]])
