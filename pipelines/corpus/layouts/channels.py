"""Rows that are one channel each: those of one part of a recording come behind each other, and know
each other, so that the loader can give them as one sample."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pipelines.corpus.layouts.base import BadRow, OneOf, Row

_MOST_HELD = 10_000
"""parts of recordings whose other channels are waited for"""


class ChannelRows:
    """Brings the channels of each part together; `meta.recording`, `meta.channel` and
    `meta.channels` say what they are, as for `--channels split`. A row whose others are not there,
    or cannot be told apart, stays alone."""

    def __init__(self) -> None:
        self._held: OrderedDict[OneOf, list[Row]] = OrderedDict()
        self._list, self._last = "", ""
        self.parts = self.alone = 0
        """parts whose channels are together, and rows that are alone"""

    def arranged(self, rows: Iterable[Row | BadRow]) -> Iterator[Row | BadRow]:
        """The rows; those of whole recordings, and bad ones, as they come."""
        for row in rows:
            if isinstance(row, BadRow) or row.one_of is None:
                yield row
                continue
            if row.one_of.told_in != self._list:
                yield from self._all()
                self._list = row.one_of.told_in
            held = self._held.setdefault(row.one_of, [])
            held.append(row)
            if len(held) >= row.one_of.channels:
                yield from self._part(self._held.pop(row.one_of))
            elif len(self._held) > _MOST_HELD:
                yield from self._part(self._held.popitem(last=False)[1])
        yield from self._all()

    def notes(self) -> Iterator[str]:
        if self.parts:
            yield f"channels of {self.parts:,} recordings or parts are rows that go together"
        if self.alone:
            yield f"{self.alone:,} rows are one channel without the others beside it"

    def _all(self) -> Iterator[Row]:
        while self._held:
            yield from self._part(self._held.popitem(last=False)[1])

    def _part(self, rows: list[Row]) -> Iterator[Row]:
        ordered = sorted(rows, key=lambda row: row.number or 0)
        one = ordered[0].one_of
        if one is None or [row.number for row in ordered] != list(range(one.channels)):
            self.alone += len(rows)
            yield from rows
            return
        self.parts += 1
        name = one.name if one.name != self._last else f"{one.name}#{ordered[0].id}"
        self._last = name
        for row in ordered:
            said = {"recording": name, "channel": row.number, "channels": len(rows)}
            yield replace(row, values={**row.values, **said})
