"""What raters send to `serve` or in files, checked before anything else sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.listening.folder import Design

MOST_WORDS = 2000
"""characters of a comment"""
_MOST_NAME, _MOST_SECONDS = 64, 10_000_000.0


class Refused(ValueError):
    """A message that is not what the page sends; says why."""


@dataclass(frozen=True, slots=True)
class Rated:
    """A screen as a rater has rated it."""

    screen: str
    scores: Mapping[str, int]
    """by the ids of stimuli, 0 to 100: all of the screen's"""
    comment: str
    seconds: float
    """of listening"""

    def to_json(self) -> dict[str, Any]:
        return {
            "screen": self.screen,
            "scores": dict(self.scores),
            "comment": self.comment,
            "seconds": self.seconds,
        }


def rated(design: Design, name: Any, values: Any) -> Rated:
    """A screen's ratings.

    Raises:
        Refused: it is no screen of this test, or not all of its stimuli are rated.
    """
    screen = design.screen(name) if isinstance(name, str) else None
    if screen is None:
        raise Refused("no such screen")
    if not isinstance(values, Mapping) or not isinstance(values.get("scores"), Mapping):
        raise Refused("scores are missing")
    scores = values["scores"]
    if set(scores) != {one.id for one in screen.stimuli}:
        raise Refused("not the stimuli of this screen")
    for score in scores.values():
        if type(score) is not int or not 0 <= score <= 100:
            raise Refused("a score is a whole number from 0 to 100")
    ordered = {one.id: scores[one.id] for one in screen.stimuli}
    return Rated(screen.id, ordered, words(values, "comment"), _seconds(values.get("seconds", 0)))


def words(values: Mapping[str, Any], name: str, most: int = MOST_WORDS) -> str:
    """A text of a message, "" where there is none.

    Raises:
        Refused: it is something else, or too long.
    """
    text = values.get(name) or ""
    if not isinstance(text, str) or len(text) > most:
        raise Refused(f"{name}: a text of up to {most} characters")
    return text


def short(values: Mapping[str, Any], name: str) -> str:
    """A name of a message.

    Raises:
        Refused: it is none, or too long.
    """
    text = words(values, name, _MOST_NAME)
    if not text:
        raise Refused(f"{name} is missing")
    return text


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= _MOST_SECONDS:
        raise Refused("seconds: a number of seconds")
    return float(value)
