"""LJSpeech, and the hundreds of voices that are laid out so: `metadata.csv` of `id|text` or
`id|text|text as spoken`, without a header, beside `wavs/`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pipelines.corpus.layouts.base import NO, YES, BadRow, Fit, Folder, Layout, Row, half, parent
from pipelines.corpus.layouts.base import split_of as split_by_folder
from pipelines.corpus.tables.cells import unquoted
from pipelines.corpus.tables.columns import TEXT_COLUMNS, pick, pick_fields

_TABLES = ("metadata.csv", "metadata.txt", "metadata_train.csv", "metadata_val.csv")
_HOMES = ("wavs/", "wav/", "audio/", "")
"""where the audio is, relative to the table"""
_LOOKED_AT = 100
"""files whose endings are tried for names that are spelled otherwise"""


class LJSpeech(Layout):
    """One row for each line. The text is the last column, as it is spoken; the one before it, as it
    is written, is `meta.raw_text` where it differs. Three columns of which the second is one word
    everywhere are `id|speaker|text`. A first line that names columns, as Coqui's
    `audio_file|text|speaker_name`, says what they are."""

    title = "LJSpeech"
    reads = "text from metadata.csv"

    def fits(self, folder: Folder) -> Fit:
        first = {name: folder.first_line(name) for name in _tables(folder)}
        barred = {name: line for name, line in first.items() if "|" in line}
        if not barred:
            return NO
        for name, line in barred.items():
            if _is_there(folder, name, line) or _header(folder, name):
                return YES
        name, line = next(iter(barred.items()))
        return half(f"{name} begins with {line.split('|')[0]!r}, and no audio is called so")

    def belongs(self, name: str, first_line: str) -> bool:
        return name.endswith((".csv", ".txt")) and first_line.count("|") in (1, 2)

    def beside(self, name: str) -> None:
        return None

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        for name in _tables(folder):
            header = _header(folder, name)
            if header:
                yield from _named_columns(folder, name, header)
            elif "|" in folder.first_line(name):
                yield from _table(folder, name)


def _tables(folder: Folder) -> list[str]:
    named = [name for last in _TABLES for name in folder.by_name.get(last, [])]
    return sorted(folder.given or named)


def _cells(line: str) -> list[str]:
    """What stands between the bars; quotation marks are part of it, unless a CSV writer has put
    them around what has some within, or around everything."""
    cells = [cell.strip() for cell in line.split("|")]
    if all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells):
        return [cell[1:-1].replace('""', '"').strip() for cell in cells]
    return [unquoted(cell).strip() for cell in cells]


def _is_there(folder: Folder, name: str, line: str) -> bool:
    return _audio(folder, parent(name), _cells(line)[0]) in folder.audio


def _header(folder: Folder, name: str) -> list[str]:
    """Columns, where the first line names them and the second begins with audio that is there."""
    lines = [line for _, line in islice(folder.lines(name), 2) if isinstance(line, str)]
    columns = [cell.lower() for cell in _cells(lines[0])] if lines else []
    if len(lines) < 2 or len(columns) < 2 or _is_there(folder, name, lines[0]):
        return []
    named = pick(columns, TEXT_COLUMNS) is not None
    return columns if named and _is_there(folder, name, lines[1]) else []


def _named_columns(folder: Folder, name: str, header: list[str]) -> Iterator[Row | BadRow]:
    for place, line in islice(folder.lines(name), 1, None):
        if isinstance(line, BadRow):
            yield line
            continue
        cells = _cells(line)
        if len(cells) != len(header) or not cells[0]:
            yield BadRow(place, f"{len(cells)} columns, the first line names {len(header)}")
            continue
        told = {key: cell or None for key, cell in zip(header[1:], cells[1:], strict=True)}
        path = _audio(folder, parent(name), cells[0])
        yield Row(path, place, pick_fields(told), split=split_by_folder(path))


def _table(folder: Folder, name: str) -> Iterator[Row | BadRow]:
    lines = list(folder.lines(name))
    cells = [_cells(line) for _, line in lines if isinstance(line, str)]
    voices = _second_is_speaker(cells)
    for place, line in lines:
        if isinstance(line, BadRow):
            yield line
            continue
        parts = _cells(line)
        if len(parts) not in (2, 3) or not parts[0]:
            yield BadRow(place, f"{len(parts)} columns between vertical bars, 2 or 3 are expected")
            continue
        path = _audio(folder, parent(name), parts[0])
        values = {"text": parts[-1] or parts[1] or None}
        if voices and len(parts) == 3:
            values = {"speaker": parts[1], "text": parts[2]}
        elif parts[1] and parts[1] != values["text"]:
            values["raw_text"] = parts[1]
        yield Row(path, place, values, split=split_by_folder(path))


def _second_is_speaker(cells: list[list[str]]) -> bool:
    """Whether every second column of three is one word, and most third ones are not."""
    three = [parts for parts in cells if len(parts) == 3]
    words = [parts[1] for parts in three]
    spoken = sum(len(parts[2].split()) > 1 for parts in three)
    return (
        bool(three)
        and all(word and not any(char.isspace() for char in word) for word in words)
        and 2 * spoken > len(three)
    )


def _audio(folder: Folder, home: str, cell: str) -> str:
    """The file that a first column means: a name with or without its ending, in `wavs/` or not."""
    cell = cell.strip().removeprefix("./")
    for place in _HOMES:
        path = f"{home}{place}{cell}"
        if path in folder.audio:
            return path
        if path in folder.stems:
            return folder.stems[path]
    endings = {"", *(name[name.rindex(".") :] for name in islice(folder.audio, _LOOKED_AT))}
    alike = (folder.find(f"{home}{place}{cell}{each}") for place in _HOMES for each in endings)
    found = next((name for name in alike if name in folder.audio), None)
    if found is not None:
        return found
    return f"{home}{_HOMES[0]}{cell}" + ("" if "." in cell.rpartition("/")[2] else ".wav")
