"""MUSDB and what is laid out like it: a folder for each song, with `mixture.wav` and its stems
`vocals.wav`, `drums.wav`, `bass.wav`, `other.wav`; or one file for each song, `song.stem.mp4`, with
a stream for each (https://sigsep.github.io/datasets/musdb.html)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from pipelines.corpus.layouts.base import NO, YES, BadRow, Fit, Folder, Layout, Row, half, split_of

_MIX = ("mixture", "mix")
_STEMS = ("vocals", "drums", "bass", "other", "accompaniment", "guitar", "piano", "instrumental")
_PACKED = ".stem.mp4"
_STREAMS = ("mixture", "drums", "bass", "other", "vocals")
"""of such a file, in order"""
_FEWEST = 2
"""stems beside a mixture"""


class Stems(Layout):
    """One row for each file, or stream: `meta.group` is the song, `meta.stem` what is heard."""

    title = "stems"
    reads = "song and stem from the names of folders and files"

    def fits(self, folder: Folder) -> Fit:
        if any(_packed(folder)):
            return YES
        songs = _songs(folder)
        whole = [song for song, names in songs.items() if _is_song(names)]
        if whole:
            return YES
        mixed = [song for song, names in songs.items() if set(_MIX) & set(names)]
        return half(f"fewer than {_FEWEST} stems beside the mixture in {mixed[0]}") if mixed else NO

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        for path in _packed(folder):
            for stream, stem in enumerate(_STREAMS):
                yield Row(
                    path,
                    path,
                    {"group": path[: -len(_PACKED)], "stem": stem},
                    f"{path}#{stem}",
                    split=split_of(path, folder.spec),
                    stream=stream,
                )
        for song, names in _songs(folder).items():
            if _is_song(names):
                for stem, path in names.items():
                    values = {"group": song, "stem": "mixture" if stem in _MIX else stem}
                    yield Row(path, path, values, split=split_of(path, folder.spec))


def _packed(folder: Folder) -> Iterator[str]:
    return (name for name in folder.audio if name.lower().endswith(_PACKED))


def _songs(folder: Folder) -> dict[str, dict[str, str]]:
    """Folder of a song → what its files are called → their names. Folders only: a song has a
    name."""
    songs: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in folder.audio:
        path = PurePosixPath(name)
        if len(path.parts) > 1:
            songs[str(path.parent)].setdefault(path.stem.lower(), name)
    return dict(songs)


def _is_song(names: dict[str, str]) -> bool:
    return bool(set(_MIX) & set(names)) and len(set(_STEMS) & set(names)) >= _FEWEST
