"""Parquet that other programs have written anew: read with a warning, adopted with a manifest."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from killing import killed_at
from stored_rows import by_id, codes_of

from codecshards import (
    CodesDataset,
    CodesLoader,
    adopt_codes,
    drop_codes,
    reshard_codes,
    split_codes,
)
from pipelines.cli.main import main
from pipelines.output.formats import shard_format
from pipelines.output.formats.parquet.unverified import guess_spec, one_spec
from pipelines.output.inspect import inspect
from pipelines.output.rows import Rows
from pipelines.output.verify import verify
from tokenizer import ShardError, UsageError


def by_duckdb(files: list[Path], to: Path) -> None:
    listed = ", ".join(f"'{path}'" for path in files)
    duckdb.sql(f"copy (select * from read_parquet([{listed}])) to '{to}' (format parquet)")


def by_pyarrow(files: list[Path], to: Path) -> None:
    table = pa.concat_tables([pq.read_table(path) for path in files])
    pq.write_table(table.replace_schema_metadata(None), to)


def by_datasets(files: list[Path], to: Path) -> None:
    datasets = pytest.importorskip("datasets")
    cache = str(to.parent.parent / "cache")
    data = datasets.load_dataset(
        "parquet", data_files=[str(path) for path in files], split="train", cache_dir=cache
    )
    data.to_parquet(str(to))


def by_polars(files: list[Path], to: Path) -> None:
    polars = pytest.importorskip("polars")
    polars.concat([polars.read_parquet(path) for path in files]).write_parquet(to)


def by_pandas(files: list[Path], to: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.concat([pandas.read_parquet(path) for path in files]).to_parquet(to, index=False)


PROGRAMS = [by_duckdb, by_pyarrow, by_datasets, by_polars, by_pandas]


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_read_with_one_warning(
    outs: dict[str, Path], tmp_path: Path, program: Callable[[list[Path], Path], None]
):
    files = sorted((outs["parquet"] / "data").iterdir())
    (tmp_path / "new").mkdir()
    program(files, tmp_path / "new" / "all.parquet")
    with pytest.warns(UserWarning, match=r"1 of 1 files have no footer.*unverified") as found:
        data = CodesDataset(tmp_path / "new")
    assert len(found) == 1
    before = by_id(outs["parquet"])
    assert len(data) == len(before)
    for sample in data:
        row = before[sample.id]
        assert np.array_equal(sample.codes, codes_of(row))
        assert sample.fields["text"] == row["text"]
        assert sample.scales is not None and sample.scales.tobytes() == row["scales"][1]
    spec, own = data.spec, CodesDataset(outs["parquet"]).spec
    for name in ("n_q", "codebook_size", "frame_length", "chunk_length", "chunk_stride"):
        assert getattr(spec, name) == getattr(own, name)
    assert spec.bandwidth == own.bandwidth and spec.frame_rate == own.frame_rate
    batch = next(iter(CodesLoader(data, batch_size=4, fields=("text", "scales"), threads=0)))
    assert batch.codes.shape[:2] == (4, 4)


def test_some_columns_and_others_of_somebodys_own(outs: dict[str, Path], tmp_path: Path):
    (tmp_path / "new").mkdir()
    to = tmp_path / "new" / "x.parquet"
    duckdb.sql(
        "copy (select id, codes, chunk_frames, num_samples, sample_rate, channels, scales, "
        f"'good' as grade, 7 as bin, 0.5 as mark from '{outs['parquet']}/data/*.parquet') "
        f"to '{to}' (format parquet)"
    )
    with pytest.warns(UserWarning, match="unverified"):
        data = CodesDataset(tmp_path / "new")
    assert data[0].fields["text"] is None and data[0].fields["meta"] == {}
    assert set(data.measures) <= {"mark"}


def test_beside_shards_with_a_footer_it_is_of_their_codec(outs: dict[str, Path], tmp_path: Path):
    files = sorted((outs["parquet"] / "data").iterdir())
    new = tmp_path / "new"
    new.mkdir()
    for path in files[1:]:
        (new / path.name).write_bytes(path.read_bytes())
    by_duckdb(files[:1], new / files[0].name)
    with pytest.warns(UserWarning, match=f"1 of {len(files)} files"):
        data = CodesDataset(new)
    assert data.spec == CodesDataset(outs["parquet"]).spec
    assert {sample.id for sample in data} == set(by_id(outs["parquet"]))


def test_what_is_no_shard_of_codes_is_told_in_a_line(outs: dict[str, Path], tmp_path: Path):
    files = sorted((outs["parquet"] / "data").iterdir())
    table = pq.read_table(files[0]).replace_schema_metadata(None)
    others = {
        "no column codes": table.drop_columns(["codes"]),
        "no list of lists": table.set_column(1, "codes", pa.array([1] * len(table))),
        "its chunks are those of no codec": table.set_column(
            4, "num_samples", pa.array([1] * len(table))
        ),
        "rows of several codecs": table.set_column(
            5, "sample_rate", pa.array([*range(len(table))])
        ),
        "of several codecs": table.slice(0, 0),
    }
    for number, (said, one) in enumerate(others.items()):
        new = tmp_path / str(number)
        new.mkdir()
        pq.write_table(one, new / "x.parquet")
        with pytest.raises((ShardError, UsageError), match=said) as found:
            CodesDataset(new)
        assert "\n" not in str(found.value)


def test_our_own_files_are_read_without_a_word(outs: dict[str, Path]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CodesDataset(outs["parquet"] / "data")


@pytest.mark.parametrize("program", PROGRAMS)
def test_adopted_it_is_an_output_like_any(
    outs: dict[str, Path],
    tmp_path: Path,
    program: Callable[[list[Path], Path], None],
    capsys: pytest.CaptureFixture[str],
):
    files = sorted((outs["parquet"] / "data").iterdir())
    new = tmp_path / "new"
    new.mkdir()
    program(files[:2], new / "b.parquet")
    program(files[2:], new / "a.parquet")
    content = {path.read_bytes() for path in new.iterdir()}
    assert main(["adopt", str(new)]) == 2
    assert "give --codec and --bandwidth, or --like OUT" in capsys.readouterr().err
    assert main(["adopt", str(new), "--codec", "mulaw", "--bandwidth", "12"]) == 1
    assert "another codec than what was asked for (mulaw)" in capsys.readouterr().err
    assert main(["adopt", str(new), "--like", str(outs["parquet"])]) == 0
    assert {path.read_bytes() for path in (new / "data").iterdir()} == content
    assert by_id(new) == by_id(outs["parquet"]) and verify(str(new)) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {sample.id for sample in CodesDataset(new)} == set(by_id(new))
    assert main(["adopt", str(new), "--codec", "mulaw"]) == 2
    assert "has a manifest" in capsys.readouterr().err
    drop_codes(str(new), ["003.wav"])
    reshard_codes(str(new), str(tmp_path / "next"), format="webdataset")
    assert set(by_id(tmp_path / "next")) == set(by_id(new)) < set(by_id(outs["parquet"]))
    assert verify(str(new)) == verify(str(tmp_path / "next")) == []
    assert main(["inspect", str(new)]) == 0


def test_what_rows_can_do_without_may_be_left_out(
    outs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    files = sorted((outs["parquet"] / "data").iterdir())
    new = tmp_path / "new"
    new.mkdir()
    listed = ", ".join(f"'{path}'" for path in files)
    duckdb.sql(
        "copy (select id, codes, scales, chunk_frames, num_samples, sample_rate, channels from "
        f"read_parquet([{listed}])) to '{new / 'x.parquet'}' (format parquet)"
    )
    assert main(["ls", str(new)]) == main(["verify", str(new)]) == 0
    assert "000.wav\t0.1\t\t\t" in capsys.readouterr().out.splitlines()
    adopt_codes(str(new), like=str(outs["parquet"]))
    before = by_id(outs["parquet"])
    assert verify(str(new)) == []
    reshard_codes(str(new), str(tmp_path / "next"), format="webdataset")
    drop_codes(str(new), where="seconds > 2")
    for out in (new, tmp_path / "next"):
        assert verify(str(out)) == []
        for id, row in by_id(out).items():
            assert (row["codes"], row["text"]) == (before[id]["codes"], None)
    assert len(by_id(new)) < len(by_id(tmp_path / "next")) == len(before)


def test_columns_of_somebodys_own_are_not_lost_in_silence(
    outs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    new, then = tmp_path / "new", tmp_path / "then"
    new.mkdir()
    for path in (outs["parquet"] / "data").iterdir():
        table = pq.read_table(path)
        table = table.append_column("grade", pa.array(["good"] * len(table)))
        pq.write_table(table.append_column("mark", pa.array([0.5] * len(table))), new / path.name)
    adopt_codes(str(new))
    content = {path: path.read_bytes() for path in (new / "data").iterdir()}
    assert main(["edit", str(new), "--drop-where", "seconds > 2"]) == 2
    assert (
        "columns of another program (grade, mark), which would be lost" in capsys.readouterr().err
    )
    assert {path: path.read_bytes() for path in (new / "data").iterdir()} == content
    assert main(["reshard", str(new), str(then)]) == 0
    assert "columns of another program are left out: grade, mark\n" in capsys.readouterr().err
    assert main(["edit", str(then), "--drop-where", "seconds > 2"]) == 0
    assert {*by_id(then)} < {*by_id(new)}


def test_a_column_of_nothing_may_be_of_no_kind(outs: dict[str, Path], tmp_path: Path):
    """As pandas writes the scales of codecs that have none, or texts where there are none."""
    table = pq.read_table(next((outs["parquet"] / "data").iterdir())).replace_schema_metadata(None)
    for name in ("scales", "text"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.nulls(len(table)))
    pq.write_table(table, tmp_path / "x.parquet")
    with (tmp_path / "x.parquet").open("rb") as file:
        rows = list(shard_format("parquet").read(file, "x"))
    assert [row.id for row in rows] == table["id"].to_pylist()
    assert all(row.codes.scales is None and row.text is None for row in rows)


def test_killed_at_any_step_it_is_gone_on_with(outs: dict[str, Path], tmp_path: Path):
    """Nobody is told to delete what it still needs: its plan waits for its place."""
    files = sorted((outs["parquet"] / "data").iterdir())[:2]
    (tmp_path / "made" / "data").mkdir(parents=True)
    for path in files:
        shutil.copy(path, tmp_path / "made" / "data")
    before, waited = by_id(tmp_path / "made"), False
    for change in range(1, 100):
        new = tmp_path / f"new{change}"
        new.mkdir()
        for number, path in enumerate(files):
            shutil.copy(path, new / f"{number}.parquet")
        if not killed_at(change, lambda new=new: adopt_codes(str(new))):
            break
        if (new / "manifest/config.json").exists() and not (new / "manifest/plan.parquet").exists():
            assert "run the same command again to finish it" in str(verify(str(new))[0])
            assert {row["id"] for row in Rows(str(new)).rows(["id"])} == set(before)
            waited = True
        if not (new / "manifest/plan.parquet").exists():
            adopt_codes(str(new))
        assert verify(str(new)) == [] and by_id(new) == before
    assert waited and change > len(files)


def test_files_of_one_name_in_both_places_are_all_kept(outs: dict[str, Path], tmp_path: Path):
    new = tmp_path / "new"
    (new / "data").mkdir(parents=True)
    files = sorted((outs["parquet"] / "data").iterdir())
    for number, path in enumerate(files):
        folder = (new / "data", new)[number % 2]
        shutil.copy(path, folder / f"train-{number // 2:05d}-of-{len(files):05d}.parquet")
    adopt_codes(str(new))
    assert by_id(new) == by_id(outs["parquet"]) and verify(str(new)) == []


def test_few_codes_may_be_of_a_codec_with_few(outs: dict[str, Path], tmp_path: Path):
    """How many there can be is not known by those that there are."""
    path = tmp_path / "x.parquet"
    by_duckdb([next((outs["parquet"] / "data").iterdir())], path)
    found = guess_spec(pq.ParquetFile(path))
    small = replace(found, codec="alaw", weights_sha256="0" * 64, codebook_size=256)
    assert one_spec([small, found], ["asked", "x"]) == small
    with pytest.raises(ShardError, match="another codec"):
        one_spec([small, replace(found, codebook_size=2048)], ["asked", "x"])


@pytest.mark.parametrize("place", ["data", "."])
def test_a_copy_of_our_own_shards_needs_no_word_on_the_codec(out: Path, tmp_path: Path, place: str):
    new = tmp_path / "new"
    (new / place).mkdir(parents=True, exist_ok=True)
    for path in (out / "data").iterdir():
        (new / place / path.name).write_bytes(path.read_bytes())
    adopt_codes(str(new))
    assert by_id(new) == by_id(out) and verify(str(new)) == []
    names = {path.name for path in (new / "data").iterdir()}
    assert names == {path.name for path in (out / "data").iterdir()}
    next((new / "data").iterdir()).write_bytes(b"")
    said = [problem.message for problem in verify(str(new))]
    assert "to heal it, restore it: it was not written here, but adopted" in said


def test_the_card_says_which_codec_it_was(
    outs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """As `push` sends it, or `tokenize` leaves it; what people wrote into it stays."""
    new = tmp_path / "new"
    new.mkdir()
    for path in sorted((outs["parquet"] / "data").iterdir()):
        duckdb.sql(f"copy (from '{path}') to '{new / path.name}' (format parquet)")
    card = (outs["parquet"] / "README.md").read_text()
    (new / "README.md").write_text(card.replace("4 codebooks", "8 codebooks"))
    assert main(["adopt", str(new)]) == 2
    assert "give --codec" in capsys.readouterr().err
    (new / "README.md").write_text(card.replace("# Audio codes", "# Our voices"))
    assert main(["adopt", str(new)]) == 0
    assert "by its README.md these are codes of mulaw, 6 kbps" in capsys.readouterr().err
    assert by_id(new) == by_id(outs["parquet"]) and verify(str(new)) == []
    codec, other = (inspect(str(one)).stored.codec for one in (new, outs["parquet"]))
    assert replace(codec, device=other.device) == other
    assert "# Our voices" in (new / "README.md").read_text()


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_several_splits_are_adopted_at_once(outs: dict[str, Path], tmp_path: Path, form: str):
    made, new = tmp_path / "made", tmp_path / "new"
    split_codes(str(outs[form]), str(made), valid=0.3, test=0.2)
    shutil.copytree(made / "data", new / "data")
    adopted = adopt_codes(str(new))
    assert set(adopted.splits) == {"train", "valid", "test"}
    assert by_id(new) == by_id(made) and verify(str(new)) == []
    for name in adopted.splits:
        one, other = (CodesDataset(folder, split=name) for folder in (new, made))
        assert [row.id for row in one] == [row.id for row in other]
    assert main(["inspect", str(new)]) == 0
    drop_codes(str(new), [next(iter(CodesDataset(new, split="valid"))).id])
    assert verify(str(new)) == []


def test_what_cannot_be_adopted_is_told_in_a_line(outs: dict[str, Path], tmp_path: Path):
    new = tmp_path / "new"
    new.mkdir()
    with pytest.raises(UsageError, match="holds no shards"):
        adopt_codes(str(new))
    files = sorted((outs["parquet"] / "data").iterdir())
    for name in ("a", "b"):
        (new / f"{name}.parquet").write_bytes(files[0].read_bytes())
    with pytest.raises(UsageError, match=r"two recordings have the id '000.wav'"):
        adopt_codes(str(new))
    (new / "b.parquet").write_bytes(files[1].read_bytes()[:-50])
    with pytest.raises(ShardError, match=r"b\.parquet: damaged"):
        adopt_codes(str(new))
    duckdb.sql(
        f"copy (select * exclude (chunk_frames) from '{files[1]}') to '{new / 'b.parquet'}' "
        "(format parquet)"
    )
    with pytest.raises(ShardError, match=r"b\.parquet: .*no column chunk_frames"):
        adopt_codes(str(new))
    (new / "b.tar").write_bytes(b"")
    with pytest.raises(UsageError, match=r"several formats \(\.parquet, \.tar\)"):
        adopt_codes(str(new))
    assert not (new / "manifest" / "config.json").exists()
