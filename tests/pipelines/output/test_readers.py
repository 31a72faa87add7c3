"""Random access: what pyarrow and tarfile read, page by page and range by range; damage never
passes."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_data import make_row, make_rows, write_output

from pipelines import CodesDataset, Span
from pipelines.loader.sample import FIELDS
from pipelines.output.formats import SHARD_FORMATS
from pipelines.output.formats.reading.runs import Runs, unpack
from pipelines.output.formats.schema import Row
from tokenizer import ShardError, UsageError
from tokenizer.codecs.base import split
from tokenizer.codecs.mulaw import MuLawCodec, describe_mulaw

SPEC = describe_mulaw(6.0)


@pytest.fixture(params=sorted(SHARD_FORMATS))
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [
        *make_rows(150, SPEC),
        make_row(900, 1, SPEC),
        make_row(901, 48_000, SPEC),
        make_row(902, 95_100, SPEC),
    ]


def assert_whole(dataset: CodesDataset, rows: list[Row]) -> None:
    assert len(dataset) == len(rows)
    for sample, row in zip(dataset, rows, strict=True):
        assert (sample.id, sample.num_samples, sample.start_seconds) == (
            row.id,
            row.codes.num_samples,
            0.0,
        )
        assert sample.fields["text"] == row.text and sample.fields["meta"] == row.meta
        assert sample.to_codes().equals(row.codes)


@pytest.mark.parametrize("manifest", [True, False])
def test_every_row_comes_back_whole(
    form: str, manifest: bool, rows: list[Row], tmp_path: Path
) -> None:
    out = write_output(tmp_path, rows, form=form, manifest=manifest)
    assert_whole(CodesDataset(out), rows)
    if not manifest:
        assert_whole(CodesDataset(out / "data"), rows)


def test_cuts_and_first_codebooks_are_those_of_the_whole(
    form: str, rows: list[Row], tmp_path: Path
) -> None:
    dataset = CodesDataset(write_output(tmp_path, rows, form=form), n_q=3)
    rng = np.random.default_rng(1)
    for number in rng.integers(0, len(rows), 200).tolist():
        codes = rows[number].codes
        ends = np.concatenate([[0], np.cumsum(codes.chunk_frames, dtype=np.int64)])
        assert (
            dataset.units(number) == len(codes.chunk_frames)
            and dataset.frames(number) == codes.frames
        )
        first = int(rng.integers(len(codes.chunk_frames)))
        last = int(rng.integers(first + 1, len(codes.chunk_frames) + 1))
        sample = dataset.read(number, Span(first, last), FIELDS)
        assert (
            np.array_equal(sample.codes, codes.codes[:3, ends[first] : ends[last]])
            and sample.codes.dtype == np.uint16
        )
        assert np.array_equal(sample.scales, codes.scales[first:last])
        assert np.array_equal(sample.chunk_frames, codes.chunk_frames[first:last])
        assert sample.start_seconds == pytest.approx(0.99 * first)
        assert all(-0.4 < start < sample.seconds for start, _, _ in sample.fields["alignment"])


def test_cuts_decode_to_the_stretch_of_audio_they_name(rows: list[Row], tmp_path: Path) -> None:
    """A cut decodes to what the whole has there, but for the overlaps with the chunks that were cut
    off."""
    dataset, codec = CodesDataset(write_output(tmp_path, rows)), MuLawCodec(6.0)
    number = max(range(150), key=lambda i: rows[i].codes.num_samples)
    whole = codec.decode(rows[number].codes).samples
    sample = dataset.slice(number, 2.5, 5.5)
    audio = codec.decode(sample.to_codes()).samples
    start = round(sample.start_seconds * 48_000)
    assert (
        sample.start_seconds <= 2.5 < sample.start_seconds + 0.99
        and sample.start_seconds + sample.seconds >= 5.5
    )
    assert audio.shape[1] == sample.num_samples == len(sample.chunk_frames) * 47_520
    assert np.allclose(
        audio[:, 480:-320], whole[:, start + 480 : start + audio.shape[1] - 320], atol=1e-5
    )


def test_slices_cover_what_was_asked_for_and_alignments_move_along(tmp_path: Path) -> None:
    dataset = CodesDataset(write_output(tmp_path, [make_row(1, 480_000, SPEC)], shards=1))
    sample = dataset.slice(0, 0.99, 1.98, ("alignment", "text"))
    assert (sample.start_seconds, sample.frames, sample.scales) == (0.99, 150, None)
    assert [(round(a, 2), round(b, 2), w) for a, b, w in sample.fields["alignment"]] == [
        (0.01, 0.41, "w2"),
        (0.51, 0.91, "w3"),
    ]
    assert dataset.slice(0, 0.0, 0.5).frames == 150 and dataset.slice(
        0, 9.9, 99.0
    ).start_seconds == pytest.approx(9.9)
    for start, end in ((-1.0, 2.0), (3.0, 3.0), (11.0, 12.0)):
        with pytest.raises(UsageError, match="recording 0"):
            dataset.slice(0, start, end)


@pytest.mark.parametrize("cache_mb", [0, 1, 256])
def test_pages_that_are_read_again_and_again_stay_as_they_are(
    cache_mb: int, tmp_path: Path
) -> None:
    """Pages that are asked for often are kept unpacked, as long as there is room: the codes are the
    same, before and after."""
    rows = make_rows(90, SPEC, longest=25.0)
    dataset = CodesDataset(write_output(tmp_path, rows, shards=2), n_q=3, cache_mb=cache_mb)
    kinds = set()
    for _ in range(4):
        for number, row in enumerate(rows):
            chunks = len(row.codes.chunk_frames)
            span = Span(chunks // 3, chunks)
            first = int(row.codes.chunk_frames[: chunks // 3].sum(dtype=np.int64))
            assert np.array_equal(dataset.read(number, span).codes, row.codes.codes[:3, first:])
        cache = dataset._parts
        assert cache.bytes == sum(part.nbytes for part in cache._held.values())
        assert cache.bytes <= max(cache_mb << 20, max(part.nbytes for part in cache._held.values()))
        kinds.add(frozenset(type(part).__name__ for part in cache._held.values()))
    unpacked = frozenset({"_PlainPart"}) in kinds
    assert unpacked == (cache_mb == 256)


def test_by_id_finds_every_recording_and_no_other(
    form: str, rows: list[Row], tmp_path: Path
) -> None:
    dataset = CodesDataset(write_output(tmp_path, rows, form=form))
    for number in (0, 60, 152):
        assert dataset.by_id(rows[number].id).to_codes().equals(rows[number].codes)
    with pytest.raises(KeyError):
        dataset.by_id("nobody")
    with pytest.raises(IndexError):
        dataset[len(rows)]
    assert dataset[-1].id == rows[-1].id


REWRITES = {
    "plain": {"use_dictionary": False},
    "snappy, small pages": {"compression": "snappy", "data_page_size": 2000},
    "version 2 pages": {"data_page_version": "2.0"},
    "no compression": {"compression": "none"},
    "one row group": {"row_group_size": 10_000},
}


@pytest.mark.parametrize("how", REWRITES)
def test_shards_that_others_rewrote_are_read_as_well(
    how: str, rows: list[Row], tmp_path: Path
) -> None:
    out = write_output(tmp_path, rows, shards=1, manifest=False)
    (path,) = (out / "data").iterdir()
    pq.write_table(pq.read_table(path), path, **REWRITES[how])
    assert_whole(CodesDataset(out), rows)


def test_shards_with_wider_integers_are_read_through_pyarrow(
    rows: list[Row], tmp_path: Path
) -> None:
    import pyarrow as pa

    out = write_output(tmp_path, rows, shards=1, manifest=False)
    (path,) = (out / "data").iterdir()
    table = pq.read_table(path)
    wide = pa.field("codes", pa.list_(pa.list_(pa.int64())))
    schema = table.schema.set(table.schema.get_field_index("codes"), wide)
    pq.write_table(table.cast(schema), path)
    assert_whole(CodesDataset(out), rows)


def test_remote_data_sets_are_the_same_and_know_it(
    form: str, rows: list[Row], tmp_path: Path
) -> None:
    out, url = write_output(tmp_path, rows, form=form), f"memory://{uuid.uuid4().hex}"
    fs = fsspec.filesystem("memory")
    fs.put(str(out), url.removeprefix("memory:/"), recursive=True)
    remote = CodesDataset(url)
    assert remote.remote and remote.identity() == CodesDataset(out).identity()
    assert_whole(remote, rows)
    victim = next(
        name
        for name in fs.ls(f"{url.removeprefix('memory:/')}/data", detail=False)
        if "00001" in name
    )
    fs.pipe_file(victim, fs.cat_file(victim)[:-1])
    with pytest.raises(ShardError, match="00001"):
        assert_whole(CodesDataset(url), rows)


def flip(path: Path, at: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def test_any_flipped_bit_is_noticed_and_the_shard_named(form: str, tmp_path: Path) -> None:
    rows = make_rows(40, SPEC, longest=3.0)
    clean = write_output(tmp_path / "clean", rows, form=form, shards=2)
    rng = np.random.default_rng(5)
    for trial in range(120):
        out = tmp_path / "damaged"
        shutil.copytree(clean, out)
        path = sorted((out / "data").iterdir())[trial % 2]
        flip(path, int(rng.integers(path.stat().st_size)), int(rng.integers(8)))
        with pytest.raises(ShardError, match=path.name):
            list(CodesDataset(out))
        shutil.rmtree(out)


def test_without_commit_records_codes_are_still_never_wrong(form: str, tmp_path: Path) -> None:
    """Checksums of pages and members: an error that names the shard, or every code as it was."""
    rows = make_rows(20, SPEC, longest=3.0)
    out = write_output(tmp_path, rows, form=form, shards=1, manifest=False)
    (path,) = (out / "data").iterdir()
    clean, rng, noticed = path.read_bytes(), np.random.default_rng(6), 0
    for at in rng.integers(len(clean), size=120).tolist():
        path.write_bytes(clean)
        flip(path, at, int(rng.integers(8)))
        try:
            found = list(CodesDataset(out))
        except ShardError as error:
            assert path.name in str(error)
            noticed += 1
            continue
        assert all(
            sample.codes.tobytes() == row.codes.codes.tobytes()
            for sample, row in zip(found, rows, strict=True)
        )
    assert noticed > 70


def test_truncated_missing_and_changing_shards_are_refused(form: str, tmp_path: Path) -> None:
    out = write_output(tmp_path, make_rows(40, SPEC, longest=3.0), form=form, shards=2)
    last = sorted((out / "data").iterdir())[1]
    dataset, content = CodesDataset(out), last.read_bytes()
    assert dataset.units(39)  # verifies the shard and reads its index, but no codes
    flip(last, len(content) // 2, 3)
    with pytest.raises(ShardError, match=last.name):
        dataset[39]
    for size in (0, 100, len(content) // 2, len(content) - 1):
        last.write_bytes(content[:size])
        with pytest.raises(ShardError, match=last.name):
            CodesDataset(out)[39]
    last.unlink()
    with pytest.raises(ShardError, match=last.name):
        CodesDataset(out)


def test_a_copy_that_lacks_a_file_is_not_called_unfinished(form: str, tmp_path: Path) -> None:
    out = write_output(tmp_path / "out", make_rows(6, SPEC, longest=1.0), form=form, shards=3)
    assert len(CodesDataset(out / "data")) == 6
    sorted((out / "data").iterdir())[1].unlink()
    with pytest.raises(UsageError, match="2 of 3 shards: copy the others too, and manifest/"):
        CodesDataset(out / "data")
    assert len(CodesDataset(out / "data", partial=True)) == 4


def test_unfinished_and_foreign_folders_are_refused(form: str, tmp_path: Path) -> None:
    out = write_output(tmp_path / "out", make_rows(40, SPEC, longest=3.0), form=form, shards=4)
    (out / "manifest" / "commits" / "train-00002-of-00004.json").unlink()
    with pytest.raises(UsageError, match="3 of 4 shards: finish it"):
        CodesDataset(out)
    assert len(CodesDataset(out, partial=True)) == 30
    with pytest.raises(UsageError, match="n_q=5"):
        CodesDataset(out, n_q=5, partial=True)
    with pytest.raises(UsageError, match="no field 'words'"):
        CodesDataset(out, partial=True).read(0, None, ("words",))
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nothing"):
        with pytest.raises(UsageError, match="holds no shards"):
            CodesDataset(folder)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_runs_at_random_are_the_runs_in_order(data: st.DataObject) -> None:
    """Against DuckDB's and Arrow's writers elsewhere; here against runs built by hand, of any kind
    and width."""
    width = data.draw(st.integers(1, 16))
    parts, expected = [], []
    for literal, count in data.draw(
        st.lists(st.tuples(st.booleans(), st.integers(1, 70)), min_size=1, max_size=12)
    ):
        values = np.random.default_rng(count).integers(0, 1 << width, 8 * count if literal else 1)
        if literal:
            bits = ((values[:, None] >> np.arange(width)) & 1).astype(np.uint8).reshape(-1)
            body = np.packbits(bits, bitorder="little").tobytes()
            expected += values.tolist()
        else:
            body = int(values[0]).to_bytes((width + 7) // 8, "little")
            expected += [int(values[0])] * count
        header = count << 1 | literal
        parts.append(
            (bytes([header]) if header < 128 else bytes([header & 127 | 128, header >> 7])) + body
        )
    dictionary = np.arange(1 << 16, dtype=np.uint16)[::-1].copy()
    runs = Runs(np.frombuffer(b"".join(parts), np.uint8), width, len(expected))
    first = data.draw(st.integers(0, len(expected) - 1))
    stop = data.draw(st.integers(first, len(expected)))
    out = np.zeros(stop - first, np.uint16)
    runs.fill([(first, stop, out)], dictionary)
    assert out.tolist() == [65_535 - value for value in expected[first:stop]]


def test_unpacking_follows_the_worked_example_of_the_format() -> None:
    """Parquet's Encodings.md: 0 to 7 in three bits each."""
    assert unpack(np.array([0b10001000, 0b11000110, 0b11111010], np.uint8), 3).tolist() == list(
        range(8)
    )


def test_duckdb_writes_what_the_reader_reads(rows: list[Row], tmp_path: Path) -> None:
    out = write_output(tmp_path, rows, shards=1, manifest=False)
    (path,) = (out / "data").iterdir()
    footer = pq.read_schema(path).metadata[b"codecshards"].decode()
    again = path.with_name("again.parquet")
    duckdb.sql(
        f"copy (from '{path}') to '{again}' (format parquet, kv_metadata {{codecshards: "
        f"'{footer}'}})"
    )
    again.replace(path)
    assert_whole(CodesDataset(out), rows)


def test_every_cut_is_something_the_codec_can_have_written(tmp_path: Path) -> None:
    """Lengths around strides and chunks, where the last chunks are short, and all of their cuts."""
    lengths = [
        stride * 47_520 + more
        for stride in range(3)
        for more in (1, 2, 160, 161, 320, 321, 479, 480, 481, 47_519)
    ]
    rows = [make_row(number, length, SPEC) for number, length in enumerate(lengths)]
    dataset = CodesDataset(write_output(tmp_path, rows, shards=1))
    for number, length in enumerate(lengths):
        units = dataset.units(number)
        for first in range(units):
            for last in range(first + 1, units + 1):
                sample = dataset.read(number, Span(first, last), ("scales",))
                codes = sample.to_codes()
                assert len(split(codes, SPEC)) == last - first
                assert (
                    codes.num_samples
                    == (length if last == units else last * 47_520) - first * 47_520
                )
