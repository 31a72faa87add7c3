"""Channels and tracks from the corpus to the shards: 440 Hz on the left, 880 Hz on the right, and
whichever way the corpus comes in, every row has the tone that its id says."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from audio_files import by_ffmpeg

from codecshards import audit, tokenize
from pipelines import AuditOptions, CodesDataset
from pipelines.auditing.results import Severity
from pipelines.cli.main import main
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row
from pipelines.output.inspect import inspect
from pipelines.output.verify import verify
from tokenizer import Waveform, load_codec
from tokenizer.codecs.encodec.seeded import write_seeded

RATE = 24_000
LEFT, RIGHT = 440, 880
FRAMES = 12_000
"""of each file at `RATE`: half a second"""
Way = Callable[[Path], tuple[str, list[str]]]


def tones(*pitches: int, frames: int = FRAMES) -> np.ndarray:
    """One a channel, float64 `[frames, channels]`."""
    time = np.arange(frames) / RATE
    return np.stack([0.4 * np.sin(2 * np.pi * pitch * time) for pitch in pitches], axis=1)


def flac(samples: np.ndarray) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, samples, RATE, format="FLAC", subtype="PCM_16")
    return sink.getvalue()


FILES = {
    "a.flac": flac(tones(LEFT, RIGHT)),
    "b.flac": flac(tones(LEFT, RIGHT, frames=9_000)),
    "mono.flac": flac(tones(LEFT)),
}


def folder(root: Path) -> tuple[str, list[str]]:
    place = root / "calls"
    place.mkdir()
    for name, content in FILES.items():
        (place / name).write_bytes(content)
    return str(place), list(FILES)


def tar(root: Path) -> tuple[str, list[str]]:
    with tarfile.open(root / "calls.tar", "w") as file:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return str(root / "calls.tar"), [f"calls/{name}" for name in FILES]


def parquet(root: Path) -> tuple[str, list[str]]:
    audio = [{"bytes": content, "path": name} for name, content in FILES.items()]
    pq.write_table(pa.table({"audio": audio}), root / "calls.parquet")
    return str(root / "calls.parquet"), [f"calls-{number:08d}" for number in range(len(FILES))]


def saved_set(root: Path) -> tuple[str, list[str]]:
    datasets = pytest.importorskip("datasets")
    audio = [{"bytes": content, "path": name} for name, content in FILES.items()]
    made = datasets.Dataset.from_dict({"audio": audio, "id": list(FILES)})
    made = made.cast_column("audio", datasets.Audio(decode=False))
    made.save_to_disk(str(root / "set"))
    return str(root / "set"), list(FILES)


def csv_table(root: Path) -> tuple[str, list[str]]:
    with (root / "calls.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "id", "start", "end", "speaker"])
        for name in FILES:
            writer.writerow([f"{folder_of(root)}/{name}", name, 0.1, 0.3, f"who {name}"])
    return str(root / "calls.csv"), list(FILES)


def json_lines(root: Path) -> tuple[str, list[str]]:
    lines = [
        {"path": f"{folder_of(root)}/{name}", "id": name, "start": 0.1, "end": 0.3}
        for name in FILES
    ]
    (root / "calls.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(root / "calls.jsonl"), list(FILES)


def folder_of(root: Path) -> Path:
    return root / "calls" if (root / "calls").exists() else Path(folder(root)[0])


WAYS: dict[str, Way] = {
    "folder": folder,
    "tar": tar,
    "parquet": parquet,
    "save_to_disk": saved_set,
    "csv": csv_table,
    "jsonl": json_lines,
}
SEGMENTS = ("csv", "jsonl")


def run(source: str, out: Path, **more: object) -> dict[str, Row]:
    given = {
        "codec": "mulaw",
        "bandwidth": 24.0,
        "workers": 0,
        "device": "cpu",
        "quiet": True,
        **more,
    }
    tokenize(source, str(out), **given)  # type: ignore[arg-type]
    assert verify(str(out)) == []
    return rows_of(out)


def rows_of(out: Path) -> dict[str, Row]:
    form = inspect(str(out)).stored.config.format
    rows = {}
    for path in sorted((out / "data").iterdir()):
        with path.open("rb") as file:
            rows |= {row.id: row for row in shard_format(form).read(file, path.name)}
    return rows


def heard(row: Row, codec: str = "mulaw") -> set[int]:
    """Which of the tones a row decodes to, on all channels the same."""
    wave = load_codec(codec, bandwidth=24.0, device="cpu").decode(row.codes)
    spectrum = np.abs(np.fft.rfft(wave.samples * np.hanning(wave.samples.shape[1]), axis=1))
    pitches = np.fft.rfftfreq(wave.samples.shape[1], 1 / wave.sample_rate)
    found = {
        frozenset(
            tone
            for tone in (LEFT, RIGHT)
            if line[abs(pitches - tone) < 40].max() > 0.1 * line.max()
        )
        for line in spectrum
    }
    assert len(found) == 1, found
    return set(found.pop())


def expected_frames(way: str, name: str) -> int:
    """At 48 kHz, which `mulaw` has."""
    if way in SEGMENTS:
        return 2 * 4_800
    return 2 * soundfile.info(io.BytesIO(FILES[name])).frames


@pytest.mark.parametrize(
    ("way", "form"),
    [
        ("folder", "parquet"),
        ("folder", "webdataset"),
        ("tar", "webdataset"),
        ("parquet", "parquet"),
        ("save_to_disk", "webdataset"),
        ("csv", "parquet"),
        ("jsonl", "webdataset"),
    ],
)
def test_split_is_a_row_for_each_channel(tmp_path: Path, way: str, form: str) -> None:
    source, (one, two, mono) = WAYS[way](tmp_path)
    out = tmp_path / "out"
    rows = run(source, out, channels="split", format=form)
    assert list(rows) == [f"{one}#0", f"{one}#1", f"{two}#0", f"{two}#1", mono]
    for stem, name in ((one, "a.flac"), (two, "b.flac")):
        for channel, tone in enumerate((LEFT, RIGHT)):
            row = rows[f"{stem}#{channel}"]
            said = {key: row.meta[key] for key in ("recording", "channel", "channels")}
            assert said == {"recording": stem, "channel": channel, "channels": 2}
            assert row.codes.num_samples == expected_frames(way, name)
            assert row.source_channels == 2
            assert heard(row) == {tone}
            if way in SEGMENTS:
                assert (row.meta["start"], row.meta["end"]) == (0.1, 0.3)
            if way == "csv":
                assert row.speaker == f"who {name}"
    assert "recording" not in rows[mono].meta and heard(rows[mono]) == {LEFT}
    pairs = CodesDataset(out, channels=2)
    assert [pair.id for pair in pairs] == [one, two] and pairs.left_out == 1


@pytest.mark.parametrize(
    ("way", "channels", "heard_tones", "form"),
    [
        ("folder", "left", {LEFT}, "parquet"),
        ("tar", "right", {RIGHT}, "webdataset"),
        ("parquet", "mix", {LEFT, RIGHT}, "webdataset"),
        ("save_to_disk", "left", {LEFT}, "parquet"),
        ("csv", "right", {RIGHT}, "parquet"),
        ("jsonl", "mix", {LEFT, RIGHT}, "parquet"),
    ],
)
def test_one_row_of_the_chosen_channel(
    tmp_path: Path, way: str, channels: str, heard_tones: set[int], form: str
) -> None:
    source, names = WAYS[way](tmp_path)
    out = tmp_path / "out"
    rows = run(source, out, channels=channels, format=form)
    assert list(rows) == names
    for id, name in zip(names, FILES, strict=True):
        row = rows[id]
        assert row.codes.num_samples == expected_frames(way, name) and "recording" not in row.meta
        if name == "mono.flac":
            assert heard(row) == {LEFT}
            continue
        assert heard(row) == heard_tones
        if channels != "mix":
            assert row.meta["channel"] == (0 if channels == "left" else 1)


def test_the_same_command_has_nothing_to_do_and_another_choice_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, _ = folder(tmp_path)
    command = ["tokenize", source, str(tmp_path / "out"), "--codec", "mulaw", "--workers", "0"]
    assert main([*command, "--channels", "split"]) == 0
    assert "2 recordings into 4 rows, 1 of one channel" in capsys.readouterr().err
    assert main([*command, "--channels", "split"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main([*command, "--channels", "left"]) == 2
    assert "another configuration (config.channels" in capsys.readouterr().err


def test_a_mono_codec_and_an_audit_of_its_rows(tmp_path: Path) -> None:
    codec = str(write_seeded(tmp_path / "codec", model="24khz", size="reduced"))
    source, _ = folder(tmp_path)
    out = tmp_path / "out"
    rows = run(source, out, codec=codec, channels="split")
    alone = load_codec(codec, bandwidth=24.0, device="cpu")
    for channel, tone in enumerate((LEFT, RIGHT)):
        sound, _ = soundfile.read(io.BytesIO(flac(tones(tone))), dtype="float32")
        again = alone.encode(Waveform(sound[None], RATE))
        assert rows[f"a.flac#{channel}"].codes.equals(again)
    assert_well(out, 5)


def assert_well(out: Path, rows: int) -> None:
    """An audit that reads the sources and encodes them again finds the same."""
    options = AuditOptions(all=True, page=False, reencode=True, workers=0, device="cpu", quiet=True)
    done = audit(str(out), options=options)
    assert len(done.recordings) == rows
    wrong = [
        (one.id, finding.name)
        for one in done.recordings
        for finding in one.findings
        if finding.severity is Severity.ERROR
    ]
    assert wrong == []
    assert all(one.error is None for one in done.recordings)


def test_the_second_track_of_a_film(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    first, second = (tones(*both).T.astype(np.float32) for both in ((LEFT,) * 2, (LEFT, RIGHT)))
    film = by_ffmpeg("matroska", ("flac", first), ("flac", second), rate=RATE)
    (tmp_path / "films" / "film.mkv").write_bytes(film)
    source, out = str(tmp_path / "films"), tmp_path / "out"
    rows = run(source, out, stream=1, channels="split")
    assert {id: heard(row) for id, row in rows.items()} == {
        "film.mkv#0": {LEFT},
        "film.mkv#1": {RIGHT},
    }
    assert all(row.meta["audio_track"] == 1 for row in rows.values())
    assert_well(out, 2)


def test_an_unreadable_header_and_a_bad_channel_cost_their_rows_only(tmp_path: Path) -> None:
    source, _ = folder(tmp_path)
    Path(source, "none.flac").write_bytes(b"fLaC, but no audio at all" * 9)
    samples = tones(LEFT, RIGHT)
    samples[5_000, 1] = np.nan
    soundfile.write(Path(source, "nan.wav"), samples, RATE, subtype="FLOAT")
    out = tmp_path / "out"
    rows = run(source, out, channels="split")
    assert set(rows) == {"a.flac#0", "a.flac#1", "b.flac#0", "b.flac#1", "mono.flac", "nan.wav#0"}
    failures = {failure.id: failure.kind for failure in inspect(str(out)).failures}
    assert set(failures) == {"none.flac", "nan.wav#1"} and failures["nan.wav#1"] == "non_finite"
    pairs = CodesDataset(out, channels=2)
    assert [pair.id for pair in pairs] == ["a.flac", "b.flac"] and pairs.left_out == 2
