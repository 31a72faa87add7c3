"""Lengths and padding against those of transformers' modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import EncodecConfig
from transformers.models.encodec.modeling_encodec import (
    EncodecConv1d,
    EncodecConvTranspose1d,
    EncodecEncoder,
)

from tokenizer.chunking import frames_of
from tokenizer.codecs.encodec.geometry import (
    ConvolutionGeometry,
    TransposedGeometry,
    convolutions,
    widest_padding,
)


def config(**changes: Any) -> EncodecConfig:
    facts = {"num_filters": 2, "hidden_size": 4, "num_lstm_layers": 1, "codebook_size": 4}
    return EncodecConfig(**{**facts, "norm_type": "weight_norm", **changes})


@settings(max_examples=150, deadline=None)
@given(
    causal=st.booleans(),
    pad_mode=st.sampled_from(["reflect", "constant"]),
    taps=st.integers(1, 9),
    stride=st.integers(1, 5),
    dilation=st.integers(1, 4),
    length=st.integers(1, 40),
)
def test_a_convolution_is_padded_as_upstream_pads_it(
    causal: bool, pad_mode: str, taps: int, stride: int, dilation: int, length: int
) -> None:
    module: Any = EncodecConv1d(
        config(use_causal_conv=causal, pad_mode=pad_mode),
        1,
        1,
        max(taps, stride),
        stride=stride,
        dilation=1 if stride > 1 else dilation,
    )
    geometry = ConvolutionGeometry.of(module)
    seen: list[torch.Tensor] = []
    module.conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        out = module(torch.arange(1.0, length + 1)[None, None])
    assert out.shape[2] == geometry.frames(length) == frames_of(length, geometry.stride)
    (padded,) = seen
    places = torch.arange(-geometry.left, length + geometry.after(length))
    inside = (places >= 0) & (places < length)
    outside = geometry.mirrored(places, torch.tensor(length))
    source = torch.where(inside, places, outside)
    known = inside | ((source < length) & geometry.reflects)
    assert torch.equal(padded[0, 0], torch.where(known, source + 1, 0).float())
    for place, tensor in zip(places.tolist(), outside.tolist(), strict=True):
        assert geometry.mirrored(place, length) == tensor
    assert geometry.after(torch.tensor([length])).tolist() == [geometry.after(length)]


@settings(max_examples=60, deadline=None)
@given(
    causal=st.booleans(),
    ratio=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    stride=st.integers(1, 5),
    more=st.integers(0, 6),
    frames=st.integers(1, 12),
)
def test_a_transposed_convolution_is_cut_as_upstream_cuts_it(
    causal: bool, ratio: float, stride: int, more: int, frames: int
) -> None:
    module: Any = EncodecConvTranspose1d(
        config(use_causal_conv=causal, trim_right_ratio=ratio if causal else 1.0),
        2,
        1,
        stride + more,
        stride=stride,
    )
    geometry = TransposedGeometry.of(module)
    x = torch.randn(1, 2, frames)
    with torch.inference_mode():
        whole, found = module.conv(x), module(x)
    cut = whole[..., geometry.cut_before : whole.shape[2] - geometry.cut_after]
    assert torch.equal(found, cut) and found.shape[2] == geometry.samples(frames)


@settings(max_examples=25, deadline=None)
@given(
    ratios=st.lists(st.integers(2, 6), min_size=1, max_size=3),
    residual=st.integers(0, 3),
    growth=st.integers(1, 4),
    causal=st.booleans(),
    length=st.integers(1, 2_000),
)
def test_a_configuration_has_the_convolutions_of_its_encoder(
    ratios: list[int], residual: int, growth: int, causal: bool, length: int
) -> None:
    facts = config(
        upsampling_ratios=ratios,
        num_residual_layers=residual,
        dilation_growth_rate=growth,
        use_causal_conv=causal,
    )
    with torch.device("meta"):
        encoder: Any = EncodecEncoder(facts)
    modules = [
        ConvolutionGeometry.of(module)
        for name, module in encoder.named_modules()
        if isinstance(module, EncodecConv1d) and "shortcut" not in name
    ]
    assert convolutions(facts) == modules
    assert widest_padding(facts) == max(geometry.padding for geometry in modules)
    frames = length
    for geometry in modules:
        frames = geometry.frames(frames)
    assert frames == frames_of(length, facts.hop_length)


@pytest.mark.parametrize("length", [1, 319, 320, 321, 48_000])
def test_a_decoder_gives_whole_frames(length: int) -> None:
    facts = config(use_causal_conv=False)
    frames = frames_of(length, facts.hop_length)
    samples = frames
    for ratio in facts.upsampling_ratios:
        samples = TransposedGeometry(2 * ratio, ratio, False, 1.0).samples(samples)
    assert samples == frames * facts.hop_length >= length
