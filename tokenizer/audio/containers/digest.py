"""The MD5 of its samples that a FLAC file carries, against what was decoded."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

_STREAMINFO = 34


class FlacDigest:
    """Takes in frames of FFmpeg's decoder, and compares."""

    def __init__(self, streaminfo: bytes) -> None:
        """`streaminfo` is the stream's first metadata block, 34 bytes."""
        packed = int.from_bytes(streaminfo[10:18], "big")
        self._bits = (packed >> 36 & 31) + 1
        self._samples = packed & (1 << 36) - 1
        self._stored = streaminfo[18:34]
        self._seen = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    @classmethod
    def of(cls, extradata: bytes | None) -> FlacDigest | None:
        """None where the encoder left no sum, as those do that write to a pipe."""
        if extradata is None or len(extradata) < _STREAMINFO or not any(extradata[18:34]):
            return None
        return cls(extradata)

    def add(self, frame: Any) -> None:
        """The next frame, packed `s16` or `s32`, with its bits at the top as FFmpeg has them."""
        dtype = np.dtype(np.int16 if frame.format.name == "s16" else np.int32)
        channels = len(frame.layout.channels)
        values = np.frombuffer(frame.planes[0], dtype, frame.samples * channels)
        if shift := 8 * dtype.itemsize - self._bits:
            values = values >> shift
        width = -(-self._bits // 8)
        if width < dtype.itemsize:
            self._md5.update(
                values.astype(dtype.newbyteorder("<"))
                .view(np.uint8)
                .reshape(-1, dtype.itemsize)[:, :width]
                .tobytes()
            )
        else:
            self._md5.update(values.astype(dtype.newbyteorder("<"), copy=False).tobytes())
        self._seen += frame.samples

    @property
    def is_wrong(self) -> bool:
        """Whether all samples are there, and are not those that were encoded."""
        return self._seen == (self._samples or self._seen) and self._md5.digest() != self._stored
