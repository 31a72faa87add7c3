"""A codec of ours as a system."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.evaluating.systems.base import NotReached, Passed, System
from pipelines.evaluating.wrapping.shaping import cpu_seconds, restored, shaped
from tokenizer.codecs import describe_codec, load_codec
from tokenizer.codecs.base import Codec, CodecSpec
from tokenizer.coding.arithmetic import encode
from tokenizer.coding.registry import shipped, shipped_for
from tokenizer.errors import CodecLoadError
from tokenizer.types import Codes, Waveform

SCALE_BITS = 32
"""of a chunk's scale, as shards hold it"""
_WARM_SECONDS = 1.5


class CodecSystem(System):
    """Each bandwidth is a codec of its own, loaded when it is first used."""

    def __init__(self, name: str, spec: str, device: str = "auto", threads: int | None = 1) -> None:
        """
        Raises:
            CodecLoadError: there is no such codec.
        """
        self.name, self._codec, self._device, self._threads = name, spec, device, threads
        self.spec = describe_codec(spec)
        what = "" if name == spec else f"{spec}, "
        self.words = f"{what}{self.spec.sample_rate:,} Hz, {self.spec.channels} ch"
        self._loaded: dict[float, Codec] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": {}}

    def on(self, device: str) -> CodecSystem:
        """The same on another kind of device."""
        return CodecSystem(self.name, self._codec, device, self._threads)

    @property
    def fingerprint(self) -> str:
        coder = shipped_for(self.spec.weights_sha256)
        coded = f" coder {coder}" if coder else ""
        return f"{self.spec.codec} {self.spec.revision} {self.spec.weights_sha256}{coded}"

    def offers(self, kbps: float) -> bool:
        """Whether it has such a bandwidth."""
        try:
            describe_codec(self._codec, bandwidth=kbps)
        except CodecLoadError:
            return False
        return True

    @property
    def kbps(self) -> float:
        """What it has by default."""
        return round(self.spec.bandwidth, 3)

    def through(self, sound: Waveform, kbps: float) -> Passed:
        codec = self._at(kbps)
        given = Waveform(
            shaped(sound.samples, sound.sample_rate, codec.sample_rate, codec.channels),
            codec.sample_rate,
        )
        clock = _clock(codec)
        began = clock()
        codes = codec.encode(given)
        encoded = clock()
        decoded = codec.decode(codes)
        ended = clock()
        return Passed(
            samples=restored(decoded.samples, codec.sample_rate, sound),
            bits=stored_bits(codes, codec.spec),
            entropy_bits=coded_bits(codes, codec.spec),
            encode_seconds=encoded - began,
            decode_seconds=ended - encoded,
            setting=f"{codec.spec.n_q} codebooks",
        )

    def _at(self, kbps: float) -> Codec:
        if kbps not in self._loaded:
            default = kbps == self.kbps
            try:
                self._loaded[kbps] = load_codec(
                    self._codec,
                    bandwidth=None if default else kbps,
                    device=self._device,
                    threads=self._threads,
                )
            except CodecLoadError as error:
                if default:
                    raise
                raise NotReached(str(error)) from None
            _warm(self._loaded[kbps])
        return self._loaded[kbps]


def _warm(codec: Codec) -> None:
    """What is compiled or fetched on first use is no part of a codec's speed."""
    quiet = np.zeros((codec.channels, round(_WARM_SECONDS * codec.sample_rate)), np.float32)
    codec.decode(codec.encode(Waveform(quiet, codec.sample_rate)))


def stored_bits(codes: Codes, spec: CodecSpec) -> int:
    """Codes at the size of their codebooks, and scales."""
    scales = 0 if codes.scales is None else len(codes.scales)
    return math.ceil(codes.frames * sum(map(math.log2, spec.sizes))) + SCALE_BITS * scales


def coded_bits(codes: Codes, spec: CodecSpec) -> int | None:
    """Streams of the entropy coder that ships for this codec, and scales, without the tables of an
    archive; None where none ships."""
    name = shipped_for(spec.weights_sha256)
    if name is None:
        return None
    predictor = shipped(name).at(codes.n_q)
    ends = np.cumsum(codes.chunk_frames, dtype=np.int64)[:-1]
    chunks = np.split(codes.codes, ends, axis=1) if codes.chunked else [codes.codes]
    most = predictor.segment_frames
    segments = [
        np.ascontiguousarray(chunk[:, at : at + most])
        for chunk in chunks
        for at in range(0, chunk.shape[1], most)
    ]
    scales = 0 if codes.scales is None else len(codes.scales)
    return 8 * sum(map(len, encode(predictor, segments))) + SCALE_BITS * scales


def _clock(codec: Codec) -> Callable[[], float]:
    """Seconds of a core; of a GPU those that pass, until it is done."""
    if codec.spec.device != "cuda":
        return cpu_seconds
    import torch

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock
