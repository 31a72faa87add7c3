"""Segments of a file that is open for many: the samples, reports and failures of each alone."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from audio_files import Files, by_ffmpeg, by_soundfile, noise, spoiled, wav

from tokenizer import RecordingError, read_audio
from tokenizer.audio.containers.frames import FrameIndex
from tokenizer.audio.containers.mpeg import after_id3
from tokenizer.audio.readers import jumping, shared
from tokenizer.audio.readers.shared import SharedFile
from tokenizer.audio.stream import stream_audio

SECONDS = 10.0
SOUND = noise(SECONDS)
FILES = Files(
    {
        "mp3": lambda: by_ffmpeg("mp3", ("libmp3lame", SOUND)),
        "m4a": lambda: by_ffmpeg("mp4", ("aac", SOUND)),
        "opus": lambda: by_ffmpeg("ogg", ("libopus", SOUND)),
        "mka": lambda: by_ffmpeg("matroska", ("aac", SOUND)),
        "flac": lambda: by_soundfile(SOUND, "FLAC"),
        "ogg": lambda: by_soundfile(SOUND, "OGG", "VORBIS"),
        "wav": lambda: wav(SOUND),
        "aiff": lambda: by_soundfile(SOUND, "AIFF", "PCM_24"),
    }
)
JUMPED = Files(
    {
        "stereo": lambda: FILES["mp3"],
        "low": lambda: by_ffmpeg("mp3", ("libmp3lame", noise(SECONDS, 1, 24_000)), rate=24_000),
        "joined": lambda: 2 * FILES["mp3"],
    }
)


def spans(count: int, seed: int, seconds: float = SECONDS) -> list[tuple[float, float | None]]:
    """Segments anywhere: some overlap, some go to the end, some begin with the file."""
    chance = random.Random(seed)
    found: list[tuple[float, float | None]] = [(0.0, 1.0), (5.5, None), (8.0, seconds)]
    for _ in range(count):
        start = chance.uniform(0.0, seconds - 0.5)
        found.append((start, min(seconds - 0.1, start + chance.uniform(0.01, 4.0))))
    return found


def read(file: object, span: tuple[float, float | None], **how: object) -> object:
    """Blocks and report, or the failure."""
    try:
        stream = stream_audio(file, 32_000, 2, start=span[0], end=span[1], name="x", **how)  # type: ignore[arg-type]
        return [block.tobytes() for block in stream], stream.report
    except RecordingError as error:
        return error.kind, error.message


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_open_for_many_gives_each_what_it_gets_alone(
    name: str, order: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{name}"
    path.write_bytes(FILES[name])
    wanted = spans(4, seed=len(name))
    wanted = sorted(wanted, key=lambda span: span[0]) if order == "sorted" else wanted
    for source in (str(path), io.BytesIO(FILES[name])):
        many = SharedFile(source, "x")
        for span in wanted:
            assert read(many, span) == read(str(path), span), span
        many.close()


@pytest.mark.parametrize("name", JUMPED)
def test_mp3_from_the_middle_is_that_of_the_whole(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(JUMPED[name])
    whole = read_audio(path, allow_damaged=True)
    rate, seconds = whole.sample_rate, whole.seconds
    monkeypatch.setattr("tokenizer.audio.readers.opening.SEEK_SECONDS", 0.2)
    chance = random.Random(1)
    for _ in range(25):
        start = chance.uniform(0.2, seconds - 0.05)
        end = chance.choice([None, min(start + chance.uniform(0.01, 1.5), seconds)])
        got = read_audio(path, start=start, end=end, allow_damaged=True).samples
        last = None if end is None else round(end * rate)
        assert np.array_equal(got, whole.samples[:, round(start * rate) : last]), (start, end)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg here")
def test_a_jump_hears_what_ffmpeg_hears(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(FILES["mp3"])
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-f", "f32le", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    whole = np.frombuffer(raw, "<f4").reshape(-1, 2).T
    got = read_audio(path, start=7.0, end=9.0).samples
    assert np.abs(got - whole[:, 336_000:432_000]).max() < 1e-5


def test_late_segments_of_an_mp3_are_not_decoded_up_to(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = 0
    real = jumping.PyAVReader._decode

    def counted(self: object, packet: object) -> object:
        nonlocal decoded
        decoded += 1
        return real(self, packet)  # type: ignore[arg-type]

    monkeypatch.setattr(jumping.PyAVReader, "_decode", counted)
    many = SharedFile(io.BytesIO(FILES["mp3"]), "x")
    for start in (6.0, 8.5, 7.0):
        list(stream_audio(many, start=start, end=start + 1.0))
    assert 0 < decoded < 300  # of 417


def test_a_file_is_decoded_once_for_segments_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = shared.open_reader

    def counted(*args: object, **kwargs: object) -> object:
        opened.append(args)
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(shared, "open_reader", counted)
    many = SharedFile(io.BytesIO(FILES["m4a"]), "x")
    for start in np.arange(0.0, SECONDS - 1, 0.5):
        list(stream_audio(many, start=start, end=start + 1.0))
    assert len(opened) == 2  # and once to see that there is no way into its middle
    list(stream_audio(many, start=2.0, end=3.0))  # what is behind is kept for a while
    assert len(opened) == 2
    monkeypatch.setattr(shared, "MOST_KEPT", 1 << 20)
    many = SharedFile(io.BytesIO(FILES["m4a"]), "x")
    list(stream_audio(many, start=0.0, end=SECONDS - 0.5))
    assert sum(kept.samples.nbytes for kept in many._tape._kept) <= 1 << 20  # type: ignore[union-attr]
    assert read(many, (2.0, 3.0)) == read(io.BytesIO(FILES["m4a"]), (2.0, 3.0))
    assert len(opened) == 2 + 2


@pytest.mark.parametrize("room", [1 << 30, 0])
def test_a_long_file_is_decoded_once_for_all_its_channels(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """What has no place in memory goes to disk; where that has none either, it is decoded again."""
    monkeypatch.setattr(shared, "MOST_KEPT", 1 << 20)
    monkeypatch.setattr(shared, "MOST_ON_DISK", room)
    opened, real = [], shared.open_reader
    monkeypatch.setattr(shared, "open_reader", lambda *a, **k: (opened.append(a), real(*a, **k))[1])
    many = SharedFile(io.BytesIO(FILES["m4a"]), "x", again=True)
    alone = read_audio(io.BytesIO(FILES["m4a"])).samples
    assert alone.nbytes > 3 << 20
    for channel in (0, 1):
        found = np.concatenate(list(stream_audio(many, channel=channel)), axis=1)
        assert np.array_equal(found[0], alone[channel])
    assert len(opened) == (1 if room else 2)
    held = [kept.samples.nbytes for kept in many._tape._kept if kept.samples is not None]  # type: ignore[union-attr]
    assert sum(held) <= 1 << 20
    many.close()


@pytest.mark.parametrize("allowed", [False, True], ids=["refused", "allowed"])
@pytest.mark.parametrize("name", ["m4a", "opus", "mp3", "flac"])
def test_damage_is_judged_for_each_segment_as_if_it_were_alone(name: str, allowed: bool) -> None:
    content = spoiled(FILES[name], 600, at=0.55)
    how = {"allow_damaged": allowed, "allow_truncated": allowed}
    many = SharedFile(io.BytesIO(content), "x")
    seen = []
    for span in [(0.0, 2.0), (4.0, 6.0), (5.5, 9.0), (7.0, 8.0), (9.0, 11.0), (1.0, 3.0), (9, 99)]:
        got = read(many, span, **how)
        assert got == read(io.BytesIO(content), span, **how), span
        seen.append(isinstance(got[0], list))  # type: ignore[index]
    assert seen[0] and (allowed or not all(seen))


def test_what_breaks_off_fails_the_segments_behind_it() -> None:
    content = FILES["opus"][: len(FILES["opus"]) // 2]
    many = SharedFile(io.BytesIO(content), "x")
    for span in [(0.0, 2.0), (3.0, 99.0), (2.0, 99.0), (4.0, 5.0), (50.0, 60.0), (0.5, 1.0)]:
        assert read(many, span) == read(io.BytesIO(content), span), span


def test_an_error_of_the_machine_ends_with_the_segment_that_met_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = SharedFile(io.BytesIO(FILES["m4a"]), "x")
    read(many, (0.0, 1.0))
    with monkeypatch.context() as broken:
        broken.setattr(many._tape.source, "_decode", lambda packet: 1 // 0)  # type: ignore[union-attr]
        with pytest.raises(ZeroDivisionError):
            list(stream_audio(many, start=6.0, end=7.0))
    assert read(many, (6.0, 7.0)) == read(io.BytesIO(FILES["m4a"]), (6.0, 7.0))


def test_frames_are_found_as_far_as_they_follow_each_other() -> None:
    content = FILES["mp3"]
    file = io.BytesIO(content)
    first = after_id3(file)
    size = 384  # of each frame at 128 kbps and 48 kHz
    index = FrameIndex(first, content[first : first + 4])
    begin = index.place(file, 300)
    assert begin is not None
    number, byte = begin
    assert number <= 290 and byte == first + number * size
    assert index.count(file, len(content)) == (len(content) - first) // size
    broken = content[: first + 200 * size] + b"junk" + content[first + 200 * size :]
    index = FrameIndex(first, content[first : first + 4])
    assert index.place(io.BytesIO(broken), 150) == (index.place(file, 150))
    assert FrameIndex(first, content[first : first + 4]).place(io.BytesIO(broken), 250) is None
    with pytest.raises(ValueError, match="MPEG"):
        FrameIndex(0, b"RIFF")


@pytest.mark.parametrize(
    ("suffix", "kind"), [("flac", "FLAC"), ("au", "AU"), ("w64", "W64"), ("aiff", "AIFF")]
)
def test_segments_of_joined_files_are_those_of_the_whole(
    suffix: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(b"".join(_of_8_khz(seed, kind) for seed in (1, 2)))
    whole = read_audio(path).samples
    many = SharedFile(str(path), "x")
    for start, end in ((5.5, 6.0), (5.5, 8.0), (5.5, None), (8.0, 9.5), (8.0, None)):
        wanted = whole[:, round(8_000 * start) : None if end is None else round(8_000 * end)]
        for file in (str(path), many):
            try:
                blocks = list(stream_audio(file, start=start, end=end, name="x"))
            except RecordingError:
                assert wanted.shape[1] < 8_000 * ((end or 13.0) - start)
                continue
            assert np.array_equal(np.concatenate(blocks, axis=1), wanted), (start, end)


def _of_8_khz(seed: int, kind: str) -> bytes:
    return by_soundfile(noise(6.5, 1, 8_000, seed), kind, rate=8_000)
