"""What yt-dlp writes with `--write-info-json`: `x.info.json` beside `x.opus`."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipelines.corpus.layouts.base import NO, YES, Fit, Folder, Layout, Row
from pipelines.corpus.tables.values import SIDECAR_ERROR

_ENDING = ".info.json"
_KEPT = """
    id title description uploader uploader_id channel channel_id upload_date webpage_url extractor
    license tags categories chapters artist album track release_year playlist playlist_index
    view_count language
"""
"""fields that are about the recording; the rest is about how to download it"""


class YtDlp(Layout):
    """One row for each file with its `.info.json`; there is no transcript in it."""

    title = "yt-dlp"
    reads = "meta and language from .info.json"

    def fits(self, folder: Folder) -> Fit:
        return YES if any(_named(folder)) else NO

    def rows(self, folder: Folder) -> Iterator[Row]:
        for name in _named(folder):
            audio = folder.stems[name.removesuffix(_ENDING)]
            try:
                info = json.loads(folder.text(name))
                if not isinstance(info, dict):
                    raise ValueError("no JSON object")
            except (ValueError, RecursionError) as error:
                yield Row(audio, name, {SIDECAR_ERROR: f"{_ENDING}: {error}"})
                continue
            values = {
                key: info[key] for key in _KEPT.split() if info.get(key) not in (None, "", [])
            }
            if "id" in values:  # a recording's own id is its path
                values["video_id"] = values.pop("id")
            if not isinstance(values.get("language", ""), str):
                del values["language"]
            yield Row(audio, name, values)


def _named(folder: Folder) -> Iterator[str]:
    """Those with audio; one of a playlist has none, and stays unread."""
    return (
        name for name in folder.ending_in(_ENDING) if name.removesuffix(_ENDING) in folder.stems
    )
