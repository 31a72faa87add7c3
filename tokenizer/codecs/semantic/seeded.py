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

from tokenizer.codecs.encodec.arithmetic import exact_float32, one_thread
from tokenizer.codecs.encodec.seeded import synthetic_audio
from tokenizer.codecs.semantic.features import Extractor
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
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "reduced": REDUCED,
    "full": {
        "xcodec": {},
        "higgs_audio_v2_tokenizer": {
            "acoustic_model_config": {
                "downsampling_ratios": _HIGGS_RATIOS,
                "upsampling_ratios": _HIGGS_RATIOS,
            },
            "target_bandwidths": [0.5, 1, 1.5, 2],
            "codebook_dim": 64,
        },
        "xcodec2": {},
        "neucodec": {},
    },
}
"""likewise; "full" is transformers' own, but for what Higgs has otherwise"""
_SECONDS = 4


def write_seeded_semantic(
    folder: str | Path,
    *,
    model_type: str,
    size: str = "reduced",
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a seeded checkpoint with `save_pretrained`.

    Args:
        folder: where to; made if missing.
        model_type: a row of `REDUCED`.
        size: of `SIZES`.
        seed: of weights and codebooks.
        changes: other settings of its configuration.

    Raises:
        UsageError: no such model type or size.
    """
    from transformers import AutoConfig
    from transformers.utils import logging

    if size not in SIZES:
        raise UsageError(f"no seeded model of size {size}: choose from {', '.join(SIZES)}")
    if model_type not in REDUCED:
        raise UsageError(f"no seeded model {model_type}: choose from {', '.join(REDUCED)}")
    model_class = _model_class(model_type)
    config = AutoConfig.for_model(model_type, **{**SIZES[size][model_type], **(changes or {})})
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
            _fill_codebooks(model)
        else:
            _scale_projection(model)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    return Path(folder)


def _model_class(model_type: str) -> Any:
    """Of a row of `REDUCED`; a transformers before 5.17 lacks the last."""
    import transformers

    if model_type == "higgs_audio_v2_tokenizer":
        return higgs_model_class()
    classes = {"xcodec": "XcodecModel", "xcodec2": "Xcodec2Model", "neucodec": "NeuCodecModel"}
    return getattr(transformers, classes[model_type])


def _enliven(model: Any) -> None:
    """Weights that keep their input's size, where transformers' beginnings are near zero, and two
    branches that weigh the same."""
    for name, module in model.named_modules():
        plain = isinstance(module, torch.nn.Conv1d) and not hasattr(module, "parametrizations")
        linear = isinstance(module, torch.nn.Linear) and name.startswith("semantic_")
        if (plain or linear) and "decoder" not in name:
            gain = 1.0 / module.weight[0].numel() ** 0.5
            module.weight.copy_(gain * torch.randn_like(module.weight))
    for module in model.acoustic_encoder.modules():
        if type(module).__name__.endswith("ResidualUnit"):
            # Beside the shortcut: sums of many units would grow.
            module.conv2.weight.mul_(0.3)
    adapter = getattr(model, "semantic_adapter", None)
    if adapter is None:
        semantic = model.encoder_semantic
        lasts = {model.acoustic_encoder: model.acoustic_encoder.conv2}
        lasts[semantic] = semantic.conv_blocks[-1].conv
    else:
        lasts = {model.acoustic_encoder: model.acoustic_encoder.conv2, adapter: adapter.conv4}
    _balance(model, lasts)


def _balance(model: Any, lasts: Mapping[Any, Any]) -> None:
    """Branches, by their last convolutions, to deviations of 1 over some audio."""
    seen: dict[Any, list[torch.Tensor]] = {branch: [] for branch in lasts}
    handles = [
        branch.register_forward_hook(lambda module, _, out: seen[module].append(out))
        for branch in lasts
    ]
    _listen(model)
    for handle in handles:
        handle.remove()
    for branch, last in lasts.items():
        size = float(torch.cat(seen[branch], dim=2).std(2).square().mean().sqrt())
        last.weight.div_(size)
        if last.bias is not None:
            last.bias.div_(size)


def _listen(model: Any) -> None:
    """Let a model encode some audio."""
    if hasattr(model, "semantic_adapter"):
        extractor = Extractor(320, 160, fills=False)
        for part in torch.split(0.3 * synthetic_audio(1, 16_000, _SECONDS), 16_000, dim=1):
            padded, features = extractor(part.numpy())
            model.encode(padded[None], input_features=features[None])
        return
    rate, hop = int(model.config.sample_rate), int(model.config.hop_length)
    for part in torch.split(0.3 * synthetic_audio(1, rate, _SECONDS), rate // hop * hop, dim=1):
        model.encode(part[None, :, : part.shape[1] // hop * hop])


def _fill_codebooks(model: Any) -> None:
    """Level by level, from the residuals that the level sees."""
    seen: list[torch.Tensor] = []
    original = model.quantizer.encode

    def look(embeddings: torch.Tensor, bandwidth: float | None = None) -> torch.Tensor:
        seen.append(embeddings)
        codes: torch.Tensor = original(embeddings, bandwidth)
        return codes

    model.quantizer.encode = look
    _listen(model)
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
    _listen(model)
    handle.remove()
    found = torch.cat(seen, dim=1)[0]
    deviation, mean = found.std(0) / 2, found.mean(0)
    projection.weight.div_(deviation[:, None])
    projection.bias.copy_((projection.bias - mean) / deviation)
