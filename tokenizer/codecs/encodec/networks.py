"""What runs an EnCodec's networks, whichever way: transformers' own modules
(`tokenizer.codecs.encodec.reference`), tiles on a CPU, or batches on a GPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.encodec.arithmetic import arithmetic, modest_memory
from tokenizer.codecs.encodec.scales import normalise
from tokenizer.errors import CodecshardsError, FailureKind, RecordingError


class UnknownLayer(CodecshardsError):
    """A layer that only transformers' own module runs."""


class Network(ABC):
    """Chunks of samples to codes and back at one bandwidth: of any lengths up to the codec's, each
    as if it were alone."""

    repeated = 0
    """chunks so far that were encoded again, by the reference, as rounding could have decided one
    of their codes; of a network for pieces, frames"""

    @abstractmethod
    def encode(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        """float32 `[channels, n]` each.

        Raises:
            RecordingError: an encoder's output is not finite (ENCODER).
        """

    @abstractmethod
    def decode(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        """To float32 `[channels, frames * frame_length]` each, scaled."""


class ChunkNetwork(Network):
    """A network for which every chunk is a tensor of its own, already normalised."""

    def __init__(self, model: Any, n_q: int, precision: str = "exact") -> None:
        """
        Args:
            model: an `EncodecModel`, on the device that is to compute.
            n_q: codebooks to encode with.
            precision: for `tokenizer.codecs.encodec.arithmetic.arithmetic`; decoding is exact.
        """
        self.n_q, self._precision = n_q, precision
        self._device: torch.device = next(model.parameters()).device
        self._has_scales = bool(model.config.normalize)

    @abstractmethod
    def to_codes(self, chunks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """float32 `[channels, n]` each, to int64 codes `[n_q, frames]` each.

        Raises:
            RecordingError: an encoder's output is not finite (ENCODER).
        """

    @abstractmethod
    def to_samples(self, codes: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """int64 `[codebooks, frames]` each, to float32 `[channels, frames * frame_length]` each."""

    def encode(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        with (
            torch.inference_mode(),
            arithmetic(self._precision),
            modest_memory(self._device),
        ):
            samples, scales = normalised(chunks, self._device, self._has_scales)
            codes = self.to_codes(samples)
            frames = [code.shape[1] for code in codes]
            # Both come back in one transfer each: every one would wait for the device.
            joined = torch.cat(codes, dim=1).cpu().numpy().astype(np.uint16)
            values = [None] * len(chunks) if scales is None else scales.cpu().tolist()
        ends = np.cumsum(frames)
        return [
            ChunkCodes(joined[:, end - n : end].copy(), scale)
            for end, n, scale in zip(ends, frames, values, strict=True)
        ]

    def decode(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        with torch.inference_mode(), arithmetic("exact"), modest_memory(self._device):
            decoded = self.to_samples([codes_on(chunk, self._device) for chunk in chunks])
            return [
                _scaled(samples, chunk.scale)
                for samples, chunk in zip(decoded, chunks, strict=True)
            ]


def normalised(
    chunks: Sequence[NDArray[np.float32]], device: torch.device, has_scales: bool
) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Chunks on a device, each divided by its scale where the codec has scales; and these, of shape
    `[chunks]`."""
    joined = torch.from_numpy(np.concatenate([chunk.reshape(-1) for chunk in chunks])).to(device)
    parts = torch.split(joined, [chunk.size for chunk in chunks])
    there = [part.view(chunk.shape) for part, chunk in zip(parts, chunks, strict=True)]
    if not has_scales:
        # Each in memory of its own: where a chunk lies in a batch's would decide how products of it
        # are rounded.
        return [chunk.clone() for chunk in there], None
    pairs = [normalise(chunk[None]) for chunk in there]
    return [samples[0] for samples, _ in pairs], torch.cat([scale.view(1) for _, scale in pairs])


def codes_on(chunk: ChunkCodes, device: torch.device) -> torch.Tensor:
    """Its codes on a device, int64 `[codebooks, frames]`."""
    return torch.from_numpy(chunk.codes.astype(np.int64)).to(device)


def check_finite(finite: bool) -> None:
    """
    Raises:
        RecordingError: an encoder's output is not (ENCODER).
    """
    if not finite:
        raise RecordingError(FailureKind.ENCODER, "the codec's output is not finite", "encode")


def _scaled(samples: torch.Tensor, scale: float | None) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = (
        (samples if scale is None else samples * scale).float().cpu().numpy()
    )
    return scaled
