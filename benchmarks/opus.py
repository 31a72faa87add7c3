"""Opus through PyAV's libopus: what a lossy codec of the usual kind makes of the same bits."""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

RATE = 48_000


def through_opus(samples: NDArray[np.float32], kbps: float) -> tuple[NDArray[np.float32], float]:
    """Encode and decode stereo float32 `[2, n]` at 48 kHz.

    Returns:
        float32 `[2, n]`, and the bitrate of the packets in kbps, without the container.
    """
    file = io.BytesIO()
    size = 0
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE, layout="stereo")
        stream.bit_rate = round(kbps * 1000)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T).reshape(1, -1), format="flt", layout="stereo"
        )
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            size += packet.size
            container.mux(packet)
    file.seek(0)
    with av.open(file) as container:
        blocks = [to_float(frame) for frame in container.decode(audio=0)]
    decoded = np.concatenate(blocks, axis=1)[:, : samples.shape[1]]
    decoded = np.pad(decoded, ((0, 0), (0, samples.shape[1] - decoded.shape[1])))
    return decoded, size * 8 * RATE / samples.shape[1] / 1000


def to_float(frame: av.AudioFrame) -> NDArray[np.float32]:
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    return (
        values.astype(np.float32) if values.dtype.kind == "f" else values.astype(np.float32) / 32768
    )
