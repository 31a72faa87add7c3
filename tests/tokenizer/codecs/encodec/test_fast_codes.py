"""`precision="fast"`: what it leaves out, how it is judged, and the codec's way through batches,
which only a GPU takes by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sounds import sound

from tokenizer import CodecLoadError, load_codec
from tokenizer.codecs import describe_codec
from tokenizer.codecs.encodec.arithmetic import arithmetic
from tokenizer.codecs.encodec.certainty import noise
from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.codec import EncodecCodec
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.probe import compare_codes
from tokenizer.codecs.encodec.quantizer import half_squares, quantize, quantize_quickly
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.precision import PrecisionReport

CPU = torch.device("cpu")


def test_the_quick_quantizer_finds_the_same_entries() -> None:
    torch.manual_seed(0)
    frames, codebooks = torch.randn(500, 16), [torch.randn(64, 16) * 2.0**-i for i in range(6)]
    halves = [half_squares(codebook) for codebook in codebooks]
    codes, certainty = quantize(frames, codebooks, halves, noise(frames, 1.0))
    quick = quantize_quickly(frames, codebooks, halves)
    sure = certainty > 3
    assert sure.float().mean() > 0.9 and torch.equal(quick[:, sure], codes[:, sure])


def test_fast_encodes_without_looking_for_ties(reduced: Path) -> None:
    """On a CPU its convolutions are exact, so that only the quantizer's shorter way is seen."""
    model = load_model(reduced, CPU)
    fast = BatchedNetwork(model, ReferenceModules(model, static=True), n_q=16, precision="fast")
    chunks = [sound(n, seed=n).samples for n in (48_000, 4_001)]
    with torch.inference_mode(), arithmetic("fast"):
        found = fast.encode(chunks)
    expected = load_codec(str(reduced), bandwidth=24.0, device="cpu").encode_chunks(chunks)
    for one, other in zip(found, expected, strict=True):
        assert np.mean(one.codes == other.codes) > 0.99
    assert fast.repeated == 0


def coarse(codes: NDArray[Any]) -> NDArray[Any]:
    """Codes with the last level's replaced."""
    changed = codes.copy()
    changed[-1] = (changed[-1] + 1) % 1024
    return changed


def test_a_comparison_counts_by_level_and_weighs_errors(reduced: Path) -> None:
    model = load_model(reduced, CPU)
    reference = ReferenceModules(model, static=True)
    chunks = [torch.from_numpy(sound(n, seed=n).samples) * 8 for n in (48_000, 640)]
    with torch.inference_mode():
        codes = [reference.quantize(reference.embed(chunk[None]), 4)[:, 0] for chunk in chunks]
    same = compare_codes(reference, chunks, codes)
    assert same.equal == (152,) * 4 and same.shares == (1.0,) * 4 and same.error_ratio == 1.0
    worse = compare_codes(
        reference, chunks, [torch.from_numpy(coarse(one.numpy())) for one in codes]
    )
    assert worse.equal == (152, 152, 152, 0) and worse.error_ratio > 1.0
    both = same + worse
    assert both.chunks == 4 and both.shares == (1.0, 1.0, 1.0, 0.5)
    assert PrecisionReport.from_json(both.to_json()) == both
    assert "50.00%" in both.describe()


def as_fast(folder: Path, bandwidth: float = 6.0) -> EncodecCodec:
    """What a GPU would load for `precision="fast"`, computing on this machine."""
    spec = describe_codec(str(folder), bandwidth=bandwidth, precision="fast")
    return EncodecCodec(folder, spec, "cpu")


def test_a_fast_codec_judges_its_first_chunks(
    reduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = as_fast(reduced)
    assert codec.spec.precision == "fast" and codec.precision_report() is None
    encode: Any = codec._network.encode
    monkeypatch.setattr(
        codec._network,
        "encode",
        lambda chunks: [replace(one, codes=coarse(one.codes)) for one in encode(chunks)],
    )
    codec.encode_chunks([sound(n, seed=n).samples for n in (48_000, 640)])
    report = codec.precision_report()
    assert report is not None and report.chunks == 2 and report.equal == (152, 152, 152, 0)
    assert load_codec(str(reduced), device="cpu").precision_report() is None


def test_a_codec_in_batches_gives_what_the_default_gives(reduced: Path) -> None:
    """The adapter's way through a `BatchedNetwork`, which only a GPU takes by itself."""
    codec = as_fast(reduced, 24.0)
    model = load_model(reduced, CPU)
    codec._network = BatchedNetwork(model, ReferenceModules(model, static=True), n_q=16)
    waveform = sound(100_000)
    found, expected = (
        codec.encode(waveform),
        load_codec(str(reduced), bandwidth=24.0, device="cpu").encode(waveform),
    )
    assert np.array_equal(found.codes, expected.codes)
    report = codec.precision_report()
    assert report is not None and report.chunks == 3 and report.shares == (1.0,) * 16


def test_precisions_are_refused_by_name(reduced: Path) -> None:
    assert replace(
        describe_codec(str(reduced), precision="fast"), precision="exact"
    ) == describe_codec(str(reduced))
    with pytest.raises(CodecLoadError, match="needs a GPU"):
        load_codec(str(reduced), device="cpu", precision="fast")
    for call in (load_codec, describe_codec):
        with pytest.raises(CodecLoadError, match="choose one of exact, fast"):
            call(str(reduced), precision="sloppy")


def test_a_recording_decodes_in_batches_to_what_it_decodes_to_by_default(reduced: Path) -> None:
    codec, default = as_fast(reduced, 24.0), load_codec(str(reduced), bandwidth=24.0, device="cpu")
    model = load_model(reduced, CPU)
    codec._network = BatchedNetwork(model, ReferenceModules(model, static=True), n_q=16)
    codec.batch_chunks = 2
    for samples in (100_000, 2 * 47_520 + 200, 700):
        codes = default.encode(sound(samples))
        found, expected = codec.decode(codes).samples, default.decode(codes).samples
        assert found.shape == (2, samples)
        np.testing.assert_allclose(found, expected, atol=2e-6)
