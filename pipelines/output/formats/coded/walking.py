"""The blocks of a file without its index: sections follow each other from its beginning, each with
its tag and its length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from pipelines.output.formats.coded.sections import (
    DATA,
    INDEX,
    ROWS,
    SEGMENTS,
    Damage,
    Section,
    frame_at,
    read_section,
)
from pipelines.output.formats.coded.tables import Segments, unpack_rows

_WINDOW = 1 << 20
"""bytes that are searched at a time"""

Place = tuple[int, int, int, int, int]
"""of a block: where its three sections begin, its rows, and where it ends"""


class Walk:
    """Finds blocks, over what cannot be read as well."""

    def __init__(self, file: IO[bytes], first: int, size: int, most: int) -> None:
        """
        Args:
            file: that it is of.
            first: where the first block begins.
            size: of the file, bytes.
            most: frames of a segment.
        """
        self._file, self._first, self._size, self._most = file, first, size, most
        self.gaps: list[tuple[int, int]] = []
        """bytes in which there may have been blocks that nobody can count the rows of"""

    def blocks(self) -> Iterator[Place]:
        """Blocks in order, whose `DATA` may end behind the file's end."""
        at = self._first
        while at < self._size and not self._is_end(at):
            found = self._block(at)
            if found is None:
                again = self._search(at + 1)
                self.gaps.append((at, again))
                at = again
            else:
                yield found
                at = found[-1]

    def _is_end(self, at: int) -> bool:
        """Whether the index is there, the last section but one."""
        try:
            read_section(self._file, INDEX, at, self._size)
        except Damage:
            # Its content may be what is damaged, which nobody needs.
            found = frame_at(self._file, at)
            return found is not None and found[0] == INDEX
        return True

    def _block(self, at: int) -> Place | None:
        """The block that begins there: its rows can be counted by either of its tables, and its
        streams are as long as the second says, or as their own frame does."""
        rows, columns = self._table(ROWS, at)
        if rows is None:
            return None
        segments, content = self._table(SEGMENTS, rows.end)
        if segments is None:
            return None
        counts, streams = self._counts(columns, content)
        data = frame_at(self._file, segments.end)
        if streams is None and data is not None and data[0] == DATA:
            streams = self._streams(segments.end)
        if counts is None or streams is None:
            return None
        return at, rows.end, segments.end, counts, Section(DATA, segments.end, streams).end

    def _table(self, tag: bytes, at: int) -> tuple[Section | None, bytes | None]:
        """A section that is there at least by its tag and length, and its content, where that is
        whole."""
        try:
            return read_section(self._file, tag, at, self._size)
        except Damage:
            found = frame_at(self._file, at)
            if found is None or found[0] != tag:
                return None, None
            section = Section(tag, at, found[1])
            return (section if section.end < self._size else None), None

    def _counts(
        self, columns: bytes | None, content: bytes | None
    ) -> tuple[int | None, int | None]:
        """Rows of a block, and bytes of its streams."""
        rows = streams = None
        try:
            if columns is not None:
                rows = len(unpack_rows(columns))
            if content is not None:
                segments = Segments.unpack(content, self._most)
                rows = len(segments.n_q) if rows is None else rows
                streams = int(segments.sizes.sum())
        except Damage:
            return None, None
        return rows, streams

    def _streams(self, at: int) -> int | None:
        try:
            return read_section(self._file, DATA, at, self._size)[0].size
        except Damage:
            return None

    def _search(self, at: int) -> int:
        """Where the next whole `ROWS` begins; the end of the file, where there is none."""
        while at < self._size:
            self._file.seek(at)
            window = self._file.read(_WINDOW + len(ROWS) - 1)
            found = window.find(ROWS)
            while found >= 0:
                try:
                    read_section(self._file, ROWS, at + found, self._size)
                except Damage:
                    found = window.find(ROWS, found + 1)
                else:
                    return at + found
            at += _WINDOW
        return self._size
