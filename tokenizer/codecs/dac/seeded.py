"""DAC checkpoints with seeded, untrained weights: `python -m tokenizer.codecs.dac.seeded FOLDER`.

For exactness tests, benchmarks and demonstrations without a network: the arithmetic, shapes and
cost are those of the real model, the sound is not. What transformers initialises the model to makes
an encoder whose output hardly depends on its input. Here weights keep the size of what passes,
Snake's frequencies are spread as training spreads them, and each codebook is drawn from the
directions that its level really sees, so that codes are diverse at every level.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tokenizer.codecs.encodec.arithmetic import exact_float32, one_thread
from tokenizer.codecs.encodec.seeded import run_writer, synthetic_audio
from tokenizer.errors import UsageError

MODELS: dict[str, dict[str, Any]] = {
    "44khz": {"sampling_rate": 44_100, "downsampling_ratios": [2, 4, 8, 8], "n_codebooks": 9},
    "24khz": {"sampling_rate": 24_000, "downsampling_ratios": [2, 4, 5, 8], "n_codebooks": 32},
    "16khz": {"sampling_rate": 16_000, "downsampling_ratios": [2, 4, 5, 8], "n_codebooks": 12},
}
"""what distinguishes the three published checkpoints"""
SIZES: dict[str, dict[str, Any]] = {
    "full": {},
    "reduced": {"encoder_hidden_size": 4, "decoder_hidden_size": 64, "codebook_size": 256},
}
"""full is the published architecture; reduced is the same with few channels, some 200 times
faster"""
_SECONDS = 10
"""of synthetic audio to draw codebooks from"""
_KEPT = 0.6
"""share of a residual's size that a level leaves, about as trained levels do"""
_LOUD = 0.05
"""RMS of what is decoded"""


def write_seeded_dac(
    folder: str | Path,
    *,
    model: str = "44khz",
    size: str = "reduced",
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a seeded checkpoint with `save_pretrained`.

    Args:
        folder: where to; made if missing.
        model: a row of `MODELS`.
        size: a row of `SIZES`.
        seed: of the weights and codebooks; the same seed gives the same ones on one machine.
        changes: other settings of `DacConfig` than the model and size have.

    Raises:
        UsageError: no such model or size.
    """
    from transformers import DacConfig, DacFeatureExtractor, DacModel
    from transformers.utils import logging

    if model not in MODELS or size not in SIZES:
        raise UsageError(
            f"no seeded model {model} of size {size}: choose from {list(MODELS)} and {list(SIZES)}"
        )
    # The caller's random state stays as it is, and their arithmetic does not matter.
    with (
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(),
        exact_float32(),
        one_thread(),
    ):
        torch.manual_seed(seed)
        config = DacConfig(**{**MODELS[model], **SIZES[size], **(changes or {})})
        net = DacModel(config).eval()  # type: ignore[no-untyped-call]
        _spread(net)
        frames = _embeddings(net)
        _fill_codebooks(net, frames)
        final = net.decoder.conv2
        final.weight.mul_(_LOUD / _size(net, frames))
        final.bias.zero_()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    net.save_pretrained(folder)
    extractor = DacFeatureExtractor(
        sampling_rate=config.sampling_rate, hop_length=config.hop_length
    )
    extractor.save_pretrained(folder)
    return Path(folder)


def _spread(net: Any) -> None:
    """Weights that keep the size of what passes, small biases, and Snakes of several
    frequencies."""
    for module in net.modules():
        kind = type(module).__name__
        if kind == "Snake1d":
            module.alpha.copy_(torch.exp(0.5 * torch.randn_like(module.alpha)))
        elif kind in ("Conv1d", "ConvTranspose1d"):
            fan_in = module.in_channels * module.kernel_size[0]
            if kind == "ConvTranspose1d":
                fan_in //= module.stride[0]
            weight = torch.randn_like(module.weight) / math.sqrt(fan_in)
            # Snake's output has a mean, which would grow from layer to layer and hide the signal.
            inputs = 1 if kind == "Conv1d" else 0
            if module.in_channels > 1:
                weight = weight - weight.mean(dim=inputs, keepdim=True)
            module.weight.copy_(weight)
            module.bias.copy_(0.05 * torch.randn_like(module.bias))


def _fill_codebooks(net: Any, residual: torch.Tensor) -> None:
    """Level by level: the codebook is drawn from the projections seen so far, and the way back is
    the projection's transpose, so that a level takes off a share of what it sees."""
    for level in net.quantizer.quantizers:
        down = level.in_proj.weight[:, :, 0]
        # Rows at right angles, along which the residual lies most: what is taken off is seen.
        directions = torch.linalg.svd(residual - residual.mean(0), full_matrices=False).Vh
        down.copy_(_turned(len(down)) @ directions[: len(down)])
        level.out_proj.weight[:, :, 0].copy_(down.t())
        level.in_proj.bias.copy_(-(residual.mean(0) @ down.t()))
        level.out_proj.bias.copy_(residual.mean(0) * (1 - _KEPT))
        latents = residual @ down.t() + level.in_proj.bias
        chosen = torch.randint(0, latents.shape[0], (level.codebook.num_embeddings,))
        entries = latents[chosen]
        level.codebook.weight.copy_(entries + 0.35 * entries.std(0) * torch.randn_like(entries))
        residual = residual - level(residual.t()[None])[0][0].t()


def _size(net: Any, frames: torch.Tensor) -> float:
    """RMS of what the last convolution gives, before the tanh, which may be full."""
    found: list[torch.Tensor] = []
    hook = net.decoder.conv2.register_forward_hook(lambda layer, given, y: found.append(y))
    net.decoder(frames[:100].t()[None])
    hook.remove()
    return float(found[0].std())


def _turned(size: int) -> torch.Tensor:
    """A random rotation, `[size, size]`."""
    rotation: torch.Tensor = torch.linalg.qr(torch.randn(size, size)).Q
    return rotation


def _embeddings(net: Any) -> torch.Tensor:
    """float32 `[frames, dim]` of some seconds of synthetic audio."""
    config = net.config
    second = config.sampling_rate // config.hop_length * config.hop_length
    samples = 0.2 * synthetic_audio(1, config.sampling_rate, _SECONDS)
    frames = [
        net.encoder(samples[None, :, i * second : (i + 1) * second])[0].T for i in range(_SECONDS)
    ]
    return torch.cat(frames)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    module = "tokenizer.codecs.dac.seeded"
    return run_writer(write_seeded_dac, module, __doc__, "DAC", SIZES, MODELS, arguments)


if __name__ == "__main__":
    sys.exit(main())
