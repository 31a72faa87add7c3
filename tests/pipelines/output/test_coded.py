"""Archive files byte by byte: nothing that is damaged passes, and files of before stay readable."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tempfile
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from made_coder import SEGMENT, SIZES, torch_set_otherwise
from test_formats import FOOTER, assert_equal, make_row

from pipelines.output.formats.base import Lost
from pipelines.output.formats.coded import reading, writer
from pipelines.output.formats.coded.file import CodedFile
from pipelines.output.formats.coded.pool import Pool
from pipelines.output.formats.coded.writer import CodedFormat
from pipelines.output.formats.schema import Row
from tokenizer import ShardError
from tokenizer.coding.static import StaticPredictor
from tokenizer.coding.transformer.reference import Reference
from tokenizer.types import Codes

GOLDEN = Path(__file__).parent / "golden"
UNIFORM = StaticPredictor.uniform([1024] * 4)


def written(path: Path, rows: list[Row], form: CodedFormat | None = None) -> bytes:
    (form or CodedFormat(UNIFORM)).write(str(path), rows, FOOTER)
    return path.read_bytes()


def read(content: bytes) -> list[Row]:
    return list(CodedFormat().read(io.BytesIO(content), "the-shard"))


def rows() -> list[Row]:
    return [make_row(0, 40), make_row(1, 151), make_row(2, 20, n_q=2), make_row(3, 5, scales=False)]


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Three blocks, some rows of other codebooks."""
    monkeypatch.setattr(writer, "BLOCK_SEGMENTS", 2)
    content = written(tmp_path / "small.csa", rows())
    for one, other in zip(read(content), rows(), strict=True):
        assert_equal(one, other)
    return content


def test_no_flipped_byte_passes(content: bytes) -> None:
    """Every byte of the file is guarded, also where nothing would read it; some of them here."""
    for at in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(ShardError, match="the-shard: damaged"):
            read(bytes(damaged))


def test_no_cut_and_nothing_behind_the_end_passes(content: bytes) -> None:
    for end in range(0, len(content), 37):
        with pytest.raises(ShardError, match="the-shard: damaged"):
            read(content[:end])
    for more in (b"\0", content):
        with pytest.raises(ShardError, match="the-shard: damaged"):
            read(content + more)


def test_a_damaged_row_costs_no_other(content: bytes, tmp_path: Path) -> None:
    lost = 0
    for at in range(0, len(content), 17):
        damaged = bytearray(content)
        damaged[at] ^= 0x40
        try:
            found = list(CodedFormat().salvage(io.BytesIO(bytes(damaged)), "s"))
        except ShardError:
            continue  # header, coder or index
        gone = [one for one in found if isinstance(one, Lost)]
        assert len(found) == 4 and 1 <= len(gone) <= 2
        for one, wanted in zip(found, rows(), strict=True):
            if isinstance(one, Row):
                assert_equal(one, wanted)
        lost += 1
    assert lost > 20


def test_the_page_says_what_is_there(content: bytes) -> None:
    """Read by `docs/archive.md` alone."""
    assert content[:8] == b"\x89CSA\r\n\x1a\n"
    at, tags = 8, []
    while at < len(content):
        tag, size, crc = struct.unpack_from("<4sQI", content, at)
        inside = content[at + 16 : at + 16 + size]
        assert crc == zlib.crc32(b"" if tag == b"DATA" else inside, zlib.crc32(content[at:][:12]))
        tags.append(tag.decode())
        if tag == b"HEAD":
            head = json.loads(inside)
        if tag == b"ROWS":
            (length,) = struct.unpack_from("<Q", inside)
            stream = pa.Codec("zstd").decompress(inside[8:], length)
            ids = pa.ipc.open_stream(stream).read_all()["id"].to_pylist()
        if tag == b"TAIL":
            (index,) = struct.unpack("<Q", inside)
            assert content[index : index + 4] == b"INDX"
        at += 16 + size
    assert tags == ["HEAD", "CODR", *["ROWS", "SEGS", "DATA"] * 3, "INDX", "TAIL"]
    assert head["version"] == 1 and head["footer"] == FOOTER
    assert head["coder"]["sha256"] == hashlib.sha256(b"static\0" + UNIFORM.dumps()).hexdigest()
    assert ids == ["folder/2.wav", "folder/3.wav"]


def test_codes_take_what_the_coder_says(tmp_path: Path) -> None:
    """Uniform 10 bits: a byte a chunk for the end, 10.3 for its length, checksum, scale and what is
    said of the row."""
    some = [make_row(number, 3000, text=None, meta={}) for number in range(20)]
    size = len(written(tmp_path / "a.csa", some))
    chunks, codes = 20 * 20, 20 * 3000 * 4
    assert size < codes * 10 / 8 + chunks * 11 + 5000


def test_later_versions_and_other_coders_are_told(content: bytes, tmp_path: Path) -> None:
    def with_head(**changes: object) -> bytes:
        (size,) = struct.unpack_from("<Q", content, 12)
        head = json.loads(content[24 : 24 + size])
        for name, value in changes.items():
            (head if name in head else head["coder"])[name] = value
        new = json.dumps(head).encode().ljust(size)
        frame = struct.pack("<4sQ", b"HEAD", len(new))
        crc = struct.pack("<I", zlib.crc32(new, zlib.crc32(frame)))
        assert len(new) == size
        return content[:8] + frame + crc + new + content[24 + size :]

    for changes, said in (
        ({"version": 2}, "version 2 of the format, which takes a later codecshards"),
        ({"kind": "oracle"}, "no coder of the kind 'oracle'"),
        ({"sha256": "0" * 64}, r"SHA-256 000000000000…\) is not"),
        ({"segment_frames": 0}, "header lacks something"),
    ):
        with pytest.raises(ShardError, match=said):
            read(with_head(**changes))


def test_processes_give_the_same_bytes_in_order(tmp_path: Path) -> None:
    some = [make_row(number, 1500 + number) for number in range(30)]
    alone = written(tmp_path / "a.csa", some)
    with Pool(2) as pool:
        assert written(tmp_path / "b.csa", some, CodedFormat(UNIFORM, None, pool)) == alone
        found = CodedFormat(pool=pool).read(io.BytesIO(alone), "s")
        for one, other in zip(found, some, strict=True):
            assert_equal(one, other)
        for child in pool._all:  # with the process that asked, whose end closes the pipe
            child._process.stdin.close()  # type: ignore[union-attr]
            assert child._process.wait(60) == 0


def golden_rows(sizes: tuple[int, ...] = (1024,) * 4, most: int = 150) -> list[Row]:
    """Rows by a formula, so that no generator of random numbers has to stay as it is."""
    made = []
    for number, frames in enumerate((1, most, 4 * most + 7)):
        steps, levels = np.arange(frames), np.arange(len(sizes))[:, None]
        codes = (steps * steps * 7 + levels * 31 + number) % np.array(sizes)[:, None] // 3
        chunks = [most] * (frames // most) + ([frames % most] if frames % most else [])
        scales = np.array([(one + 1) / 7 for one in range(len(chunks))], np.float32)
        whole = Codes(
            codes.astype(np.uint16), scales, np.array(chunks, np.uint16), frames * 320, 48_000
        )
        row = make_row(number, 1)
        facts = {name: getattr(row, name) for name in row.__slots__ if name != "codes"}
        made.append(Row(codes=whole, **facts))
    return made


def golden(name: str) -> tuple[bytes, list[Row]]:
    """An archive that was written once and committed as bytes, and what is in it."""
    content = (GOLDEN / f"{name}-1.csa").read_bytes()
    return content, golden_rows(SIZES, 25) if name == "transformer" else golden_rows()


@pytest.mark.parametrize("name", ["static", "transformer"])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("at_once", [1, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_golden_archives_are_readable_everywhere(
    name: str, threads: int, at_once: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, wanted = golden(name)
    monkeypatch.setattr(reading, "AT_ONCE", at_once)
    with torch_set_otherwise(threads, "medium", dtype):
        for one, other in zip(read(content), wanted, strict=True):
            assert_equal(one, other)
        again = io.BytesIO(content)
        form = CodedFormat().like(again, "s")
        with tempfile.NamedTemporaryFile() as file:
            form.write(file.name, wanted, FOOTER)
            found = Path(file.name).read_bytes()
    # Streams are the same bytes; compressed tables may differ with the version of zstd.
    assert streams_of(found) == streams_of(content)


def test_archives_of_the_coder_that_ships_stay_readable() -> None:
    """It is in the package, not in the file: another one of its name would make archives of before
    unreadable."""
    content, wanted = golden("small")
    assert b"CODR" not in content and CodedFile(io.BytesIO(content)).coder_name == "small"
    for one, other in zip(read(content), wanted, strict=True):
        assert_equal(one, other)


def streams_of(content: bytes) -> list[bytes]:
    """The streams of an archive, one after the other."""
    file = CodedFile(io.BytesIO(content))
    found = []
    for block in file.blocks:
        segments, section = file.segments(block)
        ends = [0, *segments.sizes.cumsum().tolist()]
        whole = file.content(section)
        found += [whole[a:b] for a, b in pairwise(ends)]
    return found


def test_a_second_implementation_reads_the_golden_archive() -> None:
    """Python's integers for the coder, NumPy's for the transformer: `docs/archive.md` alone."""
    content, wanted = golden("transformer")
    weights = CodedFile(io.BytesIO(content)).predictor.weights  # type: ignore[attr-defined]
    segments = [
        row.codes.codes[:, first : min(first + SEGMENT, end)]
        for row in wanted
        for end in np.cumsum(row.codes.chunk_frames)
        for first in range(end - (25 if end % 25 == 0 else end % 25), end, SEGMENT)
    ]
    for stream, segment in zip(streams_of(content), segments, strict=True):
        model, at = Reference(weights), 7
        padded = stream + bytes(7)
        code, span = int.from_bytes(padded[:7], "big"), 1 << 56
        for place in np.ndindex(segment.shape[::-1]):
            widths = model.widths(place[1]).tolist()
            part, found = span >> 20, 0
            while part * widths[found] <= code:
                code -= part * widths[found]
                found += 1
            span = part * widths[found]
            while span < 1 << 48:
                code, span, at = code << 8 | padded[at], span << 8, at + 1
            assert found == segment[place[::-1]]
            model.push(place[1], found)
        assert len(stream) <= at <= len(stream) + 7
