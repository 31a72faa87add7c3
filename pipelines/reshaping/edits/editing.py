"""Rows that are taken out or corrected where they are: shard by shard, codes bit for bit, and all
of it or nothing."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.output.card import write_card
from pipelines.output.manifest.commits import CommitRecord, Failure, Manifest, pack_counts
from pipelines.output.manifest.edits import Edit, begin, digest_of, next_number
from pipelines.output.manifest.leases import Lease, at_work
from pipelines.output.manifest.names import CONFIG, STAGING, hash_file, record_name
from pipelines.output.manifest.records import Totals
from pipelines.output.where import Where
from pipelines.reshaping.copying import Found, Sums
from pipelines.reshaping.edits.changes import Changes, read_ids, read_table, unescaped
from pipelines.reshaping.edits.corrections import as_said, different, key_of, read_row, require_key
from pipelines.reshaping.parents import Item, Parent
from pipelines.reshaping.splitting import META
from pipelines.system.words import many
from pipelines.tokenizing.progress import Display, open_display
from tokenizer.errors import FailureKind, OutputError, ShardError, UsageError
from tokenizer.types import Recording

EVERY = 10.0
"""seconds between two words of progress"""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit changed."""

    out: str
    rows: int
    """taken out or changed"""
    shards: int


Said = Mapping[str, Any] | None
"""what is another in a row from now on: columns, and keys of meta as `meta.KEY`; None is nothing"""
Change = Callable[[Sequence[Item]], list[Said]]
"""the same for all rows and failures of a shard"""


def drop_codes(
    out: str,
    ids: Iterable[str] | str | None = None,
    *,
    where: str | None = None,
    reason: str = "",
    quiet: bool = True,
) -> Edited:
    """Take recordings out of an output folder, all of them or none; the same call finishes what was
    cut short. They stay out: of appends, retries and merges.

    Args:
        out: the folder.
        ids: of the recordings, or a file of them, a line each.
        where: a condition instead, in SQL's words.
        reason: why, for the ledger.
        quiet: no word of progress.

    Raises:
        UsageError: ids that are not there (some are named), or no such condition.
        OutputError: the folder is not finished, or a run is at work on it.
        ShardError: a shard is damaged.
    """
    if (ids is None) == (where is None):
        raise UsageError("edit: give ids to drop, or a condition")
    with open_display(quiet) as display, Changes() as changes:
        editor = _Editor(out, display)
        said: dict[str, Any] = {"command": "drop", "reason": reason}
        if where is not None:
            condition = Where(where, editor.parent.columns, "--drop-where")
            editor.change = lambda items: _dropped(condition, where, items)
            return editor.work(changes, said | {"where": where}, reason)
        named = isinstance(ids, str)
        found = read_ids(ids) if isinstance(ids, str) else ((id, "given") for id in ids or ())
        known = editor.known_ids() if named else None
        for id, place in found:
            # As `ls --ids` writes what would be no line.
            plain = id if known is None or "\\" not in id or known(id) else unescaped(id)
            changes.add(plain, {}, place)
        editor.key = lambda item: item.recording.id
        editor.change = lambda items: [
            {} if changes.has(item.recording.id) else None for item in items
        ]
        return editor.work(changes, said, reason)


def correct_codes(out: str, table: str, *, on: str = "id", quiet: bool = True) -> Edited:
    """Correct what rows say: text, speaker, language and keys of meta, all rows or none; the same
    call finishes what was cut short.

    Args:
        out: the folder.
        table: a .csv, .tsv, .jsonl or .parquet with the column `on`, and columns that are set:
            text, speaker, language, meta.KEY. An empty cell of a CSV takes the value away.
        on: the column that finds rows: id, or another one, or `meta.KEY`; several rows may have
            its value.
        quiet: no word of progress.

    Raises:
        UsageError: a column that cannot be set, a value of another type, or no such row.
        OutputError: the folder is not finished, or a run is at work on it.
        ShardError: a shard is damaged.
    """
    with open_display(quiet) as display, Changes() as changes:
        editor = _Editor(out, display)
        require_key(editor.parent, on)
        columns: set[str] = set()
        for row, place in read_table(table, on):
            key, said = read_row(row, on, place, editor.parent)
            columns.update(said)
            changes.add(key, said, place)
        editor.key = lambda item: key_of(item, on)
        editor.only_ids = on == "id"

        def change(item: Item) -> Said:
            found = changes.get(key_of(item, on) or "") if item.row is not None else None
            return None if found is None else different(item, *found)

        editor.change = lambda items: [change(item) for item in items]
        return editor.work(changes, {"command": "set", "columns": sorted(columns), "on": on})


def finish_edit(out: str, *, quiet: bool = True) -> None:
    """Carry out an edit that was committed and cut short; nothing where there is none."""
    with open_display(quiet) as display:
        _Editor(out, display).settle()


class _Editor:
    """One edit of one folder."""

    def __init__(self, out: str, display: Display) -> None:
        self._out, self._display = out, display
        self.parent = Parent(out)
        self._manifest: Manifest = self.parent.manifest
        self._storage = self._manifest.storage
        self.settle()
        self.change: Change = lambda items: [None] * len(items)
        self.key: Callable[[Item], str | None] | None = None
        """what finds a row among the changes; None where a condition does"""
        self.only_ids = True
        self._said = time.monotonic()

    def settle(self) -> None:
        """Finish what was committed and cut short."""
        if self._manifest.pending_edit(now=True) is not None:
            self._display.message(f"{self._out}: finishing an edit that was cut short")
            self._manifest.carry_out_edit(self.parent.form)
            self._manifest.tidy()
            self._write_card()

    def known_ids(self) -> Callable[[str], bool]:
        """Whether an id is there, for the few that have to be asked for."""
        plans = self._manifest.read_plans()
        return lambda id: bool(plans.holding([id]))

    def work(self, changes: Changes, said: Mapping[str, Any], reason: str = "") -> Edited:
        """Do it."""
        drops = said["command"] == "drop"
        found = self._look(changes)
        if self.key is not None:
            count, some = changes.unseen(_SHOWN)
            if count:
                raise UsageError(
                    f"{self._out} has no such recording: {', '.join(some)}"
                    f"{f' and {count - len(some)} more' if count > len(some) else ''}: nothing was "
                    "changed"
                )
        rows = sum(found.values())
        if not rows:
            self._display.message(f"{self._out}: it is all as asked for, nothing to do")
            if next_number(self._storage) > 1:  # it may have been cut short at its very end
                self._manifest.tidy()
                self._write_card()
            return Edited(self._out, 0, 0)
        run = hashlib.sha256(
            json.dumps([dict(said), changes.digest, self.parent.state]).encode()
        ).hexdigest()[:12]
        # Its files are known by what they are made from: the same command goes on with them.
        with Lease(self._storage, run, while_there=CONFIG):
            self._require_alone(run)
            edit = self._stage(found, {**said, "rows": rows}, run, reason if drops else None)
            self._commit(edit, run)
        what = "taken out" if drops else "changed"
        self._display.message(
            f"{self._out}: {many(rows, 'recording')} {what}, in {many(len(found), 'shard')}"
        )
        if drops and self._storage.exists("audit/index.html"):
            self._display.message(
                f"{self._out}/audit is of before, and may play what was taken out: run "
                "`codecshards audit` again, or remove it"
            )
        return Edited(self._out, rows, len(found))

    def _look(self, changes: Changes) -> dict[int, int]:
        """Shards that change, and how many of their rows do."""
        found: dict[int, int] = {}
        for shard in range(len(self.parent.names)):
            self._progress(f"looking for rows: {shard} of {len(self.parent.names)} shards")
            if self.key is not None and self.only_ids and not self._may_change(shard, changes):
                continue
            items = list(self.parent.items(shard))
            for item in items:
                key = None if self.key is None else self.key(item)
                if key is not None and (item.row is not None or self.only_ids):
                    changes.see(key)
            count = sum(said is not None for said in self._changes(items))
            if count:
                found[shard] = count
        return found

    def _may_change(self, shard: int, changes: Changes) -> bool:
        return any(changes.has(one.id) for one in self.parent.planned(shard))

    def _changes(self, items: Sequence[Item]) -> list[Said]:
        """What is another in each; a recording that was dropped before stays as it is."""
        return [
            None if item.failure and item.failure["kind"] == FailureKind.DROPPED else said
            for item, said in zip(items, self.change(items), strict=True)
        ]

    def _require_alone(self, run: str) -> None:
        others = at_work(self._storage, run)
        if others:
            raise OutputError(
                f"{self._out}: another run is at work on it ({', '.join(others)}): edit it when "
                "that has ended"
            )

    def _stage(
        self, found: Mapping[int, int], said: Mapping[str, Any], run: str, reason: str | None
    ) -> Edit:
        """Write every shard's new file."""
        for shard in found:
            if others := self.parent.others(shard):
                raise UsageError(
                    f"{self._out}: {self.parent.names[shard]} has columns of another program "
                    f"({', '.join(others)}), which would be lost: `codecshards reshard {self._out} "
                    "NEW` leaves them out, edit that"
                )
        records, before = {}, {}
        for at, shard in enumerate(found):
            name = self.parent.names[shard]
            old = self._storage.read(record_name(name))
            before[name] = digest_of(old)
            records[name] = self._staged(shard, run, reason)
            self._progress(f"{100 * at // len(found)}%: {at} of {len(found)} shards")
        return Edit(
            next_number(self._storage),
            self.parent.stored.fingerprint,
            said,
            records,
            before,
        )

    def _staged(self, shard: int, run: str, reason: str | None) -> CommitRecord:
        """One shard's new record; its file is there already where this edit was cut short."""
        name = self.parent.names[shard]
        place = f"{STAGING}/{name}.{run}.{hashlib.md5(name.encode()).hexdigest()}"
        note = f"{place}.json"
        try:
            known = CommitRecord.from_json(self._storage.read(note), note)
            if known.staged is None or self._storage.size(known.staged) == known.bytes:
                return known
        except (FileNotFoundError, ShardError):
            pass
        record = self._write(shard, f"{place}{self.parent.form.suffix}", reason)
        self._storage.write(note, record.to_json())
        return record

    def _write(self, shard: int, staged: str, reason: str | None) -> CommitRecord:
        old = self._manifest.record(self.parent.names[shard])
        parent, sums = self.parent, Sums(self.parent.stored.codec)
        items = list(parent.items(shard))
        failures: list[Failure] = []
        edited = set(old.edited)
        kept: list[tuple[Item, Said]] = []
        for item, said in zip(items, self._changes(items), strict=True):
            if reason is not None and said is not None:
                failures.append(_out(item.recording, reason))
            elif item.failure is not None:
                failures.append(Failure(**item.failure))
            else:
                kept.append((item, said))
                edited.update(name for name in said or () if not name.startswith(META))
        size, digest, place = 0, None, None
        if kept:
            place = staged
            footer = parent.footer_of(old)
            with self._storage.stage(staged) as path:
                parent.form_like().write(path, sums.over(self._rows(shard, kept)), footer)
                size, digest = Path(path).stat().st_size, hash_file(path)
        stats = sums.stats
        return replace(
            old,
            rows=stats.rows,
            frames=stats.frames,
            chunks=stats.chunks,
            num_samples=stats.num_samples,
            bytes=size,
            sha256=digest,
            staged=place,
            failures=tuple(failures) + _void(old, items),
            flags=dict(sorted(sums.flags.items())),
            codebook_counts=pack_counts(stats.counts),
            groups=stats.groups,
            scales=stats.scale_figures,
            quality=sums.quality.figures(),
            footer=parent.footer_of(old) if kept else old.footer,
            edited=tuple(sorted(edited)),
        )

    def _rows(self, shard: int, kept: Iterable[tuple[Item, Said]]) -> Found:
        rows = enumerate(self.parent.rows(shard))
        for item, said in kept:
            at, row = next(rows)
            while at != item.row:
                at, row = next(rows)
            yield (row if said is None else as_said(row, said)), item.recording

    def _commit(self, edit: Edit, run: str) -> None:
        for name, digest in edit.before.items():
            try:
                content = self._storage.read(record_name(name))
            except FileNotFoundError:
                content = b""
            if digest_of(content) != digest:
                raise OutputError(
                    f"{self._out}: {name} was changed meanwhile: give the same command again"
                )
        if not begin(self._storage, edit):
            raise OutputError(f"{self._out}: another edit came first: give the same command again")
        self._manifest.carry_out_edit(self.parent.form)
        self._manifest.tidy(run)
        self._write_card()

    def _write_card(self) -> None:
        write_card(self._storage, self.parent.stored, Totals.over(self._manifest.records()))

    def _progress(self, words: str) -> None:
        if time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            self._display.message(words)


def _out(recording: Recording, reason: str) -> Failure:
    return Failure(
        recording.id,
        recording.uri,
        str(FailureKind.DROPPED),
        reason or "taken out by an edit",
        "edit",
    )


def _void(old: CommitRecord, items: Iterable[Item]) -> tuple[Failure, ...]:
    """Failures of which a later generation gives the verdict: they stay in this record."""
    there = {item.recording.id for item in items}
    return tuple(one for one in old.failures if one.id not in there)


def _dropped(condition: Where, where: str, items: Sequence[Item]) -> list[Said]:
    rows = [item for item in items if item.row is not None]
    try:
        holds = iter(condition.holds([item.facts for item in rows]))
    except pa.ArrowException as error:
        raise UsageError(f"--drop-where {where!r}: {error}") from error
    return [{} if item.row is not None and next(holds) else None for item in items]
