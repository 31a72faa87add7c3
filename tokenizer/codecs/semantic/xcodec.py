"""X-Codec and the tokenizer of Higgs Audio v2, through transformers: a DAC encoder beside HuBERT,
and one residual quantizer over both.

The truth is `DacFeatureExtractor`, which fills up the last frame with zeros, and `encode` of one
recording alone.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.encodec.arithmetic import arithmetic
from tokenizer.codecs.encodec.gpu.whole import WholeBatches
from tokenizer.codecs.encodec.networks import check_finite
from tokenizer.codecs.lookup import Checkpoint
from tokenizer.codecs.semantic.checkpoint import read_config, whole_frames, windowed_spec
from tokenizer.codecs.semantic.features import resample
from tokenizer.codecs.semantic.finite import finite_outputs
from tokenizer.codecs.semantic.gpu.classes import window_batches
from tokenizer.codecs.semantic.gpu.xcodec import EncodeAlone, EncodeRows
from tokenizer.codecs.semantic.windows import WindowedCodec
from tokenizer.codecs.weights import load_pretrained

_HIGGS = "transformers.models.higgs_audio_v2_tokenizer.modeling_higgs_audio_v2_tokenizer"
WINDOW_SECONDS, CONTEXT_SECONDS, PIECE_SECONDS = 60, 5, 20


def describe_xcodec(checkpoint: Checkpoint, bandwidth: float | None, n_q: int | None) -> CodecSpec:
    """The facts of a checkpoint of X-Codec or Higgs.

    Raises:
        CodecLoadError: no such bandwidth or number of codebooks, or no such configuration.
    """
    config = read_config(checkpoint)
    return windowed_spec(
        checkpoint,
        [config.codebook_size] * config.num_quantizers,
        bandwidth,
        n_q,
        sample_rate=config.sample_rate,
        frame_length=config.hop_length,
        window_seconds=WINDOW_SECONDS,
        context_seconds=CONTEXT_SECONDS,
    )


class XCodec(WindowedCodec):
    """A checkpoint of `XcodecModel`, computed by transformers' own modules: on a CPU a window at a
    time, on a GPU in batches (`tokenizer.codecs.semantic.gpu.xcodec`)."""

    def __init__(self, folder: Path, spec: CodecSpec, device: str, reference: bool = False) -> None:
        """With `reference`, windows are encoded one at a time on a GPU too."""
        self.spec = spec
        self.piece_length = whole_frames(PIECE_SECONDS, spec.sample_rate, spec.frame_length)
        self._device = torch.device(device)
        self._model = self._load(folder)
        self._open(self._model, device, reference)

    def _open_batches(self, model: Any, rows: tuple[int, ...] | None = None) -> list[WholeBatches]:
        n_q = self.spec.n_q
        return window_batches(
            EncodeRows(model, n_q),
            EncodeAlone(model, n_q),
            next(model.parameters()).device,
            self.spec,
            channels=int(model.config.acoustic_model_config.encoder_hidden_size),
            rows=rows,
        )

    def _load(self, folder: Path) -> Any:
        from transformers import XcodecModel

        return load_pretrained(XcodecModel, folder, self._device)

    def encode_window(self, samples: NDArray[np.float32]) -> NDArray[np.uint16]:
        with torch.inference_mode(), arithmetic(self.spec.precision):
            there = torch.from_numpy(samples)[None].to(self._device)
            padded = functional.pad(there, (0, -samples.shape[1] % self.spec.frame_length))
            # All levels, since levels nest, and the model counts them by its bandwidths only.
            with finite_outputs(self._model.fc) as finite:
                found = self._model.encode(padded, return_dict=True).audio_codes
            check_finite(all(map(bool, finite)))
            found = found[0, : self.spec.n_q]
            codes: NDArray[np.uint16] = found.cpu().numpy().astype(np.uint16)
        return codes

    def decode_window(self, codes: NDArray[np.uint16]) -> NDArray[np.float32]:
        with torch.inference_mode(), arithmetic("exact"):
            there = torch.from_numpy(codes.astype(np.int64))[None].to(self._device)
            found = self._model.decode(there, return_dict=True).audio_values[0]
            samples: NDArray[np.float32] = found.float().cpu().numpy()
        return samples


class HiggsTokenizer(XCodec):
    """A checkpoint of `HiggsAudioV2TokenizerModel`, likewise."""

    def _load(self, folder: Path) -> Any:
        return load_pretrained(higgs_model_class(), folder, self._device)


def higgs_model_class() -> Any:
    """transformers' `HiggsAudioV2TokenizerModel`, with torchaudio or without.

    Its module imports torchaudio for one function, which is here too; where there is no torchaudio,
    or none that loads, the module gets ours.
    """
    try:
        import_module("torchaudio")
    except Exception:  # a broken one raises whatever its libraries raise
        stand_in: Any = ModuleType("torchaudio")
        stand_in.functional = SimpleNamespace(resample=resample)
        before = sys.modules.get("torchaudio")
        sys.modules["torchaudio"] = stand_in
        try:
            return import_module(_HIGGS).HiggsAudioV2TokenizerModel
        finally:
            del sys.modules["torchaudio"]
            if before is not None:
                sys.modules["torchaudio"] = before
    return import_module(_HIGGS).HiggsAudioV2TokenizerModel
