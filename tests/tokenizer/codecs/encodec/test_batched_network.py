"""Batches of fixed shapes, as a GPU runs them, on a CPU: layers, shapes, codes, and what "fast"
costs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from cards import CPU, NothingIsReadBack
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import sound
from transformers import EncodecModel

from tokenizer import Codec, RecordingError, load_codec
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.encodec import certainty
from tokenizer.codecs.encodec.arithmetic import arithmetic
from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.codec import EncodecCodec
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.gpu.batches import ROWS, Rows
from tokenizer.codecs.encodec.gpu.graphs import SLOTS, Shape, Work
from tokenizer.codecs.encodec.reference import ReferenceModules, StaticNetwork

LENGTHS = [48_000, 1, 2, 319, 320, 321, 480, 4_001, 47_999, 48_000, 24_001, 700]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-5 * max(float(expected.abs().max()), 1e-3)


@pytest.fixture(scope="module")
def network(reduced: Path) -> BatchedNetwork:
    model = load_model(reduced, CPU)
    return BatchedNetwork(model, ReferenceModules(model, static=True), n_q=16)


@pytest.fixture(scope="module")
def alone(reduced: Path) -> Codec:
    """What transformers' modules give for each chunk alone."""
    return load_codec(str(reduced), bandwidth=24.0, device="cpu", reference=True)


def test_codes_equal_the_references_at_every_length(reduced: Path, network: BatchedNetwork) -> None:
    chunks = [sound(n, seed=n).samples for n in LENGTHS]
    chunks += [np.zeros((2, 48_000), np.float32), np.zeros((2, 500), np.float32)]
    expected = load_codec(str(reduced), bandwidth=24.0, device="cpu", reference=True).encode_chunks(
        chunks
    )
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


@settings(deadline=None, max_examples=15)
@given(
    lengths=st.lists(
        st.sampled_from([1, 2, 319, 480, 700, 3_000, 12_000, 47_999, 48_000]),
        min_size=1,
        max_size=7,
    ),
    rows=st.sampled_from([(1,), (2, 3), (4, 16)]),
    seed=st.integers(0, 9),
)
def test_any_mixture_in_any_batches_has_the_codes_of_each_alone(
    network: BatchedNetwork,
    alone: EncodecCodec,
    lengths: list[int],
    rows: tuple[int, ...],
    seed: int,
) -> None:
    chunks = [sound(n, seed=seed + n).samples for n in lengths]
    network._encoder().rows = rows
    try:
        found = network.encode(chunks)
    finally:
        network._encoder().rows = ROWS
    for one, other in zip(found, alone.encode_chunks(chunks), strict=True):
        assert np.array_equal(one.codes, other.codes)


def test_what_is_settled_is_bit_for_bit_what_upstream_gives(
    reduced: Path, network: BatchedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing beyond doubt, every code and scale is that of `EncodecModel.encode` on the chunk
    alone."""
    oracle = EncodecModel.from_pretrained(reduced).eval()
    chunks = [sound(n, seed=n).samples for n in (*LENGTHS, 5, 160, 33_333)] + [
        np.zeros((2, 48_000), np.float32)
    ]
    before = network.repeated
    monkeypatch.setattr(certainty, "CERTAIN", torch.inf)
    settled = network.encode(chunks)
    assert network.repeated == before + len(chunks)
    for chunk, one in zip(chunks, settled, strict=True):
        with torch.inference_mode():
            codes, scale = oracle._encode_frame(torch.from_numpy(chunk)[None], 24.0)
        assert np.array_equal(one.codes, codes[0].numpy()) and one.scale == float(scale)


@pytest.mark.parametrize("checkpoint", ["reduced", "mono", "full"])
def test_static_networks_are_bit_for_bit_upstreams(
    checkpoint: str, request: pytest.FixtureRequest
) -> None:
    model = load_model(request.getfixturevalue(checkpoint), CPU)
    channels, rate = model.config.audio_channels, model.config.sampling_rate
    encoder, decoder = StaticNetwork(model.encoder), StaticNetwork(model.decoder)
    with torch.inference_mode():
        for n in (1, 2, 3, 319, 320, 321, 4_001, rate - 1, rate):
            chunk = torch.from_numpy(sound(n, channels, rate, seed=n).samples)[None]
            embeddings = encoder(chunk)
            assert torch.equal(embeddings, model.encoder(chunk))
            assert torch.equal(decoder(embeddings), model.decoder(embeddings))


def test_what_is_not_finite_is_an_error_and_spoils_no_other_batch(network: BatchedNetwork) -> None:
    bad = sound(600, seed=1).samples.copy()
    bad[0, 100] = np.nan
    with torch.inference_mode(), pytest.raises(RecordingError, match="not finite"):
        network.encode([bad])
    with torch.inference_mode():
        assert network.encode([sound(600, seed=1).samples])[0].codes.shape == (16, 2)
    assert network._encoder()._runner._free.qsize() == SLOTS


CODED = [(150, 16), (1, 16), (2, 16), (149, 16), (150, 4), (150, 16), (13, 4)]
"""frames and levels"""


def coded() -> list[ChunkCodes]:
    rng = np.random.default_rng(0)
    return [
        ChunkCodes(rng.integers(0, 1024, (levels, n)).astype(np.uint16), float(np.float32(0.1 * n)))
        for n, levels in CODED
    ]


def test_batches_decode_to_what_transformers_decodes_to(
    network: BatchedNetwork, alone: Codec
) -> None:
    chunks = coded()
    for _ in range(2):
        for samples, expected in zip(
            network.decode(chunks), alone.decode_chunks(chunks), strict=True
        ):
            close(torch.from_numpy(samples), torch.from_numpy(expected))
    assert network.decode([]) == []


def test_a_scale_of_none_is_one(network: BatchedNetwork) -> None:
    codes = coded()[0].codes
    one, other = network.decode([ChunkCodes(codes, None), ChunkCodes(codes, 1.0)])
    assert np.array_equal(one, other)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_no_work_looks_at_a_value_or_leaves_the_device(
    reduced: Path, precision: str, device: str
) -> None:
    """On the device "meta", which holds no values, whatever looks at one raises, and so does a
    tensor made elsewhere."""
    model = load_model(reduced, CPU).to(device)
    network = BatchedNetwork(
        model, ReferenceModules(model, static=True), n_q=4, precision=precision, beside=True
    )
    runs: list[tuple[Work, Shape]] = [
        (network._encoding, Shape(4, 48_000)),
        (network._encoding, Shape(4, 48_000, masked=True)),
        (network._encoding, Shape(4, 750, masked=True)),
        (network._settling.alone, Shape(1, 9_600)),
        (network._settling.alone, Shape(1, 700)),
        (network._settling.rest_alone, Shape(1, 30)),
        (network._settling.rest_alone, Shape(1, 3)),
        (network._settling.full, Shape(2, 48_000)),
        (network._settling.shorter, Rows(3, 700, lengths=(1, 500, 700))),
        (network._decoding, Shape(4, 150, levels=4)),
        (network._decoding, Shape(1, 1, levels=2)),
    ]
    with torch.inference_mode():
        for work, shape in runs:
            inputs = [
                torch.ones(dims, dtype=dtype, device=device) for dims, dtype in work.layout(shape)
            ]
            with NothingIsReadBack():
                results = work(*inputs)
            assert all(result.device.type == device for result in results)
            assert all(
                not result.is_floating_point() or result.dtype == torch.float32
                for result in results
            )


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")


@gpu
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_graphs_on_a_gpu_give_the_references_codes(full: Path, precision: str) -> None:
    chunks = [sound(n, seed=n).samples for n in LENGTHS * 30]
    codec = load_codec(str(full), bandwidth=24.0, device="cuda", precision=precision)
    expected = load_codec(str(full), bandwidth=24.0, device="cuda", reference=True).encode_chunks(
        chunks
    )
    for _ in range(2):
        found = codec.encode_chunks(chunks)
        equal = np.concatenate(
            [one.codes == other.codes for one, other in zip(found, expected, strict=True)], axis=1
        )
        assert equal.all() if precision == "exact" else equal[:4].mean() >= 0.98


@gpu
def test_graphs_on_a_gpu_decode_to_what_transformers_decodes_to(full: Path) -> None:
    codec, reference = (
        load_codec(str(full), bandwidth=24.0, device="cuda", reference=flag)
        for flag in (False, True)
    )
    chunks = coded() * 20
    for _ in range(2):
        for samples, expected in zip(
            codec.decode_chunks(chunks), reference.decode_chunks(chunks), strict=True
        ):
            close(torch.from_numpy(samples), torch.from_numpy(expected))


@gpu
def test_threads_share_a_gpu(full: Path) -> None:
    codec = load_codec(str(full), bandwidth=24.0, device="cuda")
    chunks = [sound(n, seed=n).samples for n in LENGTHS * 50]
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(codec.encode_chunks, [chunks] * 4)
    for other in others:
        assert all(
            np.array_equal(mine.codes, its.codes) for mine, its in zip(first, other, strict=True)
        )


@gpu
@pytest.mark.parametrize("samples", [1, 320, 24_000, 250_001])
def test_a_codec_without_chunks_is_bit_for_bit_upstreams_on_a_gpu(mono: Path, samples: int) -> None:
    codec, reference = (
        load_codec(str(mono), bandwidth=24.0, device="cuda", reference=flag)
        for flag in (False, True)
    )
    upstream = EncodecModel.from_pretrained(mono).eval().to("cuda")
    waveform = sound(samples, 1, 24_000, seed=samples)
    codes = codec.encode(waveform)
    with torch.inference_mode(), arithmetic("exact"):
        there = torch.from_numpy(waveform.samples)[None].to("cuda")
        expected = upstream.encode(there, bandwidth=24.0).audio_codes[0, 0]
    assert np.array_equal(codes.codes, expected.cpu().numpy())
    np.testing.assert_allclose(
        codec.decode(codes).samples, reference.decode(codes).samples, atol=2e-6
    )
