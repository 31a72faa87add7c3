"""The scale of a chunk: the RMS of its mono mix, by which EnCodec divides it."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch.nn import functional

from tokenizer.codecs.encodec.arithmetic import one_thread

TOGETHER = 128
"""numbers that are added up in one sum"""
SILENCE = 1e-8
"""added to every RMS, as EnCodec does: silence is divided by it"""


def normalise(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide each chunk of `[batch, channels, n]` by the RMS of its mono mix plus 1e-8, as EnCodec
    does.

    Returns:
        The chunks and the scales `[batch, 1, 1]`; on a CPU the same with any number of threads:
        those that transformers gives with one. With several it adds chunks of more than 32,768
        samples up in parts, and some scales differ in a float32's last bit, which no run with
        another number of encoders could repeat.
    """
    mono = samples.sum(1, keepdim=True) / samples.shape[1]
    with one_thread() if samples.device.type == "cpu" else nullcontext():
        scales = mono.pow(2).mean(dim=-1, keepdim=True).sqrt() + SILENCE
    return samples / scales, scales


def row_scales(samples: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """The RMS of each row's mono mix plus 1e-8, `[rows]`, of `[rows, channels, width]` with zeros
    beyond each row's end; the same whatever rows share a batch, and whatever its width."""
    mono = samples.sum(1) / samples.shape[1]
    count = mono.new_full((), samples.shape[2]) if lengths is None else lengths
    return (summed(mono.square()) / count).sqrt() + SILENCE


def summed(x: torch.Tensor) -> torch.Tensor:
    """`[rows, n]` to `[rows]`, in parts of a fixed size: how torch divides one long sum depends on
    how many there are."""
    while x.shape[1] > 1:
        padded = functional.pad(x, (0, -x.shape[1] % TOGETHER))
        x = padded.view(x.shape[0], -1, TOGETHER).sum(2)
    return x[:, 0]
