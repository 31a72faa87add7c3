"""A corpus as it is now against what was planned of it: what is new, what has changed, what has
gone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.output.plans.rows import SCHEMA
from pipelines.output.plans.together import Plans
from pipelines.running.listing import Listing
from tokenizer.types import Recording

_READ = ("id", "uri", "locator", "start", "end", "channel", "text", "language", "speaker", "meta")
_AT = "place"
_MOST_MEMORY = "200MB"
"""what does not fit goes to TMPDIR"""
_FACTS = """
    select {at} as place,
        {id} as id,
        try(json_extract_string(locator, '$.version')) as version,
        try(json_extract_string(locator, '$.audio')) as audio,
        try(json_extract_string(locator, '$.row')) is not null as is_row,
        try(json_extract(locator, '$.rejected')) is not null
            and try(json_extract(locator, '$.not_cut')) is null as rejected,
        coalesce(contains(meta, '"cut_from"'), false) as cut,
        [cast(start as varchar), cast("end" as varchar)] as span,
        [text, language, speaker] as said,
        [uri, try(json_extract_string(locator, '$.member')), cast(channel as varchar)] as home
    from {source}
"""
_SUM = f"""
    with one as (select hash({", ".join(f'"{name}"' for name in _READ)}) as found from source)
    select count(*), sum(found::hugeint), bit_xor(found) from one
"""
_FILES = """
    select distinct uri, try(coalesce(
        json_extract_string(locator, '$.file'), json_extract_string(locator, '$.revision'),
        json_extract_string(locator, '$.version')))
    from source
    where try(json_extract(locator, '$.rejected')) is null
"""
_WHOLE = """
    case when contains(meta, '"cut_from"') then json_extract_string(meta, '$.cut_from')
    when channel is not null and contains(meta, '"recording"')
        and ends_with(id, '#' || channel)
    then left(id, length(id) - length('#' || channel)) else id end
"""
"""of a row that is one channel or a segment of a recording, that recording's id"""
_CHANGED = """
    select {what} from listed l join known k using (id)
    where l.rejected is distinct from k.rejected or
        not k.cut and l.span is distinct from k.span or
        case when l.audio is not null and k.audio is not null then l.audio <> k.audio
        when l.is_row and l.said is distinct from k.said then false
        else l.version is not null and k.version is not null and l.version <> k.version end
"""
"""another audio under the same id, as far as can be told without reading it; of a row whose text
was corrected, whose values are its version, nothing can"""
_RENAMED = """
    with fresh as (select * from listed anti join known using (id)),
        lost as (select * from known anti join listed using (id))
    select count(distinct f.id), min(f.id), min_by(k.id, f.id)
    from fresh f join lost k using (home, span)
    where not f.is_row and not f.rejected and not k.rejected
"""
"""files and members that are planned under another id, which is not listed any more"""
_TEXT = """
    from listed l join known k using (id)
    where l.said is distinct from k.said and not l.rejected and not k.rejected and not k.cut
"""


@dataclass(frozen=True, slots=True)
class Changes:
    """How a corpus differs from what was planned, in recordings."""

    new: int = 0
    changed: int = 0
    """another file, archive member or row is where theirs was"""
    gone: int = 0

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.gone)

    def __str__(self) -> str:
        said = (("new", self.new), ("changed", self.changed), ("gone", self.gone))
        return ", ".join(f"{count:,} {what}" for what, count in said if count)


@dataclass(frozen=True, slots=True)
class Said:
    """What the corpus says of a recording, where the plan says otherwise."""

    id: str
    text: str | None
    language: str | None
    speaker: str | None


def remembered(plans: Plans) -> dict[str, set[str | None]]:
    """What the plans say of the files that recordings lie in: versions by URI; more than one where
    it was planned from at different times."""
    found: dict[str, set[str | None]] = {}
    with duckdb.connect(config={"threads": 1, "memory_limit": _MOST_MEMORY}) as database:
        for part in plans.parts:
            for table in part.plan.columns("uri", "locator"):
                database.register("source", table)
                for uri, version in database.execute(_FILES).fetchall():
                    found.setdefault(uri, set()).add(version)
                database.unregister("source")
    return found


@dataclass(frozen=True, slots=True)
class Renamed:
    """Recordings that have other ids than they were planned with, and one for an example."""

    count: int
    before: str
    now: str


class Comparison(AbstractContextManager["Comparison"]):
    """A corpus, listed once and compared with the plans; the list lies in TMPDIR, as its ids do.
    Recordings are one where their ids are."""

    def __init__(self, recordings: Iterable[Recording], plans: Plans) -> None:
        """
        Raises:
            SourceError: the corpus cannot be listed, or has an id twice.
        """
        self.generations = len(plans.parts)
        """that it was compared with"""
        self._stack = ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="codecshards-"))
        try:
            self.listing = Listing(recordings, folder)
            self._open(plans, folder)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, plans: Plans, folder: str) -> None:
        settings: dict[str, Any] = {
            "threads": 1,
            "temp_directory": folder,
            "memory_limit": _MOST_MEMORY,
        }
        self._database = self._stack.enter_context(duckdb.connect(config=settings))
        self._same = self._sum(_listed(self.listing)) == self._sum(_known(plans))
        if not self._same:  # what is as it was planned has no id twice
            self.listing.require_distinct()
            self._take("listed", _listed(self.listing))
            self._take("known", _known(plans), _WHOLE)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def changes(self) -> Changes:
        """What is not as it was planned."""
        if self._same:
            return Changes()
        return Changes(
            self._count("select count(*) from listed anti join known using (id)"),
            self._count(_CHANGED.format(what="count(distinct id)")),
            self._count("select count(distinct id) from known anti join listed using (id)"),
        )

    def new(self) -> Iterator[Recording]:
        """Recordings that no plan has, in the corpus's order."""
        if self._same:
            return
        yield from self._chosen("select l.place from listed l anti join known k using (id)")

    def renamed(self) -> Renamed | None:
        """New recordings that are no new ones, but have another id now."""
        if self._same:
            return None
        count, now, before = self._database.execute(_RENAMED).fetchone() or (0, None, None)
        return Renamed(count, before, now) if count else None

    def changed(self) -> set[str]:
        """Ids of what was planned and is another now."""
        if self._same:
            return set()
        rows = self._database.execute(_CHANGED.format(what="distinct id")).fetchall()
        return {id for (id,) in rows}

    def other_text(self) -> Iterator[Said]:
        """Recordings of which text, language or speaker are not the planned ones."""
        if self._same:
            return
        found = self._database.execute(f"select distinct id, l.said {_TEXT}")
        while rows := found.fetchmany(1024):
            yield from (Said(id, *said) for id, said in rows)

    def _chosen(self, query: str) -> Iterator[Recording]:
        chosen = np.zeros(self.listing.count, bool)
        chosen[self._database.execute(query).fetchnumpy()[_AT]] = True
        for recording, is_one in zip(self.listing.recordings, chosen.tolist(), strict=True):
            if is_one:
                yield recording

    def _count(self, query: str) -> int:
        (found,) = self._database.execute(query).fetchone() or (0,)
        return int(found)

    def _sum(self, batches: Iterator[pa.RecordBatch]) -> tuple[Any, ...]:
        """The same for the same rows in whatever order: what is as it was planned, which is what
        most runs find, is known by that, at a fraction of what comparing takes."""
        reader = pa.RecordBatchReader.from_batches(_schema(), batches)
        self._database.register("source", reader)
        (found,) = self._database.execute(_SUM).fetchall()
        self._database.unregister("source")
        return tuple(found)

    def _take(self, name: str, batches: Iterator[pa.RecordBatch], id: str = "id") -> None:
        reader = pa.RecordBatchReader.from_batches(_schema(), batches)
        self._database.register("source", reader)
        query = _FACTS.format(at=_AT, id=id, source="source")
        self._database.execute(f"create temp table {name} as {query}")
        self._database.unregister("source")


def _schema() -> pa.Schema:
    return pa.schema([*(SCHEMA.field(name) for name in _READ), pa.field(_AT, pa.int64())])


def _listed(listing: Listing) -> Iterator[pa.RecordBatch]:
    at = 0
    for table in listing.columns(*_READ):
        yield from _batches(table, at)
        at += len(table)


def _known(plans: Plans) -> Iterator[pa.RecordBatch]:
    """Every recording as it was planned last."""
    for part in plans.parts:
        void = pa.array(sorted(part.void), pa.string())
        for table in part.plan.columns(*_READ):
            kept = table.filter(pc.invert(pc.is_in(table["id"], value_set=void)))
            yield from _batches(kept, 0)


def _batches(table: pa.Table, at: int) -> Iterator[pa.RecordBatch]:
    columns = {
        name: table[name] if name in table.column_names else pa.nulls(len(table)) for name in _READ
    }
    columns[_AT] = pa.array(np.arange(at, at + len(table)))
    yield from pa.table(columns).cast(_schema()).to_batches()
