"""Ids of a corpus, of which no two may be the same, in 8 bytes each: in memory are their hashes,
and the ids wait in a compressed file for the case that two hashes are equal."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenizer.errors import SourceError

hash_of: Callable[[str], int] = hash
"""64 bits of an id, the same throughout a process"""
BLOCK = 1 << 14
"""ids that are looked at together"""
_SCHEMA = pa.schema([("id", pa.string()), ("uri", pa.string())])
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)


class DistinctIds(AbstractContextManager["DistinctIds"]):
    """Takes ids, and refuses the second of two that are the same: at once, or up to `BLOCK` ids
    later, or as it is asked to `check` at the end."""

    def __init__(self) -> None:
        self.count = 0
        self._hashes = array("q")
        self._ids: list[str] = []
        self._uris: list[str] = []
        self._sorted: list[NDArray[np.int64]] = []
        """hashes of the blocks before, longest first: each at most half as long as the one before
        it, so that a hash is moved as often as the corpus doubles"""
        self._written = 0
        # It outlives this method, and is closed by `__exit__`.
        self._file: Any = tempfile.TemporaryFile(prefix="codecshards-ids-")  # noqa: SIM115
        self._writer: Any = pa.ipc.new_stream(self._file, _SCHEMA, options=_OPTIONS)

    def add(self, id: str, uri: str) -> None:
        """Take one id; `uri` is where it is, for the message.

        Raises:
            SourceError: it was there before (both places are named).
        """
        self.count += 1
        self._hashes.append(hash_of(id))
        self._ids.append(id)
        self._uris.append(uri)
        if len(self._ids) == BLOCK:
            self.check()

    def check(self) -> None:
        """Compare the ids that were taken since the last time.

        Raises:
            SourceError: one was there before.
        """
        new = np.frombuffer(self._hashes, np.int64)
        ordered = np.sort(new)
        again = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        for block in self._sorted:
            at = np.minimum(np.searchsorted(block, ordered), len(block) - 1)
            again.update(ordered[block[at] == ordered].tolist())
        if again:
            self._refuse_same(again)
        self._writer.write_batch(
            pa.record_batch([_strings(self._ids), _strings(self._uris)], schema=_SCHEMA)
        )
        self._written += 1
        self._keep(ordered)
        self._hashes, self._ids, self._uris = array("q"), [], []

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        self._file.close()

    def _keep(self, hashes: NDArray[np.int64]) -> None:
        while self._sorted and len(self._sorted[-1]) < 2 * len(hashes):
            hashes = np.concatenate([self._sorted.pop(), hashes])
            hashes.sort(kind="stable")  # two sorted runs are merged
        if len(hashes):
            self._sorted.append(hashes)

    def _refuse_same(self, hashes: set[int]) -> None:
        """Different ids may have one hash: only equal ids are refused."""
        first: dict[str, str] = {}
        for id, uri in (*self._earlier(), *zip(self._ids, self._uris, strict=True)):
            if hash_of(id) not in hashes:
                continue
            if id in first:
                raise SourceError(f"two recordings have the id {id!r}: {first[id]} and {uri}")
            first[id] = uri

    def _earlier(self) -> Iterator[tuple[str, str]]:
        """Ids of the blocks that were written, in order."""
        if not self._written:
            return
        self._file.seek(0)
        reader: Any = pa.ipc.open_stream(self._file)
        for _ in range(self._written):
            batch = reader.read_next_batch()
            yield from zip(_texts(batch[0]), _texts(batch[1]), strict=True)
        self._file.seek(0, 2)


def _strings(values: list[str]) -> Any:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:  # halves of surrogate pairs: written as bytes all the same
        encoded = [value.encode("utf-8", "surrogatepass") for value in values]
        return pa.array(encoded, pa.binary()).view(pa.string())


def _texts(column: Any) -> Iterator[str]:
    for value in column.view(pa.binary()).to_pylist():
        yield value.decode("utf-8", "surrogatepass")
