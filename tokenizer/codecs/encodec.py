"""EnCodec through transformers' `EncodecModel`: any checkpoint of that class.

The truth is `EncodecModel.encode` on one recording alone, unpadded. This adapter runs the same modules on chunks: full
chunks of many recordings stacked, partial chunks at their own length, never padded with zeros (that would dilute their
scale and change most of their codes).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from tokenizer.chunking import in_groups
from tokenizer.codecs import batch_chunks
from tokenizer.codecs.base import MAX_CHUNK_FRAMES, ChunkCodes, Codec, CodecSpec
from tokenizer.errors import CodecLoadError, FailureKind, RecordingError, ShapeError

if TYPE_CHECKING:
    from transformers import EncodecConfig

COMPUTE_CHUNKS = {"cpu": 1, "cuda": 64}
"""chunks that go through the model at once; on a CPU the allocator makes larger batches slower"""


def encodec_spec(config: EncodecConfig, *, codec: str, revision: str | None, weights: str, bandwidth: float) -> CodecSpec:
    """The facts of a checkpoint at one bandwidth, from its configuration alone.

    Raises:
        CodecLoadError: a bandwidth that the checkpoint was not trained for, or chunks without an overlap to join them by.
    """
    offered = [float(b) for b in config.target_bandwidths]
    if float(bandwidth) not in offered:
        choices = ", ".join(f"{b:g}" for b in offered)
        raise CodecLoadError(f"codec {codec} has no bandwidth {bandwidth:g}: choose one of {choices}")
    chunk, stride = config.chunk_length, config.chunk_stride
    if (chunk is None) != (stride is None):
        raise CodecLoadError(f"codec {codec}: its configuration has chunk_length_s without overlap, or the reverse")
    kbps_per_codebook = math.log2(config.codebook_size) * config.frame_rate / 1000
    return CodecSpec(
        codec=codec,
        revision=revision,
        weights_sha256=weights,
        bandwidth=float(bandwidth),
        n_q=min(max(1, math.floor(bandwidth / kbps_per_codebook)), config.num_quantizers),
        codebook_size=config.codebook_size,
        sample_rate=config.sampling_rate,
        channels=config.audio_channels,
        frame_length=config.hop_length,
        chunk_length=chunk,
        chunk_stride=stride,
        has_scales=bool(config.normalize),
    )


class EncodecCodec(Codec):
    """transformers' own modules, chunk by chunk: the reference that faster paths are measured against."""

    def __init__(self, folder: Path, spec: CodecSpec, device: str) -> None:
        """Load the weights in `folder` (written by `save_pretrained`) for a spec made from its configuration."""
        self.spec = spec
        self.batch_chunks = batch_chunks(device)
        self._compute_chunks = COMPUTE_CHUNKS[device]
        self._device = torch.device(device)
        self._model = load_model(folder, self._device)

    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        results: list[ChunkCodes | None] = [None] * len(chunks)
        for indices in self._by_length([self._checked(chunk).shape[1] for chunk in chunks]):
            batch = np.stack([chunks[i] for i in indices])
            for i, code in zip(indices, self._encode(batch), strict=True):
                results[i] = code
        return [code for code in results if code is not None]

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        results: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(chunks)
        for indices in self._by_length([int(chunk.codes.shape[1]) for chunk in chunks]):
            for i, samples in zip(indices, self._decode([chunks[i] for i in indices]), strict=True):
                results[i] = samples
        return results

    def _checked(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        longest = self.spec.chunk_length or MAX_CHUNK_FRAMES * self.spec.frame_length
        fits = chunk.ndim == 2 and chunk.shape[0] == self.channels and 1 <= chunk.shape[1] <= longest
        if not fits or chunk.dtype != np.float32:
            raise ShapeError(f"a chunk must be float32 [{self.channels}, 1..{longest}], not {chunk.dtype}{list(chunk.shape)}")
        return chunk

    def _by_length(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        same: defaultdict[int, list[int]] = defaultdict(list)
        for i, length in enumerate(lengths):
            same[length].append(i)
        for indices in same.values():
            for group in in_groups(len(indices), self._compute_chunks):
                yield indices[group]

    def _encode(self, batch: NDArray[np.float32]) -> list[ChunkCodes]:
        with torch.inference_mode(), exact_float32():
            samples = torch.from_numpy(batch).to(self._device)
            scales = None
            if self.spec.has_scales:
                samples, scales = normalise(samples)
            embeddings = self._model.encoder(samples)
            finite = bool(torch.isfinite(embeddings).all())
            codes = self._model.quantizer.encode(embeddings, self.spec.bandwidth)
        if not finite:
            raise RecordingError(FailureKind.ENCODER, "the codec's output is not finite", "encode")
        by_chunk = codes.transpose(0, 1).cpu().numpy().astype(np.uint16)
        values = None if scales is None else scales.view(-1).cpu().tolist()
        return [ChunkCodes(code, None if values is None else values[i]) for i, code in enumerate(by_chunk)]

    def _decode(self, chunks: Sequence[ChunkCodes]) -> NDArray[np.float32]:
        stacked = np.stack([chunk.codes for chunk in chunks]).astype(np.int64)
        with torch.inference_mode(), exact_float32():
            codes = torch.from_numpy(stacked).to(self._device).transpose(0, 1)
            samples = self._model.decoder(self._model.quantizer.decode(codes))
            if self.spec.has_scales:
                scales = torch.tensor([chunk.scale for chunk in chunks], dtype=torch.float32, device=self._device)
                samples = samples * scales.view(-1, 1, 1)
        decoded: NDArray[np.float32] = samples.float().cpu().numpy()
        return decoded


def normalise(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide each chunk of `[batch, channels, n]` by the RMS of its mono mix plus 1e-8, as EnCodec does.

    Returns:
        The chunks and the scales `[batch, 1, 1]`.
    """
    mono = samples.sum(1, keepdim=True) / samples.shape[1]
    scales = mono.pow(2).mean(dim=-1, keepdim=True).sqrt() + 1e-8
    return samples / scales, scales


def load_model(folder: Path, device: torch.device) -> Any:
    """An `EncodecModel` in float32, ready for inference.

    Raises:
        CodecLoadError: no usable weights in the folder.
    """
    from transformers import EncodecModel
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        loaded = EncodecModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise CodecLoadError(f"codec {folder}: its weights do not load: {_first_line(error)}") from error
    finally:
        logging.set_verbosity(verbosity)
    # `from_pretrained` is annotated without `output_loading_info`, which makes it return a pair.
    model, report = cast(tuple[torch.nn.Module, dict[str, Any]], loaded)
    missing: list[str] = sorted(report["missing_keys"])
    if missing:  # transformers would fill them with random values
        raise CodecLoadError(f"codec {folder}: its weights lack {len(missing)} tensors, {missing[0]} first")
    return model.eval().requires_grad_(False).to(device)


@contextmanager
def exact_float32() -> Iterator[None]:
    """float32 arithmetic as IEEE has it for the length of a `with` block: no TF32 in products, convolutions or LSTMs.

    cuDNN uses TF32 for convolutions and recurrent nets unless told not to; it changes codes.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
