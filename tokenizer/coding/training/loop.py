"""A run: from segments to a coder, in one sitting or many.

RUN/config.json          what the run computes
RUN/state.safetensors    everything that a resumed run needs, of one step; replaced in one rename
RUN/coder.safetensors    the integers of that step: what `compress --coder RUN` takes
RUN/losses.jsonl         a line a step
RUN/evaluations.jsonl    a line an evaluation: bits a code by level, by the integers
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.coding.training.corpus import Segments
from tokenizer.coding.training.evaluate import Bits, bits_of
from tokenizer.coding.training.presets import CoderConfig
from tokenizer.coding.training.trainer import Trainer, new_network
from tokenizer.coding.transformer.network import Network
from tokenizer.coding.transformer.predictor import TransformerPredictor
from tokenizer.coding.transformer.quantize import quantized
from tokenizer.errors import OutputError, UsageError
from tokenizer.sealing import seal, unseal
from tokenizer.training.checkpoints import (
    CONFIG,
    TrainState,
    optimizer_tensors,
    read_state,
    restore_optimizer,
    under,
    write_state,
)
from tokenizer.training.data.writing import alone
from tokenizer.training.logs import Logs
from tokenizer.training.loop import signals
from tokenizer.training.trainer import diverged, finite

CODER = "coder.safetensors"
_REPORT_EVERY = 50

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sitting:
    """How to run this time; never changes what a step computes on one machine."""

    device: str = "cpu"
    minutes: float | None = None
    """stop, with a checkpoint, after this long"""
    checkpoint_minutes: float = 5.0
    evaluate_every: int = 500
    """steps between evaluations"""
    evaluation_segments: int = 200

    def __post_init__(self) -> None:
        if self.minutes is not None and not self.minutes > 0:
            raise UsageError(f"--minutes {self.minutes}: give more than 0")
        if not self.checkpoint_minutes > 0:
            raise UsageError(f"--checkpoint-minutes {self.checkpoint_minutes}: give more than 0")
        if self.evaluate_every < 1:
            raise UsageError(f"--evaluate-every {self.evaluate_every}: give at least 1")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a sitting ended."""

    reason: str
    """ "done", "time", or the name of a signal"""
    step: int
    coder: Path


def train(
    config: CoderConfig,
    train_on: Segments,
    held_out: Segments,
    run_dir: Path,
    sitting: Sitting,
    codebooks: Sequence[NDArray[np.float32]] | None = None,
    say: Say = print,
) -> Outcome:
    """Train, or go on with what is in `run_dir`.

    Raises:
        UsageError: nothing to train on.
        OutputError: the folder holds another run, cannot be used, or another process trains in
            it.
    """
    if not len(train_on):
        raise UsageError("there are no codes to train on: everything is held out or left out")
    settle(config, run_dir)
    network = new_network(config, train_on, codebooks)
    with alone(run_dir, f"run {run_dir}"):
        return _Run(config, network, train_on, held_out, run_dir, sitting, say).go()


def settle(config: CoderConfig, run_dir: Path) -> None:
    """Store the configuration, or compare it with what the folder has.

    Raises:
        OutputError: it is another one.
    """
    path = run_dir / CONFIG
    try:
        if path.exists():
            stored = CoderConfig.from_dict(unseal(path.read_bytes(), required=False))
            found = stored.differences(config)
            if found:
                raise OutputError(
                    f"run {run_dir} is of another configuration ({'; '.join(found)}): give "
                    "another folder"
                )
        run_dir.mkdir(parents=True, exist_ok=True)
        _replace(path, seal(config.to_dict()))
    except (OSError, ValueError) as error:
        raise OutputError(f"run {run_dir}: its {CONFIG} cannot be used: {error}") from error


class _Run:
    """One sitting."""

    def __init__(
        self,
        config: CoderConfig,
        network: Network,
        train_on: Segments,
        held_out: Segments,
        run_dir: Path,
        sitting: Sitting,
        say: Say,
    ) -> None:
        self._config, self._train_on, self._held_out = config, train_on, held_out
        self._run_dir, self._sitting, self._say = run_dir, sitting, say
        self._trainer = Trainer(network, config, torch.device(sitting.device))
        self._first = 0
        self._recent: list[float] = []
        """bits a code of all levels, since the last line"""
        state = read_state(run_dir)
        if state is not None:
            network.load_state_dict(under(state.tensors, "network"))
            restore_optimizer(self._trainer.optimizer, state.tensors, "optimizer")
            self._first = state.step
        self._logs = Logs(run_dir, self._first, tensorboard=False)
        self._began = self._saved = time.monotonic()

    def go(self) -> Outcome:
        config, step, reason = self._config, self._first, "done"
        self._say(
            f"{self._run_dir}: {config.preset}, from step {step} to {config.steps}, "
            f"{self._train_on.frames:,} frames of {self._train_on.recordings:,} recordings; held "
            f"out {self._held_out.frames:,} of {self._held_out.recordings:,}"
        )
        try:
            with signals() as received:
                while step < config.steps and reason == "done":
                    self._one(step)
                    step += 1
                    reason = self._wants_to_stop(received, step)
            self._save(step)
        finally:
            self._logs.close()
        return Outcome(reason, step, self._run_dir / CODER)

    def _one(self, step: int) -> None:
        bits, n_q = self._trainer.step(step, self._train_on)
        if not math.isfinite(bits):
            raise diverged(step, f"{bits} bits a code")
        self._logs.losses(step, {"bits": bits, "levels": n_q})
        if n_q == self._config.shape.levels:
            self._recent.append(bits)
        done = step + 1
        if done % _REPORT_EVERY == 0:
            pace = (done - self._first) / (time.monotonic() - self._began)
            left = (self._config.steps - done) / pace / 60
            mean = np.mean(self._recent or [bits])
            self._say(
                f"step {done}/{self._config.steps}: {mean:.3f} bits a code, "
                f"{pace:.2f} steps/s, {left:.0f} min left"
            )
            self._recent.clear()
        if done % self._sitting.evaluate_every == 0 or done == self._config.steps:
            self._evaluate(done)
        if time.monotonic() - self._saved > self._sitting.checkpoint_minutes * 60:
            self._save(done)

    def _evaluate(self, done: int) -> None:
        if not len(self._held_out):
            return
        predictor, most = self._predictor(), self._sitting.evaluation_segments
        levels = self._config.shape.levels
        for n_q in sorted({max(1, levels // 4), levels}):
            found = bits_of(predictor.at(n_q), self._held_out, most)
            row: dict[str, Any] = {"levels": n_q, "bits": [round(one, 4) for one in found.levels]}
            self._logs.evaluation(done - 1, row)
            self._say(f"held out, {n_q} levels: {described(found)}")

    def _predictor(self) -> TransformerPredictor:
        network = Network(self._config.shape)
        network.load_state_dict(self._trainer.network.state_dict())
        return TransformerPredictor(quantized(network.cpu(), self._config.segment_frames))

    def _save(self, done: int) -> None:
        self._logs.flush()
        trainer = self._trainer
        if not finite(trainer.network):
            raise diverged(done, "weights are not finite")
        tensors = {f"network.{k}": v for k, v in trainer.network.state_dict().items()}
        tensors |= optimizer_tensors(trainer.optimizer, "optimizer")
        write_state(self._run_dir, TrainState(done, tensors, {}))
        try:
            _replace(self._run_dir / CODER, self._predictor().dumps())
        except OSError as error:
            raise OutputError(f"run {self._run_dir} cannot be written: {error}") from error
        self._saved = time.monotonic()

    def _wants_to_stop(self, received: list[int], step: int) -> str:
        if step >= self._config.steps:
            return "done"
        if received:
            return signal.Signals(received[0]).name
        minutes = self._sitting.minutes
        late = minutes is not None and time.monotonic() - self._began > minutes * 60
        return "time" if late else "done"


def described(found: Bits) -> str:
    """For people."""
    each = " ".join(f"{one:.2f}" for one in found.levels)
    return f"{found.mean:.3f} bits a code, {found.saving:.1%} saved; by level {each}"


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
