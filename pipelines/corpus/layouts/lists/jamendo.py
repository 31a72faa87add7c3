"""MTG-Jamendo: `raw_30s.tsv` and its like, in which tags go on to the end of a row, beside
`48/948.mp3`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from pipelines.corpus.layouts.base import NO, YES, BadRow, Fit, Folder, Layout, Row, half
from pipelines.corpus.tables.spans import to_seconds

_HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
_NAMES = {
    "TRACK_NAME": "title",
    "ARTIST_NAME": "artist",
    "ALBUM_NAME": "album",
    "RELEASEDATE": "date",
    "URL": "url",
}
_SPLITS = ("train", "validation", "test")
_FIRST_SPLIT = "split-0/"
"""the one of the official five that papers report"""


class Jamendo(Layout):
    """One row for each file that the table has a line for; `genre---rock` becomes an entry of
    `meta.genre`."""

    title = "MTG-Jamendo"
    reads = "tags, artist and album from its tables"

    def fits(self, folder: Folder) -> Fit:
        tables = _tables(folder)
        if not tables:
            return NO
        for name in tables:
            lines = (line for _, line in folder.lines(name) if isinstance(line, str))
            next(lines, None)
            for line in lines:
                cells = line.split("\t")
                if len(cells) > 3 and _audio(folder).get(cells[3].rpartition(".")[0]):
                    return YES
        return half(f"{tables[0]} names no audio that is there")

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        audio, names, splits = _audio(folder), _names(folder), _split_of(folder)
        seen = set()
        for table in _tables(folder):
            for number, (place, line) in enumerate(folder.lines(table)):
                if isinstance(line, BadRow):
                    yield line
                    continue
                cells = line.split("\t")
                if number == 0 or len(cells) < len(_HEADER) - 1:
                    if number:
                        yield BadRow(place, f"{len(cells)} columns, {len(_HEADER)} are expected")
                    continue
                track, artist, album, path, length, *tags = cells
                name = audio.get(path.rpartition(".")[0])
                if name is None or name in seen:
                    continue
                seen.add(name)
                values = {"track_id": track, "artist_id": artist, "album_id": album}
                yield _row(
                    name, place, values | names.get(track, {}), length, tags, splits.get(track)
                )


def _row(
    name: str,
    place: str,
    values: dict[str, str],
    length: str,
    tags: list[str],
    split: str | None,
) -> Row | BadRow:
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for tag in tags:
        kind, dashes, word = tag.strip().partition("---")
        if kind:
            kinds[{"mood/theme": "mood"}.get(kind, kind) if dashes else "tags"].append(word or kind)
    try:
        seconds = to_seconds(length, "DURATION")
    except ValueError as error:
        return BadRow(place, str(error))
    return Row(name, place, {**values, **kinds}, seconds=seconds or None, split=split)


def _tables(folder: Folder) -> list[str]:
    """Those with all tracks, the fullest first."""
    named = [
        name
        for name in folder.ending_in(".tsv")
        if folder.first_line(name).split("\t")[: len(_HEADER)] == _HEADER
    ]
    return sorted(named, key=lambda name: ("/split-" in f"/{name}", "raw" not in name, name))


def _audio(folder: Folder) -> dict[str, str]:
    """Files by the last two parts of their names, without endings: `48/948`."""
    found: dict[str, str] = {}
    for stem, name in folder.stems.items():
        key = "/".join(stem.removesuffix(".low").split("/")[-2:])
        found.setdefault(key, name)
    return found


def _names(folder: Folder) -> dict[str, dict[str, str]]:
    """Title, artist and album, by track."""
    found = {}
    for table in folder.by_name.get("raw.meta.tsv", []):
        header: list[str] = []
        for _, line in folder.lines(table):
            cells = line.split("\t") if isinstance(line, str) else []
            if not header:
                header = cells
                continue
            told = dict(zip(header, cells, strict=False))
            own = {_NAMES[key]: value for key, value in told.items() if key in _NAMES and value}
            found[told.get("TRACK_ID", "")] = own
    return found


def _split_of(folder: Folder) -> dict[str, str]:
    """The official split of each track, where the tables of the first split are there."""
    found: dict[str, str] = {}
    for table in folder.ending_in(".tsv"):
        split = next((each for each in _SPLITS if table.endswith(f"-{each}.tsv")), None)
        if split is None or _FIRST_SPLIT not in table:
            continue
        for _, line in folder.lines(table):
            if isinstance(line, str):
                found.setdefault(line.split("\t")[0], split)
    return found
