"""Silence, constants, impulses and the like against transformers: every rounding error of theirs
points one way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import structured
from transformers import EncodecModel

from tokenizer import load_codec
from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.cpu.kernels import moments
from tokenizer.codecs.encodec.cpu.tiles import joined, repeated, tiles
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.seeded import write_seeded

SEEDS = range(50) if os.environ.get("CODECSHARDS_ALL_SEEDS") else (15, 18, 40)
"""the checkpoints that had most wrong codes while variances were E[x\u00b2] - mean\u00b2;
`benchmarks/structured.py` takes 50"""
CHUNK = 48_000


def theirs(oracle: EncodecModel, samples: np.ndarray) -> np.ndarray:
    """Codes `[n_q, frames]` of `EncodecModel.encode` for one recording of one chunk."""
    with torch.inference_mode():
        found: np.ndarray = (
            oracle.encode(torch.from_numpy(samples)[None], bandwidth=24.0).audio_codes[0, 0].numpy()
        )
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_no_code_differs_from_transformers(seed: int, tmp_path: Path) -> None:
    folder = write_seeded(tmp_path / "codec", size="reduced", seed=seed)
    codec, oracle = (
        load_codec(str(folder), bandwidth=24.0, device="cpu"),
        EncodecModel.from_pretrained(folder).eval(),
    )
    wrong = {}
    for name, waveform in structured(47_520, seed).items():
        wrong[name] = int((codec.encode(waveform).codes != theirs(oracle, waveform.samples)).sum())
    assert not any(wrong.values()), wrong


def test_nor_does_one_of_the_batched_network(reduced: Path) -> None:
    model, oracle = (
        load_model(reduced, torch.device("cpu")),
        EncodecModel.from_pretrained(reduced).eval(),
    )
    network = BatchedNetwork(model, ReferenceModules(model, static=True), n_q=16)
    sounds = [
        waveform.samples for seed in range(1) for waveform in structured(CHUNK, seed).values()
    ]
    sounds += [samples[:, :4_001].copy() for samples in sounds[:4]]
    with torch.inference_mode():
        for samples, found in zip(sounds, network.encode(sounds), strict=True):
            with torch.inference_mode():
                expected = oracle._encode_frame(torch.from_numpy(samples)[None], 24.0)[0][0].numpy()
            assert np.array_equal(found.codes, expected)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9000),
    channels=st.sampled_from([1, 2, 4, 32]),
    mean=st.floats(-1e4, 1e4, width=32),
    spread=st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
    odd=st.booleans(),
    seed=st.integers(0, 9),
)
def test_moments_do_not_cancel(
    rows: int, channels: int, mean: float, spread: float, odd: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = (mean + spread * rng.standard_normal((rows, channels))).astype(np.float32)
    if odd:
        values[0] = 1e5  # the row that the pivot is taken from
    bias = torch.from_numpy(rng.standard_normal(channels).astype(np.float32))
    parts = []
    for start, stop in tiles(rows, channels * 64):
        found = moments(values[start:stop].reshape(-1), repeated(bias).numpy(), channels)
        parts.append(((stop - start) * channels, *found))
    count, middle, squares = joined(parts)
    exact = values.astype(np.longdouble) + bias.numpy().astype(np.longdouble)
    assert count == exact.size and middle == pytest.approx(float(exact.mean()), rel=1e-12, abs=1e-9)
    assert squares == pytest.approx(
        float(((exact - exact.mean()) ** 2).sum()), rel=1e-8, abs=1e-12 * count
    )


def test_what_is_not_finite_comes_through() -> None:
    values = np.ones(64, np.float32)
    for odd in (np.nan, np.inf, -np.inf):
        values[40] = odd
        assert not np.isfinite(moments(values, repeated(torch.zeros(2)).numpy(), 2)).any()
