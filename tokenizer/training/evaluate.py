"""Evaluation on held-out audio, through the inference path of the model: what a user of the
checkpoint will get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.training.data.draws import usable
from tokenizer.training.data.pack import Pack
from tokenizer.training.losses import MelLoss, si_snr
from tokenizer.training.networks.model import to_model_level

_TRIES = 20


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One bandwidth on the held-out seconds."""

    bandwidth: float
    """kbps"""
    si_snr: float
    """dB, the median over seconds"""
    si_snr_mean: float
    """dB"""
    mel: float
    """the mel loss, the mean over seconds"""
    perplexity: tuple[float, ...]
    """of each level's codes: 2 to the power of their entropy; at most the codebook size, and the
    number of frames"""
    used: tuple[float, ...]
    """share of each level's codes that occur"""


def held_out_seconds(
    pack: Pack, count: int, seconds: float = 1.0, seed: int = 0
) -> NDArray[np.float32]:
    """Audible excerpts of held-out recordings, float32 `[n, channels, samples]`, the same at every
    call; `n` may be 0.

    Recordings take turns, longer than an excerpt only, so that one long recording does not stand
    for all.
    """
    length = round(seconds * pack.sample_rate)
    rng = np.random.default_rng([seed, 5])
    recordings = [r for r in pack.recordings if r.held_out and r.num_samples >= length]
    found: list[NDArray[np.float32]] = []
    for _ in range(_TRIES * -(-count // max(1, len(recordings)))):
        for recording in recordings:
            if len(found) == count:
                return np.stack(found)
            start = int(rng.integers(recording.num_samples - length + 1))
            excerpt = pack.read(recording, start, length)
            if usable(excerpt / max(1.0, float(np.abs(excerpt).max()))):
                found.append(excerpt)
    return np.stack(found) if found else np.zeros((0, pack.channels, length), np.float32)


def evaluate(
    model: Any, excerpts: NDArray[np.float32], device: torch.device, batch: int = 8
) -> list[Evaluation]:
    """Encode and decode excerpts `[n, channels, samples]` at each of the model's bandwidths.

    The codebooks nest, so one encoding at the highest bandwidth holds the others.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), exact_float32():
            targets = [
                to_model_level(model, torch.from_numpy(part).to(device))
                for part in _parts(excerpts, batch)
            ]
            codes = [model.quantizer.encode(model.encoder(target)) for target in targets]
            return [
                _at(model, float(bandwidth), targets, codes)
                for bandwidth in model.config.target_bandwidths
            ]
    finally:
        model.train(was_training)


def _at(
    model: Any, bandwidth: float, targets: list[torch.Tensor], codes: list[torch.Tensor]
) -> Evaluation:
    n_q = model.quantizer.get_num_quantizers_for_bandwidth(bandwidth)
    mel_loss = MelLoss(model.config.sampling_rate)
    ratios, mels = [], []
    for target, code in zip(targets, codes, strict=True):
        decoded = model.decoder(model.quantizer.decode(code[:n_q]))[..., : target.shape[-1]]
        ratios.append(si_snr(decoded, target))
        mels += [
            float(mel_loss(ours[None], theirs[None]))
            for ours, theirs in zip(decoded, target, strict=True)
        ]
    ratio = torch.cat(ratios)
    used = torch.cat([code[:n_q].flatten(1) for code in codes], dim=1)
    counts = torch.stack(
        [torch.bincount(level, minlength=model.config.codebook_size) for level in used]
    ).double()
    return Evaluation(
        bandwidth=bandwidth,
        si_snr=float(ratio.median()),
        si_snr_mean=float(ratio.mean()),
        mel=float(np.mean(mels)),
        perplexity=tuple(round(value, 2) for value in perplexity(counts).tolist()),
        used=tuple(round(value, 4) for value in (counts > 0).double().mean(1).tolist()),
    )


def perplexity(counts: torch.Tensor) -> torch.Tensor:
    """2 to the power of the entropy of each row of counts `[levels, size]`: the number of codes
    that an even use would have."""
    shares = counts / counts.sum(1, keepdim=True)
    entropy: torch.Tensor = -(shares * shares.clamp(min=1e-30).log2()).sum(1)
    return entropy.exp2()


def _parts(excerpts: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    return [excerpts[start : start + size] for start in range(0, len(excerpts), size)]
