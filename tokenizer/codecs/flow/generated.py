"""What a language model made, decoded: codes without a length, without chunks, often without
scales."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokenizer.codecs.codebooks.levels import cut_in_two
from tokenizer.codecs.flow.decoding import decoded_together
from tokenizer.codecs.flow.incoming import Tensor, on_host, plain
from tokenizer.errors import ShapeError
from tokenizer.types import Codes, Waveform

if TYPE_CHECKING:
    from tokenizer.codecs.base import Codec, CodecSpec

Generated = NDArray[Any] | Tensor
"""integers `[n_q, T]` or `[B, n_q, T]`"""


def decoded_generated(
    codec: Codec, generated: Any, scales: Any, num_samples: int | None
) -> Waveform | list[Waveform]:
    """See `Codec.decode_codes`."""
    codes = integers(generated)
    single = codes.ndim == 2
    batch = codes[None] if single else codes
    require_range(batch, codec.spec, single)
    frames = batch.shape[2]
    lengths = chunks_of(frames, codec.spec)
    longest = samples_of_frames(frames, codec.spec)
    num_samples = plain(num_samples)
    if num_samples is not None and not (_is_whole(num_samples) and 1 <= num_samples <= longest):
        raise ShapeError(f"{frames} frames are 1 to {longest} samples, not {num_samples!r}")
    levels = _scales(codec, scales, len(batch), len(lengths), single)
    recordings = [
        _chunks(one.astype(np.uint16), lengths, row) for one, row in zip(batch, levels, strict=True)
    ]
    wanted = [int(num_samples or longest)] * len(recordings)
    found = [
        Waveform(samples, codec.sample_rate)
        for samples in decoded_together(codec, recordings, wanted)
    ]
    return found[0] if single else found


def _chunks(codes: NDArray[np.uint16], lengths: list[int], scales: list[float | None]) -> Any:
    from tokenizer.codecs.flow.assembling import ChunkCodes

    ends = np.cumsum(lengths)
    return [
        ChunkCodes(codes[:, end - n : end], scale)
        for end, n, scale in zip(ends, lengths, scales, strict=True)
    ]


def integers(generated: Any) -> NDArray[Any]:
    """An array of integers, of an array or a tensor.

    Raises:
        ShapeError: of anything else.
    """
    if isinstance(generated, Codes):
        raise ShapeError("these are Codes: decode takes them")
    try:
        array = np.asarray(on_host(generated))
    except (TypeError, ValueError) as error:
        raise ShapeError(
            f"codes{_lengths(generated)} do not make one array [n_q, T] or [B, n_q, T]: decode "
            "them one at a time, or fill them up to one length and cut by num_samples"
        ) from error
    if array.dtype.kind not in "iu":
        raise ShapeError(
            f"codes must be integers, not {array.dtype}: take them from logits by argmax or by "
            "sampling"
        )
    if array.ndim not in (2, 3) or (array.shape[-1] < 1 and array.shape[0] > 0):
        raise ShapeError(
            f"codes must be [n_q, T] or [B, n_q, T] with T frames, not {list(array.shape)}"
        )
    return array


def _lengths(generated: Any) -> str:
    """How long the parts of what is no array are, where they say so."""
    shapes = [list(getattr(one, "shape", ())) for one in generated]
    return f" of {', '.join(map(str, shapes[:3]))}…" if any(shapes) else ""


def _is_whole(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def require_range(batch: NDArray[Any], spec: CodecSpec, single: bool) -> None:
    """Of `[B, n_q, T]`.

    Raises:
        ShapeError: more codebooks than the codec has, none, half a level, or a code that is not in
            its codebook.
    """
    n_q = batch.shape[1]
    if not 1 <= n_q <= spec.n_q:
        turned = 1 <= batch.shape[2] <= spec.n_q
        advice = "they seem to be [T, n_q]: transpose them" if turned else "load it with more"
        raise ShapeError(
            f"codes have {n_q} codebooks, the codec was loaded with {spec.n_q}: {advice}"
        )
    if wrong := cut_in_two(spec.codec, spec.level_repeats, n_q):
        raise ShapeError(f"codes have {n_q} codebooks: {wrong}")
    sizes = np.array(spec.sizes[:n_q])[:, None]
    if not batch.size or (int(batch.min()) >= 0 and bool((batch < sizes).all())):
        return
    row, level, frame = (int(at) for at in np.argwhere((batch < 0) | (batch >= sizes))[0])
    place = f"[{level}, {frame}]" if single else f"[{row}, {level}, {frame}]"
    raise ShapeError(
        f"code {int(batch[row, level, frame])} at {place} is outside its codebook of "
        f"{spec.sizes[level]:,}: take special tokens, offsets and padding away first"
    )


def chunks_of(frames: int, spec: CodecSpec) -> list[int]:
    """Frames of each chunk that so many frames fill; all in one, of a codec without chunks."""
    if spec.chunk_length is None:
        return [frames]
    full, rest = divmod(frames, spec.layout.full)
    return [spec.layout.full] * full + [rest] * (rest > 0)


def samples_of_frames(frames: int, spec: CodecSpec) -> int:
    """Samples that so many frames stand for: whole chunks up to where the next one would begin, and
    the last frames as far as they go."""
    if spec.chunk_length is None or spec.chunk_stride is None:
        return frames * spec.frame_length
    full, rest = divmod(frames, spec.layout.full)
    return full * spec.chunk_stride + min(rest * spec.frame_length, spec.chunk_stride)


def _scales(
    codec: Codec, given: Any, count: int, chunks: int, single: bool
) -> list[list[float | None]]:
    """Of each chunk of each recording."""
    if not codec.spec.has_scales:
        return [[None] * chunks] * count
    if given is None:
        given = codec.default_scale
    try:
        scales = np.asarray(on_host(given))
    except (TypeError, ValueError):
        scales = np.asarray("of several lengths")
    numbers = scales.dtype.kind in "fiu"
    with np.errstate(over="ignore"):
        scales = scales.astype(np.float32) if numbers else scales
    if not numbers or not np.isfinite(scales).all() or (scales < 0).any():
        raise ShapeError("scales must be numbers of 0 or more: the RMS of each chunk")
    if scales.ndim == 1 and not single:
        scales = scales[:, None]
    try:
        rows = np.broadcast_to(scales, (count, chunks))
    except ValueError as error:
        wanted = f"[{chunks}]" if single else f"[{count}] or [{count}, {chunks}]"
        raise ShapeError(
            f"scales must be one number or {wanted}, not {list(scales.shape)}: {chunks} chunks"
        ) from error
    return [[float(scale) for scale in row] for row in rows]
