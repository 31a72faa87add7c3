"""What a user says about a corpus beyond its name: its layout, and what the columns of a table are
for."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from tokenizer.errors import SourceError, UsageError

MAPPED = ("path", "id", "text", "speaker", "language", "start", "end", "duration")
"""fields that `--map` may give a column to"""
SAID = ("layout", "layout_split", "map", "audio_root", "delimiter", "encoding", "stream")
"""settings of a run that are arguments of `parse_hints`"""
PLAIN = "folder"
"""the name for no layout: audio files, and sidecars beside them"""
_FIELD_OF = {
    "--layout": "layout",
    "--layout-split": "layout_split",
    "--map": "columns",
    "--audio-root": "audio_root",
    "--delimiter": "delimiter",
    "--encoding": "encoding",
}
_DELIMITERS = {
    "tab": "\t",
    "\\t": "\t",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "bar": "|",
    "space": " ",
}


class NotLaidOut(SourceError):
    """A folder that does not have the layout that was asked for, or none to which what was said
    could mean something."""


@dataclass(frozen=True, slots=True)
class Hints:
    """Everything may be left out: then it is found out, or the usual names are taken."""

    layout: str | None = None
    """a row of `pipelines.corpus.layouts.LAYOUTS`; "folder" takes audio files alone"""
    layout_split: str | None = None
    """rows of this split of a layout only"""
    columns: Mapping[str, str] = field(default_factory=dict)
    """field → column, or its number from 1 in a table without a header"""
    audio_root: str | None = None
    """folder that relative paths in a table are in; None is the table's own"""
    delimiter: str | None = None
    """one character"""
    stream: int | None = None
    """the one stream of each file that is wanted, where a layout has rows for several"""
    encoding: str | None = None
    """of tables and transcripts, as Python calls it; None is UTF-8, or what a mark says"""

    @property
    def of_tables(self) -> list[str]:
        """The flags that were given and only a table can follow."""
        given = {
            "--map": self.columns,
            "--audio-root": self.audio_root,
            "--delimiter": self.delimiter,
            "--encoding": self.encoding,
        }
        return [flag for flag, value in given.items() if value]

    @property
    def of_layouts(self) -> list[str]:
        """The flags that were given and only a layout can follow."""
        given = {
            "--layout": self.layout != PLAIN and self.layout,
            "--layout-split": self.layout_split,
        }
        return [flag for flag, value in given.items() if value]

    @property
    def as_given(self) -> list[str]:
        """All flags that were given."""
        return [*self.of_layouts, *self.of_tables]

    def only(self, flags: Collection[str]) -> Hints:
        """These flags, and no others of those that were given."""
        dropped = {_FIELD_OF[flag] for flag in self.as_given if flag not in flags}
        plain = Hints()
        return replace(self, **{name: getattr(plain, name) for name in dropped})

    @property
    def numbered(self) -> bool:
        """Whether columns are given by number, as in a table without a header."""
        return bool(self.columns) and all(name.isdigit() for name in self.columns.values())


def parse_hints(
    *,
    layout: str | None = None,
    layout_split: str | None = None,
    map: str | None = None,
    audio_root: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    stream: int | None = None,
) -> Hints:
    """Hints as they are written on the command line.

    Raises:
        UsageError: one that cannot be followed.
    """
    if delimiter is not None:
        delimiter = _DELIMITERS.get(delimiter.lower(), delimiter)
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise UsageError(
                f"--delimiter {delimiter!r}: give one character, or tab, comma, semicolon, pipe"
            )
    if encoding is not None:
        encoding = _codec(encoding)
    return Hints(
        layout,
        layout_split,
        _columns(map),
        audio_root,
        delimiter,
        stream=stream,
        encoding=encoding,
    )


def _codec(name: str) -> str:
    """An encoding as Python calls it."""
    try:
        "".encode(name)
        b"".decode(name)
        known = codecs.lookup(name).name
    except (LookupError, ValueError) as error:
        raise UsageError(
            f"--encoding {name}: no encoding of text that is known; utf-8, utf-16, cp1252, "
            "latin-1, shift_jis … are"
        ) from error
    return "utf-8-sig" if known == "utf-8" else known


def _columns(text: str | None) -> dict[str, str]:
    columns: dict[str, str] = {}
    for each in text.split(",") if text else ():
        name, _, column = (part.strip() for part in each.partition("="))
        if name not in MAPPED or not column or name in columns:
            raise UsageError(
                f"--map {each}: give field=column, each field once, and of these: "
                f"{', '.join(MAPPED)}"
            )
        columns[name] = column
    if columns and len({column.isdigit() for column in columns.values()}) > 1:
        raise UsageError("--map: give names of columns, or numbers for a table without a header")
    return columns
