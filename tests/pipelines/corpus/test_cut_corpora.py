"""`--cut` from the corpus to the shards: the segments' samples, texts and ids, whichever way a
recording comes in, compared with what FFmpeg's command line and csv say."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3
import soundfile
from audio_files import by_ffmpeg
from stored_rows import array, by_id

from codecshards import tokenize
from pipelines import CodesDataset
from pipelines.cli.main import main
from pipelines.corpus import cutting
from pipelines.corpus.cut_rows import segments
from pipelines.corpus.cutting import Cutting
from pipelines.corpus.sources import open_source
from pipelines.output.config import TokenizeConfig
from pipelines.output.manifest.commits import Manifest
from pipelines.output.storage import open_storage
from pipelines.planning.corpus import open_cutting
from tokenizer import Waveform, load_codec
from tokenizer.cuts import Cuts
from tokenizer.errors import OutputError, UsageError
from tokenizer.types import Recording

RATE = 48_000
BEATS = [(1.5, 0.5), (1.2, 0.8), (2.0, 0.4), (0.9, 1.0)]
"""seconds of sound, and of the pause behind it: 8.3 in all"""
CUT = {"cut": "silence", "cut_max": 3.0, "cut_min": 0.5, "cut_pad": 0.1}


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that look for pauses: here they take longer to start than to work."""
    monkeypatch.setattr(cutting, "usable_cores", lambda: 1)


def beats(seed: int = 0, layout: list[tuple[float, float]] = BEATS) -> np.ndarray:
    """Two channels of noise with pauses of a faint floor, float64 `[n, 2]`."""
    rng = np.random.default_rng(seed)
    parts = []
    for sound, pause in layout:
        parts.append(0.2 * rng.standard_normal((round(sound * RATE), 2)))
        parts.append(np.zeros((round(pause * RATE), 2)))
    samples = np.concatenate(parts)
    return np.clip(samples + 1e-3 * rng.standard_normal(samples.shape), -1, 1)


def pauses(layout: list[tuple[float, float]] = BEATS) -> list[tuple[float, float]]:
    ends = np.cumsum([seconds for pair in layout for seconds in pair])
    return list(zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True))


def content(samples: np.ndarray, form: str = "WAV", rate: int = RATE) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, format=form, subtype="PCM_16")
    return sink.getvalue()


LONG, SHORT = content(beats()), content(beats(1)[: 2 * RATE])


def run(source: Any, out: Path, **more: Any) -> Any:
    settings = CUT | more
    return tokenize(
        source, str(out), codec="mulaw", workers=0, quiet=True, **settings
    )  # fmt: skip


def heard_by_ffmpeg(path: Path) -> np.ndarray:
    """All samples of a file, float32 `[2, n]`, by FFmpeg's command line."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-f", "f32le", "-ac", "2", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.ascontiguousarray(np.frombuffer(raw, np.float32).reshape(-1, 2).T)


def as_folder(home: Path) -> str:
    (home / "long.wav").write_bytes(LONG)
    (home / "short.wav").write_bytes(SHORT)
    return str(home)


def as_one_file(home: Path) -> str:
    (home / "long.wav").write_bytes(LONG)
    return str(home / "long.wav")


def as_tar(home: Path) -> str:
    with tarfile.open(home / "corpus.tar", "w") as archive:
        for name, data in (("long.wav", LONG), ("short.wav", SHORT)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(home / "corpus.tar")


def as_table(home: Path) -> str:
    as_folder(home)
    (home / "rows.csv").write_text("path,speaker\nlong.wav,ann\nshort.wav,bob\n")
    return str(home / "rows.csv")


def as_parquet(home: Path) -> str:
    audio = [{"bytes": data, "path": name} for name, data in (("long", LONG), ("short", SHORT))]
    pq.write_table(pa.table({"audio": audio}), home / "rows.parquet")
    return str(home / "rows.parquet")


def as_url(home: Path) -> str:
    return f"file://{as_folder(home)}"


WAYS: list[Callable[[Path], str]] = [
    *(as_folder, as_one_file, as_tar, as_table, as_parquet, as_url),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_segments_have_the_samples_that_ffmpeg_cuts_out(
    way: Callable[[Path], str], form: str, tmp_path: Path
) -> None:
    if form == "webdataset" and way is not as_folder:
        pytest.skip("one way in is enough for the other format")
    home = tmp_path / "corpus"
    home.mkdir()
    result = run(way(home), tmp_path / "out", format=form)
    assert result.failures == 0
    (tmp_path / "long.wav").write_bytes(LONG)
    whole = heard_by_ffmpeg(tmp_path / "long.wav")
    codec = load_codec("mulaw", bandwidth=6.0)
    rows = by_id(tmp_path / "out")
    cut = [row for row in rows.values() if "cut_from" in json.loads(row["meta"])]
    assert len(cut) == 4 and len(rows) == (4 if way is as_one_file else 5)
    ids = [row["id"] for row in cut]
    stem = json.loads(cut[0]["meta"])["cut_from"]
    assert ids == [f"{stem}#{number:04d}" for number in (1, 2, 3, 4)]
    for row in cut:
        meta = json.loads(row["meta"])
        first, last = round(meta["start"] * RATE), round(meta["end"] * RATE)
        samples = whole[:, first:last]
        assert row["num_samples"] == samples.shape[1]
        expected = codec.encode(Waveform(np.ascontiguousarray(samples), RATE))
        assert row["codes"] == array("uint16", expected.codes)
        for time in (meta["start"], meta["end"]):
            edge = time in (0.0,) or any(a - 0.011 <= time <= b + 0.011 for a, b in pauses())
            assert edge, time


@pytest.mark.parametrize("kind", ["fixed", "silence"])
@pytest.mark.parametrize("muxer", ["mp3", "flac", "ogg"])
def test_pieces_of_any_format_tile_as_ffmpeg_counts(kind: str, muxer: str, tmp_path: Path) -> None:
    steady = beats(3, [(9.3, 0.0)]).T.astype(np.float32)  # no pause: cuts are forced, and tile
    path = tmp_path / f"steady.{muxer}"
    if muxer == "mp3":  # without a count of its frames
        options = {"write_xing": "0"}
        path.write_bytes(by_ffmpeg("mp3", ("libmp3lame", steady), rate=RATE, options=options))
    else:
        soundfile.write(path, steady.T, RATE)
    whole = heard_by_ffmpeg(path)
    more: dict[str, Any] = {"cut_pad": None} if kind == "fixed" else {}
    run(str(path), tmp_path / "out", cut=kind, **more)
    rows = list(by_id(tmp_path / "out").values())
    spans = [(json.loads(row["meta"])["start"], json.loads(row["meta"])["end"]) for row in rows]
    assert spans[0][0] == 0 and all(one[1] == other[0] for one, other in pairwise(spans))
    assert sum(row["num_samples"] for row in rows) == whole.shape[1]
    assert max(row["num_samples"] for row in rows) <= 3 * RATE
    ours = load_codec("mulaw", bandwidth=6.0)
    for row, (start, end) in zip(rows, spans, strict=True):
        samples = whole[:, round(start * RATE) : round(end * RATE)]
        if muxer == "flac":  # of the others, decoders differ in the last bit
            expected = ours.encode(Waveform(np.ascontiguousarray(samples), RATE))
            assert row["codes"] == array("uint16", expected.codes)


def manifest(home: Path, *rows: dict[str, Any]) -> str:
    as_folder(home)
    path = home / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_text_follows_the_times_of_words_and_is_left_out_without_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [[0.1, 0.6, "one"], [1.0, 1.4, "two"], [2.1, 3.1, "three"], [4.2, 5.8, "four"],
             [6.5, 7.2, "five"]]  # fmt: skip
    timed = {"path": "long.wav", "id": "timed", "text": "one two three four five", "speaker": "ann",
             "alignment": words, "language": "en", "mood": "calm"}  # fmt: skip
    plain = {"path": "long.wav", "id": "plain", "text": "one two three four five"}
    short = {"path": "short.wav", "id": "short", "text": "one two", "duration": 2.0}
    source = manifest(tmp_path, timed, plain, short)
    run(source, tmp_path / "out")
    rows = by_id(tmp_path / "out")
    assert rows["short"]["text"] == "one two"
    parts = [row for id, row in rows.items() if id.startswith("timed#")]
    assert [row["text"] for row in parts] == ["one two", "three", "four", "five"]
    for row in parts:
        meta = json.loads(row["meta"])
        assert (row["speaker"], row["language"], meta["mood"]) == ("ann", "en", "calm")
        assert meta["cut_from"] == "timed"
        for start, end, word in meta["alignment"]:
            (there,) = [one for one in words if one[2] == word]
            assert start + meta["start"] == pytest.approx(there[0], abs=1e-5)
            assert end + meta["start"] == pytest.approx(there[1], abs=1e-5)
    assert [row["text"] for id, row in rows.items() if id.startswith("plain#")] == [None] * 4
    command = ["plan", source, "--codec", "mulaw", "--cut", "silence", "--cut-max", "3"]
    assert main([*command, "--json", "--quiet"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert "1 recording with text and no times of words" in " ".join(said["notes"])
    assert said["recordings"] == 9 and said["lengths"]["longest"] <= 3


def test_long_segments_of_a_table_are_cut_within_their_bounds(tmp_path: Path) -> None:
    source = manifest(
        tmp_path,
        {"path": "long.wav", "id": "most", "start": 1.6, "end": 8.0, "text": "x"},
        {"path": "long.wav", "id": "little", "start": 2.0, "end": 3.0, "text": "y"},
    )
    run(source, tmp_path / "out")
    rows = by_id(tmp_path / "out")
    assert rows["little"]["text"] == "y"
    spans = [json.loads(row["meta"]) for id, row in rows.items() if id.startswith("most#")]
    assert len(spans) == 3 and all(1.6 <= meta["start"] < meta["end"] <= 8.0 for meta in spans)


@pytest.mark.parametrize("kind", ["fixed", "silence"])
@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "mp3"])
def test_the_true_length_wins_over_the_one_that_a_table_says(
    kind: str, form: str, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / f"long.{form}", beats(), RATE)
    found = []
    for number, said in enumerate([{}, {"duration": 0.7}, {"duration": 400.0}]):
        source = manifest(tmp_path, {"path": f"long.{form}"} | said)
        run(source, tmp_path / f"{number}", cut=kind, cut_pad=None)
        found.append(by_id(tmp_path / f"{number}"))
    assert found[1] == found[2] == found[0] and len(found[0]) >= 3
    if kind == "fixed":
        whole = heard_by_ffmpeg(tmp_path / f"long.{form}").shape[1]
        assert sum(row["num_samples"] for row in found[0].values()) == whole


def test_flac_files_that_were_joined_are_cut_to_their_end(tmp_path: Path) -> None:
    halves = [content(beats(seed)[: 5 * RATE + seed], "FLAC") for seed in (3, 4)]
    path = tmp_path / "joined.flac"
    path.write_bytes(b"".join(halves))
    run(str(path), tmp_path / "out", cut="fixed", cut_pad=None)
    whole = np.concatenate([soundfile.read(io.BytesIO(half))[0] for half in halves])
    at, ours = 0, load_codec("mulaw", bandwidth=6.0)
    for row in by_id(tmp_path / "out").values():
        samples = whole[at : at + row["num_samples"]].T.astype(np.float32)
        codes = ours.encode(Waveform(np.ascontiguousarray(samples), RATE)).codes
        assert row["codes"] == array("uint16", codes)
        at += row["num_samples"]
    assert at == len(whole)


def test_channels_are_cut_at_the_same_places_and_stay_together(tmp_path: Path) -> None:
    samples = beats()
    samples[: 2 * RATE, 0], samples[6 * RATE :, 1] = 0, 0  # they take turns
    (tmp_path / "call.wav").write_bytes(content(samples))
    run(str(tmp_path / "call.wav"), tmp_path / "out", channels="split")
    rows = by_id(tmp_path / "out")
    stems: dict[str, list[Any]] = {}
    for id, row in rows.items():
        stem, _, channel = id.rpartition("#")
        meta = json.loads(row["meta"])
        assert meta["recording"] == stem and meta["channel"] == int(channel)
        assert meta["cut_from"] == "call.wav"
        stems.setdefault(stem, []).append((meta["start"], meta["end"]))
    assert [*stems] == [f"call.wav#{number:04d}" for number in (1, 2, 3, 4)]
    assert all(len(spans) == 2 and spans[0] == spans[1] for spans in stems.values())


def test_what_cannot_be_cut_costs_itself_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "corpus"
    home.mkdir()
    as_folder(home)
    (home / "silent.wav").write_bytes(content(np.zeros((5 * RATE, 2))))
    (home / "cut_off.wav").write_bytes(LONG[:-700_000])
    (home / "text.wav").write_text("no sound")
    result = run(str(home), tmp_path / "out")
    kinds = {
        failure.id: failure.kind
        for record in Manifest(open_storage(str(tmp_path / "out"))).records()
        for failure in record.failures
    }
    assert kinds == {"silent.wav": "empty", "cut_off.wav": "truncated", "text.wav": "not_audio"}
    assert (result.recordings, result.failures) == (5, 3)
    run(str(home), tmp_path / "kept", allow_truncated=True)
    rows = by_id(tmp_path / "kept")
    late = rows[max(id for id in rows if id.startswith("cut_off.wav#"))]
    assert "truncated" in json.loads(late["meta"])["flags"]


def test_a_second_run_cuts_nothing_and_another_cut_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, out = tmp_path / "corpus", tmp_path / "out"
    home.mkdir()
    source = as_folder(home)
    run(source, out)
    before = by_id(out)
    first = next((out / "data").iterdir())
    first.unlink()
    next((out / "manifest" / "commits").iterdir()).unlink()

    def never(*_: Any) -> Any:
        raise AssertionError("it is cut again")

    monkeypatch.setattr(Cutting, "rows", never)
    run(source, out)
    assert by_id(out) == before
    with pytest.raises(OutputError, match=r"cut_max: 3\.0 there, 5\.0 now"):
        run(source, out, cut_max=5.0)
    with pytest.raises(OutputError, match="cut: 'silence' there, None now"):
        run(source, out, cut=None, cut_max=None, cut_min=None, cut_pad=None)


def test_a_corpus_that_is_cut_grows_by_what_is_new(tmp_path: Path) -> None:
    home, out = tmp_path / "corpus", tmp_path / "out"
    home.mkdir()
    source = as_folder(home)
    (home / "silent.wav").write_bytes(content(np.zeros((5 * RATE, 2))))
    assert run(source, out).failures == 1
    again = run(source, out)
    assert (again.new, again.changed, again.gone, again.other_text) == (0, 0, 0, 0)
    (home / "later.wav").write_bytes(content(beats(7)))
    assert run(source, out).new == 1
    run(source, out, append=True)
    (home / "silent.wav").write_bytes(content(beats(8)))
    assert run(source, out).changed == 1
    result = run(source, out, retry_failed=("empty",))
    assert result.failures == 0
    rows = by_id(out)
    assert len(rows) == 13
    assert {f"{name}.wav#0001" for name in ("long", "later", "silent")} < {*rows}


def test_the_loader_reads_segments_like_others(tmp_path: Path) -> None:
    home = tmp_path / "corpus"
    home.mkdir()
    run(as_folder(home), tmp_path / "out")
    ids = {sample.id for sample in CodesDataset(str(tmp_path / "out"))}
    assert ids == {"short.wav", *(f"long.wav#{number:04d}" for number in (1, 2, 3, 4))}


def test_many_recordings_stay_in_order_whoever_is_done_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "usable_cores", lambda: 3)
    for number in range(12):
        samples = beats(number) if number % 3 == 0 else beats(number)[:RATE]
        (tmp_path / f"{number:02d}.flac").write_bytes(content(samples, "FLAC"))
    source = open_source(str(tmp_path))
    config = TokenizeConfig(str(tmp_path), codec="mulaw", **CUT)
    work = open_cutting(config, source, 60.0, lambda text: None)
    assert work is not None
    ids = [row.id for row in work.rows(source.scan())]
    assert ids == sorted(ids) and len(ids) == 8 + 4 * 4
    assert work.count.cut == 4 and work.count.looked == 12


def test_planning_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.wav").write_bytes(LONG)
    source = open_source(str(tmp_path))
    config = TokenizeConfig(str(tmp_path), codec="mulaw", **CUT)
    work = open_cutting(config, source, 60.0, lambda text: None)
    assert work is not None
    rows = work.rows(source.scan())
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert all(decoder._child is None for decoder in work._decoders)


def test_what_is_said_by_several_names_its_speaker() -> None:
    words = [[0.0, 1.0, "a", "ann"], [1.5, 2.0, "b", "ann"], [3.0, 4.0, "c", "bob"]]
    whole = Recording("x", "x.wav", text="a b c", meta={
        "alignment": words,
        "alignments": {"phones": [[0.0, 1.0, "A"], [3.0, 4.5, "C"]]},
        "segments": [{"start": 0, "end": 2.0, "text": "a b"}, {"start": 1, "end": 3, "text": "?"}],
    })  # fmt: skip
    one, other = segments(whole, Cuts(100, 420, ((0, 250), (250, 420))))
    assert (one.speaker, one.text, other.speaker, other.text) == ("ann", "a b", "bob", "c")
    assert other.meta["alignment"] == [[0.5, 1.5, "c", "bob"]]
    assert other.meta["alignments"]["phones"] == [[0.5, 1.7, "C"]]
    assert one.meta["segments"] == [{"start": 0, "end": 2.0, "text": "a b"}]
    assert other.meta["segments"] == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--cut", "pause"], "--cut pause: choose one of vad, silence, fixed"),
        (["--cut-max", "20"], "--cut-max 20: give also --cut"),
        (["--cut", "fixed", "--cut-pad", "0.1"], "--cut-pad: --cut fixed has no padding"),
        (["--cut", "vad", "--cut-max", "-3"], "--cut-max -3: give seconds"),
        (["--cut", "vad", "--cut-min", "16"], "--cut-min 16: give seconds from 0 to 14.8"),
    ],
)
def test_flags_that_cannot_be_followed(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(tmp_path), "--codec", "mulaw", *flags]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("given", ["A", [1, 2], [{"name": "intro"}], None, 3])
def test_what_else_a_corpus_calls_segments_stays_in_meta(given: Any) -> None:
    whole = Recording("a", "a.wav", meta={"segments": given, "style": "x"})
    for piece in segments(whole, Cuts(100, 420, ((0, 250), (250, 420)))):
        assert piece.meta == {"segments": given, "style": "x", "cut_from": "a"}


def test_settings_are_one_however_they_are_said() -> None:
    assert TokenizeConfig("x", cut="silence") == TokenizeConfig("x", cut="silence", cut_max=30)
    with pytest.raises(UsageError):
        TokenizeConfig("x", cut_min=1.0)


def test_recordings_on_s3_are_cut_too(tmp_path: Path, bucket: s3.Bucket) -> None:
    for name, data in (("long.wav", LONG), ("short.wav", SHORT)):
        bucket.put(f"corpus/{name}", data)
    run(bucket.url("corpus"), tmp_path / "out")
    assert {*by_id(tmp_path / "out")} == {
        "short.wav",
        *(f"long.wav#{number:04d}" for number in (1, 2, 3, 4)),
    }
