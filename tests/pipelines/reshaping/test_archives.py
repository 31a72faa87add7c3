"""Archives: what comes out is what went in, bit for bit, whatever happens on the way. Compared with
what pyarrow and tarfile read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from families import WRITERS
from killing import killed_at
from level_codec import LEVELS
from loader_data import make_rows, write_output
from stored_rows import by_id, codes_of, stored_rows

from codecshards import (
    CodesDataset,
    compress_codes,
    expand_codes,
    filter_codes,
    merge_codes,
    reshard_codes,
    split_codes,
    tokenize,
)
from pipelines.cli.main import main
from pipelines.output.formats.coded.file import CodedFile
from pipelines.output.inspect import inspect
from pipelines.output.manifest.commits import CommitRecord
from pipelines.output.verify import verify
from tokenizer import OutputError, ShardError, UsageError
from tokenizer.codecs import registry
from tokenizer.codecs.mulaw import describe_mulaw


def data_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}


@pytest.fixture(scope="session")
def archive(outs: dict[str, Path]) -> Path:
    """Of the Parquet folder; nobody changes it."""
    new = outs["parquet"].parent / "archive"
    compress_codes(str(outs["parquet"]), str(new), workers=0)
    return new


@pytest.fixture
def own_archive(archive: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(archive, tmp_path / "archive"))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_way_there_and_back_is_exact(out: Path, tmp_path: Path, workers: int) -> None:
    packed, back = tmp_path / "packed", tmp_path / "back"
    made = compress_codes(str(out), str(packed), workers=workers, shard_hours=0.006)
    again = expand_codes(str(packed), str(back), workers=workers)
    assert stored_rows(back) == stored_rows(out) and made.recordings == again.recordings == 24
    assert {path.suffix for path in (back / "data").iterdir()} == {
        path.suffix for path in (out / "data").iterdir()
    }
    assert verify(str(packed)) == [] == verify(str(back)) and again.lost == 0
    assert [one.id for one in inspect(str(back)).failures] == ["bad.wav"]
    other = tmp_path / "other"
    wanted = "webdataset" if out.name == "parquet" else "parquet"
    expand_codes(str(packed), str(other), format=wanted, workers=0)
    assert by_id(other) == by_id(out)


def test_processes_write_the_same_bytes(outs: dict[str, Path], archive: Path, tmp_path: Path):
    compress_codes(str(outs["parquet"]), str(tmp_path / "new"), workers=2)
    assert data_of(tmp_path / "new") == data_of(archive)


def test_all_commands_read_an_archive(archive: Path, outs: dict[str, Path], tmp_path: Path, capsys):
    wanted = by_id(outs["parquet"])
    data = CodesDataset(archive)
    for sample in data:
        shape, content = wanted[sample.id]["codes"]
        assert sample.codes.shape == shape and sample.codes.astype("<u2").tobytes() == content
        assert sample.fields["text"] == wanted[sample.id]["text"]
    assert main(["ls", str(archive), "--ids"]) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(wanted)
    assert main(["inspect", str(archive)]) == 0
    assert "coded" in capsys.readouterr().out
    filter_codes(str(archive), str(tmp_path / "f"), where="language = 'de'")
    expand_codes(str(tmp_path / "f"), str(tmp_path / "g"), workers=0)
    assert by_id(tmp_path / "g") == {k: v for k, v in wanted.items() if v["language"] == "de"}
    for name in ("f", "g"):
        assert verify(str(tmp_path / name)) == []
    heads = [head_of(path) for path in (archive, tmp_path / "f")]
    assert heads[0]["coder"] == heads[1]["coder"]  # of the whole folder, not counted anew
    assert main(["decode", str(archive), "000.wav", "-o", str(tmp_path / "0.wav")]) == 0
    assert soundfile.info(tmp_path / "0.wav").frames == 4_800


def head_of(out: Path) -> dict[str, Any]:
    with next((out / "data").iterdir()).open("rb") as file:
        return dict(CodedFile(file).head)


def test_an_edit_keeps_the_coder(own_archive: Path, outs: dict[str, Path], tmp_path: Path) -> None:
    before = head_of(own_archive)["coder"]
    (tmp_path / "table.csv").write_text("id,text\n001.wav,another\n")
    assert main(["edit", str(own_archive), "--set", str(tmp_path / "table.csv"), "--quiet"]) == 0
    assert head_of(own_archive)["coder"] == before and verify(str(own_archive)) == []
    expand_codes(str(own_archive), str(tmp_path / "back"), workers=0)
    wanted = by_id(outs["parquet"])
    wanted["001.wav"]["text"] = "another"
    assert by_id(tmp_path / "back") == wanted


def test_generations_and_splits(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    for number in range(12):
        samples = np.random.default_rng(number).standard_normal((9_000, 2)).astype(np.float32)
        soundfile.write(corpus / f"{number:02d}.wav", samples * 0.1, 48_000)
        if number == 5:
            tokenize(str(corpus), str(out), codec="mulaw", workers=0, quiet=True)
    tokenize(str(corpus), str(out), codec="mulaw", workers=0, quiet=True, append=True)
    assert len(inspect(str(out)).generations) == 1
    split_codes(str(out), str(tmp_path / "split"), valid=0.3)
    for one in ("out", "split"):
        packed, back = tmp_path / f"{one}-packed", tmp_path / f"{one}-back"
        compress_codes(str(tmp_path / one), str(packed), workers=0)
        expand_codes(str(packed), str(back), workers=0)
        assert verify(str(packed)) == [] == verify(str(back))
        for split in ("train", "valid"):
            assert by_id(back, split) == by_id(tmp_path / one, split)


@pytest.mark.parametrize("codec", ["levels", "encodec-24khz"])
def test_other_codecs(codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without chunks and scales, more frames than a segment has; levels at several rates, with
    codebooks of 65,536 and of 100."""
    name = codec
    if codec == "levels":
        monkeypatch.setitem(registry.CODECS, "levels", LEVELS)
    else:
        name = str(tmp_path / "codec")
        WRITERS[codec](Path(name))
    (tmp_path / "corpus").mkdir()
    rate = 16_000 if codec == "levels" else 24_000
    for number, seconds in enumerate((0.01, 0.5, 90.0 if codec == "levels" else 0.6)):
        noise = np.random.default_rng(number).uniform(-1, 1, int(rate * seconds))
        soundfile.write(tmp_path / f"corpus/{number}.wav", noise, rate, "FLOAT")
    out, packed, back = (str(tmp_path / one) for one in ("out", "packed", "back"))
    tokenize(str(tmp_path / "corpus"), out, codec=name, workers=0, quiet=True)
    compress_codes(out, packed, workers=0)
    expand_codes(packed, back, workers=0)
    assert stored_rows(Path(back)) == stored_rows(Path(out)) and verify(packed) == []
    last = CodesDataset(packed)[2]
    row = pq.read_table(Path(out) / "data").to_pylist()[2]
    assert np.array_equal(last.codes, np.array(row["codes"]))
    assert codec != "levels" or len(row["codes"][0]) > 1024


def test_what_was_killed_goes_on(outs: dict[str, Path], tmp_path: Path) -> None:
    out, packed, back = outs["webdataset"], tmp_path / "packed", tmp_path / "back"
    for change in (3, 7, 9):

        def pack() -> None:
            compress_codes(str(out), str(packed), workers=0, shard_hours=0.002)

        assert killed_at(change, pack)
    pack()
    assert killed_at(9, lambda: expand_codes(str(packed), str(back), workers=0))
    expand_codes(str(packed), str(back), workers=0)
    assert stored_rows(back) == stored_rows(out)
    for one in (packed, back):
        assert verify(str(one)) == [] and not list((one / "manifest/staging").iterdir())


def damage(out: Path, recording: str, chunk: int) -> None:
    """Flip a bit in the stream of one chunk."""
    path = next((out / "data").iterdir())
    with path.open("rb") as file:
        found = CodedFile(file)
        for block in found.blocks:
            ids = found.table(block)["id"].to_pylist()
            if recording in ids:
                segments, section = found.segments(block)
                first = int(segments.row_starts()[ids.index(recording)]) + chunk
                at = section.start + int(segments.sizes[:first].sum())
    content = bytearray(path.read_bytes())
    content[at + 3] ^= 4
    path.write_bytes(content)


def test_damage_costs_a_recording_and_names_its_chunk(
    own_archive: Path, outs: dict[str, Path], tmp_path: Path, capsys
) -> None:
    damage(own_archive, "022.wav", 2)
    damage(own_archive, "007.wav", 0)
    (first, *_) = [str(one) for one in verify(str(own_archive)) if "recording" in str(one)]
    assert "recording 007.wav: chunk 0 of 1 (from 0) cannot be read, at byte " in first
    back = tmp_path / "back"
    assert main(["expand", str(own_archive), str(back), "--workers", "0"]) == 1
    said = capsys.readouterr().err
    assert "2 recordings of " in said and "left out" in said and "1 failure carried" in said
    wanted = by_id(outs["parquet"])
    del wanted["022.wav"], wanted["007.wav"]
    assert by_id(back) == wanted and verify(str(back)) == []
    failures = {one.id: one for one in inspect(str(back)).failures}
    assert failures.keys() == {"bad.wav", "022.wav", "007.wav"}
    assert failures["022.wav"].kind == "damaged"
    assert "chunk 2 of 3 (from 0)" in failures["022.wav"].message
    assert main(["expand", str(own_archive), str(back), "--workers", "0", "--quiet"]) == 1
    data = CodesDataset(own_archive.parent / "archive/data")
    with pytest.raises(ShardError, match=r"recording 007\.wav: chunk 0"):
        list(data)


def test_damage_to_the_columns_of_a_block_costs_the_block(
    own_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.output.formats.coded import writer

    monkeypatch.setattr(writer, "BLOCK_SEGMENTS", 12)
    packed, back = tmp_path / "packed", tmp_path / "back"
    shutil.rmtree(packed, ignore_errors=True)
    expand_codes(str(own_archive), str(tmp_path / "whole"), workers=0)
    compress_codes(str(tmp_path / "whole"), str(packed), workers=0)
    path = next((packed / "data").iterdir())
    with path.open("rb") as file:
        found = CodedFile(file)
        block = found.blocks[1]
        gone = found.table(block)["id"].to_pylist()
        assert len(found.blocks) > 2
    content = bytearray(path.read_bytes())
    content[block.rows_at + 40] ^= 1
    path.write_bytes(content)
    made = expand_codes(str(packed), str(back), workers=0)
    wanted = by_id(tmp_path / "whole")
    assert by_id(back) == {id: row for id, row in wanted.items() if id not in gone}
    assert made.lost == len(gone) and verify(str(back)) == []


def test_a_file_of_other_rows_is_not_taken_for_damage(
    own_archive: Path, outs: dict[str, Path], tmp_path: Path
) -> None:
    """Whole in itself, of the same recordings, and not what was committed: only its hash tells."""
    other = tmp_path / "other"
    (tmp_path / "table.csv").write_text("id,speaker\n001.wav,zz\n")
    shutil.copytree(outs["parquet"], tmp_path / "out")
    assert main(["edit", str(tmp_path / "out"), "--set", str(tmp_path / "table.csv")]) == 0
    compress_codes(str(tmp_path / "out"), str(other), workers=0)
    mine, theirs = (next((one / "data").iterdir()) for one in (own_archive, other))
    mine.write_bytes(theirs.read_bytes())
    place = next((own_archive / "manifest/commits").iterdir())
    record = CommitRecord.from_json(place.read_bytes(), place.name)
    place.write_bytes(replace(record, bytes=mine.stat().st_size).to_json())
    with pytest.raises(ShardError, match=r"not the bytes that were committed"):
        expand_codes(str(own_archive), str(tmp_path / "back"), workers=0)


def test_what_cannot_be_is_refused_in_a_line(
    out: Path, archive: Path, tmp_path: Path, capsys
) -> None:
    new = str(tmp_path / "new")
    (tmp_path / "no_coder.bin").write_bytes(b"nothing")
    for command, said in (
        (["compress", str(out), new, "--coder", str(tmp_path / "none")], "there is no "),
        (["compress", str(out), new, "--coder", str(tmp_path)], "coder.safetensors"),
        (["compress", str(out), new, "--coder", str(tmp_path / "no_coder.bin")], "is no coder"),
        (["compress", str(out), new, "--workers", "-1"], "--workers -1"),
        (["compress", str(archive), new], "is an archive"),
        (["expand", str(out), new], "is no archive"),
        (["expand", str(archive), new, "--format", "coded"], "--format coded"),
        (["expand", str(archive), new, "--format", "zip"], "no shard format zip"),
    ):
        assert main(command) == 2, command
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert not Path(new).exists()
    compress_codes(str(out), new, workers=0)
    with pytest.raises(OutputError, match="made or begun by another command"):
        compress_codes(str(out), new, workers=0, shard_hours=3)
    with pytest.raises(UsageError, match="is no archive"):
        expand_codes(str(out), new, workers=0)


def test_entropy_is_what_it_says(tmp_path: Path, capsys) -> None:
    """Codes whose entropy is known: uniform on the first level, two codes in turn on the second."""
    spec = replace(describe_mulaw(6.0), n_q=2)
    rows = []
    for row in make_rows(40, spec, 4.0):
        codes = row.codes.codes.copy()
        codes[1] = np.arange(codes.shape[1]) % 2
        rows.append(replace(row, codes=replace(row.codes, codes=codes)))
    out = write_output(tmp_path / "out", rows, spec=spec)
    assert main(["inspect", str(out), "--entropy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first, second = found["levels"]
    assert first["fixed"] == 10 and first["coder"] == pytest.approx(10, abs=0.4)
    assert first["order_0"] >= 10 and first["order_1"] >= 10
    assert second["coder"] == pytest.approx(1, abs=0.05)
    assert second["order_0"] == pytest.approx(1.1, abs=0.1) and second["order_1"] < 0.3
    assert main(["inspect", str(out), "--entropy"]) == 0
    shown = capsys.readouterr().out
    assert "order 1" in shown and "bits a code, of " in shown
    assert main(["inspect", str(out), "--coder", "static"]) == 2
    assert "--coder: goes with --entropy" in capsys.readouterr().err


def test_an_archive_may_lie_on_a_store(outs: dict[str, Path], tmp_path: Path) -> None:
    store = f"memory://archives-{tmp_path.name}"
    compress_codes(str(outs["parquet"]), store, workers=0)
    assert verify(store) == []
    expand_codes(store, str(tmp_path / "back"), workers=0)
    assert data_of(tmp_path / "back") == data_of(outs["parquet"])


def test_merged_archives_are_one(archive: Path, outs: dict[str, Path], tmp_path: Path) -> None:
    for name, where in (("a", "speaker = 's1'"), ("b", "not coalesce(speaker = 's1', false)")):
        filter_codes(str(archive), str(tmp_path / name), where=where)
    merge_codes([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "c"))
    expand_codes(str(tmp_path / "c"), str(tmp_path / "back"), workers=0)
    assert by_id(tmp_path / "back") == by_id(outs["parquet"])
    reshard_codes(str(archive), str(tmp_path / "d"), n_q=2)
    assert head_of(tmp_path / "d")["coder"]["levels"] == 2
    expand_codes(str(tmp_path / "d"), str(tmp_path / "e"), workers=0)
    wanted = by_id(outs["parquet"])
    for id, row in by_id(tmp_path / "e").items():
        assert np.array_equal(codes_of(row), codes_of(wanted[id])[:2])
    with next((tmp_path / "d/data").iterdir()).open("rb") as file:
        found = CodedFile(file)
        assert not any(found.segments(block)[0].plain.any() for block in found.blocks)


def test_a_damaged_coder_is_told_and_loses_no_recording(own_archive: Path, tmp_path: Path) -> None:
    path = next((own_archive / "data").iterdir())
    content = bytearray(path.read_bytes())
    content[content.index(b"CODR") + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardError, match=rf"{path.name}: damaged: section CODR at byte"):
        expand_codes(str(own_archive), str(tmp_path / "back"), workers=0)
