"""Training a coder: it learns what there is to learn, and a run that was stopped goes on as if it
had not been."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_coder import made_shape
from numpy.typing import NDArray

from tokenizer.coding.training import loop
from tokenizer.coding.training.corpus import Segments, lengths_of, share_of
from tokenizer.coding.training.evaluate import bits_of
from tokenizer.coding.training.loop import CODER, Sitting, train
from tokenizer.coding.training.presets import CoderConfig
from tokenizer.coding.training.trainer import Trainer, new_network
from tokenizer.coding.transformer.network import Network
from tokenizer.coding.transformer.predictor import TransformerPredictor
from tokenizer.coding.transformer.quantize import quantized
from tokenizer.errors import CodecshardsError, OutputError, UsageError
from tokenizer.training.checkpoints import read_state
from tokenizer.training.logs import read_evaluations, read_losses

SIZES = (16, 16)
FRAMES = 20


def chains(count: int, seed: int) -> Segments:
    """A first level that goes up by 1 or 2, and a second one that is the first's, backwards: 1 bit
    a frame in all, if the frame before and the level below are seen."""
    rng, found = np.random.default_rng(seed), Segments(SIZES)
    for _ in range(count):
        first = (rng.integers(16) + np.cumsum(rng.integers(1, 3, FRAMES))) % 16
        found.add(np.stack([first, 15 - first]).astype(np.uint16), [FRAMES])
    return found


@pytest.fixture(scope="module")
def corpus() -> Segments:
    return chains(200, 1)


def config_for(corpus: Segments, **more: object) -> CoderConfig:
    shape = made_shape(True, SIZES, past=8)
    values = {"steps": 8, "batch": 16, "learning_rate": 2e-2, **more}
    return CoderConfig(shape, FRAMES, "small", corpus.identity(), **values)  # type: ignore[arg-type]


def quiet(text: str) -> None:
    del text


def test_it_finds_the_frame_before_and_the_level_below(corpus: Segments, tmp_path: Path) -> None:
    config = config_for(corpus, steps=70)
    held_out = chains(20, 2)
    outcome = train(config, corpus, held_out, tmp_path, Sitting(evaluate_every=70), say=quiet)
    assert (outcome.reason, outcome.step) == ("done", 70)
    coder = TransformerPredictor.loads((tmp_path / CODER).read_bytes())
    found = bits_of(coder, held_out)
    # of 4 each; a frame's first takes 4
    assert found.levels[0] < 3.2 and found.levels[1] < 2.5, found.levels
    (row,) = read_evaluations(tmp_path)[1:]
    assert row["bits"] == [pytest.approx(one, abs=1e-4) for one in found.levels]


def test_integers_cost_less_than_a_hundredth(corpus: Segments) -> None:
    """Against the same network in floating point, its weights not rounded."""
    config = config_for(corpus)
    network = new_network(config, corpus, None)
    coder = TransformerPredictor(quantized(network, FRAMES))
    integers = bits_of(coder, corpus, 50).mean
    chosen = np.linspace(0, len(corpus), 50, endpoint=False).astype(int)
    codes = torch.from_numpy(np.stack([corpus[int(n)] for n in chosen]).astype(np.int64))
    with torch.no_grad():
        losses = network.losses(codes, torch.ones(50, FRAMES, dtype=torch.bool))
    floats = float(torch.stack(losses).mean()) / math.log(2)
    assert abs(integers - floats) < 0.01 * floats


def state_of(run: Path) -> tuple[int, dict[str, Any]]:
    state = read_state(run)
    assert state is not None
    return state.step, {name: one.tolist() for name, one in state.tensors.items()}


def test_a_stopped_run_ends_as_an_undisturbed_one(
    corpus: Segments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, held_out = config_for(corpus), chains(3, 5)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, corpus, held_out, whole, Sitting(), say=quiet)
    first = train(config, corpus, held_out, parts, Sitting(minutes=1e-9), say=quiet)
    assert (first.reason, first.step) == ("time", 1)

    def terminated(self: object, step: int) -> None:
        once(self, step)  # type: ignore[arg-type]
        if step == 3:
            signal.raise_signal(signal.SIGTERM)

    once = loop._Run._one
    monkeypatch.setattr(loop._Run, "_one", terminated)
    second = train(config, corpus, held_out, parts, Sitting(), say=quiet)
    assert (second.reason, second.step) == ("SIGTERM", 4)
    train(config, corpus, held_out, parts, Sitting(), say=quiet)
    assert state_of(parts) == state_of(whole)
    assert (parts / CODER).read_bytes() == (whole / CODER).read_bytes()
    assert read_losses(parts) == read_losses(whole)


def test_another_configuration_or_corpus_is_refused(corpus: Segments, tmp_path: Path) -> None:
    config = config_for(corpus, steps=1)
    train(config, corpus, chains(1, 3), tmp_path, Sitting(), say=quiet)
    for other in (replace(config, batch=3), config_for(chains(3, 4))):
        with pytest.raises(OutputError, match="another configuration"):
            train(other, corpus, chains(1, 3), tmp_path, Sitting(), say=quiet)
    assert (
        train(replace(config, steps=2), corpus, chains(1, 3), tmp_path, Sitting(), say=quiet).step
        == 2
    )
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(OutputError, match=r"config\.json"):
        train(config, corpus, chains(1, 3), tmp_path, Sitting(), say=quiet)
    with pytest.raises(UsageError, match="no codes to train on"):
        train(config, Segments(SIZES), chains(1, 3), tmp_path / "x", Sitting(), say=quiet)


def test_tables_begin_as_the_codebooks(corpus: Segments) -> None:
    rng = np.random.default_rng(0)
    for dims in (4, 6, 30):
        vectors = [rng.standard_normal((16, dims)).astype(np.float32) for _ in SIZES]
        network = new_network(config_for(corpus), corpus, vectors)
        for entries, one in zip(network.entries, vectors, strict=True):
            apart = np.linalg.norm(one[:, None] - one[None], axis=-1)
            there = torch.cdist(entries, entries).detach().numpy()
            assert np.corrcoef(apart.ravel(), there.ravel())[0, 1] > 0.6


def test_a_step_trains_all_levels_or_the_first_ones() -> None:
    config = config_for(chains(1, 1))
    assert [config.levels_at(step, 0.5) for step in range(4)] == [2, 2, 2, 2]
    wide = replace(config, shape=made_shape(True, (16,) * 16))
    assert {wide.levels_at(1, draw) for draw in (0.0, 0.4, 0.7, 1.0)} == {8, 4, 2}
    assert wide.levels_at(2, 0.0) == 16


def test_segments_are_chunks_or_stretches() -> None:
    assert lengths_of([150, 150, 2], 150) == [150, 150, 2]
    assert lengths_of([400], 150) == [150, 150, 100]
    assert lengths_of([300, 0], 150) == [150, 150]
    assert share_of("a/b.wav") == share_of("a/b.wav") != share_of("a/c.wav")


def drawn(segments: Segments, step: int) -> list[NDArray[np.uint16]]:
    return segments.draw(5, 0, step)


def test_batches_depend_on_seed_and_step_alone(corpus: Segments) -> None:
    again = [one.tolist() for one in drawn(corpus, 7)]
    assert [one.tolist() for one in drawn(corpus, 7)] == again
    assert [one.tolist() for one in drawn(corpus, 8)] != again
    assert isinstance(Network(made_shape()), torch.nn.Module)
    assert json.loads(json.dumps(config_for(corpus).to_dict())) == config_for(corpus).to_dict()


@pytest.mark.parametrize("bits", [math.nan, 4.0])
def test_what_is_no_number_is_never_saved(
    corpus: Segments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: float
) -> None:
    """Whether the loss of the step shows it or only that of the next one would."""

    def diverges(self: Trainer, step: int, train: Segments) -> tuple[float, int]:
        del step, train
        with torch.no_grad():
            next(self.network.parameters()).fill_(math.nan)
        return bits, 2

    config = config_for(corpus)
    train(config, corpus, chains(1, 3), tmp_path, Sitting(minutes=1e-9), say=quiet)
    before = state_of(tmp_path)
    monkeypatch.setattr(Trainer, "step", diverges)
    with pytest.raises(CodecshardsError, match="in another folder, with a lower --learning-rate"):
        train(config, corpus, chains(1, 3), tmp_path, Sitting(minutes=1e-9), say=quiet)
    assert state_of(tmp_path) == before
