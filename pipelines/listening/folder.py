"""The folder of a listening test:

test.json            `Design`: which stimulus is which system. Raters must not see it
raters.csv           a number and a token a rater, for `serve`; a link of each
page/                what raters get: static files, without the names of systems
ratings/served.jsonl what `serve` has collected, a line a screen
webmushra/           with `make --webmushra`
analysis/            of `analyse`
"""

from __future__ import annotations

import csv
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.evaluating.folder import write_file
from pipelines.system.places import is_remote
from tokenizer.errors import UsageError

FORMAT = 1
DESIGN, RATERS, PAGE, RATINGS, SERVED = "test.json", "raters.csv", "page", "ratings", "served.jsonl"
WEBMUSHRA, ANALYSIS = "webmushra", "analysis"
REFERENCE, ANCHOR = "reference", "anchor-"
"""names of what is on every screen: `reference`, `anchor-3.5`, `anchor-7`"""
LOW_ANCHOR = f"{ANCHOR}3.5"
TRAINING = "training"
"""id of the screen that is not counted"""


@dataclass(frozen=True, slots=True)
class Stimulus:
    """One signal of a screen."""

    id: str
    """what raters' results call it: says nothing of the system"""
    system: str
    """name of a point of the evaluation, or of the reference or an anchor"""
    gain_db: float


@dataclass(frozen=True, slots=True)
class Screen:
    """Signals that are compared at once."""

    id: str
    excerpt: str
    domain: str
    kbps: float | None
    """where systems are compared bitrate by bitrate"""
    start: float
    """seconds into the evaluation's excerpt"""
    seconds: float
    stimuli: tuple[Stimulus, ...]

    @property
    def reference(self) -> str:
        """Id of the hidden reference."""
        return next(one.id for one in self.stimuli if one.system == REFERENCE)


@dataclass(frozen=True, slots=True)
class Point:
    """A system at a bitrate."""

    name: str
    system: str
    kbps: float
    measured_kbps: float | None


@dataclass(frozen=True, slots=True)
class Design:
    """A listening test."""

    id: str
    """hash of what is heard: results of another test are told by it"""
    title: str
    seed: int
    per_rater: int
    """screens"""
    systems: tuple[Point, ...]
    screens: tuple[Screen, ...]
    training: Screen
    sample_rate: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    """options, how levels are matched, what was left out and why"""

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    def screen(self, name: str) -> Screen | None:
        """A screen by its id, the training among them."""
        return next((one for one in (*self.screens, self.training) if one.id == name), None)


def local_folder(place: str, what: str) -> Path:
    """A folder of this machine.

    Raises:
        UsageError: it is a URL.
    """
    if is_remote(place):
        raise UsageError(f"{place}: {what} is a folder of this machine")
    return Path(place).expanduser()


def read_design(folder: Path) -> Design:
    """The test in a folder.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    path = folder / DESIGN
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise UsageError(f"{path}: of format {values['format']}, and this is {FORMAT}")
        return Design(
            **{name: values[name] for name in ("id", "title", "seed", "per_rater", "sample_rate")},
            systems=tuple(Point(**one) for one in values["systems"]),
            screens=tuple(_screen(one) for one in values["screens"]),
            training=_screen(values["training"]),
            facts=values["facts"],
        )
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder}: no {DESIGN} there: give the folder of `codecshards mushra make`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); make the test again") from error


def _screen(values: Mapping[str, Any]) -> Screen:
    stimuli = tuple(Stimulus(**one) for one in values["stimuli"])
    return Screen(**{**values, "stimuli": stimuli})


def read_tokens(folder: Path) -> list[str]:
    """The token of each rater, of the first at 0; none where there is no file.

    Raises:
        UsageError: the file is not what was written.
    """
    path = folder / RATERS
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        tokens = [row["token"] for row in rows]
        if [row["rater"] for row in rows] != [str(n + 1) for n in range(len(rows))]:
            raise ValueError("raters are not numbered from 1")
        if not all(tokens) or len(set(tokens)) != len(tokens):
            raise ValueError("a token is missing or there twice")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    return tokens


def write_raters(folder: Path, count: int) -> None:
    """Give so many raters a token; who has one keeps it."""
    tokens = read_tokens(folder)
    tokens += [secrets.token_urlsafe(12) for _ in range(count - len(tokens))]
    lines = ["rater,token,link_of_serve,link_without_server"]
    lines += [
        f"{number},{token},?token={token},index.html?rater={number}"
        for number, token in enumerate(tokens, 1)
    ]
    write_file(folder / RATERS, ("\n".join(lines) + "\n").encode())
    (folder / RATERS).chmod(0o600)


def write_json(path: Path, value: Any) -> None:
    """Replace a file by a JSON value.

    Raises:
        OutputError: it cannot be written.
    """
    write_file(path, (json.dumps(value, indent=1, ensure_ascii=True) + "\n").encode())


def names_of(points: Sequence[Point]) -> str:
    """For messages."""
    return ", ".join(point.name for point in points)
