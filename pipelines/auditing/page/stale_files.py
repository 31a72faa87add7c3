"""What earlier audits left in OUT/audit and nothing needs any more: their page, and the sound and
pictures it played."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pipelines.auditing.page.site import DATA, PAGE, media
from pipelines.auditing.places import AUDIT, REPORT
from pipelines.auditing.results import RecordingAudit
from pipelines.output.storage import Storage


def reported_media(storage: Storage) -> set[str]:
    """The files that the last audit's page plays and shows, relative to the page; none without a
    report that can be read."""
    try:
        recordings = json.loads(storage.read(REPORT))["recordings"]
        return {name for recording in recordings for name in media(recording["page"])}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def media_of(recordings: Iterable[RecordingAudit]) -> set[str]:
    """The files of these recordings, relative to the page."""
    return {name for recording in recordings for name in media(recording.page)}


def remove_media(storage: Storage, names: Iterable[str]) -> None:
    """Remove these files.

    Raises:
        OutputError: OUT cannot be written.
    """
    for name in sorted(names):
        storage.remove(f"{AUDIT}/{name}")


def remove_page(storage: Storage) -> None:
    """Remove the page, index.html first; its media are not touched.

    Raises:
        OutputError: OUT cannot be written.
    """
    for name in (*PAGE, DATA):
        storage.remove(f"{AUDIT}/{name}")
