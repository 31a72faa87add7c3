"""The faster networks against transformers' own modules: layers, whole networks, and codes where
rounding could matter."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sounds import sound
from transformers import EncodecConfig
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecConvTranspose1d

from tokenizer import load_codec
from tokenizer.codecs.encodec import certainty
from tokenizer.codecs.encodec.certainty import SCORE_NOISE, noise
from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.codec import EncodecCodec
from tokenizer.codecs.encodec.cpu.seanet import SeaNet, similar
from tokenizer.codecs.encodec.cpu.tiled_network import TiledNetwork
from tokenizer.codecs.encodec.cpu.tiled_quantizer import TILE_ROWS, TiledQuantizer
from tokenizer.codecs.encodec.cpu.tiles import (
    Convolution,
    Signal,
    TransposedConvolution,
    Workspace,
    plain,
    repeated,
    tiles,
)
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.encodec.quantizer import half_squares, quantize

NORMS = {"time_group_norm": {"use_causal_conv": False}, "weight_norm": {"use_causal_conv": True}}


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-5 * max(float(expected.abs().max()), 1e-3)


@settings(max_examples=120, deadline=None)
@given(
    norm=st.sampled_from(sorted(NORMS)),
    pad_mode=st.sampled_from(["reflect", "constant"]),
    channels=st.sampled_from([1, 2, 7, 16, 40]),
    outputs=st.sampled_from([3, 32]),
    kernel=st.integers(1, 8),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    length=st.integers(1, 400),
    elu=st.booleans(),
    seed=st.integers(0, 9),
)
def test_a_convolution_equals_upstreams(
    norm: str,
    pad_mode: str,
    channels: int,
    outputs: int,
    kernel: int,
    stride: int,
    dilation: int,
    length: int,
    elu: bool,
    seed: int,
) -> None:
    if stride > 1:
        dilation = 1
    if (kernel - 1) * dilation + 1 < stride:
        return  # upstream has negative padding there
    torch.manual_seed(seed)
    config = EncodecConfig(norm_type=norm, pad_mode=pad_mode, **NORMS[norm])
    module = EncodecConv1d(config, channels, outputs, kernel, stride=stride, dilation=dilation)
    randomise(module)
    x = torch.randn(1, channels, length)
    with torch.inference_mode():
        expected = module(torch.nn.functional.elu(x) if elu else x)[0]
        found = Convolution(module)(plain(x[0].t().contiguous()), elu, Workspace()).whole().t()
    close(found, expected)


@settings(max_examples=60, deadline=None)
@given(
    norm=st.sampled_from(sorted(NORMS)),
    stride=st.integers(1, 8),
    blocks=st.integers(1, 3),
    channels=st.sampled_from([2, 16, 40]),
    outputs=st.sampled_from([3, 32]),
    length=st.integers(1, 300),
)
def test_a_transposed_convolution_equals_upstreams(
    norm: str, stride: int, blocks: int, channels: int, outputs: int, length: int
) -> None:
    torch.manual_seed(length)
    module = EncodecConvTranspose1d(
        EncodecConfig(norm_type=norm, **NORMS[norm]),
        channels,
        outputs,
        blocks * stride,
        stride=stride,
    )
    randomise(module)
    x = torch.randn(1, channels, length)
    with torch.inference_mode():
        expected = module(x)[0]
        found = (
            TransposedConvolution(module)(plain(x[0].t().contiguous()), False, Workspace())
            .whole()
            .t()
        )
    close(found, expected)


def randomise(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))


def test_a_transposed_convolution_by_hand() -> None:
    """Two inputs 1 and 10, taps 1 2 3 4, stride 2: 1 2 (3 + 10) (4 + 20) 30 40, of which one sample
    a side is cut off."""
    config = EncodecConfig(norm_type="weight_norm", use_causal_conv=False)
    module = EncodecConvTranspose1d(config, 1, 1, 4, stride=2)
    torch.nn.utils.parametrize.remove_parametrizations(module.conv, "weight")
    with torch.no_grad():
        module.conv.weight.copy_(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]))
        module.conv.bias.zero_()
        found = TransposedConvolution(module)(
            plain(torch.tensor([[1.0], [10.0]])), False, Workspace()
        ).whole()
    assert found[:, 0].tolist() == [2.0, 13.0, 24.0, 30.0]


@given(rows=st.integers(1, 200_000), channels=st.sampled_from([1, 2, 32, 64, 512, 100_000]))
def test_tiles_cover_every_row_once(rows: int, channels: int) -> None:
    found = list(tiles(rows, channels))
    assert found[0][0] == 0 and found[-1][1] == rows
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(found))
    assert len(found) == 1 or min(stop - start for start, stop in found) >= 64


@pytest.mark.parametrize("checkpoint", ["reduced", "mono"])
def test_whole_networks_equal_upstreams(checkpoint: str, request: pytest.FixtureRequest) -> None:
    model = load_model(request.getfixturevalue(checkpoint), torch.device("cpu"))
    channels, rate = model.config.audio_channels, model.config.sampling_rate
    lengths = [rate, 1, 2, 5, 319, 320, 321, 640, 4_001, rate - 480, 30_000]
    chunks = [torch.from_numpy(sound(n, channels, rate, seed=n).samples) for n in lengths]
    with torch.inference_mode():
        embeddings = SeaNet(model.encoder)(chunks)
        decoded = SeaNet(model.decoder)(embeddings)
        for chunk, embedding, samples in zip(chunks, embeddings, decoded, strict=True):
            close(embedding, model.encoder(chunk[None])[0])
            close(samples, model.decoder(embedding[None])[0])


def test_one_workspace_serves_every_length_and_stays_small(reduced: Path) -> None:
    """Short after long and long after short: memory that is used again holds old numbers, which
    must not be seen."""
    net = SeaNet(load_model(reduced, torch.device("cpu")).encoder)
    chunks = {
        n: torch.from_numpy(sound(n, seed=n).samples) for n in (48_000, 1, 700, 48_000, 33_333)
    }
    with torch.inference_mode():
        alone = {
            n: SeaNet(load_model(reduced, torch.device("cpu")).encoder)([chunk])[0]
            for n, chunk in chunks.items()
        }
        for _ in range(3):
            for n, chunk in chunks.items():
                assert torch.equal(net([chunk])[0], alone[n])
    (space,) = net._spaces
    assert not space._used and len(space._free) <= 8


def test_several_threads_give_what_one_gives(reduced: Path) -> None:
    chunks = [sound(n, seed=n).samples for n in (48_000, 3, 20_000, 48_000, 641, 48_000)]
    expected = load_codec(str(reduced), bandwidth=24.0, device="cpu").encode_chunks(chunks)
    torch.set_num_threads(3)
    try:
        codec = load_codec(str(reduced), bandwidth=24.0, device="cpu")
        for _ in range(3):
            for one, other in zip(codec.encode_chunks(chunks), expected, strict=True):
                assert np.array_equal(one.codes, other.codes) and one.scale == other.scale
        assert torch.get_num_threads() == 3, "the caller's own number of threads stays"
    finally:
        torch.set_num_threads(1)


def test_similar_lengths_share_a_batch() -> None:
    assert similar([150, 2, 149, 120, 119, 1]) == [[0, 2, 3], [4], [1], [5]]
    assert similar([]) == []


def halves(codebooks: list[torch.Tensor]) -> list[torch.Tensor]:
    return [half_squares(codebook) for codebook in codebooks]


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 700),
    levels=st.integers(1, 4),
    entries=st.sampled_from([2, 50, 64, 65, 130, 1024]),
    seed=st.integers(0, 5),
    tiled=st.booleans(),
)
def test_certainty_is_that_of_the_least_certain_level(
    frames: int, levels: int, entries: int, seed: int, tiled: bool
) -> None:
    torch.manual_seed(seed)
    codebooks = [torch.randn(entries, 6) for _ in range(levels)]
    x = torch.randn(frames, 6)
    moved = noise(x, 0.5)
    codes, certainty = (
        TiledQuantizer(codebooks)(x, levels, moved)
        if tiled
        else quantize(x, codebooks, halves(codebooks), moved)
    )
    residual, least = x.double(), torch.full((frames,), torch.inf, dtype=torch.float64)
    for level, codebook in enumerate(codebooks):
        distances = torch.cdist(residual, codebook.double()).square()
        two = distances.topk(2, dim=1, largest=False)
        assert torch.equal(codes[level], two.indices[:, 0])
        apart = (codebook[two.indices[:, 0]] - codebook[two.indices[:, 1]]).double().norm(dim=1)
        bound = torch.hypot(moved * apart, SCORE_NOISE * residual.square().sum(1))
        least = torch.minimum(least, (two.values[:, 1] - two.values[:, 0]) / bound)
        residual = residual - codebook.double()[codes[level]]
    assert torch.allclose(
        certainty.double(), least, rtol=1e-3, atol=3.0
    )  # whose own rounding is of the size of the bound


def test_a_frame_is_quantized_alike_wherever_it_stands() -> None:
    torch.manual_seed(0)
    codebooks = [torch.randn(256, 32) for _ in range(4)]
    frames = torch.randn(2 * TILE_ROWS + 3, 32)
    tiled = TiledQuantizer(codebooks)
    moved = noise(frames, 1.0)
    codes, _ = tiled(frames, 4, moved)
    assert torch.equal(tiled(frames.flip(0), 4, moved)[0].flip(1), codes)
    assert torch.equal(tiled(frames, 2, moved)[0], codes[:2])


@pytest.mark.parametrize("tiled", [True, False])
def test_two_equal_entries_leave_no_certainty(tiled: bool) -> None:
    codebooks = [torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])]
    frames = torch.tensor([[0.1, 5.0], [7.0, 0.1]])
    moved = noise(frames, 1.0)
    _, certainty = (
        TiledQuantizer(codebooks)(frames, 1, moved)
        if tiled
        else quantize(frames, codebooks, halves(codebooks), moved)
    )
    assert (certainty < 1).tolist() == [True, False]


def test_noise_grows_with_the_frame_and_its_chunk() -> None:
    frames = torch.tensor([[1.0, 1.0], [10.0, 10.0]])
    assert noise(frames, 0.0)[1] == pytest.approx(10 * noise(frames, 0.0)[0].item())
    assert (noise(frames, 3.0) > noise(frames, 1.0)).all()


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 3000),
    channels=st.sampled_from([1, 2, 3, 16, 100]),
    terms=st.integers(1, 2),
    elu=st.booleans(),
    seed=st.integers(0, 9),
)
def test_a_signal_is_read_as_its_definition_says(
    samples: int, channels: int, terms: int, elu: bool, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    parts = [torch.randn(samples, channels, generator=rng) * 3 for _ in range(terms)]
    scales, shifts = torch.randn(2, terms, channels, generator=rng)
    signals = [
        Signal((part,), (repeated(scale),), repeated(shift))
        for part, scale, shift in zip(parts, scales, shifts, strict=True)
    ]
    signal = signals[0] if terms == 1 else signals[0] + signals[1]
    start = seed % samples
    out = torch.empty(samples - start, channels)
    signal.read(start, samples, out, elu)
    expected = sum(
        part.double() * scale + shift
        for part, scale, shift in zip(parts, scales, shifts, strict=True)
    )[start:]
    close(out, (torch.nn.functional.elu(expected) if elu else expected).float())


def test_elu_is_exact_to_rounding_and_lets_nan_and_infinity_through() -> None:
    x = torch.cat([-torch.logspace(-38, 38, 4001), torch.linspace(-100, 10, 40_001)])
    out = torch.empty_like(x)[:, None]
    plain(x[:, None]).read(0, len(x), out, elu=True)
    assert torch.allclose(
        out[:, 0].double(), torch.nn.functional.elu(x.double()), rtol=2e-7, atol=0
    )
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0])[:, None]
    found = torch.empty_like(odd)
    plain(odd).read(0, 4, found, elu=True)
    assert found[0].isnan() and found[1:, 0].tolist() == [torch.inf, -1.0, 0.0]


@pytest.fixture(scope="module")
def pair(full: Path) -> tuple[EncodecCodec, EncodecCodec]:
    """The full-size codec, fast and by transformers' modules."""
    fast, reference = (
        load_codec(str(full), bandwidth=24.0, device="cpu", reference=flag)
        for flag in (False, True)
    )
    assert isinstance(fast, EncodecCodec) and isinstance(reference, EncodecCodec)
    assert isinstance(fast._network, TiledNetwork) and not isinstance(
        reference._network, TiledNetwork
    )
    return fast, reference


def odd_sounds() -> dict[str, NDArray[np.float32]]:
    n = 48_000
    rng, time = np.random.default_rng(0), np.arange(n) / n
    tone = 0.3 * np.sin(2 * np.pi * 440 * time)

    def stereo(samples: Any) -> NDArray[np.float32]:
        return np.stack([samples, samples]).astype(np.float32)

    return {
        "silence": stereo(np.zeros(n)),
        "constant": stereo(np.full(n, 0.5)),
        "denormal": stereo(1e-40 * rng.standard_normal(n)),
        "impulse": stereo(np.arange(n) == 20_000),
        "antiphase": np.stack([tone, -tone]).astype(np.float32),
        "clipped noise": np.clip(2 * rng.standard_normal((2, n)), -1, 1).astype(np.float32),
        "very loud": (1e3 * rng.standard_normal((2, n))).astype(np.float32),
        "onset at the end": stereo(np.where(np.arange(n) > 47_000, tone, 0)),
    }


@pytest.mark.parametrize("name", sorted(odd_sounds()))
def test_codes_and_scales_equal_the_references(
    pair: tuple[EncodecCodec, EncodecCodec], name: str
) -> None:
    fast, reference = pair
    samples = odd_sounds()[name]
    chunks = [samples, np.ascontiguousarray(samples[:, -777:])]
    for found, expected in zip(
        fast.encode_chunks(chunks), reference.encode_chunks(chunks), strict=True
    ):
        assert np.array_equal(found.codes, expected.codes) and found.scale == expected.scale
    encoded = reference.encode_chunks(chunks)
    for found_samples, decoded in zip(
        fast.decode_chunks(encoded), reference.decode_chunks(encoded), strict=True
    ):
        close(torch.from_numpy(found_samples), torch.from_numpy(decoded))


def test_near_ties_are_settled_by_the_reference(
    reduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = load_codec(str(reduced), bandwidth=24.0, device="cpu")
    assert isinstance(codec, EncodecCodec) and isinstance(codec._network, TiledNetwork)
    chunks = [sound(n, seed=n).samples for n in (48_000, 500, 48_000)]
    monkeypatch.setattr(certainty, "CERTAIN", -1.0)
    certain = codec.encode_chunks(chunks)
    assert codec._network.repeated == 0
    asked: list[int] = []

    def settle(chunks: list[torch.Tensor]) -> list[torch.Tensor]:
        asked.append(chunks[0].shape[1])
        return [torch.full((16, -(-chunks[0].shape[1] // 320)), 7)]

    monkeypatch.setattr(certainty, "CERTAIN", torch.inf)
    monkeypatch.setattr(codec._network._reference, "to_codes", settle)
    settled = codec.encode_chunks(chunks)
    assert asked == [48_000, 500, 48_000] and codec._network.repeated == 3
    assert all(
        (one.codes == 7).all() and one.codes.shape == other.codes.shape
        for one, other in zip(settled, certain, strict=True)
    )


def test_an_architecture_that_only_transformers_runs_is_refused() -> None:
    """A transposed convolution whose taps its stride does not divide cannot come from a
    configuration; here it stands for one."""
    config = EncodecConfig(norm_type="weight_norm", use_causal_conv=False)
    with pytest.raises(UnknownLayer, match="5 taps"):
        TransposedConvolution(EncodecConvTranspose1d(config, 2, 2, 5, stride=2))
