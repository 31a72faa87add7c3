"""Our codes against transformers' `EncodecModel.encode` on one recording alone, unpadded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import sound
from transformers import EncodecModel

from tokenizer import Codes, Waveform, load_codec
from tokenizer.chunking import chunk_spans

STRIDE = 47_520


def load_oracle(folder: Path) -> Any:
    return EncodecModel.from_pretrained(folder).eval()


def upstream(
    model: Any, waveform: Waveform, bandwidth: float
) -> tuple[np.ndarray, list[float] | None]:
    """Codes `[n_q, frames]` of the valid frames and scales, from `EncodecModel.encode` itself."""
    with torch.inference_mode():
        out = model.encode(torch.from_numpy(waveform.samples)[None], bandwidth=bandwidth)
    spans = chunk_spans(waveform.num_samples, model.config.chunk_length, model.config.chunk_stride)
    frames = [-(-(b - a) // model.config.hop_length) for a, b in spans]
    chunks = [out.audio_codes[i, 0, :, :n] for i, n in enumerate(frames)]
    scales = None if out.audio_scales[0] is None else [float(scale) for scale in out.audio_scales]
    return torch.cat(chunks, dim=1).numpy(), scales


def upstream_by_chunk(
    model: Any, waveform: Waveform, bandwidth: float
) -> tuple[np.ndarray, list[float] | None]:
    """The same from upstream's own work on a chunk, for the lengths at which its `encode` raises
    while stacking."""
    codes, scales = [], []
    for a, b in chunk_spans(
        waveform.num_samples, model.config.chunk_length, model.config.chunk_stride
    ):
        with torch.inference_mode():
            code, scale = model._encode_frame(
                torch.from_numpy(waveform.samples[None, :, a:b]), bandwidth
            )
        codes.append(code[0])
        scales.append(None if scale is None else float(scale))
    return torch.cat(codes, dim=1).numpy(), None if scales[0] is None else scales  # type: ignore[return-value]


def assert_same(codes: Codes, expected: tuple[np.ndarray, list[float] | None]) -> None:
    assert np.array_equal(codes.codes, expected[0])
    if expected[1] is None:
        assert codes.scales is None
    else:
        assert codes.scales is not None and np.array_equal(codes.scales, np.float32(expected[1]))


@pytest.mark.parametrize("bandwidth", [3.0, 6.0, 12.0, 24.0])
@pytest.mark.parametrize(
    "samples",
    [1, 2, 7, 319, 320, 321, 1000, 47_519, 47_520, 47_999, 48_000, 48_001, 96_000, 150_000],
)
def test_equal_to_upstream_at_48_khz(reduced: Path, samples: int, bandwidth: float) -> None:
    waveform = sound(samples, seed=samples)
    codes = load_codec(str(reduced), bandwidth=bandwidth, device="cpu").encode(waveform)
    assert_same(codes, upstream(load_oracle(reduced), waveform, bandwidth))


@pytest.mark.parametrize("tail", [1, 2, 159, 160])
def test_the_lengths_at_which_upstream_encode_raises(reduced: Path, tail: int) -> None:
    waveform = sound(2 * STRIDE + tail, seed=tail)
    oracle = load_oracle(reduced)
    with pytest.raises(RuntimeError):
        upstream(oracle, waveform, 6.0)
    codes = load_codec(str(reduced), device="cpu").encode(waveform)
    assert_same(codes, upstream_by_chunk(oracle, waveform, 6.0))


@pytest.mark.parametrize("tail", [161, 200, 320])
def test_the_lengths_at_which_upstream_decode_raises(reduced: Path, tail: int) -> None:
    waveform = sound(2 * STRIDE + tail, seed=tail)
    oracle = load_oracle(reduced)
    codec = load_codec(str(reduced), device="cpu")
    codes = codec.encode(waveform)
    assert_same(codes, upstream(oracle, waveform, 6.0))
    with torch.inference_mode(), pytest.raises(RuntimeError):
        out = oracle.encode(torch.from_numpy(waveform.samples)[None], bandwidth=6.0)
        oracle.decode(
            out.audio_codes, out.audio_scales, last_frame_pad_length=out.last_frame_pad_length
        )
    assert codec.decode(codes).num_samples == waveform.num_samples


@settings(deadline=None, max_examples=25)
@given(samples=st.integers(1, 110_000), seed=st.integers(0, 99))
def test_equal_to_upstream_at_any_length(reduced: Path, samples: int, seed: int) -> None:
    waveform = sound(samples, seed=seed)
    codes = load_codec(str(reduced), device="cpu").encode(waveform)
    assert_same(codes, upstream_by_chunk(load_oracle(reduced), waveform, 6.0))


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 24_000, 50_001])
@pytest.mark.parametrize("bandwidth", [1.5, 24.0])
def test_equal_to_upstream_at_24_khz(mono: Path, samples: int, bandwidth: float) -> None:
    waveform = sound(samples, 1, 24_000, seed=samples)
    codec = load_codec(str(mono), bandwidth=bandwidth, device="cpu")
    codes = codec.encode(waveform)
    assert_same(codes, upstream(load_oracle(mono), waveform, bandwidth))
    assert codes.scales is None and len(codes.chunk_frames) == 1


@pytest.mark.parametrize("samples", [320, 48_000, 150_000, 2 * STRIDE + 500])
def test_decodes_to_what_upstream_decodes_to(reduced: Path, samples: int) -> None:
    waveform = sound(samples, seed=samples)
    codec, oracle = load_codec(str(reduced), device="cpu"), load_oracle(reduced)
    with torch.inference_mode():
        out = oracle.encode(torch.from_numpy(waveform.samples)[None], bandwidth=6.0)
        pad = out.last_frame_pad_length
        expected = oracle.decode(
            out.audio_codes, out.audio_scales, last_frame_pad_length=pad
        ).audio_values[0]
    decoded = codec.decode(codec.encode(waveform)).samples
    np.testing.assert_allclose(decoded, expected.numpy()[:, :samples], atol=2e-6)


def test_a_padded_tail_would_have_other_codes(reduced: Path) -> None:
    """Why partial chunks are never padded: the reason for this package, kept as a test."""
    codec = load_codec(str(reduced), device="cpu")
    waveform = sound(24_000)
    padded = Waveform(np.pad(waveform.samples, ((0, 0), (0, 24_000))), 48_000)
    ours, theirs = codec.encode(waveform), codec.encode(padded)
    share = float(np.mean(ours.codes == theirs.codes[:, : ours.frames]))
    assert share < 0.9
    assert ours.scales is not None and theirs.scales is not None
    assert theirs.scales[0] == pytest.approx(ours.scales[0] / np.sqrt(2), rel=0.05)


def test_the_full_size_model_in_a_batch(full: Path) -> None:
    lengths = [2 * STRIDE + 100, 10_000, 48_000]
    waveforms = [sound(n, seed=n) for n in lengths]
    oracle = load_oracle(full)
    batch = load_codec(str(full), bandwidth=24.0, device="cpu").encode_batch(waveforms)
    for waveform, codes in zip(waveforms, batch, strict=True):
        assert_same(codes, upstream_by_chunk(oracle, waveform, 24.0))
        assert (
            all(len(np.unique(level)) > 20 for level in codes.codes)
            or waveform.num_samples < 20_000
        )


def test_the_same_seed_writes_the_same_weights(tmp_path: Path, reduced: Path) -> None:
    """Whatever the process computes with otherwise."""
    from tokenizer.codecs.encodec.seeded import write_seeded

    torch.set_num_threads(3)
    torch.set_float32_matmul_precision("high")
    try:
        again = write_seeded(tmp_path / "again", size="reduced")
    finally:
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("highest")
    assert (again / "model.safetensors").read_bytes() == (
        reduced / "model.safetensors"
    ).read_bytes()
    other = write_seeded(tmp_path / "other", size="reduced", seed=1)
    assert (other / "model.safetensors").read_bytes() != (
        reduced / "model.safetensors"
    ).read_bytes()
