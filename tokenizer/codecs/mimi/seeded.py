"""Mimi checkpoints with seeded, untrained weights: `python -m tokenizer.codecs.mimi.seeded FOLDER`.

For exactness tests, benchmarks and demonstrations without a network, as
`tokenizer.codecs.encodec.seeded`: shapes, arithmetic and cost are those of the real model, the
sound is not. Three things are not as transformers initialises them, or comparisons would say
little: codebooks are drawn from embeddings of synthetic audio (they would be zeros), each
sum of a codebook is divided by a usage of its own, as trained ones are, and what the
transformer's layers add is large (it would be a hundredth), so that what attention sees decides
codes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tokenizer.codecs.encodec.arithmetic import exact_float32, one_thread
from tokenizer.codecs.encodec.seeded import run_writer, synthetic_audio
from tokenizer.codecs.mimi.halves import DecoderHalf, EncoderHalf
from tokenizer.errors import UsageError

SIZES: dict[str, dict[str, Any]] = {
    "full": {},
    "reduced": {
        "num_filters": 4,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 64,
        "sliding_window": 12,
        "upsample_groups": 32,
        "codebook_size": 64,
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
    },
}
"""full is the published architecture; reduced is the same with few channels and layers, and
attention over half a second"""
_SECONDS = 40
"""of synthetic audio to draw codebooks from"""
_SIZE, _DECAY = 0.3, 0.95
"""of the first level's entries beside embeddings, and of each level's beside those before"""
_RATE = 24_000
_LOUDNESS = 0.1
"""RMS of what random codes are decoded to"""
_LAYER_SCALE = 0.3


def write_seeded_mimi(
    folder: str | Path,
    *,
    size: str = "reduced",
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a seeded checkpoint with `save_pretrained`.

    Args:
        folder: where to; made if missing.
        size: a row of `SIZES`.
        seed: of the weights and codebooks; the same seed gives the same ones on one machine.
        changes: other settings of `MimiConfig` than the size has.

    Raises:
        UsageError: no such size.
    """
    from transformers import MimiConfig, MimiModel
    from transformers.utils import logging

    if size not in SIZES:
        raise UsageError(f"no seeded Mimi of size {size}: choose from {list(SIZES)}")
    # The caller's random state stays as it is, and their arithmetic does not matter.
    with torch.random.fork_rng(devices=[]), torch.inference_mode(), exact_float32(), one_thread():
        torch.manual_seed(seed)
        config = MimiConfig(**{**SIZES[size], **(changes or {})})
        net: Any = MimiModel(config).eval()  # type: ignore[no-untyped-call]
        _fill_layer_scales(net)
        _fill_codebooks(net)
        _lower_volume(net)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    net.save_pretrained(folder)
    return Path(folder)


def _fill_layer_scales(net: Any) -> None:
    for half in (EncoderHalf.of(net), DecoderHalf.of(net)):
        for layer in half.transformer.layers:
            for scaling in (layer.self_attn_layer_scale, layer.mlp_layer_scale):
                scaling.scale.copy_(_LAYER_SCALE * torch.rand_like(scaling.scale))


def _fill_codebooks(net: Any) -> None:
    """Both quantizers begin with the same embeddings, less what all of them have in common, which
    would choose the same entries for all."""
    latents = _latents(net)
    common = torch.nn.functional.normalize(latents.mean(0), dim=0)
    split = net.quantizer
    for quantizer in (
        split.semantic_residual_vector_quantizer,
        split.acoustic_residual_vector_quantizer,
    ):
        frames = latents - (latents @ common)[:, None] * common
        if quantizer.input_proj is not None:
            weight = quantizer.input_proj.weight[:, :, 0]
            weight -= (weight @ common)[:, None] * common
            frames = frames @ weight.T
        for level, layer in enumerate(quantizer.layers):
            _fill(layer.codebook, _SIZE * _DECAY**level, frames)


def _fill(codebook: Any, size: float, frames: torch.Tensor) -> None:
    """Entries are differences of two frames each, and some noise: no two levels share one, and
    what they leave is never nothing."""
    one, other = torch.randint(len(frames), (2, codebook.codebook_size))
    noise = 0.3 * frames.std(0) * torch.randn(codebook.codebook_size, frames.shape[1])
    usage = 1.0 + 50.0 * torch.rand(codebook.codebook_size)
    codebook.cluster_usage.copy_(usage)
    codebook.embed_sum.copy_(size * (frames[one] - frames[other] + noise) * usage[:, None])
    codebook._embed = None


def _lower_volume(net: Any) -> None:
    """What is decoded is as loud as audio is: the tolerances of tests are of full scale."""
    codes = torch.randint(net.config.codebook_size, (1, net.config.num_quantizers, 50))
    last = DecoderHalf.of(net).seanet.layers[-1].conv
    loudness = net.decode(codes).audio_values.square().mean().sqrt()
    for parameter in (last.weight, last.bias):
        parameter *= _LOUDNESS / loudness


def _latents(net: Any) -> torch.Tensor:
    """float32 `[frames, dim]`, of audio that is loud and soft by turns."""
    samples = synthetic_audio(net.config.audio_channels, _RATE, _SECONDS)
    gains = 10.0 ** (-3.0 * torch.rand(5 * _SECONDS)).repeat_interleave(_RATE // 5)
    return EncoderHalf.of(net)((samples * gains)[None])[0].T


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    module = "tokenizer.codecs.mimi.seeded"
    return run_writer(write_seeded_mimi, module, __doc__, "Mimi", SIZES, (), arguments)


if __name__ == "__main__":
    sys.exit(main())
