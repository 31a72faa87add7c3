"""A run: from a configuration and a pack to a checkpoint, in one sitting or many."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.allocator import keep_freed_memory
from tokenizer.errors import OutputError, UsageError
from tokenizer.training import checkpoints
from tokenizer.training.checkpoints import TrainState
from tokenizer.training.data.draws import DataOptions, Mixer, batches
from tokenizer.training.data.pack import Pack
from tokenizer.training.data.writing import alone
from tokenizer.training.evaluate import evaluate, held_out_seconds
from tokenizer.training.logs import Logs
from tokenizer.training.networks.model import initial_model, new_model, require_fit, to_model_level
from tokenizer.training.networks.transform import start_as_transform
from tokenizer.training.presets import TrainConfig, differences
from tokenizer.training.trainer import Trainer
from tokenizer.training.workers import Workers, open_workers

_FIRST_STEP = 1 << 40
"""batches of this and later numbers, which no run reaches, initialise weights and codebooks"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sitting:
    """How to run this time; never changes what a step computes on one machine."""

    device: str = "auto"
    threads: int | None = None
    """CPU threads of torch; None leaves them"""
    minutes: float | None = None
    """stop, with a checkpoint, after this long"""
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    """checkpoint every so many steps, too"""
    steps: int | None = None
    """end the run at this step instead; an earlier sitting's phases stay, the last one becomes
    longer or shorter"""
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for flag, count in (("--threads", self.threads), ("--steps", self.steps)):
            if count is not None and count < 1:
                raise UsageError(f"{flag} {count}: give at least 1")
        if self.minutes is not None and not self.minutes > 0:
            raise UsageError(f"--minutes {self.minutes}: give more than 0")
        if not self.checkpoint_minutes > 0 or (
            self.checkpoint_steps is not None and self.checkpoint_steps < 1
        ):
            raise UsageError(
                "checkpoints need minutes above 0 and steps of at least 1 between them"
            )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a sitting ended."""

    reason: str
    """ "done", "time", or the name of a signal"""
    step: int
    """steps done in all"""
    checkpoint: Path


def train(
    config: TrainConfig, pack: Pack, run_dir: Path, sitting: Sitting, say: Say = print
) -> Outcome:
    """Train, or go on with what is in `run_dir`.

    Raises:
        UsageError: the folder holds another run, or something was asked for that cannot be done.
        OutputError: the folder cannot be used, or another process trains in it.
    """
    workers = open_workers(sitting.device)
    if sitting.threads is not None:
        torch.set_num_threads(sitting.threads)
    if workers.device.type == "cpu":
        keep_freed_memory(everything=True)
    config = replace(config, world=workers.count, preset=config.preset.on(workers.count))
    config = settle(config, run_dir, sitting, write=workers.first)
    with (
        alone(run_dir, f"run {run_dir}") if workers.first else nullcontext(),
        _reduced_products(),
    ):
        return _Run(config, pack, run_dir, sitting, workers, say).go()


@contextmanager
def _reduced_products() -> Iterator[None]:
    """Products in TF32, or what a CPU has of that kind: a setting of the whole process, which codes
    that are computed in it afterwards must not find."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def settle(config: TrainConfig, run_dir: Path, sitting: Sitting, *, write: bool) -> TrainConfig:
    """The configuration of this sitting: the folder's own where it has one, which must agree with
    what is asked for.

    Raises:
        UsageError: it does not; one line with the differences.
    """
    stored = checkpoints.read_config(run_dir)
    if stored is None:
        preset = config.preset if sitting.steps is None else config.preset.scaled(sitting.steps)
        config = TrainConfig.from_dict({**config.to_dict(), "preset": asdict(preset)})
    else:
        found = differences(stored, config)
        if found:
            raise OutputError(
                f"run {run_dir} is of another configuration ({'; '.join(found)}): give another "
                "folder"
            )
        preset = stored.preset if sitting.steps is None else stored.preset.extended(sitting.steps)
        config = TrainConfig.from_dict({**stored.to_dict(), "preset": asdict(preset)})
    if write:
        checkpoints.write_config(run_dir, config)
    return config


class _Run:
    """One sitting."""

    def __init__(
        self,
        config: TrainConfig,
        pack: Pack,
        run_dir: Path,
        sitting: Sitting,
        workers: Workers,
        say: Say,
    ) -> None:
        self._config, self._run_dir, self._sitting, self._workers = (
            config,
            run_dir,
            sitting,
            workers,
        )
        self._say: Say = say if workers.first else lambda text: None
        model = initial_model(config.init) if config.init else new_model(config.preset, config.seed)
        require_fit(model, pack.sample_rate, pack.channels, pack.folder)
        self._mixer = Mixer(
            pack, DataOptions(config.preset.batch, reverb=config.reverb, seed=config.seed)
        )
        state = checkpoints.read_state(run_dir)
        if state is None and config.init is None and config.preset.start == "transform":
            start_as_transform(
                model,
                [
                    to_model_level(model, torch.from_numpy(batch))
                    for batch in self._first_examples()
                ],
                config.seed,
            )
        self._trainer = Trainer(model, config, workers)
        self._held_out = held_out_seconds(pack, config.preset.evaluation_seconds)
        self._first, self._before = 0, 0.0
        if state is not None:
            self._trainer.restore(state)
            self._first, self._before = state.step, float(state.numbers["seconds"])
        self._logs = self._open_logs(state) if workers.first else None
        self._began = self._saved = time.monotonic()

    def _open_logs(self, state: TrainState | None) -> Logs:
        """The logs, and beside them the checkpoint as the state has it."""
        if state is None:
            return Logs(self._run_dir, 0, tensorboard=self._sitting.tensorboard)
        if checkpoints.write_checkpoint(self._run_dir, self._trainer.model):
            self._say(
                f"{self._run_dir / checkpoints.CHECKPOINT} is not the model of step {state.step} "
                "(damaged, or the run was killed before it was written): made again from "
                f"{checkpoints.STATE}"
            )
        marks, tensorboard = state.numbers.get("logs"), self._sitting.tensorboard
        logs = Logs(self._run_dir, state.step, tensorboard=tensorboard, marks=marks)
        for name in logs.changed:
            self._say(
                f"{self._run_dir / name} is not what it was when step {state.step} was saved: "
                "lines that can be read are kept"
            )
        return logs

    def go(self) -> Outcome:
        preset, step, reason = self._config.preset, self._first, "done"
        self._say(
            f"{self._run_dir}: {preset.name}, from step {step} to {preset.steps} on "
            f"{self._workers.device}"
        )
        try:
            with signals() as received:
                for batch in batches(self._mixer, step, preset.steps, self._workers.rank):
                    self._one(step, batch)
                    step += 1
                    reason = self._wants_to_stop(received)
                    if reason != "done":
                        break
                if step > self._first:
                    self._save(step)
        finally:
            if self._logs is not None:
                self._logs.close()
        return Outcome(reason, step, self._run_dir / checkpoints.CHECKPOINT)

    def _one(self, step: int, batch: NDArray[np.float32]) -> None:
        if self._trainer.needs_codebooks(step):
            self._initialise(step)
        report = self._trainer.step(step, batch)
        if self._logs is not None:
            self._logs.losses(step, report)
        done, preset = step + 1, self._config.preset
        if done % 100 == 0:
            pace = (done - self._first) / (time.monotonic() - self._began)
            numbers = " ".join(f"{name} {value:.4g}" for name, value in report.items())
            self._say(f"step {done}/{preset.steps} {pace:.2f} steps/s {numbers}")
        if done % preset.evaluate_every == 0 or done == preset.steps:
            self._evaluate(done)
        every = self._sitting.checkpoint_steps
        late = time.monotonic() - self._saved > self._sitting.checkpoint_minutes * 60
        if late or (every is not None and done % every == 0):
            self._save(done)

    def _initialise(self, step: int) -> None:
        examples = self._first_examples()
        self._say(f"step {step}: codebooks from k-means over {sum(map(len, examples))} examples")
        self._trainer.initialise_codebooks(step, examples)

    def _first_examples(self) -> list[NDArray[np.float32]]:
        """Batches that decide where the training begins."""
        count = max(1, round(self._config.preset.kmeans_seconds / self._config.preset.batch))
        return [self._mixer.batch(_FIRST_STEP + i) for i in range(count)]

    def _evaluate(self, done: int) -> None:
        if self._logs is None or not len(self._held_out) or not self._trainer.quantizer.initialised:
            return
        for row in evaluate(self._trainer.model, self._held_out, self._workers.device):
            # The line belongs to the last step that is done: a run that resumes here keeps it.
            self._logs.evaluation(done - 1, asdict(row))
            low, high = min(row.perplexity), max(row.perplexity)
            self._say(
                f"held out, {row.bandwidth:g} kbps: SI-SNR {row.si_snr:.2f} dB, mel {row.mel:.3f}, "
                f"perplexity {low:.0f} to {high:.0f}, codes used {min(row.used):.0%} or more"
            )

    def _save(self, done: int) -> None:
        if self._logs is not None:
            # Losses first: a state without its losses could not be told from an undisturbed run's.
            marks = self._logs.flush()
            seconds = self._before + time.monotonic() - self._began
            checkpoints.write_state(self._run_dir, self._trainer.state(done, seconds, marks))
            checkpoints.write_checkpoint(self._run_dir, self._trainer.model)
        self._saved = time.monotonic()

    def _wants_to_stop(self, received: list[int]) -> str:
        minutes = self._sitting.minutes
        late = minutes is not None and time.monotonic() - self._began > minutes * 60
        if not self._workers.agree(bool(received) or late):
            return "done"
        return signal.Signals(received[0]).name if received else "time"


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM for the length of a `with` block, to stop between two steps; a
    second SIGINT interrupts."""
    received: list[int] = []

    def take(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before: dict[int, Any] = {
        number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
