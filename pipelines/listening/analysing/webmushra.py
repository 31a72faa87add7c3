"""Results of webMUSHRA, `mushra.csv`: a row a rating, with the ids and names that our export gave
its screens and conditions."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pipelines.listening import messages
from pipelines.listening.folder import Design
from pipelines.listening.messages import Rated, Refused

_NEEDED = ("session_uuid", "trial_id", "rating_stimulus", "rating_score")


def read(path: Path, design: Design, problems: list[str]) -> Iterator[tuple[str, Rated]]:
    """Screens, each with the session that rated it.

    Raises:
        Refused: it is no such table.
    """
    by_screen: dict[tuple[str, str], dict[str, int]] = {}
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        table = csv.DictReader(file)
        missing = [name for name in _NEEDED if name not in (table.fieldnames or ())]
        if missing:
            raise Refused(f"no column {missing[0]}, which webMUSHRA's mushra.csv has")
        for row in table:
            key = str(row["session_uuid"])[:64], str(row["trial_id"])
            score = _score(row["rating_score"])
            by_screen.setdefault(key, {})[str(row["rating_stimulus"])] = score
    for (session, name), scores in by_screen.items():
        screen = design.screen(name)
        own = {one.id: scores.get(one.system, -1) for one in screen.stimuli} if screen else {}
        try:
            yield session or "?", messages.rated(design, name, {"scores": own})
        except Refused as refused:
            problems.append(f"{path}: {session}, {name}: {refused}; left out")


def _score(text: str | None) -> int:
    try:
        return round(float(text or ""))
    except (ValueError, OverflowError):
        return -1
