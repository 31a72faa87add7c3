"""Checkpoints of these codecs with seeded, untrained weights, for exactness tests and
demonstrations without a network.

transformers initialises codebooks to zeros and convolutions to next to nothing, which makes all
codes the same. Here each codebook is drawn from what its level really sees, and what goes into a
scalar quantizer is scaled to its range.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from tokenizer.codecs.encodec.arithmetic import exact_float32, one_thread
from tokenizer.codecs.encodec.seeded import synthetic_audio
from tokenizer.codecs.semantic.features import mel_features, standardised
from tokenizer.codecs.semantic.xcodec import higgs_model_class
from tokenizer.errors import UsageError

_HUBERT = {
    "model_type": "hubert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
_DAC = {"model_type": "dac", "encoder_hidden_size": 8, "hidden_size": 16, "decoder_hidden_size": 64}
_BERT = {
    "model_type": "wav2vec2-bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "output_hidden_size": 32,
}
_VOCOS = {
    "semantic_model_config": _BERT,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "encoder_hidden_size": 4,
    "quantization_dim": 96,
}
_RATIOS, _HIGGS_RATIOS = [8, 5, 4, 2], [8, 5, 4, 2, 3]
REDUCED: dict[str, dict[str, Any]] = {
    "xcodec": {
        "semantic_model_config": _HUBERT,
        "acoustic_model_config": {
            **_DAC,
            "downsampling_ratios": _RATIOS,
            "upsampling_ratios": _RATIOS,
        },
    },
    "higgs_audio_v2_tokenizer": {
        "semantic_model_config": _HUBERT,
        "acoustic_model_config": {
            **_DAC,
            "downsampling_ratios": _HIGGS_RATIOS,
            "upsampling_ratios": _HIGGS_RATIOS,
        },
        "target_bandwidths": [0.5, 1, 1.5, 2],
        "codebook_dim": 16,
    },
    "xcodec2": _VOCOS,
    "neucodec": _VOCOS,
}
"""by `model_type`: the published architecture with few channels and layers"""
_SECONDS = 4


def write_seeded_semantic(
    folder: str | Path,
    *,
    model_type: str,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a seeded checkpoint of few channels with `save_pretrained`.

    Args:
        folder: where to; made if missing.
        model_type: a row of `REDUCED`.
        seed: of weights and codebooks.
        changes: other settings of its configuration.

    Raises:
        UsageError: no such model type.
    """
    from transformers import AutoConfig, Xcodec2Model, XcodecModel
    from transformers.models.neucodec.modeling_neucodec import NeuCodecModel
    from transformers.utils import logging

    if model_type not in REDUCED:
        raise UsageError(f"no seeded model {model_type}: choose from {', '.join(REDUCED)}")
    classes = {"xcodec": XcodecModel, "xcodec2": Xcodec2Model, "neucodec": NeuCodecModel}
    model_class: Any = classes.get(model_type) or higgs_model_class()
    config = AutoConfig.for_model(model_type, **{**REDUCED[model_type], **(changes or {})})
    with (
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(),
        exact_float32(),
        one_thread(),
    ):
        torch.manual_seed(seed)
        model = model_class(config).eval()
        _enliven(model)
        if hasattr(model.quantizer, "quantizers"):
            _fill_codebooks(model, config)
        else:
            _scale_projection(model)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    return Path(folder)


def _enliven(model: Any) -> None:
    """Convolutions that keep their input's size, where transformers' beginnings are near zero."""
    for name, module in model.named_modules():
        plain = isinstance(module, torch.nn.Conv1d) and not hasattr(module, "parametrizations")
        if plain and "decoder" not in name:
            gain = 1.2 / module.weight[0].numel() ** 0.5
            module.weight.copy_(gain * torch.randn_like(module.weight))


def _fill_codebooks(model: Any, config: Any) -> None:
    """Level by level, from the residuals that the level sees."""
    rate, hop = int(config.sample_rate), int(config.hop_length)
    seen: list[torch.Tensor] = []
    original = model.quantizer.encode

    def look(embeddings: torch.Tensor, bandwidth: float | None = None) -> torch.Tensor:
        seen.append(embeddings)
        codes: torch.Tensor = original(embeddings, bandwidth)
        return codes

    model.quantizer.encode = look
    for part in torch.split(0.3 * synthetic_audio(1, rate, _SECONDS), rate // hop * hop, dim=1):
        model.encode(part[None, :, : part.shape[1] // hop * hop])
    del model.quantizer.encode
    residual = torch.cat(seen, dim=2)
    for level in model.quantizer.quantizers:
        frames = residual[0].T
        if hasattr(level, "project_in"):
            frames = level.project_in(frames)
        book = level.codebook
        size = book.embed.shape[0]
        chosen = torch.randint(frames.shape[0], (size,))
        noise = 0.35 * frames.std(0) * torch.randn(size, frames.shape[1])
        book.embed.copy_(frames[chosen] + noise)
        book.embed_avg.copy_(book.embed)
        book.cluster_size.fill_(1.0)
        residual = residual - level.decode(level.encode(residual))


def _scale_projection(model: Any) -> None:
    """Scale and shift what is quantized, over some audio, to the range of its levels."""
    projection, seen = model.quantizer.project_in, []
    handle = projection.register_forward_hook(lambda _, __, out: seen.append(out))
    for part in torch.split(0.3 * synthetic_audio(1, 16_000, _SECONDS)[0], 16_000):
        padded = functional.pad(part, (0, 320))
        features = standardised(mel_features(functional.pad(padded, (160, 160)) * 2**15))
        pairs = features[: 2 * (padded.shape[0] // 320)].reshape(1, -1, 160)
        model.encode(padded[None, None], input_features=pairs)
    handle.remove()
    found = torch.cat(seen, dim=1)[0]
    deviation, mean = found.std(0) / 2, found.mean(0)
    projection.weight.div_(deviation[:, None])
    projection.bias.copy_((projection.bias - mean) / deviation)
