"""All ratings of a test, by rater: what `serve` has collected, and files that raters have sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.listening import messages
from pipelines.listening.analysing import webmushra
from pipelines.listening.folder import RATINGS, TRAINING, Design, local_folder
from pipelines.listening.messages import Rated, Refused
from pipelines.system.words import many
from tokenizer.errors import UsageError

MOST_BYTES = 64 * 1024 * 1024
_ENDINGS = (".json", ".jsonl", ".csv")


@dataclass(slots=True)
class Rater:
    """One person's ratings; of a screen that was rated twice, the later."""

    name: str
    source: str
    """where they came from: a file's name"""
    device: str = ""
    comment: str = ""
    screens: dict[str, Rated] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)

    def counted(self) -> Mapping[str, Rated]:
        """Without the training."""
        return {name: one for name, one in self.screens.items() if name != TRAINING}


@dataclass(slots=True)
class Collected:
    """What was read."""

    raters: list[Rater] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """files, lines and screens that could not be used, and why"""
    twice: list[str] = field(default_factory=list)
    """files of ratings that were there already"""


def collect(folder: Path, design: Design, given: Sequence[str]) -> Collected:
    """Read the test's own ratings, and those in files or folders beside.

    Raises:
        UsageError: a file that was named is not there, or no rating at all.
    """
    found = Collected()
    sessions: dict[str, Rater] = {}
    paths = _paths(folder, given)
    for path in sorted(paths, key=lambda one: one.suffix != ".jsonl"):  # what served ones have
        try:
            if path.suffix == ".jsonl":  # line by line
                _served(path, design, found, sessions)
            elif path.stat().st_size > MOST_BYTES:
                raise Refused(f"larger than {MOST_BYTES >> 20} MiB")
            elif path.suffix == ".csv":
                _exported(path, design, found)
            else:
                _sent(path, design, found, sessions)
        except (OSError, ValueError, RecursionError) as error:  # Refused is a ValueError
            why = "no JSON" if isinstance(error, json.JSONDecodeError) else str(error)
            found.problems.append(f"{path}: {why}; left out")
    if not found.raters:
        why = f" ({found.problems[0]})" if found.problems else ""
        raise UsageError(
            f"{folder}: no ratings{why}: name the files that raters have sent, or lay them into "
            f"{folder / RATINGS}"
        )
    _rename(found.raters)
    return found


def _paths(folder: Path, given: Sequence[str]) -> list[Path]:
    places = [folder / RATINGS] if (folder / RATINGS).is_dir() else []
    for name in given:
        place = local_folder(name, "a file of ratings")
        if not place.exists():
            raise UsageError(f"{name}: no such file or folder")
        places.append(place)
    found: dict[Path, Path] = {}
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            inside = place.is_dir()
            if path.is_file() and (path.suffix.lower() in _ENDINGS or not inside):
                found.setdefault(path.resolve(), path)
    return list(found.values())


def _served(path: Path, design: Design, found: Collected, sessions: dict[str, Rater]) -> None:
    """Lines of `serve`; a rater is who has a token."""
    own: dict[str, Rater] = {}
    bad: dict[str, int] = {}
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                values = json.loads(line)
                _serve_line(values, design, own, sessions, path.name)
            except (ValueError, RecursionError, AttributeError) as error:
                why = str(error) if isinstance(error, Refused) else "a line that is cut off"
                bad[why] = bad.get(why, 0) + 1
    found.raters += (rater for rater in own.values() if rater.screens)
    found.problems += (f"{path}: {many(n, 'line')} left out: {why}" for why, n in bad.items())


def _serve_line(
    values: Mapping[str, Any],
    design: Design,
    own: dict[str, Rater],
    sessions: dict[str, Rater],
    source: str,
) -> None:
    name = messages.short(values, "rater")
    if values.get("kind") == "join":
        return
    if values.get("test") != design.id:
        raise Refused("of another test")
    rater = own.setdefault(name, Rater(name, source))
    sessions[messages.short(values, "session")] = rater
    if values.get("kind") == "about":
        rater.device = messages.words(values, "device") or rater.device
        rater.comment = messages.words(values, "comment") or rater.comment
        return
    rated = messages.rated(design, values.get("screen"), values)
    rater.screens[rated.screen] = rated
    rater.times[rated.screen] = messages.words(values, "time", 64)


def _sent(path: Path, design: Design, found: Collected, sessions: dict[str, Rater]) -> None:
    """A file that the page has made."""
    values = json.loads(path.read_bytes())
    if not isinstance(values, dict) or not isinstance(values.get("screens"), dict):
        raise Refused("no file of ratings")
    if values.get("test") != design.id:
        raise Refused(f"of another test ({str(values.get('test'))[:20]})")
    session = messages.short(values, "session")
    rater = sessions.get(session)
    if rater is None:
        rater = sessions[session] = Rater(messages.short(values, "rater"), path.name)
        found.raters.append(rater)
    else:
        found.twice.append(f"{path}: ratings of rater {rater.name}, who is there already")
    rater.device = messages.words(values, "device") or rater.device
    rater.comment = messages.words(values, "comment") or rater.comment
    for name, one in values["screens"].items():
        try:
            rated = messages.rated(design, name, one)
            time = messages.words(one, "time", 64)
        except Refused as refused:
            found.problems.append(f"{path}: screen {str(name)[:40]}: {refused}; left out")
            continue
        # What was served is there under the server's time, which the other does not compare with.
        known = rater.times.get(name)
        if known is None or (rater.source != "served.jsonl" and time >= known):
            rater.screens[name], rater.times[name] = rated, time


def _exported(path: Path, design: Design, found: Collected) -> None:
    """What webMUSHRA has written."""
    by_name: dict[str, Rater] = {}
    for session, rated in webmushra.read(path, design, found.problems):
        rater = by_name.setdefault(session, Rater(session, path.name))
        rater.screens[rated.screen] = rated
    found.raters += by_name.values()


def _rename(raters: Sequence[Rater]) -> None:
    """Two who gave one name stay two."""
    taken: set[str] = set()
    for rater in raters:
        given, number = rater.name, 1
        while rater.name in taken:
            number += 1
            rater.name = f"{given} ({number})"
        taken.add(rater.name)


def rows(raters: Sequence[Rater], design: Design) -> Iterator[dict[str, Any]]:
    """Every rating: a row a rater, screen and system."""
    points = {point.name: point for point in design.systems}
    screens = {screen.id: screen for screen in design.screens}
    for rater in raters:
        for name, rated in rater.counted().items():
            screen = screens[name]
            for stimulus in screen.stimuli:
                point = points.get(stimulus.system)
                yield {
                    "rater": rater.name,
                    "screen": name,
                    "excerpt": screen.excerpt,
                    "domain": screen.domain,
                    "name": stimulus.system,
                    "system": point.system if point else stimulus.system,
                    "kbps": point.kbps if point else None,
                    "measured_kbps": point.measured_kbps if point else None,
                    "score": rated.scores[stimulus.id],
                    "comment": rated.comment,
                }
