"""Archives with wrong bytes, cut off, or without an end: what `expand --allow-damaged` gives is
what was there, or says that it is not. Compared with what pyarrow reads of the folder before."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from killing import killed_at
from level_codec import LEVELS
from loader_data import make_row, write_output
from stored_rows import by_id, codes_of, stored_rows

from codecshards import CodesDataset, compress_codes, expand_codes, filter_codes, tokenize
from pipelines.auditing.judge.causes import stuck_chunks
from pipelines.cli.main import main
from pipelines.output.export_audio import find_row
from pipelines.output.formats.base import Lost, Partial
from pipelines.output.formats.coded import writer
from pipelines.output.formats.coded.writer import CodedFormat
from pipelines.output.formats.schema import Row
from pipelines.output.inspect import inspect
from pipelines.output.verify import verify
from tokenizer import ShardError
from tokenizer.codecs import registry
from tokenizer.codecs.mulaw import describe_mulaw

SPEC = replace(describe_mulaw(6.0), n_q=2, bandwidth=3.0)
SECONDS = (3.2, 2.5, 1.01)
IDS = [f"folder/{number:05d}.wav" for number in range(len(SECONDS))]
ROWS = [make_row(number, int(of * 48_000), SPEC) for number, of in enumerate(SECONDS)]
STRIDE = SPEC.chunk_stride or 0


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of four, three and two chunks; nobody changes them."""
    return write_output(tmp_path_factory.mktemp("damaged") / "out", ROWS, 1, spec=SPEC)


@pytest.fixture(scope="module")
def archive(before: Path) -> Path:
    """A block for each recording."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "BLOCK_SEGMENTS", 1)
        compress_codes(str(before), str(before.parent / "archive"), workers=0)
    return before.parent / "archive"


@pytest.fixture
def own(archive: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(archive, tmp_path / "archive"))


def file_of(out: Path) -> Path:
    (found,) = (out / "data").glob("*.csa")
    return found


def sections(content: bytes) -> list[tuple[str, int, int]]:
    """Tag, first byte and the one behind the last of each, as `docs/archive.md` has them."""
    at, found = 8, [("MAGIC", 0, 8)]
    while at < len(content):
        end = at + 16 + int.from_bytes(content[at + 4 : at + 12], "little")
        found.append((content[at : at + 4].decode(), at, end))
        at = end
    return found


def require_honest(row: dict[str, Any], meta: dict[str, Any], wanted: dict[str, Any]) -> int:
    """A row is as it was, or says what it lacks and is as it was everywhere else; how many frames
    it lacks.

    Args:
        row: as `stored_rows` has it.
        meta: its own, read.
        wanted: what it was.
    """
    lost = meta.pop("lost_codes", [])
    if not lost:
        assert row == wanted
        return 0
    assert [meta.pop("flags"), meta.pop("gaps")] == [
        ["damaged", "codes_lost"],
        [
            [
                round(one["chunks"][0] * STRIDE / 48_000, 4),
                round(
                    min(wanted["num_samples"], STRIDE * (one["chunks"][1] - 1) + 48_000) / 48e3, 4
                ),
            ]
            for one in lost
        ],
    ]
    assert meta == json.loads(wanted["meta"])
    codes, whole = codes_of(row).copy(), codes_of(wanted).copy()
    scales, sound = (np.frombuffer(one["scales"][1], "<f4").copy() for one in (row, wanted))
    gone = 0
    for one in lost:
        frames, chunks = slice(*one["frames"]), slice(*one["chunks"])
        assert not codes[:, frames].any() and (scales[chunks] == np.float32(1e-8)).all()
        assert one["frames"] == [150 * at for at in one["chunks"]] or one["frames"][1] == len(
            codes[0]
        )
        codes[:, frames] = whole[:, frames]
        scales[chunks] = sound[chunks]
        gone += frames.stop - frames.start
    assert np.array_equal(codes, whole) and np.array_equal(scales, sound)
    same = row.keys() - {"codes", "scales", "meta"}
    assert {name: row[name] for name in same} == {name: wanted[name] for name in same}
    return gone


def as_stored(row: Row) -> dict[str, Any]:
    """A row as `stored_rows` has it."""
    codes = row.codes
    arrays = {"codes": codes.codes, "scales": codes.scales, "chunk_frames": codes.chunk_frames}
    return row.facts() | {
        name: None if of is None else (of.shape, of.tobytes()) for name, of in arrays.items()
    }


def wrong_bytes(content: bytes, step: int) -> Iterator[tuple[str, bytes]]:
    """The file with one bit changed in every so many bytes, and the section that it is in."""
    places = sections(content)
    for at in range(0, len(content), step):
        wrong = bytearray(content)
        wrong[at] ^= 1 << at % 8
        yield next(name for name, start, end in places if start <= at < end), bytes(wrong)


def test_no_wrong_byte_passes_unsaid(archive: Path, before: Path) -> None:
    """What is given is equal, or marked, or lost by name: for a wrong byte at any place."""
    content, wanted = file_of(archive).read_bytes(), stored_rows(before)
    seen: dict[str, set[str]] = {}
    for tag, wrong in wrong_bytes(content, 11):
        file = io.BytesIO(wrong)
        form = CodedFormat(partial=True)
        try:
            found = list(form.salvage(file, "folder/x.csa"))
        except ShardError as error:
            assert tag in ("HEAD", "CODR") and f"section {tag} at byte" in str(error)
            seen.setdefault(tag, set()).add("file")
            continue
        assert len(found) == 3
        kinds = {type(one).__name__ for one in found} - {"Row"}
        for one, row in zip(found, wanted, strict=True):
            if isinstance(one, Lost):
                assert tag in ("ROWS", "SEGS") and f"section {tag} at byte" in one.message
                continue
            whole = one.row if isinstance(one, Partial) else one
            gone = require_honest(as_stored(whole), dict(whole.meta), row)
            assert bool(gone) == isinstance(one, Partial) and gone <= 150
        assert sum(not isinstance(one, Row) for one in found) == len(kinds) <= 1
        if not kinds:
            assert form.flaws(file, "x") and tag in ("MAGIC", "DATA", "INDX", "TAIL")
        seen.setdefault(tag, set()).update(kinds or {"nothing"})
    assert seen == {
        "MAGIC": {"nothing"},
        "HEAD": {"file"},
        "CODR": {"file"},
        "ROWS": {"Lost"},
        "SEGS": {"Lost"},
        "DATA": {"Partial", "nothing"},
        "INDX": {"nothing"},
        "TAIL": {"nothing"},
    }


def test_two_wrong_bytes_pass_no_better(archive: Path, before: Path) -> None:
    """Without the index, blocks are found by what else is damaged."""
    content = file_of(archive).read_bytes()[:-24]
    wanted = {row["id"]: row for row in stored_rows(before)}
    given: dict[str, set[int]] = {}
    for tag, wrong in wrong_bytes(content, 23):
        try:
            found = list(CodedFormat(partial=True).salvage(io.BytesIO(wrong), "x"))
        except ShardError:
            assert tag in ("HEAD", "CODR")
            continue
        whole = [one.row if isinstance(one, Partial) else one for one in found]
        rows = [one for one in whole if isinstance(one, Row)]
        assert [row.id for row in rows] == [id for id in IDS if id in {row.id for row in rows}]
        for row in rows:
            require_honest(as_stored(row), dict(row.meta), wanted[row.id])
        given.setdefault(tag, set()).add(len(rows))
    assert given == {"MAGIC": {3}, "ROWS": {2}, "SEGS": {2}, "DATA": {3}, "INDX": {3}}


def test_what_is_cut_off_gives_what_is_there(archive: Path, before: Path) -> None:
    content, wanted = file_of(archive).read_bytes(), stored_rows(before)
    first = next(start for name, start, _ in sections(content) if name == "ROWS")
    before_end = 0
    for end in range(first, len(content), 61):
        file = io.BytesIO(content[:end])
        form = CodedFormat(partial=True)
        found = list(form.salvage(file, "x"))
        assert "cut off" in " ".join(form.flaws(file, "x"))
        gone = 0
        for one, row in zip(found, wanted, strict=False):
            if isinstance(one, Lost):
                assert one.id == row["id"]
                continue
            whole = one.row if isinstance(one, Partial) else one
            gone += require_honest(as_stored(whole), dict(whole.meta), row)
        given = 150 * len(found) - gone
        assert len(found) >= before_end
        before_end = len(found)
        assert given or not found
    assert before_end == 3


def flip(own: Path, tag: str, number: int = 0, within: int = 30) -> int:
    """Change a byte of a section; which one."""
    path = file_of(own)
    content = bytearray(path.read_bytes())
    at = [start for name, start, _ in sections(content) if name == tag][number] + within
    content[at] ^= 8
    path.write_bytes(content)
    return at


def expand(own: Path, *more: str) -> int:
    new = str(own.parent / "new")
    return main(["expand", str(own), new, "--workers", "0", "--quiet", *more])


def rest_is_honest(new: Path, before: Path, lost: set[int]) -> int:
    """All recordings but some are there; how many frames they lack."""
    found, wanted = by_id(new), by_id(before)
    assert found.keys() == {id for at, id in enumerate(IDS) if at not in lost}
    assert {one.id for one in inspect(str(new)).failures} == {IDS[at] for at in lost}
    assert verify(str(new)) == []
    return sum(
        require_honest(row, json.loads(row["meta"]), wanted[id]) for id, row in found.items()
    )


def test_a_damaged_chunk_costs_itself(own: Path, before: Path, capsys) -> None:
    at = flip(own, "DATA", 0, 30)
    second = flip(own, "DATA", 1, 16 + 380)
    assert expand(own) == 1
    said = capsys.readouterr().err
    assert "2 recordings of " in said and "--allow-damaged keeps what is whole of them" in said
    (one, *_) = inspect(str(own.parent / "new")).failures
    assert "chunk 0 of 4 (from 0) cannot be read, at byte " in one.message
    assert one.message.endswith("; `codecshards expand --allow-damaged` keeps the rest")
    named = [one.message for one in verify(str(own)) if "cannot be read" in one.message]
    assert [IDS[0] in named[0], IDS[1] in named[1], len(named)] == [True, True, 2]
    assert expand(own, "--allow-damaged") == 2  # the other run's folder
    assert "--allow-damaged: None there, True now" in capsys.readouterr().err
    shutil.rmtree(own.parent / "new")

    assert expand(own, "--allow-damaged") == 0
    assert "2 recordings of " in (said := capsys.readouterr().err) and "codes_lost" in said
    new = own.parent / "new"
    assert rest_is_honest(new, before, set()) == 300
    assert expand(own, "--allow-damaged") == 0  # nothing to do, and said again
    assert "codes_lost" in capsys.readouterr().err
    assert main(["inspect", str(new)]) == 0
    assert "codes_lost 2" in capsys.readouterr().out
    marks = [json.loads(row["meta"]).get("lost_codes") for row in stored_rows(new)]
    assert [of and of[0]["chunks"] for of in marks] == [[0, 1], [1, 2], None]
    for mark, byte in zip(marks, (at, second), strict=False):
        assert mark[0]["file"] == file_of(own).name
        assert mark[0]["bytes"][0] <= byte < mark[0]["bytes"][1]
    rows = {sample.id: sample for sample in CodesDataset(new)}
    assert np.array_equal(rows[IDS[0]].codes, codes_of(stored_rows(new)[0]))
    (remark,) = stuck_chunks(find_row(str(new), IDS[1]))
    assert remark.chunks == (1,) and "archive was damaged" in remark.detail
    whole = own.parent / "whole"
    filter_codes(str(new), str(whole), where="meta NOT LIKE '%\"codes_lost\"%'")
    assert by_id(whole).keys() == {IDS[2]}
    target = own.parent / "1.wav"
    assert main(["decode", str(new), IDS[1], "-o", str(target)]) == 0
    sound, _ = soundfile.read(target)
    assert len(sound) == ROWS[1].codes.num_samples
    lacks = np.abs(sound[48_000 : 2 * STRIDE])
    assert lacks.max() < 1e-6 < np.abs(sound[:STRIDE]).max()


def test_other_commands_say_what_is_damaged_in_a_line(own: Path, before: Path, capsys) -> None:
    """None gives a wrong code, or a traceback; those that name no chunk say who does."""
    flip(own, "DATA", 0, 30)
    flip(own, "DATA", 1, 16 + 380)
    (ids := own.parent / "ids").write_text(f"{IDS[2]}\n")
    new, name = str(own.parent / "made"), file_of(own).name
    for command in (
        ["filter", str(own), new, "--where", "seconds > 2"],
        ["split", str(own), new, "--valid", "0.4", "--quiet"],
        ["reshard", str(own), new, "--format", "parquet"],
        ["merge", str(own), str(before), new, "--prefix"],
        ["edit", str(own), "--drop", str(ids), "--quiet"],
        ["export", str(own), new, "--to", "arrow", "--quiet"],
        ["decode", str(own), IDS[0], "-o", str(own.parent / "0.wav")],
        ["inspect", str(own), "--entropy"],
    ):
        assert main(command) == 1, command
        (line,) = capsys.readouterr().err.splitlines()
        named = f"recording {IDS[0]}: chunk 0 of 4 (from 0) cannot be read, at byte" in line
        assert name in line and (named or "codecshards verify" in line), line
        shutil.rmtree(new, ignore_errors=True)
    assert main(["decode", str(own), "--all", "--to", new, "--workers", "0", "--quiet"]) == 3
    assert "codecshards verify" in capsys.readouterr().err
    with pytest.raises(ShardError, match="expand --allow-damaged"):
        list(CodesDataset(own))
    bare = own.parent / "bare"
    shutil.copytree(own / "data", bare / "data")
    assert main(["verify", str(bare)]) == 1
    said = capsys.readouterr().out
    assert said.count("cannot be read, at byte") == 2 and IDS[0] in said and IDS[1] in said
    assert main(["adopt", str(bare), "--quiet"]) == 1
    assert f"recording {IDS[0]}: chunk 0 of 4" in capsys.readouterr().err


def test_what_is_marked_stays_marked(own: Path, before: Path) -> None:
    """Made an archive again, and damaged once more."""
    flip(own, "DATA", 0, 30)
    new, again, last = (str(own.parent / one) for one in ("new", "again", "last"))
    made = expand_codes(str(own), new, allow_damaged=True, workers=0, format="webdataset")
    assert (made.partial, made.lost, made.failures) == (1, 0, 0)
    compress_codes(new, again, workers=0)
    expand_codes(again, last, workers=0, format="parquet")
    assert rest_is_honest(Path(last), before, set()) == 150
    shutil.rmtree(last)
    flip(Path(again), "DATA", 0, 16 + 2 * 380)
    made = expand_codes(again, last, allow_damaged=True, workers=2, format="parquet")
    assert made.partial == 1 and rest_is_honest(Path(last), before, set()) == 300


@pytest.mark.parametrize("tag", ["ROWS", "SEGS"])
def test_a_table_costs_its_block_and_names_it(own: Path, before: Path, tag: str, capsys) -> None:
    at = flip(own, tag, 1) - 30
    assert expand(own, "--allow-damaged") == 1
    assert "1 recording of " in capsys.readouterr().err
    assert rest_is_honest(own.parent / "new", before, {1}) == 0
    (one,) = inspect(str(own.parent / "new")).failures
    assert one.kind == "damaged" and f"block 1, with 1 recording: section {tag} at byte {at}" in (
        one.message
    )
    assert any(f"section {tag} at byte {at}" in str(one) for one in verify(str(own)))


@pytest.mark.parametrize("tag", ["MAGIC", "INDX", "TAIL"])
def test_what_can_be_done_without_costs_nothing(own: Path, before: Path, tag: str, capsys) -> None:
    flip(own, tag, 0, 3)
    assert expand(own) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "damaged: " in line and "--allow-damaged keeps what can be read" in line
    assert not (own.parent / "new").exists()
    made = expand_codes(str(own), str(own.parent / "new"), allow_damaged=True, workers=0)
    assert (made.lost, made.partial) == (0, 0)
    assert rest_is_honest(own.parent / "new", before, set()) == 0


def test_an_index_and_a_table(own: Path, before: Path, capsys) -> None:
    """Two at once: a block that nobody can count, found by what comes behind it."""
    flip(own, "TAIL", 0, 3)
    flip(own, "ROWS", 1, 5)  # its length
    new = str(own.parent / "new")
    assert main(["expand", str(own), new, "--workers", "0", "--allow-damaged"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "has no end" in said and "are no whole block" in said
    assert rest_is_honest(own.parent / "new", before, {1}) == 0


@pytest.mark.parametrize("tag", ["HEAD", "CODR"])
def test_a_file_that_cannot_be_read_costs_itself(
    before: Path, tmp_path: Path, tag: str, capsys
) -> None:
    own, new = tmp_path / "archive", tmp_path / "new"
    compress_codes(str(before), str(own), workers=0, shard_hours=5 / 3600)
    first, second = sorted((own / "data").iterdir())
    content = bytearray(first.read_bytes())
    content[next(at for name, at, _ in sections(content) if name == tag) + 20] ^= 1
    first.write_bytes(content)
    assert expand(own) == 1 and not new.exists()
    assert f"{first.name}: damaged: section {tag} at byte" in capsys.readouterr().err
    assert expand(own, "--allow-damaged") == 1
    (one,) = inspect(str(new)).failures
    assert f"{first.name}: damaged: section {tag} at byte" in one.message
    assert rest_is_honest(new, before, {0}) == 0
    for how in ("empty", "gone"):
        first.write_bytes(b"") if how == "empty" else first.unlink()
        shutil.rmtree(new)
        assert expand(own, "--allow-damaged") == 1
        assert rest_is_honest(new, before, {0}) == 0
    assert second.exists()


def test_a_file_that_is_cut_off(own: Path, before: Path, capsys) -> None:
    content = file_of(own).read_bytes()
    starts = [start for name, start, _ in sections(content) if name == "DATA"]
    file_of(own).write_bytes(content[: starts[1] + 500])
    assert expand(own) == 1 and not (own.parent / "new").exists()
    assert "--allow-damaged keeps what can be read" in capsys.readouterr().err
    assert expand(own, "--allow-damaged") == 1
    assert 100 < rest_is_honest(own.parent / "new", before, {2}) < 400
    (one,) = inspect(str(own.parent / "new")).failures
    assert "it was cut off" in one.message and file_of(own).name in one.message


def test_nothing_that_can_be_read_is_said_with_the_reason(own: Path, capsys) -> None:
    for number in range(3):
        flip(own, "ROWS", number)
    for more in ([], ["--allow-damaged"]):
        assert expand(own, *more) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "no recording can be read: `codecshards verify " in line
    flip(own, "HEAD")
    assert expand(own, "--allow-damaged") == 1 and not (own.parent / "new").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file_of(own).name}: damaged: section HEAD at byte 8" in line


def test_a_codec_without_chunks_lacks_a_stretch(tmp_path: Path) -> None:
    spec = replace(SPEC, chunk_length=None, chunk_stride=None, has_scales=False)
    rows = [make_row(0, 48_000 * 20, spec), make_row(1, 48_000, spec)]
    before, own, new = (tmp_path / one for one in ("before", "archive", "new"))
    write_output(before, rows, 1, spec=spec)
    compress_codes(str(before), str(own), workers=0)
    flip(own, "DATA", 0, 16 + 3000)
    made = expand_codes(str(own), str(new), allow_damaged=True, workers=0)
    assert (made.partial, made.lost) == (1, 0) and verify(str(new)) == []
    found, wanted = stored_rows(new), stored_rows(before)
    assert found[1] == wanted[1]
    meta = json.loads(found[0]["meta"])
    (mark,) = meta["lost_codes"]
    assert [mark["chunks"], mark["frames"]] == [[0, 1], [1024, 2048]]
    assert meta["gaps"] == [[round(1024 * 320 / 48_000, 4), round(2048 * 320 / 48_000, 4)]]
    codes, whole = codes_of(found[0]).copy(), codes_of(wanted[0])
    assert not codes[:, 1024:2048].any()
    codes[:, 1024:2048] = whole[:, 1024:2048]
    assert np.array_equal(codes, whole)
    (line, *_) = [one.message for one in verify(str(own)) if "cannot be read" in one.message]
    assert "chunk 0 of 1 (from 0), frames 1024 to 2047, cannot be read" in line


def test_what_lacks_is_decoded_as_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a codec without scales, one by one and many: a recording of three segments."""
    monkeypatch.setitem(registry.CODECS, "levels", LEVELS)
    (tmp_path / "corpus").mkdir()
    noise = np.random.default_rng(0).uniform(-1, 1, 16_000 * 90)
    soundfile.write(tmp_path / "corpus/0.wav", noise, 16_000, "FLOAT")
    before, own, new, sounds = (tmp_path / one for one in ("before", "archive", "new", "sounds"))
    tokenize(str(tmp_path / "corpus"), str(before), codec="levels", workers=0, quiet=True)
    compress_codes(str(before), str(own), workers=0)
    flip(own, "DATA", 0, 16 + 40)
    assert expand(own, "--allow-damaged") == 0 and verify(str(new)) == []
    ((_, end),) = json.loads(stored_rows(new)[0]["meta"])["gaps"]
    assert 0 < end < 85
    assert main(["decode", str(new), "0.wav", "-o", str(tmp_path / "0.wav")]) == 0
    assert main(["decode", str(new), "--all", "--to", str(sounds), "--workers", "0"]) == 0
    for path in (tmp_path / "0.wav", *sounds.rglob("*.wav")):
        sound, _ = soundfile.read(path)
        assert len(sound) == len(noise) and not sound[: round(end * 16_000)].any()
        assert sound[round(end * 16_000) :].any()


def test_what_was_killed_goes_on_with_the_same(own: Path, before: Path) -> None:
    flip(own, "DATA", 0, 30)
    new = own.parent / "new"

    def again() -> None:
        expand_codes(str(own), str(new), allow_damaged=True, workers=0, shard_hours=3 / 3600)

    assert killed_at(9, again)
    again()
    assert rest_is_honest(new, before, set()) == 150


def test_a_file_that_is_whole_and_another_is_refused(own: Path, tmp_path: Path) -> None:
    """Only the hash tells: with the flag as without."""
    others = [replace(row, text="another") for row in ROWS]
    other = write_output(tmp_path / "other", others, 1, spec=SPEC)
    compress_codes(str(other), str(tmp_path / "other-archive"), workers=0)
    file_of(own).write_bytes(file_of(tmp_path / "other-archive").read_bytes())
    with pytest.raises(ShardError, match=r"not the bytes that were committed"):
        expand_codes(str(own), str(tmp_path / "new"), allow_damaged=True, workers=0)
