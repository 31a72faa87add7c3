"""The folder of an evaluation, which a listening test is made from:

evaluation.json             `Evaluation`: the excerpts, and the systems that they went through
audio/reference/NAME.flac   24 bits
audio/SYSTEM/NAME.flac      as many samples and channels at the same rate, aligned to the sample
rows.jsonl                  what is measured, a line a result as it comes: a run goes on from it
results.parquet             the same as a table, a row an excerpt and system
table.md, results.json, index.html
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipelines.system.places import is_remote
from tokenizer.errors import OutputError, UsageError, why_unwritten

FORMAT = 1
EVALUATION, ROWS, AUDIO, REFERENCE = "evaluation.json", "rows.jsonl", "audio", "reference"
TABLE, RESULTS, PARQUET, PAGE = "table.md", "results.json", "results.parquet", "index.html"
_LONGEST = 60
"""characters of a name, before its number"""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of a recording that every system is given."""

    name: str
    """of its files, safe on any file system"""
    domain: str
    source: str
    """uri of the file or archive"""
    id: str
    """of the recording in its corpus"""
    start: float
    """seconds into the recording"""
    seconds: float
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Point:
    """A system at a bitrate: a line of the table, and a folder of audio."""

    name: str
    """`SYSTEM-KBPS`, safe on any file system"""
    system: str
    kbps: float
    """what was asked for"""
    measured_kbps: float | None = None
    """bits of all excerpts over their seconds; None before there are any"""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluation.json` holds."""

    seed: int
    excerpts: tuple[Excerpt, ...]
    systems: tuple[Point, ...] = ()
    drawn: Mapping[str, Any] = field(default_factory=dict)
    """the options by which the excerpts were drawn"""
    passed_over: tuple[Mapping[str, str], ...] = ()
    """recordings that were drawn and could not be used: `id` and `reason`"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """version, systems' own words, measures that are missing and why"""

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}


def open_folder(place: str) -> Path:
    """The folder, made if it is not there.

    Raises:
        OutputError: it is a URL, or cannot be made.
    """
    if is_remote(place):
        raise OutputError(f"--report {place}: give a folder of this machine")
    folder = Path(place).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--report {place}: cannot be made ({error.strerror})") from error
    return folder


def read_evaluation(folder: str | os.PathLike[str]) -> Evaluation:
    """The evaluation in a folder.

    Raises:
        UsageError: there is none, or it is damaged, or of a version that is not known.
    """
    path = Path(folder) / EVALUATION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder}: no {EVALUATION} there: give the folder of `codecshards evaluate --report`"
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    try:
        if values["format"] != FORMAT:
            raise UsageError(f"{path}: of format {values['format']}, and this is {FORMAT}")
        return Evaluation(
            seed=values["seed"],
            excerpts=tuple(Excerpt(**one) for one in values["excerpts"]),
            systems=tuple(Point(**one) for one in values["systems"]),
            drawn=values.get("drawn", {}),
            passed_over=tuple(values.get("passed_over", ())),
            facts=values.get("facts", {}),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not as `codecshards evaluate` writes it ({error})") from error


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Replace the evaluation of a folder as a whole.

    Raises:
        OutputError: it cannot be written.
    """
    text = json.dumps(evaluation.to_json(), indent=1, ensure_ascii=False) + "\n"
    write_file(folder / EVALUATION, text.encode("utf-8", "backslashreplace"))


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or as it was before.

    Raises:
        OutputError: it cannot be written.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(data)
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def audio_path(folder: Path, system: str, excerpt: str) -> Path:
    """Where an excerpt lies as a system gave it back, or as the reference."""
    return folder / AUDIO / system / f"{excerpt}.flac"


def write_audio(path: Path, samples: NDArray[np.float32], sample_rate: int) -> None:
    """Write float32 `[channels, n]` as FLAC of 24 bits; what is beyond full scale is clipped.

    Raises:
        OutputError: it cannot be written.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clipped = np.clip(samples.T, -1.0, 1.0)
        soundfile.write(staged, clipped, sample_rate, format="FLAC", subtype="PCM_24")
        staged.replace(path)
    except (OSError, RuntimeError) as error:
        staged.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({why_unwritten(error)})") from error


def read_audio_file(path: Path) -> tuple[NDArray[np.float32], int]:
    """Samples float32 `[channels, n]` of a file of the folder, and their rate.

    Raises:
        OutputError: it is not there, or damaged.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{path}: cannot be read ({error})") from error
    return np.ascontiguousarray(samples.T), int(rate)


def safe_name(text: str) -> str:
    """Letters, digits and `-_.` of a text, for a name of a file."""
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.")
    return name[-_LONGEST:].strip("-.") or "x"


class Ledger:
    """`rows.jsonl`: results as they come. A line that was cut off by the end of a run is passed
    over, and its result made again."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ROWS

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """Those of earlier runs, in the order that they came."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be read ({error.strerror})") from error
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep results.

        Raises:
            OutputError: they cannot be written.
        """
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        try:
            with self._path.open("ab") as file:
                # What a run that was killed has left of a line ends there.
                ends = b"" if file.tell() == 0 or self._ends_whole() else b"\n"
                file.write(ends + text.encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror})") from error

    def _ends_whole(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
