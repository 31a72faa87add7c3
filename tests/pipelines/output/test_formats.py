"""Shard formats: what goes in comes out, damage is noticed, and others can read them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.output.formats import SHARD_FORMATS, shard_format
from pipelines.output.formats.schema import ARROW_SCHEMA, Row, make_footer
from pipelines.output.formats.webdataset.writer import key_of
from pipelines.output.where import Where
from tokenizer import ShardError, UsageError
from tokenizer.codecs.mulaw import describe_mulaw
from tokenizer.types import Codes

FOOTER = make_footer(describe_mulaw(6.0), "1.2.3")


def make_row(
    number: int, frames: int = 200, n_q: int = 4, scales: bool = True, **values: object
) -> Row:
    rng = np.random.default_rng(number)
    chunks = [150] * (frames // 150) + ([frames % 150] if frames % 150 else [])
    codes = Codes(
        rng.integers(0, 1024, (n_q, frames), np.uint16),
        rng.random(len(chunks), np.float32) if scales else None,
        np.array(chunks, np.uint16),
        frames * 320 - 7,
        48_000,
    )
    facts: dict[str, object] = {
        "id": f"folder/{number}.wav",
        "channels": 2,
        "source_uri": f"/x/{number}.wav",
        "source_sample_rate": 44_100,
        "source_channels": 1,
        "source_sha256": "ab" * 32,
        "text": None if number % 2 else f"text {number} ä",
        "meta": {"take": number, "flags": ["silent"]},
    }
    return Row(codes=codes, **{**facts, **values})  # type: ignore[arg-type]


def assert_equal(one: Row, other: Row) -> None:
    assert one.facts() == other.facts()
    assert one.codes.equals(other.codes)


@pytest.fixture(params=sorted(SHARD_FORMATS))
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def written(form: str, rows: list[Row], folder: Path) -> Path:
    path = folder / f"shard{shard_format(form).suffix}"
    shard_format(form).write(str(path), rows, FOOTER)
    return path


def test_rows_come_back_as_they_went_in(form: str, tmp_path: Path) -> None:
    rows = [make_row(n, frames) for n, frames in enumerate([1, 2, 149, 150, 151, 4000])]
    rows += [
        make_row(9, scales=False),
        make_row(10, n_q=16),
        make_row(11, text="a\nb", language="de", speaker="x", meta={}),
    ]
    path = written(form, rows, tmp_path)
    with path.open("rb") as file:
        for one, other in zip(shard_format(form).read(file, "s"), rows, strict=True):
            assert_equal(one, other)
    with path.open("rb") as file:
        assert shard_format(form).footer(file, "s") == FOOTER


def test_one_row_is_found_among_many(form: str, tmp_path: Path) -> None:
    rows = [make_row(n, 20 + n % 5) for n in range(200)]
    path = written(form, rows, tmp_path)
    for wanted in (0, 63, 64, 199):
        with path.open("rb") as file:
            found = shard_format(form).read_one(file, "s", rows[wanted].id)
        assert found is not None
        assert_equal(found, rows[wanted])
    with path.open("rb") as file:
        assert shard_format(form).read_one(file, "s", "nobody") is None


def test_the_same_rows_are_the_same_bytes(form: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one = written(form, [make_row(n) for n in range(70)], tmp_path / "a")
    other = written(form, [make_row(n) for n in range(70)], tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_row_survives(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(sorted(SHARD_FORMATS)))
    text = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    row = make_row(
        data.draw(st.integers(0, 5)),
        data.draw(st.integers(1, 400)),
        data.draw(st.sampled_from([1, 2, 4, 8, 16, 32])),
        data.draw(st.booleans()),
        id=data.draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)),
        text=data.draw(text),
        meta=data.draw(
            st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)
        ),
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = written(form, [row], Path(folder))
        with path.open("rb") as file:
            (found,) = shard_format(form).read(file, "s")
    assert_equal(found, row)


def test_bit_flips_in_codes_never_pass(form: str, tmp_path: Path) -> None:
    rows = [make_row(n, 600) for n in range(20)]
    path = written(form, rows, tmp_path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    noticed = harmless = 0
    for at in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        try:
            found = list(shard_format(form).read(io.BytesIO(bytes(damaged)), "shard-x"))
        except ShardError as error:
            assert "shard-x" in str(error)
            noticed += 1
            continue
        # padding, statistics, or a member's header field that nothing reads: the codes must be
        # whole
        harmless += 1
        assert all(one.codes.equals(other.codes) for one, other in zip(found, rows, strict=False))
    assert noticed > harmless


def test_truncated_shards_are_refused_by_name(form: str, tmp_path: Path) -> None:
    content = written(form, [make_row(n, 600) for n in range(20)], tmp_path).read_bytes()
    for size in (0, 10, len(content) // 2):
        with pytest.raises(ShardError, match="shard-x"):
            list(shard_format(form).read(io.BytesIO(content[:size]), "shard-x"))


def test_uniform_codes_take_at_most_10_1_bits(tmp_path: Path) -> None:
    """Two hours at 6 kbps in recordings of a few minutes, and the same codes as one recording."""
    frames, n_q = 150 * 7200, 4
    for parts in (40, 1):
        rows = [make_row(n, frames // parts, n_q) for n in range(parts)]
        size = written("parquet", rows, tmp_path).stat().st_size
        assert 8 * size / (frames * n_q) <= 10.1, parts


def test_columns_are_those_of_the_design(tmp_path: Path) -> None:
    path = written("parquet", [make_row(1)], tmp_path)
    schema = pq.read_schema(path)
    assert schema.remove_metadata() == ARROW_SCHEMA
    assert str(schema.field("codes").type) == "list<element: list<element: uint16>>"
    metadata = pq.ParquetFile(path).metadata.row_group(0)
    assert {metadata.column(i).compression for i in range(metadata.num_columns)} == {"ZSTD"}
    assert metadata.num_rows <= 64


def test_a_condition_is_about_what_the_first_row_lacks(form: str, tmp_path: Path) -> None:
    """A measure may say nothing of a recording: of silence there is no loudness."""
    footer = FOOTER | {"quality": {name: {"unit": "dB", "what": ""} for name in ("snr", "peak")}}
    qualities = [{"snr": None, "peak": 0.0}, {"snr": 12.25, "peak": -3.5}, {"snr": 2.5, "peak": 1}]
    rows = [make_row(n, quality=quality) for n, quality in enumerate(qualities)]
    shards, where = shard_format(form), "snr > 5 and peak < -3"
    for some, expected in ((rows, [False, True, False]), ([], [])):
        path = tmp_path / f"{len(some)}{shards.suffix}"
        shards.write(str(path), some, footer)
        with path.open("rb") as file:
            schema = shards.columns(file, "shard")
            assert schema.field("snr").type == schema.field("peak").type == pa.float32()
            file.seek(0)
            found = list(shards.read_columns(file, "shard", schema.names))
        assert Where(where, schema).holds(found) == expected


def test_parquet_is_read_by_datasets_duckdb_and_pandas(tmp_path: Path) -> None:
    import datasets

    rows = [make_row(n) for n in range(3)]
    path = written("parquet", rows, tmp_path)
    table = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert np.array_equal(np.array(table[1]["codes"]), rows[1].codes.codes)
    ((count, frames),) = duckdb.sql(f"select count(*), sum(len(codes[1])) from '{path}'").fetchall()
    assert (count, frames) == (3, 600)
    assert pq.read_table(path).to_pandas()["id"].tolist() == [row.id for row in rows]


def test_tars_are_read_by_webdataset(tmp_path: Path) -> None:
    import webdataset

    rows = [make_row(n) for n in range(3)]
    path = written("webdataset", rows, tmp_path)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False).decode())
    assert len(samples) == 3
    for sample, row in zip(samples, rows, strict=True):
        assert np.array_equal(sample["codes.npy"], row.codes.codes)
        assert np.array_equal(sample["scales.npy"], row.codes.scales)
        assert np.array_equal(sample["chunks.npy"], row.codes.chunk_frames)
        assert (
            sample["json"]["id"] == row.id
            and json.loads(sample["json"]["meta"])["take"] == row.meta["take"]
        )


@given(one=st.text(min_size=1), other=st.text(min_size=1))
def test_keys_have_no_dots_and_stay_apart(one: str, other: str) -> None:
    for id in (one, other):
        key = key_of(id)
        assert (
            key
            and "." not in key
            and "/" not in key
            and not key.startswith("__")
            and len(key) <= 80
        )
    assert (key_of(one) == key_of(other)) == (one == other)


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(UsageError, match="parquet, webdataset"):
        shard_format("csv")
