"""A disk that is full, here a limit on the size of files, is told in a line, and what was there
stays; so does what another process is writing."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from tokenizer.errors import CodecshardsError, OutputError
from tokenizer.training.checkpoints import TrainState, read_state, write_checkpoint, write_state
from tokenizer.training.data.pack import Pack, PackWriter
from tokenizer.training.data.writing import alone
from tokenizer.training.logs import Logs
from tokenizer.training.loop import Sitting, train
from tokenizer.training.presets import TrainConfig, find_preset


@contextmanager
def full(most: int) -> Iterator[None]:
    """Files hold at most so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def state(step: int) -> TrainState:
    return TrainState(step, {"x": torch.full((50_000,), float(step))}, {})


def test_of_a_state(tmp_path: Path) -> None:
    write_state(tmp_path, state(1))
    with full(10_000), pytest.raises(OutputError, match=r"run .* cannot be written: .*[Ff]ile"):
        write_state(tmp_path, state(2))
    found = read_state(tmp_path)
    assert found is not None and found.step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_of_a_checkpoint(tmp_path: Path) -> None:
    small = {"num_filters": 2, "hidden_size": 8, "num_lstm_layers": 1, "codebook_size": 32}
    model = EncodecModel(EncodecConfig(**small, upsampling_ratios=[8, 5, 8]))
    write_checkpoint(tmp_path, model)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with full(5_000), pytest.raises(OutputError, match=r"run .* cannot be written"):
        write_checkpoint(tmp_path, model)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_of_a_pack(tmp_path: Path) -> None:
    sound = [np.zeros((2, 48_000), np.float32)]
    with (
        pytest.raises(OutputError, match=r"pack .* cannot be written: File too large"),
        PackWriter(tmp_path / "pack", 48_000, 2) as writer,
        full(100_000),
    ):
        writer.add("one", "other", sound)
        writer.add("two", "other", sound)
    assert not list((tmp_path / "pack").iterdir())


def test_of_logs(tmp_path: Path) -> None:
    logs = Logs(tmp_path, 0, tensorboard=False)
    with full(100):
        with pytest.raises(CodecshardsError, match=r"run .* cannot be written: File too large"):
            for step in range(1_000):
                logs.losses(step, {"mel": 1.0})
        logs.close()


def test_two_at_once(tmp_path: Path) -> None:
    with PackWriter(tmp_path / "pack", 48_000, 2) as writer:
        writer.add("one", "other", [np.zeros((2, 48_000), np.float32)])
        with pytest.raises(OutputError, match=r"pack .* is being written by another process"):
            PackWriter(tmp_path / "pack", 48_000, 2)
    pack, run = Pack(tmp_path / "pack"), tmp_path / "run"
    run.mkdir()
    with (
        alone(run, "run"),
        pytest.raises(OutputError, match=r"run .* is being written by another process"),
    ):
        train(TrainConfig(find_preset("tiny")), pack, run, Sitting(device="cpu"), print)
    with alone(run, "run"):  # it was let go of
        assert not (run / "losses.jsonl").exists()
