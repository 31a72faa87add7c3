"""Rows of different lengths in one shape, each against transformers' modules on the row alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import sound
from transformers import EncodecConfig
from transformers.models.encodec.modeling_encodec import EncodecConv1d

from tokenizer.codecs.encodec.certainty import FRAME_NOISE
from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.gpu.fused import Fused
from tokenizer.codecs.encodec.gpu.graphs import fill
from tokenizer.codecs.encodec.gpu.masked import Convolution, MaskedEncoder, plain

CPU = torch.device("cpu")


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-5 * max(float(expected.abs().max()), 1e-3)


@settings(max_examples=80, deadline=None)
@given(
    norm=st.sampled_from(["time_group_norm", "weight_norm"]),
    pad_mode=st.sampled_from(["reflect", "constant"]),
    kernel=st.integers(1, 8),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    spare=st.integers(0, 9),
    elu=st.booleans(),
    channels_last=st.booleans(),
    fused=st.booleans(),
    seed=st.integers(0, 9),
)
def test_each_row_of_a_masked_convolution_equals_upstreams_alone(
    norm: str,
    pad_mode: str,
    kernel: int,
    stride: int,
    dilation: int,
    lengths: list[int],
    spare: int,
    elu: bool,
    channels_last: bool,
    fused: bool,
    seed: int,
) -> None:
    dilation = 1 if stride > 1 else dilation
    if (kernel - 1) * dilation + 1 < stride:
        return  # upstream has negative padding there
    torch.manual_seed(seed)
    config = EncodecConfig(norm_type=norm, pad_mode=pad_mode, use_causal_conv=norm == "weight_norm")
    module = EncodecConv1d(config, 3, 4, kernel, stride=stride, dilation=dilation)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))
    x = torch.zeros(len(lengths), 3, max(lengths) + spare)
    for row, length in enumerate(lengths):
        x[row, :, :length] = torch.randn(3, length)
    with torch.inference_mode():
        ways = Fused(None) if fused else None
        signal = Convolution(module, elu, channels_last, ways)(plain(x, torch.tensor(lengths)))
        found, frames = signal.whole(), signal.lengths
        assert frames is not None
        for row, length in enumerate(lengths):
            alone = x[row : row + 1, :, :length]
            expected = module(torch.nn.functional.elu(alone) if elu else alone)[0]
            close(found[row, :, : frames[row]], expected)
            assert not found[row, :, frames[row] :].any(), "zeros lie beyond the end"


@pytest.mark.parametrize("checkpoint", ["reduced", "mono"])
def test_each_row_of_the_encoder_equals_upstreams_alone(
    checkpoint: str, request: pytest.FixtureRequest
) -> None:
    model = load_model(request.getfixturevalue(checkpoint), CPU)
    channels, rate = model.config.audio_channels, model.config.sampling_rate
    lengths = [1, 2, 5, 319, 321, 4_001, rate - 480, rate]
    samples, known = (
        torch.empty(len(lengths), channels, rate),
        torch.empty(len(lengths), dtype=torch.int64),
    )
    fill(samples, known, [sound(n, channels, rate, seed=n).samples for n in lengths])
    with torch.inference_mode():
        embeddings, frames = MaskedEncoder(model.encoder)(samples, known)
        assert frames is not None
        for row, length in enumerate(lengths):
            close(
                embeddings[row, :, : frames[row]],
                model.encoder(samples[row : row + 1, :, :length])[0],
            )
        full, none = MaskedEncoder(model.encoder)(samples[-1:], None)
        assert none is None
        close(full, model.encoder(samples[-1:]))


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_encoder_moves_frames_no_further_than_rounding_does(
    full: Path, channels_last: bool
) -> None:
    """Sums over a million samples must not lose digits, or codes that seem beyond doubt are not:
    half of `FRAME_NOISE`."""
    model, lengths = load_model(full, CPU), [41_055, 25_212, 48_000, 700]
    samples, known = (
        torch.empty(len(lengths), 2, 48_000),
        torch.empty(len(lengths), dtype=torch.int64),
    )
    fill(samples, known, [sound(n, seed=n).samples * 10 for n in lengths])
    encoder = MaskedEncoder(model.encoder, channels_last)
    with torch.inference_mode():
        masked, frames = encoder(samples, known)
        unmasked, _ = encoder(samples[2:3], None)
        assert frames is not None
        rows = [(row, masked[row, :, : frames[row]]) for row in range(len(lengths))] + [
            (2, unmasked[0])
        ]
        for row, found in rows:
            expected = model.encoder(samples[row : row + 1, :, : lengths[row]])[0]
            assert ((found - expected).norm(dim=0) / expected.norm(dim=0)).max() < FRAME_NOISE / 2
