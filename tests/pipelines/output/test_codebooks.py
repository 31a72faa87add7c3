"""Codebooks of any size: what codes cost, and that none is ever taken for another."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.output.blobs import LocalBlob
from pipelines.output.cache import ByteCache
from pipelines.output.card import make_card
from pipelines.output.config import TokenizeConfig
from pipelines.output.formats import shard_format
from pipelines.output.formats.parquet.unverified import guess_spec
from pipelines.output.formats.reading.base import ShardReader
from pipelines.output.formats.schema import Row, make_footer
from pipelines.output.inspect import counted_use
from pipelines.output.manifest.records import Totals, pack_counts, unpack_counts
from pipelines.output.stored_run import StoredRun
from tokenizer.codecs.base import CodecSpec, split
from tokenizer.errors import ShapeError, ShardError
from tokenizer.types import Codes

SPEC = CodecSpec("x", None, "y", 8.0, 8, 1024, 16_000, 1, 320, None, None, False)


def row(id: str, codes: np.ndarray) -> Row:
    frames = codes.shape[1]
    one = Codes(codes.astype(np.uint16), None, np.array([frames], np.uint16), 320 * frames, 16_000)
    return Row(id, one, 1, f"{id}.wav", 16_000, 1, "0" * 64)


def written(folder: Path, form: str, spec: CodecSpec, rows: Iterator[Row] | list[Row]) -> Path:
    path = folder / f"shard{shard_format(form).suffix}"
    shard_format(form).write(str(path), rows, make_footer(spec, "1"))
    return path


def reader(path: Path, form: str, spec: CodecSpec) -> ShardReader:
    blob = LocalBlob(str(path), None, None)
    return shard_format(form).reader(blob, spec, ByteCache(1 << 20, lambda part: part.nbytes))


@pytest.mark.parametrize(
    ("size", "n_q", "frames", "rows"),
    [(1024, 8, 750, 120), (1024, 4, 1500, 70), (65_536, 1, 500, 200), (65_536, 1, 50, 500)],
)
def test_uniform_codes_cost_what_their_codebook_needs(
    tmp_path: Path, size: int, n_q: int, frames: int, rows: int
) -> None:
    rng = np.random.default_rng(0)
    spec = replace(SPEC, n_q=n_q, codebook_size=size)
    drawn = [rng.integers(0, size, (n_q, frames)) for _ in range(rows)]
    path = written(tmp_path, "parquet", spec, [row(str(i), one) for i, one in enumerate(drawn)])
    groups = pq.ParquetFile(path).metadata
    column = next(
        i
        for i in range(groups.num_columns)
        if groups.row_group(0).column(i).path_in_schema.startswith("codes.")
    )
    stored = sum(
        groups.row_group(i).column(column).total_compressed_size
        for i in range(groups.num_row_groups)
    )
    assert 8 * stored / (n_q * frames * rows) < math.log2(size) + 0.1
    theirs = pq.read_table(path)["codes"].to_pylist()
    assert all((np.array(a) == b).all() for a, b in zip(theirs, drawn, strict=True))


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
@pytest.mark.parametrize("size", [1, 3, 1024, 8192, 8193, 40_000, 65_536])
def test_no_code_wraps_and_any_reader_has_all_of_them(tmp_path: Path, form: str, size: int) -> None:
    """Against pyarrow's own reader and DuckDB's."""
    rng = np.random.default_rng(1)
    codes = rng.integers(0, size, (8, 300))
    codes[:, 0], codes[:, 1] = 0, size - 1
    spec = replace(SPEC, codebook_size=size)
    path = written(tmp_path, form, spec, [row("a", codes), row("b", codes[:, :1])])
    found = reader(path, form, spec)
    assert (found.codes(0, 0, 300, 8) == codes).all()
    assert (found.codes(0, 17, 20, 3) == codes[:3, 17:20]).all()
    assert (found.codes(1, 0, 1, 8) == codes[:, :1]).all()
    if form == "parquet":
        ((theirs,), _) = duckdb.sql(f"select codes from '{path}'").fetchall()
        assert (np.array(theirs) == codes).all()


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_a_code_is_held_against_its_own_codebook(tmp_path: Path, form: str) -> None:
    sizes = (4096, 16, 1024)
    spec = replace(SPEC, n_q=3, codebook_size=4096, codebook_sizes=sizes)
    good = np.array([[4095, 0], [15, 0], [1023, 7]])
    bad = np.array([[4095, 0], [0, 16], [1023, 7]])
    path = written(tmp_path, form, spec, [row("good", good), row("bad", bad)])
    found = reader(path, form, spec)
    assert (found.codes(0, 0, 2, 3) == good).all()
    with pytest.raises(ShardError, match="code 16 is outside codebook 1 of 16"):
        found.codes(1, 0, 2, 3)
    assert (found.codes(1, 0, 2, 1) == bad[:1]).all()
    split(row("good", good).codes, spec)
    with pytest.raises(ShapeError, match="code 16 is outside codebook 1 of 16"):
        split(row("bad", bad).codes, spec)


def test_what_another_program_wrote_is_refused_where_it_needs_more_bits() -> None:
    def spec_of(most: int) -> CodecSpec:
        sink, kind = io.BytesIO(), pa.list_(pa.list_(pa.int64()))
        facts = {
            "id": ["a"],
            "codes": pa.array([[[1, most]]], kind),
            "chunk_frames": [[2]],
            "num_samples": [640],
            "sample_rate": [16_000],
            "channels": [1],
        }
        pq.write_table(pa.table(facts), sink)
        return guess_spec(pq.ParquetFile(sink))

    assert spec_of(65_535).codebook_size == 65_536
    with pytest.raises(ShardError, match="code 65536: codes have at most 16 bits"):
        spec_of(65_536)


@pytest.mark.parametrize(("n_q", "size"), [(4, 1024), (1, 65_536), (32, 2048)])
def test_counts_of_codes_survive_and_stay_small(n_q: int, size: int) -> None:
    rng = np.random.default_rng(2)
    counts = rng.poisson(40, (n_q, size)).astype(np.int64)
    packed = pack_counts(counts)
    assert packed is not None and len(packed) < 64_000
    assert (unpack_counts(packed) == counts).all()
    counts[0, 0] = 1 << 40
    assert (unpack_counts(pack_counts(counts) or "") == counts).all()
    for wrong in ("1:3:aaaa", "1:x:", "1:2:3:4"):
        with pytest.raises(ShardError):
            unpack_counts(wrong)


def test_the_use_of_a_codebook_is_out_of_its_own_size() -> None:
    counts = np.zeros((2, 8), np.int64)
    counts[0], counts[1, :4] = 1, 1
    first, second = counted_use(counts, (8, 4))
    assert (first.used, second.used) == (1.0, 1.0) and second.perplexity == 4
    assert counted_use(counts)[1].used == 0.5


def test_a_card_says_what_there_is_of_codebooks() -> None:
    def card(**change: object) -> str:
        stored = StoredRun(TokenizeConfig("x"), replace(SPEC, **change), "1")
        return make_card(stored, Totals())

    assert "8 kbps: 8 codebooks of 1,024 codes" in card()
    snac = card(n_q=7, codebook_size=4096, level_repeats=(1, 2, 4))
    assert "7 codebooks of 4,096 (3 levels, 1:2:4 codes a frame) codes" in snac
    different = card(n_q=2, codebook_size=4096, codebook_sizes=(4096, 16), bandwidth=2.25)
    assert "2.25 kbps: 2 codebooks of 4,096, 16 codes" in different
    whole = card(n_q=1, codebook_size=65_536, window_length=480_000, window_context=16_000)
    assert "1 codebook of 65,536 codes" in whole and "windows" in whole
