"""Many recordings back to files: which, how long, what is in them, and what a kill leaves."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from loader_data import make_row, make_rows, write_output
from sounds import sound
from transformers import EncodecModel

from pipelines.cli.main import main
from pipelines.decoding.child import Child, Died
from pipelines.decoding.job import Loading
from pipelines.decoding.ledger import Ledger
from pipelines.decoding.many import decode_many
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.export_audio import Blocks, decode_recording, write_blocks
from pipelines.output.formats.schema import Row
from pipelines.run import tokenize_corpus
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.codecs.mulaw import describe_mulaw
from tokenizer.errors import CodecLoadError, OutputError, RecordingError

SPEC = describe_mulaw(6.0)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_rows(9, SPEC, longest=1.5)


@pytest.fixture(scope="module", params=["parquet", "webdataset"])
def out(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> str:
    return str(write_output(tmp_path_factory.mktemp("d") / "out", rows, form=request.param))


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".decode" not in path.parts
    }


@pytest.mark.parametrize("form", ["flac", "wav", "opus"])
def test_every_file_is_as_long_as_its_original_and_as_one_decoded_alone(
    form: str, out: str, rows: list[Row], tmp_path: Path
) -> None:
    done = decode_many(out, str(tmp_path / "to"), format=form, workers=0, quiet=True)
    assert (done.decoded, done.failures) == (len(rows), [])
    listed = table(tmp_path / "to")
    assert [one["id"] for one in listed] == [row.id for row in rows]
    for one, row in zip(listed, rows, strict=True):
        path = tmp_path / "to" / one["file"]
        assert soundfile.info(path).frames == row.codes.num_samples == int(one["num_samples"])
        assert float(one["seconds"]) == row.codes.seconds and one["split"] == "train"
        assert (one["text"] or None, one["language"]) == (row.text, "de")
        alone = tmp_path / f"alone.{form}"
        decode_recording(out, row.id, str(alone))
        assert np.array_equal(soundfile.read(path)[0], soundfile.read(alone)[0])
    script = (tmp_path / "to" / "wav.scp").read_text().splitlines()
    assert script == sorted(script, key=str.encode)
    assert {Path(line.split(" ", 1)[1]) for line in script} == {
        (tmp_path / "to" / one["file"]).resolve() for one in listed
    }


def test_samples_are_those_of_transformers_own_decode(tmp_path: Path) -> None:
    checkpoint = write_seeded(tmp_path / "reduced", size="reduced")
    oracle = EncodecModel.from_pretrained(checkpoint).eval()
    expected = {}
    (tmp_path / "corpus").mkdir()
    for samples in (320, 95_540):
        waveform = sound(samples, seed=samples).samples
        soundfile.write(tmp_path / "corpus" / f"{samples}.wav", waveform.T, 48_000, subtype="FLOAT")
        with torch.inference_mode():
            codes = oracle.encode(torch.from_numpy(waveform)[None], bandwidth=6.0)
            pad = codes.last_frame_pad_length
            heard = oracle.decode(codes.audio_codes, codes.audio_scales, last_frame_pad_length=pad)
        expected[samples] = heard.audio_values[0].numpy()[:, :samples].T
    config = TokenizeConfig(str(tmp_path / "corpus"), codec=str(checkpoint))
    out = str(tmp_path / "out")
    tokenize_corpus(config, out, RunOptions(workers=0, quiet=True))
    for form, workers in (("wav", 0), ("flac", 1)):
        decode_many(out, str(tmp_path / form), format=form, workers=workers, quiet=True)
        for samples, heard in expected.items():
            found = soundfile.read(tmp_path / form / f"{samples}.{form}")[0]
            assert found.shape == heard.shape
            np.testing.assert_allclose(found, heard.clip(-1, 1), atol=2.5e-6)
    decode_recording(out, "95540.wav", str(tmp_path / "alone.flac"))
    together = (tmp_path / "flac" / "95540.flac").read_bytes()
    assert together == (tmp_path / "alone.flac").read_bytes()


def test_some_of_them(out: str, rows: list[Row], tmp_path: Path) -> None:
    wanted = [rows[7].id, rows[2].id]
    (tmp_path / "ids").write_text("\ufeff" + "\r\n".join(wanted) + "\n\n", encoding="utf-8")
    to = str(tmp_path / "to")
    assert main(["decode", out, "--ids-file", str(tmp_path / "ids"), "--to", to]) == 0
    assert [one["id"] for one in table(tmp_path / "to")] == [rows[2].id, rows[7].id]
    where = "seconds > 0.7"
    assert main(["decode", out, "--where", where, "--to", to, "--workers", "0"]) == 0
    more = {row.id for row in rows if row.codes.seconds > 0.7} | set(wanted)
    assert {one["id"] for one in table(tmp_path / "to")} == more
    assert len(list((tmp_path / "to").rglob("*.flac"))) == len(more)


def test_a_second_run_does_what_is_missing_or_other(
    out: str, rows: list[Row], tmp_path: Path
) -> None:
    to = tmp_path / "to"
    decode_many(out, str(to), workers=0, quiet=True)
    before = files(to)
    (to / table(to)[3]["file"]).unlink()
    (to / table(to)[4]["file"]).write_bytes(b"half")
    again = decode_many(out, str(to), workers=0, quiet=True)
    assert (again.decoded, again.already) == (2, 7) and files(to) == before
    other = [replace(row, text="corrected") for row in rows[:-1]]
    other[0] = replace(make_row(77, 9_000, SPEC), id=rows[0].id)
    edited = write_output(tmp_path / "edited", other, shards=2)
    third = decode_many(str(edited), str(to), workers=0, quiet=True)
    assert (third.decoded, third.already, third.stale) == (1, 7, 1)
    assert soundfile.info(to / table(to)[0]["file"]).frames == 9_000
    assert {one["text"] for one in table(to)[1:]} == {"corrected"}


def test_the_time_of_day_is_in_no_file(tmp_path: Path) -> None:
    """libsndfile puts it into the header of float WAVs: two decodes of the same codes differed."""
    samples, path = sound(5_000).samples, tmp_path / "a.wav"
    write_blocks(str(path), Blocks(iter([samples]), samples.shape[1], 48_000, 2))
    content = path.read_bytes()
    at = content.index(b"PEAK")
    assert content[at + 12 : at + 16] == bytes(4) and at < content.index(b"data")
    found, rate = soundfile.read(path, dtype="float32")
    assert rate == 48_000 and np.array_equal(found.T, samples)


def test_files_follow_names_that_other_ids_change(tmp_path: Path) -> None:
    upper, lower, other = (
        replace(make_row(number, 9_000 + number, SPEC), id=id)
        for number, id in enumerate(("A.wav", "a.wav", "A.mp3"))
    )
    to = tmp_path / "to"
    steps = [[upper], [upper, lower], [lower], [other], [other, upper]]
    for number, rows in enumerate(steps):
        out = write_output(tmp_path / str(number), rows, shards=1)
        decode_many(str(out), str(to), workers=0, quiet=True)
        assert [one["id"] for one in table(to)] == [row.id for row in rows]
        for one, row in zip(table(to), rows, strict=True):
            assert soundfile.info(to / one["file"]).frames == row.codes.num_samples
    (tmp_path / "ids").write_text("A.wav")
    decode_many(str(out), str(to), ids_file=str(tmp_path / "ids"), workers=0, quiet=True)
    listed = table(to)
    assert len({one["file"].casefold() for one in listed}) == len(listed)


def test_a_killed_run_is_finished_by_the_next_one(tmp_path: Path) -> None:
    rows = make_rows(60, SPEC, longest=3.0)
    out = str(write_output(tmp_path / "out", rows))
    command = [sys.executable, "-m", "codecshards", "decode", out, "--all", "--workers", "2"]
    to = tmp_path / "to"
    run = subprocess.Popen([*command, "--to", str(to)], stderr=subprocess.DEVNULL)
    while len(list(to.rglob("*.flac"))) < 5 and run.poll() is None:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not (to / "table.csv").exists()
    for path in to.rglob("*.flac"):  # whole, or not there
        assert soundfile.info(path).frames > 0
    done = decode_many(out, str(to), workers=1, quiet=True)
    assert done.decoded + done.already == len(rows)
    decode_many(out, str(tmp_path / "undisturbed"), workers=0, quiet=True)
    for name, content in files(tmp_path / "undisturbed").items():
        assert name == "wav.scp" or files(to)[name] == content
    assert set(files(to)) == set(files(tmp_path / "undisturbed"))


def test_a_damaged_shard_costs_its_recordings_alone(
    rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = write_output(tmp_path / "out", rows)
    shard = sorted((out / "data").iterdir())[1]
    shard.write_bytes(shard.read_bytes()[:-9] + b"x" * 9)
    to = tmp_path / "to"
    assert main(["decode", str(out), "--all", "--to", str(to), "--workers", "0"]) == 3
    assert [one["id"] for one in table(to)] == [row.id for row in rows[:3] + rows[6:]]
    assert shard.name in (to / "failures.csv").read_text()
    assert "3 recordings in damaged shards" in capsys.readouterr().err


def test_a_recording_that_kills_its_process_is_a_failure_and_the_others_are_done(
    out: str, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Child.run

    def run(child: Child, job: object) -> object:
        if job.key == rows[4].id:  # type: ignore[attr-defined]
            child.kill()
        return before(child, job)  # type: ignore[arg-type]

    monkeypatch.setattr(Child, "run", run)
    done = decode_many(out, str(tmp_path / "to"), workers=1, quiet=True)
    assert done.failures == [(rows[4].id, "its process ended (signal 9)")]
    assert done.decoded == len(rows) - 1


def test_a_process_says_why_it_has_no_codec() -> None:
    child = Child()
    with pytest.raises(CodecLoadError, match="other weights"):
        child.load(Loading(replace(SPEC, weights_sha256="00"), "mulaw", "cpu", 1))
    child.close()
    with pytest.raises(Died, match="exit code 0"):
        child.load(Loading(SPEC, None, "cpu", 1))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give ID and -o FILE"),
        (["--all"], "--to DIR"),
        (["--all", "--where", "true", "--to", "{to}"], "give one of --all"),
        (["a.wav", "--all", "--to", "{to}"], "give ID and -o FILE"),
        (["--all", "--to", "{to}", "--format", "mp3"], "--format mp3: choose one of flac, wav"),
        (["--all", "--to", "{to}", "--workers", "-1"], "--workers -1"),
        (["--all", "--to", "s3://bucket/x"], "give a local folder"),
        (["--ids-file", "/no/such", "--to", "{to}"], "--ids-file /no/such cannot be read"),
        (["--ids-file", "{ids}", "--to", "{to}"], "has no recording 'nobody'"),
        (["--all", "--to", "{full}"], "holds something that `decode` has not written"),
        (["--where", "second > 1", "--to", "{to}"], "there is no second"),
        (["--all", "--to", "{to}", "--codec", "/no/such"], "/no/such"),
    ],
)
def test_mistakes_are_told_in_one_line_and_leave_nothing(
    arguments: list[str], said: str, out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "original.wav").write_bytes(b"mine")
    (tmp_path / "ids").write_text("nobody\n")
    places = {name: str(tmp_path / name) for name in ("to", "full", "ids")}
    given = [one.format(**places) for one in arguments]
    assert main(["decode", out, *given, *(["--quiet"] if given else [])]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told and "\n" not in told
    assert not (tmp_path / "to").exists()


def test_a_folder_of_another_format_is_refused(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ["--all", "--to", str(tmp_path / "to"), "--workers", "0"]
    assert main(["decode", out, *to]) == 0
    assert main(["decode", out, *to, "--format", "wav"]) == 2
    assert "holds recordings with format flac, not wav" in capsys.readouterr().err


def test_a_refusal_holds_no_folder(tmp_path: Path) -> None:
    """In a notebook the next cell may ask for the right thing."""
    Ledger(tmp_path, {"format": "flac"}).close()
    with pytest.raises(OutputError, match="format flac, not wav"):
        Ledger(tmp_path, {"format": "wav"})
    held = Ledger(tmp_path, {"format": "flac"})
    with pytest.raises(OutputError, match="by another run"):
        Ledger(tmp_path, {"format": "flac"})
    held.close()


@pytest.mark.parametrize(
    "order",
    ["{out} ID -o {file}", "{out} -o {file} ID", "-o {file} {out} -- ID", "{out} -o {file} -- ID"],
)
def test_the_id_of_one_recording_may_stand_anywhere(
    out: str, rows: list[Row], tmp_path: Path, order: str
) -> None:
    file = tmp_path / "one.wav"
    words = [word.format(out=out, file=file) for word in order.split()]
    words[words.index("ID")] = rows[0].id
    assert main(["decode", *words]) == 0 and file.stat().st_size > 44


def test_sound_that_is_no_number_is_a_failure(tmp_path: Path, rows: list[Row]) -> None:
    """Of one recording, whose scale is none, and of no other."""
    scales = np.full_like(rows[3].codes.scales, np.nan)
    broken = replace(rows[3], codes=replace(rows[3].codes, scales=scales))
    out = str(write_output(tmp_path / "out", [*rows[:3], broken, *rows[4:]], form="parquet"))
    done = decode_many(out, str(tmp_path / "to"), workers=0, quiet=True)
    assert done.decoded == len(rows) - 1
    assert done.failures == [(broken.id, "the decoded audio is not finite")]
    with pytest.raises(RecordingError, match="not finite"):
        decode_recording(out, broken.id, str(tmp_path / "one.wav"))
    assert not (tmp_path / "one.wav").exists()


def test_shards_without_footers_are_decoded_by_the_codec_that_is_given(
    tmp_path: Path, rows: list[Row]
) -> None:
    out = write_output(tmp_path / "out", rows, form="parquet")
    (tmp_path / "bare").mkdir()
    for shard in (Path(out) / "data").rglob("*.parquet"):
        table = pq.read_table(shard).replace_schema_metadata(None)
        pq.write_table(table, tmp_path / "bare" / shard.name)
    with pytest.warns(UserWarning, match="no footer"):
        done = decode_many(
            str(tmp_path / "bare"), str(tmp_path / "to"), codec="mulaw", workers=0, quiet=True
        )
    assert (done.decoded, done.failures) == (len(rows), [])
