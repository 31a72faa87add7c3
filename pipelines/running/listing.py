"""A corpus as it is listed now, in a file of TMPDIR, to be looked at more than once."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from pipelines.output.plans.distinct import DistinctIds
from pipelines.output.plans.rows import Spool, to_recordings
from tokenizer.errors import SourceError
from tokenizer.types import Recording

_FULL = {errno.ENOSPC, errno.EDQUOT}


class Listing:
    """The recordings of a corpus, in its order."""

    def __init__(self, recordings: Iterable[Recording], folder: str) -> None:
        """
        Args:
            recordings: as the source lists them.
            folder: where the file lies, which removes it in the end.

        Raises:
            SourceError: the corpus cannot be listed, or TMPDIR is full.
        """
        self.count = 0
        self._path = str(Path(folder, "listing.arrows"))
        try:
            self._write(recordings)
        except OSError as error:
            if error.errno in _FULL:
                raise SourceError(
                    f"{tempfile.gettempdir()} is full: lists are made there; set TMPDIR"
                ) from error
            raise

    def _write(self, recordings: Iterable[Recording]) -> None:
        spool = Spool(self._path)
        for self.count, recording in enumerate(recordings, 1):
            spool.add(0, recording)
        spool.end()

    def require_distinct(self) -> None:
        """
        Raises:
            SourceError: an id is there twice.
        """
        with DistinctIds() as ids:
            for table in self.columns("id", "uri"):
                for id, uri in zip(
                    *(table[name].to_pylist() for name in ("id", "uri")), strict=True
                ):
                    ids.add(id, uri)
            ids.check()

    def columns(self, *names: str) -> Iterator[pa.Table]:
        """These columns of all recordings, some thousands at a time."""
        for table in self._tables():
            yield table.select(list(names))

    @property
    def recordings(self) -> Iterator[Recording]:
        for table in self._tables():
            yield from to_recordings(table)

    def _tables(self) -> Iterator[pa.Table]:
        with pa.memory_map(self._path) as file, pa.ipc.open_stream(file) as stream:
            schema: pa.Schema = stream.schema
            for batch in stream:
                batches: Sequence[pa.RecordBatch] = [batch]
                yield pa.Table.from_batches(batches, schema)
