"""Encoders of PyAV: a file in memory, whose packets are counted, and which is decoded as any player
would, so that the container's word on the encoder's delay is followed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipelines.evaluating.wrapping.shaping import Samples, cpu_seconds


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file, and what is in it."""

    file: bytes
    bits: int
    """of its packets, without the container"""
    seconds: float
    """of a core"""


def encode(
    samples: Samples,
    rate: int,
    encoder: str,
    container: str,
    bit_rate: float,
    options: Mapping[str, str],
) -> Encoded:
    """Encode float32 `[channels, n]`, one or two channels."""
    layout = "mono" if samples.shape[0] == 1 else "stereo"
    file = io.BytesIO()
    began = cpu_seconds()
    size = 0
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(encoder, rate=rate, layout=layout, options=dict(options))
        stream.bit_rate = round(bit_rate)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T).reshape(1, -1), format="flt", layout=layout
        )
        frame.sample_rate = rate
        frame.pts = 0  # without it MP4 would not say how much its encoder puts before the sound
        for packet in (*stream.encode(frame), *stream.encode(None)):
            size += packet.size
            output.mux(packet)
    return Encoded(file.getvalue(), size * 8, cpu_seconds() - began)


def decode(file: bytes) -> tuple[Samples, float]:
    """Float32 `[channels, n]`, and the seconds of a core that it took."""
    began = cpu_seconds()
    opened: Any
    with av.open(io.BytesIO(file)) as opened:
        blocks = [_floats(frame) for frame in opened.decode(audio=0)]
    return np.concatenate(blocks, axis=1), cpu_seconds() - began


def _floats(frame: av.AudioFrame) -> Samples:
    values: NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    scale = np.float32(np.iinfo(values.dtype).max) + 1
    found: Samples = values.astype(np.float32) / scale
    return found


def version(library: str) -> str:
    """PyAV and its libavcodec, as results are of them."""
    number = ".".join(map(str, av.library_versions["libavcodec"]))
    return f"{library} of PyAV {av.__version__} (libavcodec {number})"
