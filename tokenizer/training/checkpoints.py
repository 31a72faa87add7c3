"""What a run folder holds, and how it survives being killed at any moment.

    RUN_DIR/config.json          what the run computes
    RUN_DIR/state.safetensors    everything a resumed run needs, of one step; replaced in one rename
    RUN_DIR/checkpoint/          the model of that step as `save_pretrained` writes it; made again
                                 from the state if missing
    RUN_DIR/losses.jsonl         a line a step
    RUN_DIR/evaluations.jsonl    a line an evaluation and bandwidth
    RUN_DIR/tensorboard/         the same as curves

Batches, bandwidths and every other draw are functions of (seed, step), so no random state needs to
be kept. Configuration and state carry a SHA-256 of what they hold, and the state one of the logs: a
flipped byte would train on from wrong numbers without a word. Files from before have none.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tokenizer.errors import OutputError
from tokenizer.sealing import seal, unseal
from tokenizer.training.data.writing import writing
from tokenizer.training.presets import TrainConfig

CONFIG, STATE, CHECKPOINT = "config.json", "state.safetensors", "checkpoint"
_CHECKSUM = "checksum"


@dataclass(frozen=True, slots=True, eq=False)
class TrainState:
    """One moment of a run."""

    step: int
    """steps that are done"""
    tensors: Mapping[str, torch.Tensor]
    numbers: Mapping[str, Any]
    """JSON values: the balancers, seconds of training"""


def read_config(run_dir: Path) -> TrainConfig | None:
    """The configuration of a run folder; None if it has none yet.

    Raises:
        OutputError: it cannot be read.
    """
    try:
        return TrainConfig.from_dict(unseal((run_dir / CONFIG).read_bytes(), required=False))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"run {run_dir}: its {CONFIG} cannot be read: {error}") from error


def write_config(run_dir: Path, config: TrainConfig) -> None:
    """Store a configuration.

    Raises:
        OutputError: the folder cannot be written.
    """
    with writing(f"run {run_dir}"):
        run_dir.mkdir(parents=True, exist_ok=True)
        temporary = run_dir / (CONFIG + ".tmp")
        temporary.write_bytes(seal(config.to_dict()))
        _publish(temporary, run_dir / CONFIG)


def write_state(run_dir: Path, state: TrainState) -> None:
    """Replace the folder's state by another, in one rename.

    Raises:
        OutputError: the folder cannot be written; it has its earlier state.
    """
    temporary = run_dir / (STATE + ".tmp")
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in state.tensors.items()}
    metadata = {"step": str(state.step), "numbers": json.dumps(state.numbers)}
    metadata[_CHECKSUM] = _checksum_of_state(metadata, tensors)
    try:
        with writing(f"run {run_dir}"):
            save_file(tensors, temporary, metadata)
            _publish(temporary, run_dir / STATE)
    finally:  # what a full disk has left of it only takes room
        temporary.unlink(missing_ok=True)


def read_state(run_dir: Path) -> TrainState | None:
    """The state of a run folder; None if it has none yet.

    Raises:
        OutputError: it is damaged.
    """
    path = run_dir / STATE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = metadata.pop(_CHECKSUM, None)
        if said is not None and said != _checksum_of_state(metadata, tensors):
            raise ValueError("its checksum does not match")
        return TrainState(int(metadata["step"]), tensors, json.loads(metadata["numbers"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"run {run_dir}: its {STATE} is damaged ({error}); remove it to start again"
        ) from error


def write_checkpoint(run_dir: Path, model: Any) -> bool:
    """Replace the folder's checkpoint, unless it is the same. A kill between the two renames leaves
    none; the next start makes it again.

    Returns:
        Whether there was one that held something else.

    Raises:
        OutputError: the folder cannot be written.
    """
    fresh, old, target = (
        run_dir / (CHECKPOINT + ".tmp"),
        run_dir / (CHECKPOINT + ".old"),
        run_dir / CHECKPOINT,
    )
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with writing(f"run {run_dir}"):
            save_model(fresh, model)
            other = target.exists() and not _holds(target, fresh)
            if other:
                target.replace(old)
            if not target.exists():
                fresh.replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return other


def save_model(folder: Path, model: Any) -> None:
    """`save_pretrained` without its progress bar."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, torch.Tensor]:
    """An optimiser's state as flat tensors `prefix.PARAMETER.NAME`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}.{index}.{name}": torch.as_tensor(value)
        for index, row in state.items()
        for name, value in row.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], prefix: str
) -> None:
    """The inverse of `optimizer_tensors`."""
    rows: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(prefix + "."):
            index, name = key[len(prefix) + 1 :].split(".")
            rows.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(
        {"state": rows, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names start with `prefix.`, without it."""
    return {
        name[len(prefix) + 1 :]: tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix + ".")
    }


def _checksum_of_state(metadata: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    """Over names, types, shapes and content."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _holds(folder: Path, fresh: Path) -> bool:
    """Whether a folder has every file of another, byte for byte."""
    names = [path.name for path in fresh.iterdir()]
    return len(filecmp.cmpfiles(folder, fresh, names, shallow=False)[0]) == len(names)


def _publish(temporary: Path, target: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
