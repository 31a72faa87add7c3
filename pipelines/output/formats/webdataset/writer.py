"""WebDataset shards: tars whose members every reader of that layout groups by key.

    KEY.codes.npy    uint16 [n_q, frames]
    KEY.scales.npy   float32 [chunks]       (not there for codecs without scales)
    KEY.chunks.npy   uint16 [chunks]        valid frames of each chunk
    KEY.json         the other columns of a row, and a CRC-32 of each array's member

Keys have no dots, since WebDataset ends a key at the first. Members carry no times, owners or modes
of the machine, so that the same rows give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy

from pipelines.output.formats.base import ShardFormat
from pipelines.output.formats.reading.base import ShardReader
from pipelines.output.formats.schema import FOOTER_KEY, SCALARS, Row, quality_fields, row_of
from tokenizer.errors import ShapeError, ShardError

FOOTER_MEMBER = f"__{FOOTER_KEY}__"
"""a member that WebDataset readers take for metadata and pass over"""
_LONGEST_KEY = 60
"""members' names stay below the 100 bytes that every tar holds"""


class WebDatasetFormat(ShardFormat):
    """One group of members a recording."""

    suffix = ".tar"

    @property
    def reader(self) -> type[ShardReader]:
        from pipelines.output.formats.webdataset.reader import WebDatasetReader

        return WebDatasetReader

    def usage(self, split: str) -> str:
        return (
            "import glob\n\nimport webdataset\n\n"
            f'tars = sorted(glob.glob("data/{split}-*.tar"))\n'
            "codes = webdataset.WebDataset(tars, shardshuffle=False).decode()  "
            '# sample["codes.npy"], sample["scales.npy"], sample["json"]'
        )

    def file_name(self, shard: str) -> str:
        """`train-000000.tar`: its readers name many shards with braces,
        `train-{000000..000011}.tar`."""
        split, number, _, _ = shard.rsplit("-", 3)
        return f"{split}-{int(number):06d}{self.suffix}"

    def write(self, path: str, rows: Iterable[Row], footer: Mapping[str, Any]) -> None:
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            _add(tar, FOOTER_MEMBER, json.dumps(dict(footer), sort_keys=True).encode())
            for row in rows:
                for ending, content in _members(row):
                    _add(tar, f"{key_of(row.id)}.{ending}", content)

    def read(self, file: IO[bytes], name: str) -> Iterator[Row]:
        with _damage(name), tarfile.open(fileobj=file, mode="r:") as tar:
            for group in _samples(tar, name):
                yield _row(tar, group)

    def read_one(self, file: IO[bytes], name: str, id: str) -> Row | None:
        wanted = key_of(id)
        with _damage(name), tarfile.open(fileobj=file, mode="r:") as tar:
            for group in _samples(tar, name):
                if next(iter(group.values())).name.split(".", 1)[0] == wanted:
                    return _row(tar, group)
        return None

    def columns(self, file: IO[bytes], name: str) -> pa.Schema:
        with _damage(name), tarfile.open(fileobj=file, mode="r:") as tar:
            for group in _samples(tar, name):
                return _schema_of(json.loads(_content(tar, group["json"])))
        file.seek(0)
        return pa.schema([*SCALARS, *quality_fields(self.footer(file, name).get("quality", ()))])

    def read_columns(
        self, file: IO[bytes], name: str, columns: Sequence[str]
    ) -> Iterator[Mapping[str, Any]]:
        with _damage(name), tarfile.open(fileobj=file, mode="r:") as tar:
            for group in _samples(tar, name):
                facts = json.loads(_content(tar, group["json"]))
                yield {column: facts.get(column) for column in columns}

    def footer(self, file: IO[bytes], name: str) -> dict[str, Any]:
        with _damage(name), tarfile.open(fileobj=file, mode="r:") as tar:
            first = tar.next()
            if first is None or first.name != FOOTER_MEMBER:
                raise ShardError(f"{name}: damaged: no footer")
            values: dict[str, Any] = json.loads(_content(tar, first))
            return values


def key_of(id: str) -> str:
    """A recording's key: its id as far as a key can hold it, and a hash that keeps keys apart."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", id)[:_LONGEST_KEY].strip("_")
    return f"{readable}-{hashlib.sha256(id.encode()).hexdigest()[:12]}".lstrip("-_")


def _schema_of(facts: Mapping[str, Any]) -> pa.Schema:
    """Columns as a row's JSON has them; of those that this version does not know, the type is that
    of the value. One that says nothing of the first row is one of quality, and may say something of
    others."""
    known = [field for field in SCALARS if field.name in facts]
    more = [
        pa.field(name, _kind(value))
        for name, value in facts.items()
        if name not in SCALARS.names and not isinstance(value, dict | list)
    ]
    return pa.schema([*known, *more])


def _kind(value: Any) -> pa.DataType:
    """JSON may write a number without a fraction among those that have one."""
    if value is None or isinstance(value, float):
        return pa.float32()
    kind = pa.scalar(value).type
    return pa.float64() if pa.types.is_integer(kind) else kind


def _members(row: Row) -> Iterator[tuple[str, bytes]]:
    arrays = {"codes.npy": _npy(row.codes.codes), "chunks.npy": _npy(row.codes.chunk_frames)}
    if row.codes.scales is not None:
        arrays["scales.npy"] = _npy(row.codes.scales)
    facts = {
        **row.facts(),
        "crc32": {ending: zlib.crc32(content) for ending, content in arrays.items()},
    }
    yield from arrays.items()
    yield "json", json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    sink = io.BytesIO()
    npy.write_array(sink, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return sink.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mtime = 0
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(content))


def _samples(tar: tarfile.TarFile, name: str) -> Iterator[dict[str, tarfile.TarInfo]]:
    """Members by ending, a sample at a time."""
    group: dict[str, tarfile.TarInfo] = {}
    current = None
    footer = False
    for member in tar:
        if member.name == FOOTER_MEMBER:
            footer = True
            continue
        key, _, ending = member.name.partition(".")
        if key != current and group:
            yield group
            group = {}
        current = key
        group[ending] = member
    if group:
        yield group
    if not footer:
        raise ShardError(f"{name}: damaged: no footer")


def _row(tar: tarfile.TarFile, group: Mapping[str, tarfile.TarInfo]) -> Row:
    facts = json.loads(_content(tar, group["json"]))
    arrays = {}
    for ending, checksum in facts["crc32"].items():
        content = _content(tar, group[ending])
        if zlib.crc32(content) != checksum:
            raise ValueError(f"{group[ending].name} is not what was written")
        arrays[ending] = npy.read_array(io.BytesIO(content), allow_pickle=False)
    return row_of(facts, arrays["codes.npy"], arrays.get("scales.npy"), arrays["chunks.npy"])


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    content = b"" if file is None else file.read()
    if len(content) != member.size:
        raise ValueError(f"{member.name} is cut off")
    return content


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """Whatever reading raises becomes an error that names the shard."""
    try:
        yield
    except (tarfile.TarError, OSError, KeyError, ValueError, EOFError, ShapeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ShardError(f"{name}: damaged: {reason}") from error
