"""Initial weights that make the network a block transform coder before its first step of training.

From random weights a few thousand steps go into passing a waveform through at all, and a small
network trained on a CPU stays there. Instead, every strided convolution starts as the
Karhunen-Loève transform of what reaches it (the leading eigenvectors of the second moments of a
block of inputs; Goyal 2001 on transform coding), and the decoder's mirror layer as its transpose.
Signals start so small that ELU is nearly the identity, and the LSTMs nearly silent beside their
shortcuts. Training then widens the blocks into overlapping, nonlinear ones.

Within a layer the coefficients are turned by a random rotation: all channels carry the same level,
and none saturates. Normalisation layers would undo the levels, so this is for
`norm_type="weight_norm"`, and for no residual blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import elu

from tokenizer.errors import UsageError

LEVEL = 0.05
"""RMS within the network: ELU's error, half a square, is then some 30 dB below its input"""
_SPARE = 0.1
"""rows beyond what there is to pass on, as a part of the level: small features for the training to
find a use for"""
_LSTM = 0.1


@dataclass(frozen=True, slots=True)
class Block:
    """One transform."""

    rows: torch.Tensor
    """`[outputs, inputs, taps]`, orthonormal but for spare rows"""
    gain: float


@torch.no_grad()
def start_as_transform(model: Any, batches: Sequence[torch.Tensor], seed: int) -> None:
    """Overwrite the weights of encoder and decoder.

    Args:
        model: `EncodecModel`.
        batches: audio as the encoder sees it, `[n, channels, samples]`, samples a multiple of the
            hop.
        seed: of the rotations and spare rows.

    Raises:
        UsageError: an architecture that cannot start like this.
    """
    if model.config.norm_type != "weight_norm" or model.config.num_residual_layers:
        raise UsageError("a transform as the start needs weight_norm and no residual blocks")
    generator = torch.Generator().manual_seed(seed)
    encoder = [layer for layer in model.encoder.layers if hasattr(layer, "conv")]
    decoder = [layer for layer in model.decoder.layers if hasattr(layer, "conv")]
    for network in (model.encoder, model.decoder):
        for layer in network.layers:
            if hasattr(layer, "lstm"):
                for parameter in layer.lstm.parameters():
                    parameter.mul_(_LSTM)
    signals = list(batches)
    for number, (forward, backward) in enumerate(zip(encoder, reversed(decoder), strict=True)):
        last = number == len(encoder) - 1
        block = (
            _identity(forward, generator)
            if not number
            else _eigen(forward, signals, generator, rotate=not last)
        )
        if number:
            block = _levelled(block, forward, signals, 1.0 if last else LEVEL)
        _write(forward, block.rows * block.gain)
        _write(
            backward,
            block.rows / block.gain
            if _transposed(backward)
            else block.rows.transpose(0, 1) / block.gain,
        )
        signals = [_through(forward, signal, last) for signal in signals]


def _identity(layer: Any, generator: torch.Generator) -> Block:
    """The first layer: one row for each channel of audio."""
    outputs, inputs = layer.conv.out_channels, layer.conv.in_channels
    rows = torch.randn(outputs, inputs, 1, generator=generator)
    rows *= _SPARE / rows.flatten(1).norm(dim=1)[:, None, None]
    rows[:inputs, :, 0] = torch.eye(inputs)
    return Block(rows, LEVEL)


def _eigen(
    layer: Any, signals: Sequence[torch.Tensor], generator: torch.Generator, *, rotate: bool
) -> Block:
    """The leading eigenvectors of blocks of one stride, turned."""
    outputs, inputs, stride = layer.conv.out_channels, layer.conv.in_channels, layer.conv.stride[0]
    moments = torch.zeros(inputs * stride, inputs * stride, dtype=torch.float64)
    for signal in signals:
        vectors = _blocks(signal, stride)
        moments += (vectors.T @ vectors).double()
    vectors = torch.linalg.eigh(moments)[1].flip(1).T.float()
    rows = torch.randn(outputs, inputs * stride, generator=generator)
    rows *= _SPARE / rows.norm(dim=1, keepdim=True)
    kept = min(outputs, len(vectors))
    rows[:kept] = vectors[:kept]
    if rotate:
        rows[:kept] = torch.linalg.qr(torch.randn(kept, kept, generator=generator))[0] @ rows[:kept]
    return Block(rows.view(outputs, inputs, stride), 1.0)


def _levelled(block: Block, layer: Any, signals: Sequence[torch.Tensor], level: float) -> Block:
    vectors = _blocks(signals[0], layer.conv.stride[0])
    reached = float((vectors @ block.rows.flatten(1).T).pow(2).mean().sqrt())
    return Block(block.rows, level / max(reached, 1e-9))


def _blocks(signal: torch.Tensor, stride: int) -> torch.Tensor:
    """`[n, channels, samples]` to `[n × samples / stride, channels × stride]`."""
    n, channels, samples = signal.shape
    return (
        signal.view(n, channels, samples // stride, stride)
        .transpose(1, 2)
        .reshape(-1, channels * stride)
    )


def _write(layer: Any, taps: torch.Tensor) -> None:
    """Set a weight to some taps in the middle of its kernel, where its padding puts the block that
    a frame stands for."""
    conv = layer.conv
    weight = torch.zeros_like(conv.weight)
    total = weight.shape[2] - conv.stride[0]
    left = total - total // 2
    weight[:, :, left : left + taps.shape[2]] = taps
    conv.weight = weight
    # Length and direction are trained apart, the length of the direction is free: at 1, a learning
    # rate means the same to all.
    direction = conv.parametrizations.weight.original1
    direction.div_(direction.flatten(1).norm(dim=1).view(-1, 1, 1))
    conv.bias.zero_()


def _through(layer: Any, signal: torch.Tensor, last: bool) -> torch.Tensor:
    moved = layer(signal)
    return moved if last else elu(moved)


def _transposed(layer: Any) -> bool:
    return isinstance(layer.conv, torch.nn.ConvTranspose1d)
