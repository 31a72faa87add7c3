"""WebDataset shards at random: the tar is walked once, then members are read by their offsets."""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy
from numpy.typing import NDArray

from pipelines.output.blobs import Blob
from pipelines.output.config import spec_from_dict
from pipelines.output.formats.reading.base import ShardIndex, ShardReader, damage, make_index
from pipelines.output.formats.schema import measures_in
from pipelines.output.formats.webdataset.writer import FOOTER_MEMBER
from tokenizer.audio.quality.base import as_float32
from tokenizer.codecs.base import CodecSpec

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class _Matrix:
    """Where the codes of a row are."""

    member: int
    """byte at which the member's content begins"""
    size: int
    data: int
    """byte at which the numbers begin, after the header of the .npy format"""
    crc: int


class WebDatasetReader(ShardReader):
    """Members of one tar."""

    def _read_index(self) -> ShardIndex:
        self._matrices: list[_Matrix] = []
        self._facts: dict[str, list[str | None]] = {name: [] for name in self.fields}
        self._scales: list[NDArray[np.float32] | None] = []
        self._checked: set[int] = set()
        self._quality: list[list[float | None]] = []
        ids, lengths, chunks = [], [], []
        with self.blob.open() as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for group in _groups(tar):
                facts = json.loads(_content(tar, group["json"]))
                frames = _array(tar, group, facts, "chunks.npy")
                self._matrices.append(
                    self._matrix(file, group["codes.npy"], facts, int(frames.sum(dtype=np.int64)))
                )
                self._scales.append(
                    _array(tar, group, facts, "scales.npy") if "scales.npy" in group else None
                )
                if len(frames) != len(frames if self._scales[-1] is None else self._scales[-1]):
                    raise ValueError(f"{facts['id']}: scales are not one a chunk")
                ids.append(facts["id"])
                lengths.append(int(facts["num_samples"]))
                chunks.append(frames)
                for name, values in self._facts.items():
                    values.append(facts[name])
                self._quality.append([as_float32(facts[name]) for name in self._named(facts)])
            _require_end(file, tar.offset)
        self._columns = {
            name: pa.array(values, pa.string()) for name, values in self._facts.items()
        }
        self._facts.clear()
        counts = np.array([len(one) for one in chunks], np.int64)
        return make_index(
            pa.array(ids, pa.string()),
            np.array(lengths, np.int64),
            counts,
            np.concatenate([np.zeros(0, np.int64), *chunks]),
        )

    def _named(self, facts: dict[str, Any]) -> tuple[str, ...]:
        """The quality measures, which all rows of a shard have in common."""
        if not self._quality:
            self.measures = measures_in(facts)
        return self.measures

    def _matrix(
        self, file: Any, member: tarfile.TarInfo, facts: dict[str, Any], frames: int
    ) -> _Matrix:
        """Where the numbers are; the header must be the one of uint16 `[n_q, frames]`."""
        file.seek(member.offset_data)
        if npy.read_magic(file) != (1, 0):
            raise ValueError(f"{member.name}: not version 1 of .npy")
        shape, fortran, kind = npy.read_array_header_1_0(file)
        data = file.tell()
        if shape != (self.spec.n_q, frames) or fortran or kind != np.dtype("<u2"):
            raise ValueError(
                f"{member.name}: {kind}{list(shape)}, not uint16[{self.spec.n_q}, {frames}]"
            )
        if data + 2 * self.spec.n_q * frames != member.offset_data + member.size:
            raise ValueError(f"{member.name}: of another size than its header says")
        return _Matrix(member.offset_data, member.size, data, facts["crc32"]["codes.npy"])

    def codes(self, row: int, start: int, stop: int, n_q: int) -> NDArray[np.uint16]:
        place, frames = self._matrices[row], self.index.frames_of(row)
        with damage(self.blob.name):
            if not self.blob.hashed and row not in self._checked:
                if zlib.crc32(self.blob.read(place.member, place.size)) != place.crc:
                    raise ValueError(
                        f"the codes of {self.index.ids[row].as_py()} are not what was written"
                    )
                self._checked.add(row)
            out = np.empty((n_q, stop - start), np.uint16)
            for level in range(n_q):
                content = self.blob.read(
                    place.data + 2 * (level * frames + start), 2 * (stop - start)
                )
                out[level] = np.frombuffer(content, "<u2")
            self.require_codes(out)
            return out

    def scales(self, row: int) -> NDArray[np.float32] | None:
        return self._scales[row]

    def field(self, row: int, name: str) -> str | None:
        value: str | None = self._columns[name][row].as_py()
        return value

    def quality(self, row: int) -> dict[str, float | None]:
        return dict(zip(self.measures, self._quality[row], strict=True))

    @classmethod
    def count(cls, blob: Blob) -> tuple[int, CodecSpec]:
        with damage(blob.name), blob.open() as file, tarfile.open(fileobj=file, mode="r:") as tar:
            first = tar.next()
            if first is None or first.name != FOOTER_MEMBER:
                raise ValueError("no footer")
            spec = spec_from_dict(json.loads(_content(tar, first))["codec"])
            rows = sum(1 for _ in _groups(tar))
            _require_end(file, tar.offset)
            return rows, spec


def _groups(tar: tarfile.TarFile) -> Iterator[dict[str, tarfile.TarInfo]]:
    """Members of each row by ending; rows are adjacent members of one key."""
    group: dict[str, tarfile.TarInfo] = {}
    current = None
    for member in tar:
        if member.name == FOOTER_MEMBER:
            continue
        key, _, ending = member.name.partition(".")
        if key != current and group:
            yield group
            group = {}
        current = key
        if ending in group or not member.isfile():
            raise ValueError(f"{member.name}: twice, or not a file")
        group[ending] = member
    if group:
        yield group


def _array(
    tar: tarfile.TarFile, group: dict[str, tarfile.TarInfo], facts: dict[str, Any], ending: str
) -> NDArray[Any]:
    content = _content(tar, group[ending])
    if zlib.crc32(content) != facts["crc32"][ending]:
        raise ValueError(f"{group[ending].name} is not what was written")
    return npy.read_array(io.BytesIO(content), allow_pickle=False)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    content = b"" if file is None else file.read()
    if len(content) != member.size:
        raise ValueError(f"{member.name} is cut off")
    return content


def _require_end(file: Any, at: int) -> None:
    """A tar that was cut between two members, or has a damaged header, and of which `tarfile` would
    just read the beginning."""
    file.seek(at)
    if file.read(2 * _BLOCK) != bytes(2 * _BLOCK):
        raise ValueError("the tar has no end: it was cut off")
