"""A corpus that is away, told from recordings that are: a disk that is not mounted must not fail
all on it for ever."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pipelines.corpus.sources.base import is_remote
from tokenizer.errors import FailureKind, RecordingError, SourceUnavailable

IN_A_ROW = 10
"""recordings that may be missing one after the other before it is asked whether they are gone"""


class Absence:
    """Watches which recordings are not there."""

    def __init__(self, places: Sequence[str], allowed: bool) -> None:
        """
        Args:
            places: where the corpus lies (`Source.places`).
            allowed: whoever runs this has said how many failures are all right, and is not asked.
        """
        self._places = places
        self._allowed = allowed
        self._in_a_row = 0

    def found(self) -> None:
        """One could be opened."""
        self._in_a_row = 0

    def failed(self, error: RecordingError, neighbours: Sequence[str]) -> None:
        """One failed; `neighbours` are the URIs of the recordings that it was planned with.

        Raises:
            SourceUnavailable: it looks as if not this one were missing, but all of them.
        """
        missing = error.kind is FailureKind.NOT_FOUND or (
            error.kind is FailureKind.UNREADABLE and error.stage == "open"
        )
        self._in_a_row = self._in_a_row + 1 if missing else 0
        if not missing or self._allowed:
            return
        for place in self._places:
            near = [uri for uri in neighbours if len(self._places) == 1 or uri.startswith(place)]
            away = away_folder(place, near)
            if away is not None:
                raise SourceUnavailable(f"{away}: {_ASK}")
        if self._in_a_row >= IN_A_ROW:
            raise SourceUnavailable(
                f"{self._in_a_row} recordings in a row are not there ({error.message}): {_ASK}"
            )


_ASK = (
    "is a disk not mounted? Run the same command again once it is there, or with --max-failures N "
    "if up to N recordings are "
    "gone for good"
)


def away_folder(source: str, uris: Sequence[str]) -> str | None:
    """What is away of a local corpus, and how; None where its place looks as it should."""
    if (
        is_remote(source) or ":" in source.split("/", 1)[0] or set("{*?") & set(source)
    ):  # a store, a data set, a pattern
        return None
    root = Path(source)
    if not root.exists():
        return f"{root} is not there any more"
    if not root.is_dir():  # a table of paths, which nobody has seen the files of
        return None
    local = [os.path.dirname(uri) for uri in uris if not is_remote(uri)]  # noqa: PTH120
    folders = [root, *([Path(os.path.commonpath(local))] if local else [])]
    return next(
        (f"{folder} {fault}" for folder in folders if (fault := _fault(folder)) is not None), None
    )


def _fault(folder: Path) -> str | None:
    try:
        return None if any(folder.iterdir()) else "is empty now"
    except FileNotFoundError:
        return "is not there any more"
    except NotADirectoryError:
        return None
    except OSError as error:
        return f"cannot be listed ({error.strerror})"
