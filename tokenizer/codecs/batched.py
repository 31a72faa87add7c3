"""EnCodec's encoder in batches of fixed shapes: what runs on a GPU, where small kernels and waiting cost more than arithmetic.

Full chunks share batches without masks; shorter ones share batches whose width is the next of a few, each row masked to its own
length (`tokenizer.codecs.masked`). Rows are independent, so that a batch may be filled up with silent ones. From samples to codes
nothing is read back: scales, codes and what must be looked at again come to the host once a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.chunking import frames_of, in_groups
from tokenizer.codecs import quantizer
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.graphs import EagerRunner, GraphRunner, Runner, Shape
from tokenizer.codecs.masked import MaskedEncoder, inside
from tokenizer.codecs.networks import ReferenceNetwork
from tokenizer.codecs.quantizer import half_squares, noise, quantize, quantize_quickly
from tokenizer.codecs.scales import row_scales
from tokenizer.errors import FailureKind, RecordingError

ROWS = (4, 16, 64, 256)
"""rows that a batch may have"""
PARTS = (64, 16, 4, 2, 1)
"""of a chunk: widths of batches of shorter ones"""
BYTES_PER_SAMPLE = 1536
"""of a GPU's memory, for a sample of a row: some ten tensors of 32 channels at the full rate, which is the widest layer"""


class BatchedNetwork:
    """Chunks of samples to codes in batches of fixed shapes.

    With "exact" precision, chunks with a code that rounding could have decided are encoded again by the reference, as
    `TiledNetwork` does and for the reasons given there. Scales are sums over a row of a batch, and may differ from those of a
    chunk alone in a float32's last bit.

    Not to be shared between threads.
    """

    def __init__(self, model: Any, reference: ReferenceNetwork, n_q: int, precision: str = "exact") -> None:
        """
        Raises:
            UnknownLayer: the model has layers that `MaskedEncoder` cannot run, or no chunks.
        """
        config = model.config
        self._encoder = MaskedEncoder(model.encoder)
        self._codebooks = [layer.codebook.embed.detach() for layer in model.quantizer.layers[:n_q]]
        self._halves = [half_squares(codebook) for codebook in self._codebooks]
        self._reference, self._n_q, self._exact = reference, n_q, precision == "exact"
        self._normalised, self._hop, self._width = bool(config.normalize), int(config.hop_length), int(config.chunk_length)
        device = self._codebooks[0].device
        self._rows = ROWS if device.type == "cpu" else rows_that_fit(torch.cuda.mem_get_info(device)[0], self._width)
        self._runner: Runner
        if device.type == "cpu":
            self._runner = EagerRunner(self.step, config.audio_channels)
        else:
            largest = Shape(self._rows[-1], self._width, masked=False)
            self._runner = GraphRunner(self.step, config.audio_channels, device, largest)
        self.repeated = 0
        """chunks that the reference has settled so far"""

    def step(self, samples: torch.Tensor, lengths: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """A batch float32 `[rows, channels, width]` to int16 codes `[n_q, rows, frames]` and, for each row, its scale, whether
        the encoder's output is finite, and whether rounding could have decided one of its codes.
        """
        scales = row_scales(samples, lengths)
        normalised = samples / scales[:, None, None] if self._normalised else samples
        embeddings, frames = self._encoder(normalised, lengths)
        rows, dim, count = embeddings.shape
        flat = embeddings.transpose(1, 2).reshape(rows * count, dim)
        own = torch.ones_like(embeddings[:, :1], dtype=torch.bool) if frames is None else inside(embeddings, frames)
        finite = (torch.isfinite(embeddings) | ~own).all(dim=2).all(dim=1)
        near = torch.zeros_like(finite)
        if self._exact:
            squares = embeddings.square().where(own, embeddings.new_zeros(()))
            sizes = (squares.sum((1, 2)) / (own.sum((1, 2)) * dim)).sqrt()
            codes, certainty = quantize(flat, self._codebooks, noise(flat, sizes.repeat_interleave(count)))
            near = certainty.view(rows, count).masked_fill(~own[:, 0], torch.inf).amin(1) < quantizer.CERTAIN
        else:
            codes = quantize_quickly(flat, self._codebooks, self._halves)
        return codes.view(len(self._codebooks), rows, count).to(torch.int16), scales, finite, near

    def encode(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        """float32 `[channels, n]` each, of any lengths up to the codec's, each as if it were alone.

        Raises:
            RecordingError: an encoder's output is not finite.
        """
        results: list[Any] = [None] * len(chunks)
        again: list[int] = []
        for indices, (codes, scales, finite, near) in self._run(chunks):
            if not finite[: len(indices)].all():
                raise RecordingError(FailureKind.ENCODER, "the codec's output is not finite", "encode")
            for row, i in enumerate(indices):
                frames = frames_of(chunks[i].shape[1], self._hop)
                scale = float(scales[row]) if self._normalised else None
                results[i] = ChunkCodes(codes[:, row, :frames].astype(np.uint16), scale)
                if near[row]:
                    again.append(i)
        self._settle(again, chunks, results)
        return results

    def _run(self, chunks: Sequence[NDArray[np.float32]]) -> Iterator[tuple[list[int], tuple[NDArray[Any], ...]]]:
        """Every batch, with the next ones under way while its results are looked at."""
        under_way: deque[tuple[list[int], Any]] = deque()
        for shape, indices in batches([chunk.shape[1] for chunk in chunks], self._width, self._rows):
            if len(under_way) >= self._runner.ahead:
                done, ticket = under_way.popleft()
                yield done, self._runner.result(ticket)
            under_way.append((indices, self._runner.submit(shape, [chunks[i] for i in indices])))
        for done, ticket in under_way:
            yield done, self._runner.result(ticket)

    def _settle(self, again: Sequence[int], chunks: Sequence[NDArray[np.float32]], results: list[ChunkCodes]) -> None:
        device = self._codebooks[0].device
        samples = [torch.from_numpy(chunks[i]).to(device) for i in again]
        if self._normalised:
            samples = [chunk / row_scales(chunk[None], None) for chunk in samples]
        for i, codes in zip(again, self._reference.encode(samples, self._n_q) if again else [], strict=True):
            results[i] = ChunkCodes(codes.cpu().numpy().astype(np.uint16), results[i].scale)
        self.repeated += len(again)


def rows_that_fit(free_bytes: int, width: int) -> tuple[int, ...]:
    """Those of `ROWS` whose batches leave half of a device's free memory alone; at least the fewest."""
    most = free_bytes // 2 // (BYTES_PER_SAMPLE * width)
    return tuple(rows for rows in ROWS if rows <= most) or ROWS[:1]


def batches(lengths: Sequence[int], width: int, rows: Sequence[int]) -> Iterator[tuple[Shape, list[int]]]:
    """Indices of chunks in batches of fixed shapes: full chunks first, then shorter ones by the width that takes them.

    Args:
        lengths: of the chunks, in samples, 1 to `width`.
        width: of a full chunk.
        rows: numbers of rows that a batch may have, rising.
    """
    groups: dict[tuple[bool, int], list[int]] = {}
    for i, length in enumerate(lengths):
        masked = length < width
        fitting = next(-(-width // part) for part in PARTS if length <= -(-width // part))
        groups.setdefault((masked, fitting), []).append(i)
    for (masked, wide), indices in sorted(groups.items(), key=lambda item: (item[0][0], -item[0][1])):
        for group in in_groups(len(indices), rows[-1]):
            some = indices[group]
            yield Shape(next(count for count in rows if len(some) <= count), wide, masked), some
