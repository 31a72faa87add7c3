"""Batches of fixed shapes, as a GPU runs them, on a CPU: layers, shapes, codes, and what "fast" costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import sound
from transformers import EncodecConfig
from transformers.models.encodec.modeling_encodec import EncodecConv1d

from tokenizer import CodecLoadError, RecordingError, load_codec
from tokenizer.codecs import describe_codec, quantizer
from tokenizer.codecs.arithmetic import arithmetic
from tokenizer.codecs.batched import ROWS, BatchedNetwork, batches, rows_that_fit
from tokenizer.codecs.encodec import EncodecCodec, load_model
from tokenizer.codecs.graphs import EagerRunner, Shape, fill
from tokenizer.codecs.masked import MaskedEncoder, _Convolution
from tokenizer.codecs.networks import ReferenceNetwork
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.codecs.probe import compare_codes
from tokenizer.codecs.quantizer import half_squares, noise, quantize, quantize_quickly

CPU = torch.device("cpu")
LENGTHS = [48_000, 1, 2, 319, 320, 321, 480, 4_001, 47_999, 48_000, 24_001, 700]


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
        found, frames = _Convolution(module, elu)(x, torch.tensor(lengths))
        assert frames is not None
        for row, length in enumerate(lengths):
            alone = x[row : row + 1, :, :length]
            expected = module(torch.nn.functional.elu(alone) if elu else alone)[0]
            close(found[row, :, : frames[row]], expected)
            assert not found[row, :, frames[row] :].any(), "zeros lie beyond the end"


@pytest.mark.parametrize("checkpoint", ["reduced", "mono"])
def test_each_row_of_the_encoder_equals_upstreams_alone(checkpoint: str, request: pytest.FixtureRequest) -> None:
    model = load_model(request.getfixturevalue(checkpoint), CPU)
    channels, rate = model.config.audio_channels, model.config.sampling_rate
    lengths = [1, 2, 5, 319, 321, 4_001, rate - 480, rate]
    samples, known = torch.empty(len(lengths), channels, rate), torch.empty(len(lengths), dtype=torch.int64)
    fill(samples, known, [sound(n, channels, rate, seed=n).samples for n in lengths])
    with torch.inference_mode():
        embeddings, frames = MaskedEncoder(model.encoder)(samples, known)
        assert frames is not None
        for row, length in enumerate(lengths):
            close(embeddings[row, :, : frames[row]], model.encoder(samples[row : row + 1, :, :length])[0])
        full, none = MaskedEncoder(model.encoder)(samples[-1:], None)
        assert none is None
        close(full, model.encoder(samples[-1:]))


@pytest.fixture(scope="module")
def network(reduced: Path) -> BatchedNetwork:
    model = load_model(reduced, CPU)
    return BatchedNetwork(model, ReferenceNetwork(model, CPU), n_q=16)


def test_codes_equal_the_references_at_every_length(reduced: Path, network: BatchedNetwork) -> None:
    chunks = [sound(n, seed=n).samples for n in LENGTHS]
    chunks += [np.zeros((2, 48_000), np.float32), np.zeros((2, 500), np.float32)]
    expected = load_codec(str(reduced), bandwidth=24.0, device="cpu", reference=True).encode_chunks(chunks)
    with torch.inference_mode(), arithmetic("exact"):
        found = network.encode(chunks)
    for one, other in zip(found, expected, strict=True):
        assert one.codes.dtype == np.uint16 and np.array_equal(one.codes, other.codes)
        assert one.scale == pytest.approx(other.scale, rel=3e-7)


def test_neither_company_nor_empty_rows_change_a_chunk(network: BatchedNetwork) -> None:
    loud, quiet = 1e3 * sound(48_000, seed=1).samples, 1e-6 * sound(900, seed=2).samples
    with torch.inference_mode():
        together = network.encode([loud, quiet, loud[:, :900].copy()])
        for chunk, one in zip([loud, quiet, loud[:, :900].copy()], together, strict=True):
            assert np.array_equal(network.encode([chunk])[0].codes, one.codes)


def test_more_chunks_than_a_batch_holds_come_back_in_order(network: BatchedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = [sound(n, seed=n).samples for n in (900, 640, 48_000, 700, 12, 48_000, 333, 650)]
    with torch.inference_mode():
        expected = [network.encode([chunk])[0].codes for chunk in chunks]
        monkeypatch.setattr(network, "_rows", (2, 3))
        monkeypatch.setattr(EagerRunner, "ahead", 2)
        for one, codes in zip(network.encode(chunks), expected, strict=True):
            assert np.array_equal(one.codes, codes)


def test_near_ties_are_settled_by_the_reference(network: BatchedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = [sound(n, seed=n).samples for n in (48_000, 500)]
    before = network.repeated
    monkeypatch.setattr(quantizer, "CERTAIN", torch.inf)
    monkeypatch.setattr(
        network._reference, "encode", lambda chunks, n_q: [torch.full((n_q, -(-c.shape[1] // 320)), 7) for c in chunks]
    )
    with torch.inference_mode():
        settled = network.encode(chunks)
    assert network.repeated == before + 2
    assert all((one.codes == 7).all() for one in settled)


def test_what_is_not_finite_is_an_error_and_spoils_no_other_batch(network: BatchedNetwork) -> None:
    bad = sound(600, seed=1).samples.copy()
    bad[0, 100] = np.nan
    with torch.inference_mode(), pytest.raises(RecordingError, match="not finite"):
        network.encode([bad])
    with torch.inference_mode():
        assert network.encode([sound(600, seed=1).samples])[0].codes.shape == (16, 2)


@given(
    lengths=st.lists(st.integers(1, 1000), max_size=60),
    rows=st.sampled_from([(1,), (2, 5), (4, 16)]),
)
def test_every_chunk_is_in_one_batch_that_takes_it(lengths: list[int], rows: tuple[int, ...]) -> None:
    seen: list[int] = []
    for shape, indices in batches(lengths, 1000, rows):
        seen += indices
        assert shape.rows in rows and len(indices) <= shape.rows
        for i in indices:
            assert lengths[i] <= shape.width and shape.masked == (lengths[i] < 1000)
            assert shape.masked or lengths[i] == shape.width
    assert sorted(seen) == list(range(len(lengths)))


def test_the_shapes_are_few() -> None:
    lengths = (1, 480, 750, 751, 5_000, 12_001, 30_000, 47_999, 48_000)
    shapes = {shape for n in lengths for count in (1, 5, 50, 300, 600) for shape, _ in batches([n] * count, 48_000, ROWS)}
    assert Shape(256, 48_000, False) in shapes and len(shapes) <= len(ROWS) * 6


def test_a_smaller_device_has_smaller_batches() -> None:
    assert rows_that_fit(80 << 30, 48_000) == ROWS
    assert rows_that_fit(12 << 30, 48_000) == ROWS[:3]
    assert rows_that_fit(0, 48_000) == ROWS[:1]


def test_the_quick_quantizer_finds_the_same_entries() -> None:
    torch.manual_seed(0)
    frames, codebooks = torch.randn(500, 16), [torch.randn(64, 16) * 2.0**-i for i in range(6)]
    codes, certainty = quantize(frames, codebooks, noise(frames, 1.0))
    quick = quantize_quickly(frames, codebooks, [half_squares(codebook) for codebook in codebooks])
    sure = certainty > 3
    assert sure.float().mean() > 0.9 and torch.equal(quick[:, sure], codes[:, sure])


def test_fast_encodes_without_looking_for_ties(reduced: Path) -> None:
    """On a CPU its convolutions are exact, so that only the quantizer's shorter way is seen."""
    model = load_model(reduced, CPU)
    fast = BatchedNetwork(model, ReferenceNetwork(model, CPU), n_q=16, precision="fast")
    chunks = [sound(n, seed=n).samples for n in (48_000, 4_001)]
    with torch.inference_mode(), arithmetic("fast"):
        found = fast.encode(chunks)
    expected = load_codec(str(reduced), bandwidth=24.0, device="cpu").encode_chunks(chunks)
    for one, other in zip(found, expected, strict=True):
        assert np.mean(one.codes == other.codes) > 0.99
    assert fast.repeated == 0


def coarse(codes: torch.Tensor) -> torch.Tensor:
    """Codes with the last level's replaced."""
    changed = codes.clone()
    changed[-1] = (changed[-1] + 1) % 1024
    return changed


def test_a_comparison_counts_by_level_and_weighs_errors(reduced: Path) -> None:
    model = load_model(reduced, CPU)
    reference = ReferenceNetwork(model, CPU)
    chunks = [torch.from_numpy(sound(n, seed=n).samples) * 8 for n in (48_000, 640)]
    with torch.inference_mode():
        codes = reference.encode(chunks, 4)
    same = compare_codes(model, reference, chunks, codes)
    assert same.equal == (152,) * 4 and same.shares == (1.0,) * 4 and same.error_ratio == 1.0
    worse = compare_codes(model, reference, chunks, [coarse(one) for one in codes])
    assert worse.equal == (152, 152, 152, 0) and worse.error_ratio > 1.0
    both = same + worse
    assert both.chunks == 4 and both.shares == (1.0, 1.0, 1.0, 0.5)
    assert PrecisionReport.from_json(both.to_json()) == both
    assert "50.00%" in both.describe()


def as_fast(folder: Path, bandwidth: float = 6.0) -> EncodecCodec:
    """What a GPU would load for `precision="fast"`, computing on this machine."""
    spec = describe_codec(str(folder), bandwidth=bandwidth, precision="fast")
    return EncodecCodec(folder, spec, "cpu")


def test_a_fast_codec_judges_its_first_chunks(reduced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = as_fast(reduced)
    assert codec.spec.precision == "fast" and codec.precision_report() is None
    encode: Any = codec._network.encode
    monkeypatch.setattr(codec._network, "encode", lambda chunks, n_q: [coarse(one) for one in encode(chunks, n_q)])
    codec.encode_chunks([sound(n, seed=n).samples for n in (48_000, 640)])
    report = codec.precision_report()
    assert report is not None and report.chunks == 2 and report.equal == (152, 152, 152, 0)
    assert load_codec(str(reduced), device="cpu").precision_report() is None


def test_a_codec_in_batches_gives_what_the_default_gives(reduced: Path) -> None:
    """The adapter's way through a `BatchedNetwork`, which only a GPU takes by itself."""
    codec = as_fast(reduced, 24.0)
    model = load_model(reduced, CPU)
    codec._batched = BatchedNetwork(model, ReferenceNetwork(model, CPU), n_q=16)
    waveform = sound(100_000)
    found, expected = codec.encode(waveform), load_codec(str(reduced), bandwidth=24.0, device="cpu").encode(waveform)
    assert np.array_equal(found.codes, expected.codes)
    report = codec.precision_report()
    assert report is not None and report.chunks == 3 and report.shares == (1.0,) * 16


def test_precisions_are_refused_by_name(reduced: Path) -> None:
    assert replace(describe_codec(str(reduced), precision="fast"), precision="exact") == describe_codec(str(reduced))
    with pytest.raises(CodecLoadError, match="needs a GPU"):
        load_codec(str(reduced), device="cpu", precision="fast")
    for call in (load_codec, describe_codec):
        with pytest.raises(CodecLoadError, match="choose one of exact, fast"):
            call(str(reduced), precision="sloppy")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_graphs_on_a_gpu_give_the_references_codes(full: Path, precision: str) -> None:
    chunks = [sound(n, seed=n).samples for n in LENGTHS * 30]
    codec = load_codec(str(full), bandwidth=24.0, device="cuda", precision=precision)
    expected = load_codec(str(full), bandwidth=24.0, device="cuda", reference=True).encode_chunks(chunks)
    for _ in range(2):
        found = codec.encode_chunks(chunks)
        equal = np.concatenate([one.codes == other.codes for one, other in zip(found, expected, strict=True)], axis=1)
        assert equal.all() if precision == "exact" else equal[:4].mean() >= 0.98
