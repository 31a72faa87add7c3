"""X-Codec2 and NeuCodec, through transformers: convolutions beside a Wav2Vec2-BERT, one codebook by
finite scalar quantization, a decoder in the frequency domain.

The truth of X-Codec2 is `Xcodec2FeatureExtractor` and `encode` of one recording alone. The
extractor fills up the last frame with zeros, and adds a frame of nothing else to a recording that
ends with a frame; the code of that one is not kept. NeuCodec's drops the last frame if it is not
full: here zeros fill it up first, so that nothing of a recording is lost.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.chunking import frames_of
from tokenizer.codecs.base import CodecSpec, split
from tokenizer.codecs.encodec.arithmetic import arithmetic
from tokenizer.codecs.encodec.gpu.whole import WholeBatches
from tokenizer.codecs.encodec.networks import check_finite
from tokenizer.codecs.lookup import Checkpoint
from tokenizer.codecs.semantic.checkpoint import read_config, whole_frames, windowed_spec
from tokenizer.codecs.semantic.features import Extractor, resample
from tokenizer.codecs.semantic.finite import finite_outputs
from tokenizer.codecs.semantic.gpu.classes import window_batches
from tokenizer.codecs.semantic.gpu.xcodec2 import EncodeAlone, EncodeRows
from tokenizer.codecs.semantic.windows import WindowedCodec
from tokenizer.codecs.weights import load_pretrained
from tokenizer.errors import ShapeError
from tokenizer.types import Codes, Waveform

WINDOW_SECONDS, CONTEXT_SECONDS, PIECE_SECONDS = 30, 5, 20
"""a Wav2Vec2-BERT needs memory in proportion to the square of a window"""
_UNUSED = ("semantic_encoder.masked_spec_embed",)
"""weights that only training has a use for"""


def describe_xcodec2(checkpoint: Checkpoint, bandwidth: float | None, n_q: int | None) -> CodecSpec:
    """The facts of a checkpoint of X-Codec2.

    Raises:
        CodecLoadError: no such bandwidth or number of codebooks, or no such configuration.
    """
    config = read_config(checkpoint)
    return _spec(checkpoint, config, config.sampling_rate, config.hop_length, bandwidth, n_q)


def describe_neucodec(
    checkpoint: Checkpoint, bandwidth: float | None, n_q: int | None
) -> CodecSpec:
    """The facts of a checkpoint of NeuCodec; its rate is that of what it encodes.

    Raises:
        CodecLoadError: no such bandwidth or number of codebooks, or no such configuration.
    """
    config = read_config(checkpoint)
    rate, hop = config.input_sampling_rate, config.encoder_hop_length
    return _spec(checkpoint, config, rate, hop, bandwidth, n_q)


def _spec(
    checkpoint: Checkpoint,
    config: Any,
    sample_rate: int,
    frame_length: int,
    bandwidth: float | None,
    n_q: int | None,
) -> CodecSpec:
    return windowed_spec(
        checkpoint,
        [math.prod(config.quantization_levels)],
        bandwidth,
        n_q,
        sample_rate=sample_rate,
        frame_length=frame_length,
        window_seconds=WINDOW_SECONDS,
        context_seconds=CONTEXT_SECONDS,
    )


class XCodec2(WindowedCodec):
    """A checkpoint of `Xcodec2Model`, computed by transformers' own modules: on a CPU a window at a
    time, on a GPU in batches (`tokenizer.codecs.semantic.gpu.xcodec2`)."""

    def __init__(self, folder: Path, spec: CodecSpec, device: str, reference: bool = False) -> None:
        """With `reference`, windows are encoded one at a time on a GPU too."""
        self.spec = spec
        self.piece_length = whole_frames(PIECE_SECONDS, spec.sample_rate, spec.frame_length)
        self._device = torch.device(device)
        self._model = load_pretrained(self._model_class(), folder, self._device, _UNUSED)
        self._open(self._model, device, reference)

    def _open_batches(self, model: Any, rows: tuple[int, ...] | None = None) -> list[WholeBatches]:
        extractor = self._extractor(self.spec.frame_length)
        return window_batches(
            EncodeRows(model, extractor),
            EncodeAlone(model, extractor),
            next(model.parameters()).device,
            self.spec,
            # Its activations are computed at twice the rate.
            channels=2 * int(model.config.encoder_hidden_size),
            rows=rows,
        )

    @staticmethod
    def _model_class() -> Any:
        from transformers import Xcodec2Model

        return Xcodec2Model

    @staticmethod
    def _extractor(hop: int) -> Extractor:
        return Extractor(hop, hop // 2, fills=False)

    def encode_window(self, samples: NDArray[np.float32]) -> NDArray[np.uint16]:
        frames = frames_of(samples.shape[1], self.spec.frame_length)
        with torch.inference_mode(), arithmetic(self.spec.precision):
            extracted = self._extractor(self.spec.frame_length)(samples)
            padded, features = (one[None].to(self._device) for one in extracted)
            mask = torch.ones(features.shape[:2], dtype=torch.int32, device=self._device)
            with finite_outputs(self._model.fc_encoder) as finite:
                found = self._model.encode(
                    padded, input_features=features, input_features_mask=mask
                )
            check_finite(all(map(bool, finite)))
            codes: NDArray[np.uint16] = found.audio_codes[0].cpu().numpy().astype(np.uint16)
        return codes[:, :frames]

    def decode_window(self, codes: NDArray[np.uint16]) -> NDArray[np.float32]:
        samples: NDArray[np.float32] = self._at_own_rate(self._decoded(codes)).numpy()
        return samples

    def _decoded(self, codes: NDArray[np.uint16]) -> torch.Tensor:
        with torch.inference_mode(), arithmetic("exact"):
            there = torch.from_numpy(codes.astype(np.int64))[None].to(self._device)
            found: torch.Tensor = self._model.decode(audio_codes=there).audio_values[0]
            return found.float().cpu()

    def _at_own_rate(self, samples: torch.Tensor) -> torch.Tensor:
        return samples


class NeuCodec(XCodec2):
    """A checkpoint of `NeuCodecModel`, likewise.

    Decoded audio is at the rate of what was encoded, 16 kHz, although the decoder makes 24 kHz:
    `decode_wide` hands that out.
    """

    def decode_wide(self, codes: Codes) -> Waveform:
        """Decode one recording at the decoder's own rate, 24 kHz: float32 `[1, ceil(n * 3 / 2)]`.

        Raises:
            ShapeError: codes of another codec, or of more than a window.
        """
        if codes.frames * self.spec.frame_length > (self.spec.window_length or 0):
            raise ShapeError(
                f"decode_wide takes up to {WINDOW_SECONDS} s: decode cuts into windows"
            )
        rate = self._model.config.output_sampling_rate
        parts = [self._decoded(chunk.codes).numpy() for chunk in split(codes, self.spec)]
        samples = -(-codes.num_samples * rate // self.sample_rate)
        return Waveform(np.ascontiguousarray(np.concatenate(parts, axis=1)[:, :samples]), rate)

    @staticmethod
    def _model_class() -> Any:
        from transformers import NeuCodecModel

        return NeuCodecModel

    @staticmethod
    def _extractor(hop: int) -> Extractor:
        return Extractor(hop, 0, fills=True)

    def _at_own_rate(self, samples: torch.Tensor) -> torch.Tensor:
        config = self._model.config
        return resample(samples, config.output_sampling_rate, config.input_sampling_rate)
