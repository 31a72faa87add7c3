"""One channel and one track of a file, against what FFmpeg's program and libsndfile give."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import by_ffmpeg, by_soundfile, failure, noise, pages, spoiled
from needs import lacking

from tokenizer import FailureKind, UsageError, read_audio
from tokenizer.audio import stream_audio
from tokenizer.audio.readers.opening import count_channels

RATE, SECONDS = 48_000, 1.2


def tones(*hertz: float) -> np.ndarray:
    """A channel of each tone, none as loud as another."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    return np.stack(
        [0.3 / (1 + i) * np.sin(2 * np.pi * f * time) for i, f in enumerate(hertz)]
    ).astype(np.float32)


PAIR, OTHER, MONO = tones(440, 880), tones(1320, 1760), tones(660)
FILES: dict[str, tuple[int, Callable[[], bytes]]] = {
    "pair.wav": (1, lambda: by_soundfile(PAIR, "WAV", "PCM_16")),
    "pair.flac": (1, lambda: by_soundfile(PAIR, "FLAC", "PCM_24")),
    "pair.mp3": (1, lambda: by_ffmpeg("mp3", ("libmp3lame", PAIR))),
    "pair.opus": (1, lambda: by_ffmpeg("ogg", ("libopus", PAIR))),
    "mono.wav": (1, lambda: by_soundfile(MONO, "WAV", "PCM_16")),
    "two.mkv": (2, lambda: by_ffmpeg("matroska", ("flac", PAIR), ("libopus", MONO))),
    "film.mkv": (
        2,
        lambda: by_ffmpeg(
            "matroska", ("libopus", MONO), ("flac", PAIR), default=1, video_seconds=SECONDS
        ),
    ),
    "two.mp4": (2, lambda: by_ffmpeg("mp4", ("aac", PAIR), ("aac", MONO), video_seconds=SECONDS)),
    "three.mov": (3, lambda: by_ffmpeg("mov", ("alac", MONO), ("alac", PAIR), ("alac", OTHER))),
    "two.ts": (2, lambda: by_ffmpeg("mpegts", ("mp2", PAIR), ("mp2", OTHER))),
    "two.ogg": (2, lambda: by_ffmpeg("ogg", ("libopus", PAIR), ("flac", OTHER))),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracks")
    for name, (_, make) in FILES.items():
        (folder / name).write_bytes(make())
    return folder


def by_program(path: Path, track: int) -> np.ndarray:
    """All channels of a track, float32 `[channels, n]`."""
    if shutil.which("ffmpeg") is None:
        lacking("ffmpeg is not installed", "CODECSHARDS_EXPECT_DECODERS")
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", f"0:a:{track}"]
    command += ["-c:a", "pcm_f32le", "-f", "wav", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return soundfile.read(io.BytesIO(raw), dtype="float32", always_2d=True)[0].T


TRACKS = [(name, track) for name, (tracks, _) in FILES.items() for track in range(tracks)]


@pytest.mark.parametrize(("name", "track"), TRACKS)
def test_a_channel_of_a_track_is_what_ffmpeg_gives_for_it(
    folder: Path, name: str, track: int
) -> None:
    path, truth = folder / name, by_program(folder / name, track)
    assert count_channels(str(path), name, track) == len(truth)
    whole = read_audio(path, stream=track).samples
    length = min(whole.shape[1], truth.shape[1])  # the program keeps the padding of some decoders
    assert len(whole) == len(truth) and abs(whole.shape[1] - truth.shape[1]) < 2_049
    rounded = 5e-5 if name.endswith(".ts") else 2e-6  # the program decodes MPEG audio to 16 bits
    np.testing.assert_allclose(whole[:, :length], truth[:, :length], atol=rounded)
    for side, number in (("left", 0), ("right", len(whole) - 1)):
        for wanted in (side, number):
            one = read_audio(path, stream=track, channel=wanted).samples
            assert np.array_equal(one, whole[number : number + 1])
    mixed = read_audio(path, stream=track, channel="mix").samples
    np.testing.assert_allclose(mixed, whole.mean(axis=0, keepdims=True), atol=1e-7)
    both = read_audio(path, channels=2, stream=track, channel="right").samples
    assert np.array_equal(both, whole[[-1, -1]])
    with path.open("rb") as file:
        assert np.array_equal(read_audio(file, stream=track).samples, whole)


def test_libsndfile_agrees_on_the_channels_of_wave(folder: Path) -> None:
    truth = soundfile.read(folder / "pair.wav", dtype="float32")[0].T
    assert np.array_equal(read_audio(folder / "pair.wav", channel=1).samples, truth[1:])


@pytest.mark.parametrize("name", [name for name, (tracks, _) in FILES.items() if tracks > 1])
def test_without_a_track_the_first_default_is_read(folder: Path, name: str) -> None:
    track = {"film.mkv": 1}.get(name, 0)
    assert np.array_equal(
        read_audio(folder / name).samples, read_audio(folder / name, stream=track).samples
    )


@pytest.mark.parametrize("name", FILES)
def test_a_track_or_channel_that_is_not_there_is_named(folder: Path, name: str) -> None:
    tracks = FILES[name][0]
    error = failure(folder / name, stream=tracks)
    assert error.kind is FailureKind.CHANNELS and error.message.startswith(str(folder / name))
    assert f"no track {tracks}, it has {tracks} of sound" in error.message
    error = failure(folder / name, channel=2)
    assert error.kind is FailureKind.CHANNELS and "no channel 2, it has" in error.message


@pytest.mark.parametrize("name", ["two.mkv", "three.mov", "two.ogg", "two.ts", "pair.mp3"])
@pytest.mark.parametrize("channel", [None, "right", "mix"])
def test_a_second_way_reads_the_same_track_and_channel(
    folder: Path, name: str, channel: str | None
) -> None:
    track = FILES[name][0] - 1
    first, second = (
        np.concatenate(
            list(stream_audio(folder / name, channel=channel, stream=track, second=again)), axis=1
        )
        for again in (False, True)
    )
    length = min(first.shape[1], second.shape[1])
    assert len(first) == len(second) and length > 0.9 * SECONDS * RATE
    np.testing.assert_allclose(first[:, :length], second[:, :length], atol=1e-4)


def test_a_part_of_a_channel_of_a_track(folder: Path) -> None:
    whole = read_audio(folder / "three.mov", stream=2, channel="left").samples
    part = read_audio(folder / "three.mov", stream=2, channel="left", start=0.25, end=0.75).samples
    assert np.array_equal(part, whole[:, 12_000:36_000])


def surround(folder: Path, layout: str) -> Path:
    """Six channels, each a constant tenth higher than the one before, in FFmpeg's order."""
    path = folder / f"{layout}.wav"
    if shutil.which("ffmpeg") is None:
        lacking("ffmpeg is not installed", "CODECSHARDS_EXPECT_DECODERS")
    steps = "|".join(f"0.{i + 1}" for i in range(6 if layout == "5.1" else 3))
    source = f"aevalsrc={steps}:c={layout}:d=0.1:s=48000"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-c:a", "pcm_f32le"]
    subprocess.run([*command, str(path)], check=True)
    return path


@pytest.mark.parametrize(("side", "level"), [("left", 0.1), ("right", 0.2), (5, 0.6)])
def test_of_more_than_two_channels_the_layout_says_which(
    tmp_path: Path, side: str | int, level: float
) -> None:
    samples = read_audio(surround(tmp_path, "5.1"), channel=side).samples
    np.testing.assert_allclose(samples, np.full((1, 4_800), level), atol=1e-6)


def test_more_than_two_channels_are_mixed_only_where_that_is_asked_for(tmp_path: Path) -> None:
    path = surround(tmp_path, "5.1")
    assert failure(path, channel="mix").kind is FailureKind.CHANNELS
    stereo = read_audio(path, channels=2, downmix=True).samples
    mixed = read_audio(path, channel="mix", downmix=True).samples
    np.testing.assert_allclose(mixed, stereo.mean(axis=0, keepdims=True), atol=1e-6)


def test_a_mono_file_is_its_left_and_its_right_and_says_so(folder: Path) -> None:
    for side in ("left", "right"):
        stream = stream_audio(folder / "mono.wav", channel=side)
        samples = np.concatenate(list(stream), axis=1)
        assert np.array_equal(samples, read_audio(folder / "mono.wav").samples)
        assert stream.report.flags == ("mono",) and stream.report.channel == 0


def test_a_channel_is_judged_alone(tmp_path: Path) -> None:
    both = np.stack([PAIR[0], np.full(len(PAIR[0]), np.nan, np.float32)])
    (tmp_path / "a.wav").write_bytes(by_soundfile(both, "WAV", "FLOAT"))
    assert np.array_equal(read_audio(tmp_path / "a.wav", channel=0).samples, PAIR[:1])
    assert failure(tmp_path / "a.wav", channel=1).kind is FailureKind.NON_FINITE
    assert failure(tmp_path / "a.wav").kind is FailureKind.NON_FINITE


@pytest.mark.parametrize("lost", ["the last page", "an inner page"])
@pytest.mark.parametrize("track", [0, 1])
def test_what_one_track_of_ogg_lacks_is_no_loss_of_another(
    folder: Path, tmp_path: Path, track: int, lost: str
) -> None:
    parts = pages((folder / "two.ogg").read_bytes())
    serials = list(dict.fromkeys(bytes(page[14:18]) for page in parts))
    of_track = [i for i, page in enumerate(parts) if page[14:18] == serials[track]]
    place = of_track[-1 if lost == "the last page" else -2]
    damaged = [spoiled(bytes(p)) if i == place else bytes(p) for i, p in enumerate(parts)]
    (tmp_path / "a.ogg").write_bytes(b"".join(damaged))
    error = failure(tmp_path / "a.ogg", stream=track)
    assert error.kind in (FailureKind.DAMAGED, FailureKind.TRUNCATED)
    whole = read_audio(folder / "two.ogg", stream=1 - track).samples
    assert np.array_equal(read_audio(tmp_path / "a.ogg", stream=1 - track).samples, whole)


def test_what_is_no_channel_is_a_mistake(folder: Path) -> None:
    with pytest.raises(UsageError, match="channel='centre'"):
        read_audio(folder / "pair.wav", channel="centre")


READS = """
import sys
from tokenizer.audio import read_audio, stream_audio
for path in sys.argv[1:]:
    for _ in range(5):
        found = read_audio(path).samples
        assert (read_audio(path, channel=5).samples == found[5:6]).all()
    assert sum(block.shape[1] for block in stream_audio(path, second=True)) == found.shape[1]
    found.tofile(path + ".f32")
"""


def test_an_order_of_channels_of_the_files_own(tmp_path: Path) -> None:
    """CAF and QuickTime of 8 channels: PyAV frees the list of them twice, which aborted the
    process. So another process reads here."""
    sound = noise(0.2, 8)
    paths = []
    for muxer, codec in (("caf", "pcm_s24be"), ("mov", "pcm_s24be"), ("mov", "pcm_f64be")):
        paths.append(tmp_path / f"{codec}.{muxer}")
        paths[-1].write_bytes(by_ffmpeg(muxer, (codec, sound), layout="7.1"))
    done = subprocess.run([sys.executable, "-c", READS, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in paths:
        there = np.fromfile(f"{path}.f32", np.float32).reshape(8, -1)
        np.testing.assert_allclose(there, sound, atol=2e-7)
