"""A corpus that is away, told from recordings that are: a disk that is not mounted must not fail
all on it for ever."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pipelines.corpus.sources.base import is_remote
from pipelines.corpus.sources.identity import FILE
from tokenizer.errors import FailureKind, RecordingError, SourceUnavailable
from tokenizer.types import Recording

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
        self._files: set[tuple[str, str]] = set()
        """of those in a row, whose segments are one after the other"""

    def found(self) -> None:
        """One could be opened."""
        self._in_a_row = 0
        self._files.clear()

    def failed(
        self, error: RecordingError, recording: Recording, neighbours: Sequence[str]
    ) -> None:
        """A recording failed; `neighbours` are the URIs of those that it was planned with.

        Raises:
            SourceUnavailable: it looks as if not this one were missing, but all of them.
        """
        missing = error.kind is FailureKind.NOT_FOUND or (
            error.kind is FailureKind.UNREADABLE and error.stage == "open"
        )
        if not missing:
            self.found()
            return
        self._in_a_row += 1
        self._files.add(_file_of(recording))
        if self._allowed:
            return
        for place in self._places:
            near = [uri for uri in neighbours if len(self._places) == 1 or uri.startswith(place)]
            away = away_folder(place, near)
            if away is not None:
                raise SourceUnavailable(f"{away}: {_ASK}")
        if self._in_a_row >= IN_A_ROW and not self._is_of_few_files():
            raise SourceUnavailable(
                f"{self._in_a_row} recordings in a row {_WORDS[error.kind]} ({error.message}): "
                f"{_ASK}"
            )

    def _is_of_few_files(self) -> bool:
        """Whether they are segments of a few files that are missing from folders which are
        there."""
        return len(self._files) < IN_A_ROW and not any(
            is_remote(uri) or _fault(Path(uri).parent) for uri, _ in self._files
        )


def _file_of(recording: Recording) -> tuple[str, str]:
    """The same for all segments of a file, and another one for every other recording, as for
    members of a tar: with the tar all that is in it is away."""
    is_segment = (recording.start, recording.end, recording.channel) != (None, None, None)
    if is_segment and FILE not in recording.locator:
        return recording.uri, ""
    return recording.uri, recording.id


_WORDS = {
    FailureKind.NOT_FOUND: "are not there",
    FailureKind.UNREADABLE: "cannot be opened",
}
_ASK = (
    "is a disk not mounted, or access denied? Run the same command again once it is there, or with "
    "--max-failures N if up to N recordings are gone for good"
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
