"""One excerpt through all systems: audio files, and what is measured."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.evaluating.folder import (
    REFERENCE,
    Excerpt,
    Point,
    audio_path,
    read_audio_file,
    write_audio,
)
from pipelines.evaluating.measuring import by_what, measure, to_json
from pipelines.evaluating.systems.base import NotReached, Passed, System
from pipelines.evaluating.systems.codec import CodecSystem
from tokenizer.errors import OutputError, RecordingError
from tokenizer.types import Waveform

Row = Mapping[str, Any]
"""a line of the ledger: `excerpt`, `system` (a point's name), `of`, and either `missing`, a reason,
or `bits`, `encode_seconds`, `decode_seconds`, `entropy_bits`, `setting`, `figures`, `reasons`"""


@dataclass(frozen=True, slots=True)
class Task:
    """An excerpt, and the points that are to be made of it."""

    excerpt: Excerpt
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """What all tasks have in common; picklable."""

    folder: Path
    systems: Mapping[str, System]
    metrics: tuple[str, ...]
    speech: tuple[str, ...]

    def on(self, device: str) -> Settings:
        """The same with codecs on another kind of device."""
        systems = {
            name: system.on(device) if isinstance(system, CodecSystem) else system
            for name, system in self.systems.items()
        }
        return Settings(self.folder, systems, self.metrics, self.speech)


class Evaluator:
    """Does tasks in this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def load(self) -> None:
        """See that this machine has the references.

        Raises:
            OutputError: it has not.
        """
        if not self._settings.folder.is_dir():
            raise OutputError(
                f"{self._settings.folder} is not there on {platform.node()}: --report must be a "
                "folder that all nodes of the cluster share"
            )

    def run(self, task: Task) -> list[Row]:
        """A row for each point; what cannot be had is in its row.

        Raises:
            CodecshardsError: what would befall every excerpt.
        """
        excerpt = task.excerpt
        path = audio_path(self._settings.folder, REFERENCE, excerpt.name)
        reference, rate = read_audio_file(path)
        sound = Waveform(reference, rate)
        return [self._row(excerpt, point, sound) for point in task.points]

    def _row(self, excerpt: Excerpt, point: Point, sound: Waveform) -> Row:
        system = self._settings.systems[point.system]
        own = {
            "excerpt": excerpt.name,
            "system": point.name,
            "of": fingerprint(system, point, self._settings, excerpt),
        }
        try:
            passed = system.through(sound, point.kbps)
        except NotReached as error:
            return {**own, "missing": str(error)}
        except RecordingError as error:
            return {**own, "missing": error.message}
        path = audio_path(self._settings.folder, point.name, excerpt.name)
        write_audio(path, passed.samples, sound.sample_rate)
        return {**own, **self._measured(excerpt, sound, passed, path)}

    def _measured(self, excerpt: Excerpt, sound: Waveform, passed: Passed, path: Path) -> Row:
        # As it lies there: what is heard is what is measured.
        heard, _ = read_audio_file(path)
        figures, reasons = to_json(
            measure(
                sound.samples,
                heard,
                sound.sample_rate,
                self._settings.metrics,
                speech=excerpt.domain in self._settings.speech,
            )
        )
        return {
            "seconds": sound.seconds,
            "bits": passed.bits,
            "entropy_bits": passed.entropy_bits,
            "encode_seconds": round(passed.encode_seconds, 6),
            "decode_seconds": round(passed.decode_seconds, 6),
            "setting": passed.setting,
            "figures": figures,
            "reasons": reasons,
        }


def fingerprint(system: System, point: Point, settings: Settings, excerpt: Excerpt) -> str:
    """Hash of what decides a row."""
    parts: Sequence[Any] = (
        system.fingerprint,
        point.kbps,
        settings.metrics,
        by_what(settings.metrics),
        excerpt.domain in settings.speech,
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
