"""Does shards, one after the other: stages a shard's file, and commits it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from pipelines.corpus.absence import Absence
from pipelines.corpus.reader import Decoder
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.names import hash_file, staged_name
from pipelines.output.quality.keep import Keep
from pipelines.output.storage import open_storage
from pipelines.tokenizing.encoders import Encoder, EncoderCodec
from pipelines.tokenizing.jobs import Journal, ShardJob, ShardResult, WorkSettings
from pipelines.tokenizing.observer import Observer
from pipelines.tokenizing.progress import ShardProgress
from pipelines.tokenizing.shard import Shard, StagedFile, Tools


class ShardWorker:
    """Holds a decoder and an encoder, and does shards with them, one after the other."""

    def __init__(self, settings: WorkSettings, encoder: Encoder) -> None:
        self.decoder = Decoder(settings.decode)
        self.progress = ShardProgress()
        """of the shard at hand; read from other threads"""
        self.on_progress: Callable[[], None] = lambda: None
        """called after every block"""
        self._storage = open_storage(settings.out)
        self._manifest = Manifest(self._storage)
        self._format = shard_format(settings.format)
        self._settings = settings
        self._encoder = encoder
        self._journal = Journal(self._storage)
        absence = Absence(settings.decode.source.places, settings.missing_allowed)
        keep = settings.keep and Keep(settings.keep, settings.decode.quality)
        self._tools = Tools(settings, self.decoder, encoder, self._journal, absence, keep or None)

    def run(self, job: ShardJob) -> ShardResult:
        """Do one shard and commit it.

        Raises:
            OutputError: OUT cannot be written, or was deleted or replaced since the run began.
            SourceUnavailable: the corpus is away, or seems to be.
        """
        self.progress = ShardProgress(name=job.name)
        again = self._manifest.is_committed(job.name)
        if again and not self._manifest.record(job.name).is_hopeful:  # by another run, meanwhile
            return self._done(job, False)
        observer = self._observer()
        shard = Shard(self._tools, job, self.progress, observer, self.on_progress)
        staged = self._stage(job.name, shard)
        record = shard.record(staged)
        if observer:
            observer.write(job.name)
        self._manifest.require(self._settings.fingerprint)
        commit = self._manifest.supersede if again else self._manifest.publish
        return self._done(job, commit(record, self._format))

    def _done(self, job: ShardJob, won: bool) -> ShardResult:
        if job.careful:
            self._journal.clear(job.name)
        return ShardResult(job.name, won, self.progress)

    def _observer(self) -> Observer | None:
        settings = self._settings.observe
        if settings is None:
            return None
        codec = EncoderCodec(self._encoder, self._settings.spec)
        return settings.observer(self._storage, codec)

    def close(self) -> None:
        """End the decoder's process."""
        self.decoder.close()

    def _stage(self, name: str, shard: Shard) -> StagedFile | None:
        """Write the rows to a durable file of their own; None when there are none."""
        rows = Clocked(shard.rows())
        first = next(rows, None)
        if first is None:
            return None
        staged = staged_name(name, self._format, self._settings.run)
        began, elsewhere = time.perf_counter(), rows.taken
        with self._storage.stage(staged) as path:
            self._format.write(path, chain([first], rows), self._settings.footer)
            file = StagedFile(staged, Path(path).stat().st_size, hash_file(path))
        self.progress.write += time.perf_counter() - began - (rows.taken - elsewhere)
        return file


class Clocked(Iterator[Row]):
    """Rows as they come, with the seconds that making them took."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self.taken = 0.0

    def __next__(self) -> Row:
        began = time.perf_counter()
        try:
            return next(self._rows)
        finally:
            self.taken += time.perf_counter() - began
