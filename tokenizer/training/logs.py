"""What a run writes while it goes: JSON lines, and TensorBoard curves where it is installed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from tokenizer.training.data.writing import writing

LOSSES, EVALUATIONS, CURVES = "losses.jsonl", "evaluations.jsonl", "tensorboard"


class Logs:
    """The logs of one run folder, cut back to the step that the run resumes from."""

    def __init__(
        self,
        run_dir: Path,
        step: int,
        *,
        tensorboard: bool = True,
        marks: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Open; lines of `step` and later ones are of work that is done again, and go. `marks` is
        what `flush` said when the state of that step was saved."""
        self._run_dir = run_dir
        self.changed = [
            name for name, mark in (marks or {}).items() if not _is(run_dir / name, mark)
        ]
        """logs that do not hold any more what they held then"""
        with self._writing():
            for name in (LOSSES, EVALUATIONS):
                _cut(run_dir / name, step)
            self._losses = (run_dir / LOSSES).open("a", encoding="utf-8")
            self._evaluations = (run_dir / EVALUATIONS).open("a", encoding="utf-8")
            self._curves: Any = _open_curves(run_dir / CURVES, step) if tensorboard else None

    def losses(self, step: int, values: Mapping[str, float]) -> None:
        """One step."""
        with self._writing():
            self._losses.write(json.dumps({"step": step, **values}) + "\n")
        if self._curves is not None:
            for name, value in values.items():
                self._curves.add_scalar(f"train/{name}", value, step)

    def evaluation(self, step: int, row: Mapping[str, Any]) -> None:
        """One bandwidth of one evaluation, after `step` steps."""
        with self._writing():
            self._evaluations.write(json.dumps({"step": step, **row}) + "\n")
        if self._curves is not None:
            for name in ("si_snr", "mel"):
                self._curves.add_scalar(f"held_out/{name}/{row['bandwidth']:g}", row[name], step)

    def flush(self) -> dict[str, tuple[int, str]]:
        """Everything so far is in the files: how long they are, and their SHA-256.

        Raises:
            OutputError: it cannot be written.
        """
        with self._writing():
            self._losses.flush()
            self._evaluations.flush()
            if self._curves is not None:
                self._curves.flush()
            return {name: _mark(self._run_dir / name) for name in (LOSSES, EVALUATIONS)}

    def close(self) -> None:
        """Close. What was not flushed belongs to no state, and is done again: a full disk, of which
        something else has told, is nothing more here."""
        for file in (self._losses, self._evaluations, self._curves):
            if file is not None:
                with suppress(OSError):
                    file.close()

    def _writing(self) -> AbstractContextManager[None]:
        return writing(f"run {self._run_dir}")


def read_losses(run_dir: str | Path) -> list[dict[str, Any]]:
    """The steps of a run, in order."""
    return [
        json.loads(line)
        for line in (Path(run_dir) / LOSSES).read_text(encoding="utf-8").splitlines()
    ]


def read_evaluations(run_dir: str | Path) -> list[dict[str, Any]]:
    """The evaluations of a run, in order."""
    return [
        json.loads(line)
        for line in (Path(run_dir) / EVALUATIONS).read_text(encoding="utf-8").splitlines()
    ]


def _cut(path: Path, step: int) -> None:
    """Keep whole lines of steps before `step`; a killed run may have left half a line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().split(b"\n"):
        try:
            if json.loads(line)["step"] < step:
                kept.append(line + b"\n")
        except (ValueError, KeyError, TypeError):
            continue
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(b"".join(kept))
    temporary.replace(path)


def _mark(path: Path, size: int | None = None) -> tuple[int, str]:
    """Length and SHA-256 of a file, or of as much of its beginning."""
    content = path.read_bytes()[:size]
    return len(content), hashlib.sha256(content).hexdigest()


def _is(path: Path, mark: Sequence[Any]) -> bool:
    try:
        return _mark(path, int(mark[0])) == tuple(mark)
    except OSError:
        return False


def _open_curves(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step)
