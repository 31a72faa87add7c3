"""The way through CUDA graphs without a GPU (`cards`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cards import CPU, FakeGraph, pretend
from sounds import sound

from tokenizer import Codec, load_codec
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.encodec import certainty
from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.gpu import graphs, settling
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.gpu.graphs import GraphRunner, Shape, Work
from tokenizer.codecs.encodec.reference import ReferenceModules

LENGTHS = [48_000, 700, 48_000, 1, 33_000, 480, 48_000, 47_999, 48_000, 48_000, 700]


@pytest.fixture
def network(reduced: Path, monkeypatch: pytest.MonkeyPatch) -> BatchedNetwork:
    pretend(monkeypatch)

    def runner(
        self: BatchedNetwork, work: Work, precision: str, largest: Shape, lanes: int
    ) -> GraphRunner:
        return GraphRunner(work, precision, CPU, largest, lanes)

    monkeypatch.setattr(BatchedNetwork, "_runner", runner)
    monkeypatch.setattr(BatchedNetwork, "_rows", lambda self: (1, 2, 4))
    monkeypatch.setattr(settling, "ROWS", (2, 4))
    model = load_model(reduced, CPU)
    return BatchedNetwork(model, ReferenceModules(model, static=True), n_q=16)


@pytest.fixture(scope="module")
def alone(reduced: Path) -> Codec:
    return load_codec(str(reduced), bandwidth=24.0, device="cpu", reference=True)


def test_replayed_graphs_give_the_references_codes(network: BatchedNetwork, alone: Codec) -> None:
    for seed in range(3):
        chunks = [sound(n, seed=n + seed).samples for n in LENGTHS]
        for one, other in zip(network.encode(chunks), alone.encode_chunks(chunks), strict=True):
            assert np.array_equal(one.codes, other.codes) and one.scale == pytest.approx(
                other.scale, rel=3e-7
            )
    assert FakeGraph.replayed > 2 * FakeGraph.made > 0


def test_replayed_graphs_settle_as_the_reference_does(
    network: BatchedNetwork, alone: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certainty, "CERTAIN", torch.inf)
    for seed in range(2):
        chunks = [sound(n, seed=n + seed).samples for n in LENGTHS]
        for one, other in zip(network.encode(chunks), alone.encode_chunks(chunks), strict=True):
            assert np.array_equal(one.codes, other.codes) and one.scale == other.scale
    assert network.repeated == 2 * len(LENGTHS)


def test_replayed_graphs_decode_to_what_transformers_decodes_to(
    network: BatchedNetwork, alone: Codec
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(2):
        shapes = [(16, 150), (16, 3), (4, 150), (16, 150), (16, 150), (16, 3), (16, 150)]
        chunks = [
            ChunkCodes(rng.integers(0, 1024, shape).astype(np.uint16), float(rng.uniform(0.1, 2)))
            for shape in shapes
        ]
        for found, expected in zip(
            network.decode(chunks), alone.decode_chunks(chunks), strict=True
        ):
            np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_results_outlive_the_slots_that_they_came_through(network: BatchedNetwork) -> None:
    chunks = [ChunkCodes(np.full((16, 150), i, np.uint16), 1.0) for i in range(3)]
    kept = network.decode(chunks)
    before = [samples.copy() for samples in kept]
    for _ in range(4):
        network.decode(chunks[::-1])
    assert all(np.array_equal(one, other) for one, other in zip(kept, before, strict=True))


def test_graphs_that_were_forgotten_are_captured_again(network: BatchedNetwork) -> None:
    chunks = [sound(n, seed=n).samples for n in (48_000, 700)]
    expected, made = network.encode(chunks), FakeGraph.made
    network._encoder()._runner.forget()
    for one, other in zip(network.encode(chunks), expected, strict=True):
        assert np.array_equal(one.codes, other.codes)
    assert FakeGraph.made > made


def test_lack_of_memory_at_a_capture_makes_batches_smaller(
    network: BatchedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = [sound(n, seed=n).samples for n in LENGTHS]
    expected = network.encode(chunks)
    network._encoder()._runner.forget()
    call: Any = type(network._encoding).__call__

    def hungry(self: Any, *inputs: torch.Tensor) -> Any:
        if inputs[0].shape[0] > 2:
            raise torch.OutOfMemoryError("too large")
        return call(self, *inputs)

    monkeypatch.setattr(type(network._encoding), "__call__", hungry)
    for one, other in zip(network.encode(chunks), expected, strict=True):
        assert np.array_equal(one.codes, other.codes)
    assert network._encoder().rows == (1, 2)


def test_threads_share_graphs(network: BatchedNetwork) -> None:
    calls = [[sound(n, seed=n + seed).samples for n in LENGTHS[seed::2]] for seed in range(4)]
    expected = [network.encode(chunks) for chunks in calls]
    with ThreadPoolExecutor(4) as pool:
        for found, others in zip(pool.map(network.encode, calls), expected, strict=True):
            assert all(
                np.array_equal(one.codes, other.codes)
                for one, other in zip(found, others, strict=True)
            )


def test_memory_that_cannot_be_pinned_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = torch.empty

    def refuse(*size: Any, pin_memory: bool = False, **how: Any) -> torch.Tensor:
        if pin_memory:
            raise RuntimeError("CUDA error: out of memory")
        return empty(*size, **how)

    monkeypatch.setattr(torch, "empty", refuse)
    found = graphs._pinned(100)
    assert (found.dtype, found.numel(), found.is_pinned()) == (torch.uint8, 100, False)
