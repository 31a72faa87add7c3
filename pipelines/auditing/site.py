"""The page's files, written beside the media: static, no network, opened from a file or any web server.

A page opened from a file may not fetch its data, so the data is a script that sets `window.AUDIT`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from pipelines.auditing.clips import AUDIT
from pipelines.auditing.results import RecordingAudit
from pipelines.storage import Storage

PAGE = ("index.html", "style.css", "plots.js", "player.js", "page.js")
DATA = "data.js"


def write_site(storage: Storage, report: Mapping[str, Any], recordings: Sequence[RecordingAudit]) -> None:
    """Write the page to `OUT/audit`; index.html comes last."""
    data = {**report, "recordings": [recording.to_json() for recording in recordings]}
    storage.write(f"{AUDIT}/{DATA}", script("AUDIT", data))
    for name in reversed(PAGE):
        storage.write(f"{AUDIT}/{name}", files("pipelines.auditing").joinpath("page", name).read_bytes())


def script(name: str, value: Any) -> bytes:
    """A JSON value as a script that sets `window.NAME`, safe inside HTML too."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    return f"window.{name} = {text};\n".encode()


def forget_media(storage: Storage, recordings: Sequence[RecordingAudit]) -> None:
    """Remove what the last audit's page played and this one's does not."""
    try:
        before = json.loads(storage.read(f"{AUDIT}/report.json"))["recordings"]
    except (OSError, ValueError, KeyError):
        return
    kept = {name for recording in recordings for name in media(recording.page)}
    for recording in before:
        for name in media(recording.get("page")):
            if name not in kept:
                storage.remove(f"{AUDIT}/{name}")


def media(page: Mapping[str, Any] | None) -> Iterator[str]:
    """The files of one recording, relative to the page."""
    if page is not None:
        yield from (version["file"] for version in page["versions"])
        yield from page["images"].values()
