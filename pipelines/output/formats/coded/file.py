"""One `.csa` file as it lies: header, coder, blocks of rows, index."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

import pyarrow as pa

from pipelines.output.formats.coded.jobs import Job
from pipelines.output.formats.coded.sections import (
    CODER,
    DATA,
    HEAD,
    INDEX,
    MAGIC,
    ROWS,
    SEGMENTS,
    TAIL,
    TAIL_BYTES,
    VERSION,
    Damage,
    Section,
    read_section,
    size_of,
    unpacked,
)
from pipelines.output.formats.coded.tables import Segments, unpack_rows
from pipelines.output.formats.coded.walking import Walk
from tokenizer.coding.base import Predictor
from tokenizer.coding.registry import load_predictor, shipped
from tokenizer.errors import UsageError

PLACE = struct.Struct("<QQQI")
"""of a block in the index: where its three sections begin, and its rows"""
OFFSET = struct.Struct("<Q")
_CODERS: dict[str, Predictor] = {}
"""those that were loaded last, by kind and fingerprint: shards of an archive have one in common"""
_MOST_CODERS = 4


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that lie together."""

    number: int
    rows_at: int
    segments_at: int
    data_at: int
    rows: int
    end: int
    """where the next one begins"""


class CodedFile:
    """An open file; what it says of itself is read and checked."""

    def __init__(self, file: IO[bytes], repair: bool = False) -> None:
        """
        Args:
            file: open, at any place.
            repair: go around what can be done without: blocks are then found without an index.

        Raises:
            Damage: it is no such file, cut off, or not what was written.
        """
        self._file, self._repair = file, repair
        self.flaws: list[str] = []
        """what was gone around"""
        self._size = size = size_of(file)
        file.seek(0)
        if file.read(len(MAGIC)) != MAGIC:
            self._flawed(Damage("it does not begin as an archive does"))
        if size < len(MAGIC) + TAIL_BYTES:
            raise Damage("it is cut off")
        index_at = self._index_at()
        head, content = read_section(file, HEAD, len(MAGIC), size)
        self.head = _head(content)
        self._coder: Section | None = None
        first = head.end
        if self.head["coder"]["inside"]:
            self._coder, _ = read_section(file, CODER, first, size)
            first = self._coder.end
        self.blocks = self._found(first, index_at)

    @property
    def footer(self) -> dict[str, Any]:
        """What every shard says of its codes."""
        found: dict[str, Any] = self.head["footer"]
        return found

    @property
    def most(self) -> int:
        """Frames of a segment, at most."""
        return int(self.head["segment_frames"])

    @property
    def coder_bytes(self) -> int:
        """What the coder takes in the file: none, where it ships with codecshards."""
        return 0 if self._coder is None else self._coder.size

    @property
    def coder_name(self) -> str | None:
        """The coder's, where it ships with codecshards."""
        found: str | None = self.head["coder"]["name"]
        return found

    @cached_property
    def predictor(self) -> Predictor:
        """The coder.

        Raises:
            Damage: it cannot be read, or is not the one that wrote the file.
        """
        said = self.head["coder"]
        key = f"{said['kind']} {said['sha256']}"
        known = _CODERS.get(key)
        if known is not None:
            return known
        if self._coder is not None:
            _, content = read_section(self._file, CODER, self._coder.at, self._size)
            found = load_predictor(str(said["kind"]), unpacked(content))
        else:
            try:
                found = shipped(str(said["name"])).at(int(said["levels"]))
            except UsageError as error:
                raise Damage(f"its coder cannot be loaded: {error}") from error
        if found.fingerprint != said["sha256"]:
            raise Damage(
                f"its coder {said['name'] or said['kind']} (SHA-256 {said['sha256'][:12]}…) is not "
                f"the one that is there ({found.fingerprint[:12]}…)"
            )
        while len(_CODERS) >= _MOST_CODERS:
            _CODERS.pop(next(iter(_CODERS)), None)
        return _CODERS.setdefault(key, found)

    def require_coder(self) -> None:
        """
        Raises:
            Damage: the coder, which all rows need, cannot be loaded.
        """
        _ = self.predictor

    def table(self, block: Block) -> pa.Table:
        """The columns of a block's rows.

        Raises:
            Damage: they are not what was written.
        """
        _, content = read_section(self._file, ROWS, block.rows_at, block.segments_at)
        table = unpack_rows(content)
        if len(table) != block.rows:
            raise Damage(f"block {block.number} has {len(table)} rows, not {block.rows}")
        return table

    def segments(self, block: Block) -> tuple[Segments, Section]:
        """What a block's streams are, and where they lie.

        Raises:
            Damage: they are not what was written.
        """
        _, content = read_section(self._file, SEGMENTS, block.segments_at, block.data_at)
        segments = Segments.unpack(content, self.most)
        wanted = Section(DATA, block.data_at, int(segments.sizes.sum()))
        other = Damage(f"block {block.number}: its streams are not those of its rows")
        if len(segments.n_q) != block.rows:
            raise other
        try:
            section, _ = read_section(self._file, DATA, block.data_at, block.end)
        except Damage as error:
            if wanted.end != block.end:
                raise
            self._flawed(error)  # where its streams are is known without it
            return segments, wanted
        if section != wanted:
            raise other
        return segments, section

    def content(self, section: Section) -> bytes:
        """All streams of a block; of a file that was cut off, and is repaired, those that are
        there."""
        self._file.seek(section.start)
        found = self._file.read(section.size)
        if len(found) != section.size and not self._repair:
            raise Damage(f"the streams at byte {section.start} are cut off")
        return found

    def _flawed(self, error: Damage) -> None:
        """
        Raises:
            Damage: nothing is to be gone around.
        """
        if not self._repair:
            raise error
        if str(error) not in self.flaws:
            self.flaws.append(str(error))

    def _index_at(self) -> int | None:
        """Where the index is; None where nothing says it and nobody needs it."""
        size = self._size
        try:
            _, tail = read_section(self._file, TAIL, size - TAIL_BYTES, size)
        except Damage as error:
            self._flawed(Damage(f"it has no end: it was cut off, or its end is damaged ({error})"))
            return None
        found: int = OFFSET.unpack(tail)[0]
        return found

    def _found(self, first: int, index_at: int | None) -> list[Block]:
        """Blocks as the index has them, or else as they lie."""
        if index_at is not None:
            try:
                return self._blocks(first, index_at, self._size - TAIL_BYTES)
            except Damage as error:
                self._flawed(error)
        walk = Walk(self._file, first, self._size, self.most)
        found = [Block(number, *place) for number, place in enumerate(walk.blocks())]
        for start, end in walk.gaps:
            self._flawed(Damage(f"bytes {start} to {end} are no whole block"))
        if found and found[-1].end > self._size:
            self._flawed(Damage(f"block {found[-1].number} is cut off at byte {self._size}"))
        return found

    def _blocks(self, first: int, index_at: int, end: int) -> list[Block]:
        section, content = read_section(self._file, INDEX, index_at, end)
        if section.end != end or len(content) % PLACE.size:
            raise Damage("its index is not what was written")
        places: list[tuple[int, int, int, int]] = list(PLACE.iter_unpack(content))
        # A file may have no row, and then no block.
        ends = [*(place[0] for place in places[1:]), *[index_at] * bool(places)]
        at = first
        found = []
        for number, (place, stop) in enumerate(zip(places, ends, strict=True)):
            if place[0] != at or not place[0] < place[1] < place[2] < stop:
                raise Damage("its index is not what was written")
            found.append(Block(number, *place, stop))
            at = stop
        if at != index_at:
            raise Damage("its index is not what was written")
        return found


def jobs_of(segments: Segments, content: bytes, first: int, last: int, at_once: int) -> list[Job]:
    """Batches that decode segments `first` to `last` of a block, in order.

    Args:
        segments: of the block.
        content: the streams of these segments.
        first: of them.
        last: behind them.
        at_once: segments of a batch.
    """
    starts = segments.row_starts()
    frames = segments.frames()
    sizes = segments.sizes[first:last]
    ends = [0, *sizes.cumsum().tolist()]
    rows = starts.searchsorted(range(first, last), side="right") - 1
    kinds = [int(segments.n_q[row]) if segments.plain[row] else None for row in rows.tolist()]
    jobs = []
    at = 0
    while at < last - first:
        stop = at + 1
        while stop < last - first and stop < at + at_once and kinds[stop] == kinds[at]:
            stop += 1
        jobs.append(
            Job(
                kinds[at],
                streams=[content[ends[i] : ends[i + 1]] for i in range(at, stop)],
                frames=frames[first + at : first + stop].tolist(),
                crcs=segments.crcs[first + at : first + stop].tolist(),
            )
        )
        at = stop
    return jobs


def _head(content: bytes) -> Mapping[str, Any]:
    """
    Raises:
        Damage: not a header, or that of a later version.
    """
    head = json.loads(content)
    if not isinstance(head, dict) or not isinstance(head.get("version"), int):
        raise Damage("its header is none")
    if head["version"] > VERSION:
        raise Damage(
            f"it is of version {head['version']} of the format, which takes a later codecshards "
            f"than this (version {VERSION})"
        )
    coder, most = head.get("coder"), head.get("segment_frames")
    if (
        not isinstance(coder, dict)
        or not {"kind", "name", "sha256", "levels", "inside"} <= coder.keys()
        or not isinstance(head.get("footer"), dict)
        or not isinstance(most, int)
        or most < 1
    ):
        raise Damage("its header lacks something")
    return head
