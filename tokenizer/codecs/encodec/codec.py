"""EnCodec through transformers' `EncodecModel`: any checkpoint of that class.

The truth is `EncodecModel.encode` on one recording alone, unpadded. This adapter works on chunks:
chunks of many recordings share a batch, partial chunks at their own length, never padded with zeros
(that would dilute their scale and change most of their codes).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.base import MAX_CHUNK_FRAMES, ChunkCodes, Codec, CodecSpec
from tokenizer.codecs.devices import batch_chunks
from tokenizer.codecs.encodec.arithmetic import arithmetic, exact_float32
from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.cpu.tiles import UnknownLayer
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.networks import Network, ReferenceNetwork, TiledNetwork
from tokenizer.codecs.encodec.probe import Probe
from tokenizer.codecs.encodec.proven import unproven
from tokenizer.codecs.encodec.scales import normalise
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import ShapeError


class EncodecCodec(Codec):
    """An EnCodec checkpoint at one bandwidth, on one device. Threads may share it, and take
    turns."""

    def __init__(self, folder: Path, spec: CodecSpec, device: str, reference: bool = False) -> None:
        """Load the weights in `folder` (written by `save_pretrained`) for a spec made from its
        configuration.

        With `reference`, transformers' own modules compute, where a faster way to the same codes is
        the default; so they do for checkpoints that this way was not proven on.
        """
        self.spec = spec
        self.batch_chunks = batch_chunks(device)
        self._device = torch.device(device)
        model = load_model(folder, self._device)
        # On a GPU every look at it stops it.
        plain = ReferenceNetwork(model, static=self._device.type != "cpu" and not reference)
        self._network: Network = plain
        self._batched: BatchedNetwork | None = None
        if not reference and not unproven(model.config):
            with suppress(UnknownLayer):  # an architecture that only transformers runs
                if self._device.type == "cpu":
                    self._network = TiledNetwork(model, plain)
                elif spec.chunk_length is not None:
                    self._batched = BatchedNetwork(model, plain, spec.n_q, spec.precision)
        self._probe = Probe(plain) if spec.precision == "fast" else None

    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        if not chunks:
            return []
        checked = [self._checked(chunk) for chunk in chunks]
        if self._batched is not None:
            found = self._batched.encode(checked)
            self._look(checked, found)
            return found
        with torch.inference_mode(), arithmetic(self.spec.precision):
            samples, scales = self._normalised(self._on_device(checked))
            codes = self._network.encode(samples, self.spec.n_q)
            if self._probe is not None:
                self._probe.look(samples, codes)
            frames = [code.shape[1] for code in codes]
            # Both come back in one transfer each: every one would wait for the device.
            joined = torch.cat(codes, dim=1).cpu().numpy().astype(np.uint16)
            values = [None] * len(chunks) if scales is None else scales.cpu().tolist()
        ends = np.cumsum(frames)
        return [
            ChunkCodes(joined[:, end - n : end].copy(), scale)
            for end, n, scale in zip(ends, frames, values, strict=True)
        ]

    def precision_report(self) -> PrecisionReport | None:
        return None if self._probe is None else self._probe.report

    def _look(self, chunks: Sequence[NDArray[np.float32]], found: Sequence[ChunkCodes]) -> None:
        """Let the probe see what it still wants to see."""
        if self._probe is None or not self._probe.wanted(1):
            return
        with torch.inference_mode(), exact_float32():
            wanted = self._probe.wanted(len(chunks))
            if wanted:
                samples, _ = self._normalised(self._on_device(chunks[:wanted]))
                codes = [
                    torch.from_numpy(one.codes.astype(np.int64)).to(self._device)
                    for one in found[:wanted]
                ]
                self._probe.look(samples, codes)

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        if self._batched is not None:
            return self._batched.decode(chunks)
        with torch.inference_mode(), exact_float32():
            codes = [
                torch.from_numpy(chunk.codes.astype(np.int64)).to(self._device) for chunk in chunks
            ]
            decoded = self._network.decode(codes)
            return [
                self._scaled(samples, chunk.scale)
                for samples, chunk in zip(decoded, chunks, strict=True)
            ]

    def _on_device(self, chunks: Sequence[NDArray[np.float32]]) -> list[torch.Tensor]:
        """Moved there in one piece."""
        joined = torch.from_numpy(np.concatenate([chunk.reshape(-1) for chunk in chunks])).to(
            self._device
        )
        parts: tuple[torch.Tensor, ...] = joined.split([chunk.size for chunk in chunks])  # type: ignore[no-untyped-call]
        return [part.view(self.channels, -1) for part in parts]

    def _normalised(
        self, chunks: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        if not self.spec.has_scales:
            # Each in memory of its own: where a chunk lies in a batch's would decide how products
            # of it are rounded.
            return [chunk.clone() for chunk in chunks], None
        pairs = [normalise(chunk[None]) for chunk in chunks]
        return [samples[0] for samples, _ in pairs], torch.cat(
            [scale.view(1) for _, scale in pairs]
        )

    def _checked(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        longest = self.spec.chunk_length or MAX_CHUNK_FRAMES * self.spec.frame_length
        fits = (
            chunk.ndim == 2 and chunk.shape[0] == self.channels and 1 <= chunk.shape[1] <= longest
        )
        if not fits or chunk.dtype != np.float32:
            raise ShapeError(
                f"a chunk must be float32 [{self.channels}, 1..{longest}], not "
                f"{chunk.dtype}{list(chunk.shape)}"
            )
        return chunk

    def _scaled(self, samples: torch.Tensor, scale: float | None) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = (
            (samples if scale is None else samples * scale).float().cpu().numpy()
        )
        return scaled
