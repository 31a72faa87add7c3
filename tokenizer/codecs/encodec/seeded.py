"""EnCodec checkpoints with seeded, untrained weights: `python -m tokenizer.codecs.encodec.seeded
FOLDER`.

For exactness tests, benchmarks and demonstrations without a network: the arithmetic, shapes and
cost are those of the real model, the sound is not. transformers initialises codebooks to zeros,
which makes every code 0 and every comparison of codes empty; here each codebook is drawn from the
residuals that its level really sees, so that codes are diverse at every level.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tokenizer.codecs.encodec.arithmetic import exact_float32, one_thread
from tokenizer.errors import CodecshardsError, UsageError

MODELS: dict[str, dict[str, Any]] = {
    "48khz": {
        "sampling_rate": 48_000,
        "audio_channels": 2,
        "target_bandwidths": [3.0, 6.0, 12.0, 24.0],
        "normalize": True,
        "chunk_length_s": 1.0,
        "overlap": 0.01,
        "norm_type": "time_group_norm",
        "use_causal_conv": False,
    },
    "24khz": {
        "sampling_rate": 24_000,
        "audio_channels": 1,
        "target_bandwidths": [1.5, 3.0, 6.0, 12.0, 24.0],
    },
    "32khz": {
        "sampling_rate": 32_000,
        "audio_channels": 1,
        "target_bandwidths": [2.2],
        "num_filters": 64,
        "upsampling_ratios": [8, 5, 4, 4],
        "codebook_size": 2048,
        "use_causal_conv": False,
        "use_conv_shortcut": False,
    },
}
"""what distinguishes the three published checkpoints, the last of which is MusicGen's"""
SIZES: dict[str, dict[str, Any]] = {"full": {}, "reduced": {"num_filters": 4, "hidden_size": 16}}
"""full is the published architecture; reduced is the same with few channels, some 30 times
faster"""
_SECONDS = 20
"""of synthetic audio to draw codebooks from, at least: a frame for every entry is needed"""


def write_seeded(
    folder: str | Path,
    *,
    model: str = "48khz",
    size: str = "full",
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a seeded checkpoint with `save_pretrained`.

    Args:
        folder: where to; made if missing.
        model: a row of `MODELS`.
        size: a row of `SIZES`.
        seed: of the weights and codebooks; the same seed gives the same ones on one machine.
        changes: other settings of `EncodecConfig` than the model and size have.

    Raises:
        UsageError: no such model or size.
    """
    from transformers import EncodecConfig, EncodecModel
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
        net = EncodecModel(
            EncodecConfig(**{**MODELS[model], **SIZES[size], **(changes or {})})
        ).eval()  # type: ignore[no-untyped-call]
        _fill_codebooks(net)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    net.save_pretrained(folder)
    return Path(folder)


def _fill_codebooks(net: Any) -> None:
    """Level by level: as many as a codebook has entries of the residuals seen so far
    become the codebook, what they leave goes to the next level."""
    residual = _embeddings(net)
    for layer in net.quantizer.layers:
        codebook = layer.codebook
        chosen = torch.randperm(residual.shape[0])[: codebook.codebook_size]
        # With noise, or the entries would reproduce these very residuals and leave nothing to the
        # next level.
        noise = 0.35 * residual.std(0) * torch.randn(len(chosen), residual.shape[1])
        codebook.embed.copy_(residual[chosen] + noise)
        codebook.embed_avg.copy_(codebook.embed)
        codebook.cluster_size.fill_(1.0)
        residual = residual - codebook.decode(codebook.encode(residual))


def _embeddings(net: Any) -> torch.Tensor:
    config = net.config
    seconds = max(_SECONDS, -(-config.codebook_size // config.frame_rate))
    samples = synthetic_audio(config.audio_channels, config.sampling_rate, seconds)
    frames = [
        net.encoder(second[None])[0].T
        for second in torch.split(samples, config.sampling_rate, dim=1)
    ]
    return torch.cat(frames)


def synthetic_audio(channels: int, sample_rate: int, seconds: int) -> torch.Tensor:
    """Noise and chords with a moving level, float32 `[channels, samples]`, about unit RMS."""
    time = torch.arange(seconds * sample_rate) / sample_rate
    pitches = 55.0 * 2.0 ** (torch.rand(seconds, 4, 1) * 5.0)
    phases = 2.0 * torch.pi * pitches * time.view(seconds, 1, sample_rate)
    chords = phases.sin().sum(1).view(1, -1)
    noise = torch.randn(channels, seconds * sample_rate)
    swell = 0.2 + 0.8 * (torch.pi * 1.7 * time).sin().abs()
    return (0.6 * chords + 0.7 * noise * swell).float()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    module = "tokenizer.codecs.encodec.seeded"
    return run_writer(write_seeded, module, __doc__, "EnCodec", SIZES, MODELS, arguments)


def run_writer(
    write: Callable[..., object],
    module: str,
    about: str,
    kind: str,
    sizes: Iterable[str],
    models: Sequence[str] | Mapping[str, Any],
    arguments: Sequence[str] | None,
) -> int:
    """The command of a module that writes seeded checkpoints.

    Args:
        write: takes a folder, and `model`, `size` and `seed`; `model` only where there are several.
        module: of `python -m`, which runs it by another name.
        about: its docstring.
        kind: of codec, for what is printed.
        sizes: rows of its `SIZES`.
        models: likewise of its `MODELS`, the default first.
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about.splitlines()[0])
    parser.add_argument("folder")
    if models:
        parser.add_argument("--model", default=next(iter(models)), choices=sorted(models))
    parser.add_argument("--size", default="full", choices=sorted(sizes))
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args(arguments))
    folder = options.pop("folder")
    try:
        write(folder, **options)
    except (CodecshardsError, OSError) as error:
        print(f"seeded: {error}", file=sys.stderr)
        return 2
    which = " ".join(str(options[name]) for name in ("size", "model") if name in options)
    print(f"{folder}: a {which} {kind} with seeded, untrained weights")
    return 0


if __name__ == "__main__":
    sys.exit(main())
