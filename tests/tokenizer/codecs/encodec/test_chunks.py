"""Full chunks with transformers' bits on a CPU: norms, layers, the encoder, and codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import sound
from transformers import EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecResnetBlock

from tokenizer.codecs.encodec import certainty
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.chunks import layers, moments
from tokenizer.codecs.encodec.chunks.encoder import SameEncoder
from tokenizer.codecs.encodec.chunks.layers import Convolution, Residual, Term, layers_of, whole
from tokenizer.codecs.encodec.chunks.network import SameNetwork
from tokenizer.codecs.encodec.cpu.same_sums import ORDERS
from tokenizer.codecs.encodec.cpu.tiled_network import TiledNetwork
from tokenizer.codecs.encodec.cpu.tiles import Workspace
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.encodec.reference import ReferenceModules, ReferenceNetwork
from tokenizer.errors import RecordingError

CHANGES: dict[str, Any] = {
    "sampling_rate": 24_000,
    "audio_channels": 2,
    "normalize": True,
    "chunk_length_s": 0.5,
    "overlap": 0.01,
    "norm_type": "time_group_norm",
    "use_causal_conv": False,
    "num_filters": 32,
    "hidden_size": 32,
    "upsampling_ratios": [5, 4, 2],
    "codebook_size": 64,
    "target_bandwidths": [28.8],
}
CAPABLE = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
needs_its_order = pytest.mark.skipif(not CAPABLE, reason="this processor's order is not known")


@pytest.fixture(autouse=True)
def arithmetic() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode(), exact_float32():
        yield
    torch.set_num_threads(threads)


def model_of(**changes: Any) -> Any:
    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig(**CHANGES | changes)).eval()
    for name, numbers in model.named_parameters():
        if ".norm." in name:  # as training leaves them; new ones are all ones and zeros
            numbers.add_(0.3 * torch.randn(numbers.shape))
    for level in model.quantizer.layers:
        level.codebook.embed.normal_()
    return model


@pytest.fixture(scope="module")
def model() -> Any:
    with torch.inference_mode():
        return model_of()


@needs_its_order
@settings(max_examples=60, deadline=None)
@given(
    rows=st.one_of(st.integers(1, 400), st.integers(1, 60).map(lambda n: 8 * n)),
    blocks=st.integers(1, 8),
    level=st.sampled_from([0.0, 1.0, 1e3]),
    spread=st.sampled_from([0.0, 1e-4, 1.0]),
    seed=st.integers(0, 99),
)
def test_moments_have_torchs_bits(
    rows: int, blocks: int, level: float, spread: float, seed: int
) -> None:
    source, channels = np.random.default_rng(seed), 16 * blocks
    x = level * source.standard_normal(channels) + spread * source.standard_normal((rows, channels))
    x += np.resize(source.standard_normal(8), x.size).reshape(x.shape) * spread
    x = x.astype(np.float32)
    there = torch.from_numpy(np.ascontiguousarray(x.T))[None]
    _, mean, deviation = torch.native_group_norm(there, None, None, 1, channels, rows, 1, 1e-5)
    found, variance = moments.moments(x)
    ones, zeros = np.ones(16, np.float32), np.zeros(16, np.float32)
    scale, _ = moments.factors(found, variance, ones, zeros, 1e-5)
    assert found == mean.item() and scale[0] == deviation.item()


@needs_its_order
def test_moments_are_tried_before_they_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert moments.are_torch_s()
    for name, wrong in (
        ("moments", lambda signal: (signal.mean(), signal.var())),
        ("factors", _with_a_shift_that_is_rounded_twice),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(moments, name, wrong)
            assert not moments.are_torch_s.__wrapped__()


def _with_a_shift_that_is_rounded_twice(
    mean: Any, variance: Any, gain: Any, offset: Any, epsilon: float
) -> Any:
    scale = np.float32(1.0 / np.sqrt(float(variance) + epsilon)) * gain
    return scale, -scale * mean + offset


def test_what_is_not_finite_stays_so() -> None:
    for odd in (np.nan, np.inf, -np.inf):
        for rows in (400, 150):
            x = np.ones((rows, 32), np.float32)
            x[77, 5] = odd
            assert not np.isfinite(moments.moments(x)).all()


@needs_its_order
@settings(max_examples=80, deadline=None)
@given(
    pad_mode=st.sampled_from(["reflect", "constant"]),
    channels=st.sampled_from([1, 2, 16, 48]),
    outputs=st.sampled_from([16, 32]),
    kernel=st.integers(1, 8),
    stride=st.integers(1, 4),
    length=st.integers(600, 1200),
    elu=st.booleans(),
    stretch=st.sampled_from([1 << 10, 1 << 13, 1 << 16]),
)
def test_a_convolution_equals_upstreams(
    pad_mode: str,
    channels: int,
    outputs: int,
    kernel: int,
    stride: int,
    length: int,
    elu: bool,
    stretch: int,
) -> None:
    """Values near enough that only rounding is between them: in which order torch sums, it decides
    by sizes that are none of a codec's here."""
    if kernel < stride:
        return  # upstream has negative padding there
    elu = elu and channels >= 16
    torch.manual_seed(length)
    config = EncodecConfig(
        norm_type="time_group_norm", pad_mode=pad_mode, use_causal_conv=bool(length % 2)
    )
    module = EncodecConv1d(config, channels, outputs, kernel, stride=stride)
    module.norm.weight.normal_()
    module.norm.bias.normal_()
    x = torch.randn(1, channels, length)
    expected = module(torch.nn.functional.elu(x) if elu else x)[0].t()
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(layers, "STRETCH_FLOATS", stretch)
        changed.setattr(layers, "LEAST_ROWS", 16)
        found = whole(Convolution(module, ORDERS[0], elu)(signal(x), False, Workspace()))
    assert np.allclose(found, expected.numpy(), rtol=1e-5, atol=2e-5)


def signal(x: torch.Tensor) -> Any:
    rows, channels = x[0].t().contiguous(), x.shape[1]
    if channels < 16:
        return (Term(rows, None, None),)
    return (Term(rows, np.ones(channels, np.float32), np.zeros(channels, np.float32)),)


@needs_its_order
def test_a_residual_block_has_upstreams_bits() -> None:
    torch.manual_seed(1)
    config = EncodecConfig(norm_type="time_group_norm", use_causal_conv=False)
    block, x = EncodecResnetBlock(config, 32, [1, 1]), torch.randn(1, 32, 4_000)
    expected = block(x)[0].t().numpy()
    found = [whole(Residual(block, order)(signal(x), False, Workspace())) for order in ORDERS]
    assert any(np.array_equal(one, expected) for one in found)


SOUNDS: dict[str, Any] = {
    "noise": lambda n: torch.randn(2, n),
    "silence": lambda n: torch.zeros(2, n),
    "constant": lambda n: torch.full((2, n), 0.5),
    "one sample": lambda n: torch.nn.functional.one_hot(torch.tensor([7, n - 1]), n).float(),
    "square": lambda n: torch.sign(torch.sin(torch.arange(n) / 31.0)).repeat(2, 1),
    "loud": lambda n: 1e4 * torch.randn(2, n),
    "faint": lambda n: 1e-12 * torch.randn(2, n),
    "one channel": lambda n: torch.stack([torch.randn(n), torch.zeros(n)]),
}


@needs_its_order
@pytest.mark.parametrize("threads", [1, 2])
def test_embeddings_have_upstreams_bits(model: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(2)
    encoder = SameEncoder(model.encoder, 12_000)
    assert encoder.proven
    chunks = [make(12_000) for make in SOUNDS.values()]
    for name, chunk, found in zip(SOUNDS, chunks, encoder(chunks), strict=True):
        assert torch.equal(found, model.encoder(chunk[None])[0].t()), name


AVX2 = """
import sys
import torch
import test_chunks
from tokenizer.codecs.encodec.chunks.encoder import SameEncoder
with torch.inference_mode():
    model = test_chunks.model_of()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        encoder = SameEncoder(model.encoder, 12_000)
        print(encoder.proven, encoder._proven() is encoder._stages[1])
"""


@needs_its_order
def test_the_order_of_avx2_is_known_too() -> None:
    """As a processor without AVX-512 has it; oneDNN and torch can be told not to use it."""
    told = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", AVX2],
        env=os.environ | told | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"] * 4


def test_codes_equal_upstreams_in_every_company(model: Any) -> None:
    modules = ReferenceModules(model)
    network, reference = SameNetwork(model, modules, 8), ReferenceNetwork(model, modules, 8)
    chunks = [sound(n, seed=n + i).samples for i, n in enumerate((12_000, 500, 12_000, 11_999))]
    for company in (chunks, chunks[:1], chunks[1:2], chunks[::-1]):
        found, expected = network.encode(company), reference.encode(company)
        for one, other in zip(found, expected, strict=True):
            assert np.array_equal(one.codes, other.codes) and one.scale == other.scale


@needs_its_order
def test_full_chunks_are_never_encoded_again(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rounding in the quantizer could have decided, upstream's decides for the same
    embeddings."""
    modules = ReferenceModules(model)
    network, reference = SameNetwork(model, modules, 8), ReferenceNetwork(model, modules, 8)
    chunks = [sound(12_000, seed=seed).samples for seed in range(3)]
    monkeypatch.setattr(certainty, "CERTAIN", torch.inf)
    asked: list[Any] = []
    monkeypatch.setattr(network._reference, "to_codes", asked.append)
    found = network.encode(chunks)
    assert network.quantized_again == 3 and not asked and network.repeated == 0
    for one, other in zip(found, reference.encode(chunks), strict=True):
        assert np.array_equal(one.codes, other.codes)


def test_where_the_order_is_another_tiles_run(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SameEncoder, "_find", lambda self: None)
    modules = ReferenceModules(model)
    network, tiled = SameNetwork(model, modules, 8), TiledNetwork(model, modules, 8)
    chunks = [sound(12_000, seed=1).samples]
    monkeypatch.setattr(network, "_full", None)
    found, expected = network.encode(chunks), tiled.encode(chunks)
    assert np.array_equal(found[0].codes, expected[0].codes)


def test_samples_that_are_no_numbers_fail_alone(model: Any) -> None:
    network = SameNetwork(model, ReferenceModules(model), 8)
    for odd in (np.nan, np.inf):
        chunk = sound(12_000).samples.copy()
        chunk[0, 123] = odd
        with pytest.raises(RecordingError, match="not finite"):
            network.encode([chunk])


@pytest.mark.parametrize(
    "changes",
    [
        {"num_filters": 12},
        {"norm_type": "weight_norm"},
        {"use_conv_shortcut": False},
        {"num_residual_layers": 2},
        {"chunk_length_s": None},
    ],
)
def test_other_encoders_are_refused(changes: dict[str, Any]) -> None:
    model = model_of(**changes)
    with pytest.raises(UnknownLayer):
        SameNetwork(model, ReferenceModules(model), 8)


def test_an_elu_stands_before_a_convolution(model: Any) -> None:
    elu = torch.nn.ELU()
    for wrong in ([elu], [elu, elu], [torch.nn.ELU(0.5)], [torch.nn.Tanh()]):
        with pytest.raises(UnknownLayer):
            layers_of(wrong, ORDERS[0])
