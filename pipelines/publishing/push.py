"""`push`: an output folder as a data set on the Hub.

Shards go first, some at a time, and the card last, with which the data set becomes visible as what
it is. A shard that is there already, byte for byte, is not sent again: so a push that was stopped
is gone on with, and after an append only what is new is sent. The manifest stays here; a shard is
written anew on its way, with the same rows, but for paths (`pipelines.publishing.anonymous`).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.output.card import CARD, Published, make_card
from pipelines.output.edited_card import updated
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import SCALARS, make_footer, unknown_measures
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.names import data_name, hash_file
from pipelines.output.manifest.records import CommitRecord, Totals
from pipelines.output.storage import open_storage
from pipelines.output.storage.base import as_output_error
from pipelines.publishing.anonymous import Anonymous
from pipelines.publishing.facts import audit_figures, spoken
from pipelines.publishing.hub import Repository
from pipelines.publishing.remembered import Remembered
from pipelines.system.streams import counted
from pipelines.system.words import many
from tokenizer.errors import OutputError, ShardError, UsageError

_FILES, _BYTES = 25, 1 << 30
"""what one commit holds at most"""


@dataclass(slots=True)
class Pushed:
    """What was done, or with a dry run would be."""

    url: str
    sent: int = 0
    """shards"""
    sent_bytes: int = 0
    there: int = 0
    """shards that were there already"""
    removed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """columns of another program, which are not in what was sent"""
    card: str = ""
    """the text of README.md"""
    shown: bool = True
    """whether the Hub shows the rows, and `datasets` reads them"""


def push_codes(
    out: str,
    name: str,
    *,
    private: bool = False,
    license: str | None = None,
    whole_uris: bool = False,
    remove_others: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> Pushed:
    """Publish the rows of `out` on the Hugging Face Hub.

    Args:
        out: a complete output of `tokenize`, or one that was made of others.
        name: of the data set, `USER/NAME`; it is created if it is not there.
        private: create it as private.
        license: for the card, as the Hub writes it, such as "cc-by-4.0"; None keeps the card's.
        whole_uris: leave `source_uri` and `meta` as they are, with the paths of this machine.
        remove_others: take shards away that are there and are not of `out`, in the last commit.
        revision: branch to push to, which is made where it is not there; None is the main one.
        dry_run: send nothing, and ask nobody: say what would be sent.

    Raises:
        UsageError: no right, no Hub, or shards of something else are there.
        OutputError: not an output of `tokenize`, or an incomplete one.
        ShardError: a shard is damaged.
    """
    work = _Push(out, None if whole_uris else Anonymous)
    remote = Repository(name, revision)
    done = Pushed(remote.url, shown=work.shown)
    if dry_run:
        for record in work.records:
            done.sent, done.sent_bytes = done.sent + 1, done.sent_bytes + record.bytes
            work.sizes[work.split(record)] += record.bytes
        done.card = work.card(None, license)
        return done
    remote.create(private)
    there = remote.files()
    done.removed = work.strangers(there)
    if done.removed and not remove_others:
        few = ", ".join(done.removed[:3])
        raise UsageError(
            f"{remote.url} holds {many(len(done.removed), 'shard')} that {out} does not have "
            f"({few}): --remove-others takes them away; or choose another name"
        )
    with tempfile.TemporaryDirectory(prefix="codecshards-push-") as folder:
        for files, size in work.batches(folder, there, done, quiet):
            remote.commit(f"Add {many(len(files), 'shard')}", files)
            done.sent, done.sent_bytes = done.sent + len(files), done.sent_bytes + size
            for path in files.values():
                Path(path).unlink()
            work.remembered.save()
    done.left_out = list(work.left_out)
    before = remote.read(CARD) if CARD in there else None
    done.card = work.card(before, license)
    work.remembered.save()
    if done.card != before or done.removed:
        remote.commit("Update the card", {CARD: done.card.encode()}, done.removed)
    return done


class _Push:
    """An output folder on its way."""

    def __init__(self, out: str, anonymous: type[Anonymous] | None) -> None:
        self._out = out
        self._storage = open_storage(out)
        self._manifest = manifest = Manifest(self._storage)
        self._stored = manifest.require_config()
        self._form = shard_format(self._stored.config.format)
        self._hide = None if anonymous is None else anonymous(self._stored.config.sources)
        planned = manifest.planned_names()
        missing = len(planned) - len(manifest.committed_names())
        if missing:
            raise OutputError(
                f"{out}: {missing} of {many(len(planned), 'shard')} are not there yet: run the "
                "same `tokenize` again first"
            )
        self._totals = Totals.over(manifest.records())
        self.records = list(manifest.records())
        hidden = None if self._hide is None else self._hide.homes
        self.remembered = Remembered(self._storage.root, [hidden])
        self.sizes: Counter[str] = Counter()
        """bytes by split, as they are published"""
        self.left_out: dict[str, None] = {}
        """names of columns that a shard has and what is published of it has not"""

    @property
    def shown(self) -> bool:
        return self._form.for_the_hub

    def split(self, record: CommitRecord) -> str:
        return record.shard.rsplit("-", 3)[0]

    def strangers(self, there: dict[str, str | None]) -> list[str]:
        """Files on the Hub that readers would take for shards of this data set."""
        own = {data_name(record.shard, self._form) for record in self.records}
        return sorted(path for path in there if path.startswith("data/") and path not in own)

    def batches(
        self, folder: str, there: dict[str, str | None], done: Pushed, quiet: bool
    ) -> Iterator[tuple[dict[str, str], int]]:
        """Files that are to be sent, by the path that they get there, and their bytes."""
        files: dict[str, str] = {}
        waiting = 0
        total = len(self.records)
        for record in counted(self.records, total, f"pushing to {done.url}", quiet=quiet):
            name = data_name(record.shard, self._form)
            known = self.remembered.get(record.sha256) if record.sha256 is not None else None
            if known is not None and there.get(name) == known[0]:
                done.there += 1
                self.sizes[self.split(record)] += known[1]
                continue
            path = self._written(record, folder)
            size, digest = path.stat().st_size, hash_file(str(path))
            self.sizes[self.split(record)] += size
            if record.sha256 is not None:
                self.remembered.put(record.sha256, digest, size)
            if there.get(name) == digest:
                done.there += 1
                path.unlink()
                continue
            files[name], waiting = str(path), waiting + size
            if len(files) >= _FILES or waiting >= _BYTES:
                yield files, waiting
                files, waiting = {}, 0
        if files:
            yield files, waiting

    def card(self, before: str | None, license: str | None) -> str:
        """The card, in which what people have written stays."""
        contents = [record.sha256 for record in self.records]
        about = self.remembered.facts(contents, lambda: spoken(self._out).to_json())
        codec = self._stored.codec.codec
        published = Published(
            license=license,
            languages=tuple(about["languages"]),
            coverage=about["lines"],
            bytes=dict(self.sizes),
            audit=audit_figures(self._manifest),
            codec=codec if self._hide is None else self._hide.codec(codec),
        )
        return updated(before, make_card(self._stored, self._totals, published))

    def _footer(self, footer: Mapping[str, Any]) -> Mapping[str, Any]:
        return footer if self._hide is None else self._hide.footer(footer)

    def _written(self, record: CommitRecord, folder: str) -> Path:
        """A shard as it is published: the same rows give the same bytes."""
        final = data_name(record.shard, self._form)
        place = f"{self._storage.root}/{final}"
        path = Path(folder, self._form.file_name(record.shard))
        if record.sha256 is None:  # without a file there its number would be missing to readers
            with as_output_error(folder):
                self._form.write(str(path), [], self._footer(self._said(record.footer, SCALARS)))
            return path
        try:
            # Of an edit that was cut short the rows as they are after it.
            with self._storage.fetch(self._manifest.place_of(record, self._form)) as local:
                self._require_committed(local, place, record)
                with Path(local).open("rb") as file:
                    said = self._form.footer(file, place)
                    file.seek(0)
                    columns = self._form.columns(file, place)
                    footer = self._footer(self._said(said, columns))
                    file.seek(0)
                    form = self._form.like(file, place)  # an archive keeps its coder
                    file.seek(0)
                    rows = self._form.read(file, place)
                    with as_output_error(folder):
                        hidden = rows if self._hide is None else map(self._hide.row, rows)
                        form.write(str(path), hidden, footer)
            self._count_columns(columns, path)
        except FileNotFoundError as error:
            raise ShardError(f"{place}: not there: run `codecshards verify {self._out}`") from error
        return path

    def _count_columns(self, had: pa.Schema, path: Path) -> None:
        """Note what was left out; the index of pandas is no column."""
        with path.open("rb") as file:
            has = self._form.columns(file, str(path)).names
        gone = (name for name in had.names if name not in has)
        self.left_out |= dict.fromkeys(x for x in gone if not x.startswith("__index_level_"))

    def _said(self, footer: Mapping[str, Any], columns: pa.Schema) -> Mapping[str, Any]:
        """A footer, or what it would say in a file that another program has written."""
        if "codec" in footer:
            return footer
        return make_footer(self._stored.codec, self._stored.version, unknown_measures(columns))

    def _require_committed(self, local: str, place: str, record: CommitRecord) -> None:
        """What is damaged would be published for good: it is remembered by the hash of what was
        committed."""
        if hash_file(local) != record.sha256:
            raise ShardError(
                f"{place}: damaged: not the bytes that were committed (SHA-256): run `codecshards "
                f"verify {self._out}`"
            )
