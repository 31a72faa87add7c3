"""What people have in their hands, as blocks of samples at a codec's rate and channels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from numbers import Real
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from tokenizer.audio.check import check_samples
from tokenizer.errors import FailureKind, RecordingError, ShapeError
from tokenizer.types import Waveform


class Tensor(Protocol):
    """What NumPy can look at: an array, or a tensor of torch."""

    def __array__(self) -> NDArray[Any]: ...


AudioSource = Waveform | str | os.PathLike[str] | BinaryIO | NDArray[Any] | Tensor
"""what `Codec.encode` takes"""
_BLOCK_SECONDS = 1
_MOST_CHANNELS = 2


def blocks_of(
    source: AudioSource, sample_rate: int | None, rate: int, channels: int
) -> Iterator[NDArray[np.float32]]:
    """Blocks float32 `[channels, n]` at `rate` of a file or of samples.

    Args:
        sample_rate: of samples; None for files, which say their own.

    Raises:
        ShapeError: samples that are none, or without their rate.
        RecordingError: as `stream_audio`.
    """
    if isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        from tokenizer.audio import stream_audio

        if sample_rate is not None:
            raise ShapeError("sample_rate is that of samples: a file says its own")
        file: Any = source
        return iter(stream_audio(file, rate, channels))
    return _resampled(samples_of(source), sample_rate, rate, channels)


def require_several(sources: Any) -> None:
    """
    Raises:
        ShapeError: one recording, where a list of them is wanted.
    """
    one = isinstance(sources, Waveform | str | bytes | os.PathLike) or hasattr(sources, "read")
    kind = getattr(getattr(sources, "dtype", None), "kind", "f")  # torch's have none
    one = one or (getattr(sources, "ndim", 2) < 2 and kind in "fiub")
    if one or not (hasattr(sources, "__iter__") or hasattr(sources, "__getitem__")):
        raise ShapeError(
            f"encode_batch takes a list of recordings, not one {type(sources).__name__}: encode "
            "takes that"
        )


def waveform_of(source: AudioSource, sample_rate: int | None, rate: int, channels: int) -> Waveform:
    """A recording whole; a `Waveform` as it is.

    Raises:
        ShapeError: as `blocks_of`; a rate beside a `Waveform` that is at another.
    """
    if not isinstance(source, Waveform):
        blocks = list(blocks_of(source, sample_rate, rate, channels))
        return Waveform(np.concatenate(blocks, axis=1), rate)
    if sample_rate not in (None, source.sample_rate):
        raise ShapeError(
            f"sample_rate {sample_rate!r} is not that of the waveform: {source.sample_rate}"
        )
    return source


def samples_of(source: Any) -> NDArray[np.float32]:
    """Samples as float32 `[channels, n]`, full scale 1.0, in memory of their own: of a NumPy array
    or a tensor of torch, on any device, `[n]` or `[channels, n]`, of floats or of integers, which
    stand for PCM.

    Raises:
        ShapeError: of anything else.
    """
    source = on_host(source) if hasattr(source, "detach") else source
    if not hasattr(source, "__array__"):
        raise ShapeError(
            f"cannot take samples from {type(source).__name__}: give a NumPy array or a tensor "
            "[channels, n], a Waveform or a path"
        )
    array = np.atleast_2d(np.asarray(source))
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ShapeError(
            "samples must be floats or integers [n] or [channels, n], not "
            f"{array.dtype}{list(array.shape)}"
        )
    if array.shape[1] <= _MOST_CHANNELS < array.shape[0]:
        raise ShapeError(
            f"samples {list(array.shape)} seem to be [n, channels]: transpose them (samples.T)"
        )
    if array.dtype.kind == "f":
        return np.array(array, np.float32, order="C")
    half = 2.0 ** (8 * array.dtype.itemsize - 1)
    zero = half if array.dtype.kind == "u" else 0.0
    pcm: NDArray[np.float32] = ((array.astype(np.float64) - zero) / half).astype(np.float32)
    return pcm


def _resampled(
    samples: NDArray[np.float32], sample_rate: int | None, rate: int, channels: int
) -> Iterator[NDArray[np.float32]]:
    """As `tokenizer.audio.AudioStream` resamples and mixes: what it gives for a file with these
    samples."""
    from tokenizer.audio.channels import apply_mapping, mapping_matrix

    sample_rate = _whole_rate(sample_rate)
    count = samples.shape[0]
    if not count:
        raise ShapeError(f"samples {list(samples.shape)} have no channels")
    if count != channels and count > _MOST_CHANNELS:
        raise ShapeError(f"samples have {count} channels: mix them to one or two")
    if not samples.shape[1]:
        raise RecordingError(FailureKind.EMPTY, "no samples", "check")
    check_samples(samples, "samples")
    copies = channels if count == 1 else 1
    layout = tuple(["FL", "FR"][:count]) if count <= _MOST_CHANNELS else ("",) * count
    matrix = mapping_matrix("samples", layout, channels // copies, downmix=False)
    mapped, given = apply_mapping(samples, matrix), 0
    for block in _at_rate(mapped, sample_rate, rate):
        if block.shape[1]:
            given += block.shape[1]
            yield block if copies == 1 else np.repeat(block, copies, axis=0)
    if not given:
        reason = f"{samples.shape[1]} samples at {sample_rate} Hz are none at {rate} Hz"
        raise RecordingError(FailureKind.EMPTY, reason, "check")


def on_host(value: Any) -> Any:
    """Tensors, those in lists too, as arrays."""
    if isinstance(value, list | tuple):
        return [on_host(one) for one in value]
    if not hasattr(value, "detach"):
        return value
    value = value.detach().cpu()
    return (value.float() if value.is_floating_point() else value).numpy()


def plain(number: Any) -> Any:
    """The number in an array or tensor of one."""
    single = getattr(number, "ndim", None) == 0 and hasattr(number, "item")
    return number.item() if single else number


def _whole_rate(sample_rate: Any) -> int:
    sample_rate = plain(sample_rate)
    if sample_rate is None:
        raise ShapeError("samples do not say their rate: encode(samples, sample_rate=44_100)")
    whole = isinstance(sample_rate, Real) and float(sample_rate).is_integer()
    if not whole or isinstance(sample_rate, bool) or sample_rate <= 0:
        raise ShapeError(f"sample_rate must be a whole number of Hz, not {sample_rate!r}")
    return int(sample_rate)


def _at_rate(
    samples: NDArray[np.float32], sample_rate: int, rate: int
) -> Iterator[NDArray[np.float32]]:
    import soxr

    from tokenizer.audio.blocks import transposed

    size, count = _BLOCK_SECONDS * sample_rate, samples.shape[0]
    blocks = (samples[:, at : at + size] for at in range(0, samples.shape[1], size))
    if sample_rate == rate:
        yield from blocks
        return
    stream: Any = soxr.ResampleStream(sample_rate, rate, count, dtype="float32", quality="HQ")
    for block in blocks:
        yield transposed(stream.resample_chunk(transposed(block)))
    yield transposed(stream.resample_chunk(np.zeros((0, count), np.float32), last=True))
