"""The decoder's process: in order, a few ahead, and a crash or a hang costs one recording."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
from corpora import write_corpus
from sounds import sound

from pipelines.corpus import child as child_module
from pipelines.corpus.reader import Decoder, DecodeSettings
from pipelines.corpus.sources import open_source
from pipelines.corpus.sources.base import Source
from pipelines.system import blame
from tokenizer import FailureKind, RecordingError, read_audio
from tokenizer.errors import SourceUnavailable, UsageError
from tokenizer.types import Recording

ROOT = Path(__file__).resolve().parents[3]


class TrickySource(Source):
    """A folder in which some recordings kill or hang whoever opens them. Lives here, and is
    imported by the child."""

    spec = "tricky"

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def scan(self) -> Iterator[Recording]:
        yield from ()

    def open(self, recording: Recording) -> str | BinaryIO:
        if recording.id.startswith("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if recording.id.startswith("abort"):
            os.abort()
        if recording.id.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if recording.id.startswith("full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if recording.id.startswith("memory"):
            raise MemoryError
        if recording.id.startswith("once") and not Path(self.folder, recording.id).exists():
            Path(self.folder, recording.id).touch()
            os.abort()
        if recording.id.startswith("hang"):
            time.sleep(600)
        if recording.id.startswith("bug"):
            raise ZeroDivisionError("a decoder's own mistake")
        return recording.uri


@pytest.fixture(autouse=True)
def child_finds_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).resolve().parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(ROOT / "tests")]))


@pytest.fixture(autouse=True)
def started_as_for_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "subprocess", subprocess)


def settings(folder: Path, timeout: float = 30.0, channels: int = 2) -> DecodeSettings:
    return DecodeSettings(TrickySource(str(folder)), 48_000, channels, timeout=timeout)


def take(decoder: Decoder, recordings: list[Recording]) -> list[np.ndarray | RecordingError]:
    results: list[np.ndarray | RecordingError] = []
    for decoding in decoder.decode(recordings):
        try:
            results.append(np.concatenate(list(decoding), axis=1))
        except RecordingError as error:
            results.append(error)
    return results


@pytest.fixture
def sound_file(tmp_path: Path) -> str:
    soundfile.write(tmp_path / "x.wav", sound(60_000).samples.T, 44_100)
    return str(tmp_path / "x.wav")


def test_a_corpus_is_decoded_in_order_as_if_read_here(tmp_path: Path) -> None:
    source = open_source(str(write_corpus(tmp_path / "corpus", 30)))
    recordings = list(source.scan())
    decoder = Decoder(DecodeSettings(source, 48_000, 2))
    seen = 0
    for decoding, recording in zip(decoder.decode(recordings), recordings, strict=True):
        assert decoding.recording == recording
        if recording.id == "broken.wav":
            with pytest.raises(RecordingError) as caught:
                list(decoding)
            assert caught.value.kind is FailureKind.TRUNCATED
            continue
        samples = np.concatenate(list(decoding), axis=1)
        assert np.array_equal(samples, read_audio(recording.uri, 48_000, 2).samples)
        assert (
            decoding.report.source_sha256
            == hashlib.sha256(Path(recording.uri).read_bytes()).hexdigest()
        )
        assert decoding.report.audio.num_samples == samples.shape[1]
        seen += 1
    assert seen == 30
    decoder.close()


def test_crashes_hangs_and_bugs_cost_one_recording_each(tmp_path: Path, sound_file: str) -> None:
    ids = ["a", "crash1", "b", "hang", "crash2", "crash3", "c", "bug", "d"]
    recordings = [Recording(id, sound_file) for id in ids]
    decoder = Decoder(settings(tmp_path, timeout=4.0))
    results = dict(zip(ids, take(decoder, recordings), strict=True))
    whole = read_audio(sound_file, 48_000, 2).samples
    for id in "abcd":
        assert np.array_equal(results[id], whole), id  # type: ignore[arg-type]
    kinds = {
        id: result.kind for id, result in results.items() if isinstance(result, RecordingError)
    }
    assert kinds == {
        "crash1": FailureKind.CRASHED,
        "crash2": FailureKind.CRASHED,
        "crash3": FailureKind.CRASHED,
        "hang": FailureKind.TIMED_OUT,
        "bug": FailureKind.DAMAGED,
    }
    assert "SIGSEGV" in results["crash1"].message and "ZeroDivisionError" in results["bug"].message  # type: ignore[union-attr]
    decoder.close()


def test_kills_change_nothing(tmp_path: Path) -> None:
    """SIGKILL at any moment, in the middle of a recording too, as the kernel sends it when memory
    runs out."""
    recordings = []
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", sound(400_000, seed=number).samples.T, 44_100)
        recordings.append(Recording(str(number), str(tmp_path / f"{number}.wav")))
    decoder, chance, kills = Decoder(settings(tmp_path)), random.Random(0), 0
    for decoding in decoder.decode(recordings):
        moments = {chance.randrange(9) for _ in range(2)}
        blocks = []
        for number, block in enumerate(decoding):
            blocks.append(block)
            if number in moments and decoder._child is not None:
                os.kill(decoder._child._process.pid, signal.SIGKILL)
                kills += 1
        expected = read_audio(decoding.recording.uri, 48_000, 2).samples
        assert np.array_equal(np.concatenate(blocks, axis=1), expected), decoding.recording.id
        assert decoding.report.audio.num_samples == expected.shape[1]
    assert kills >= 5
    decoder.close()


def test_a_crash_that_does_not_come_again_costs_nothing(tmp_path: Path, sound_file: str) -> None:
    decoder = Decoder(settings(tmp_path))
    results = take(decoder, [Recording(id, sound_file) for id in ("a", "once1", "b", "once2")])
    whole = read_audio(sound_file, 48_000, 2).samples
    assert all(np.array_equal(result, whole) for result in results)  # type: ignore[arg-type]
    decoder.close()


def test_who_really_kills_its_decoder_is_named(
    tmp_path: Path, sound_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blame, "LIMITS", {**blame.LIMITS, blame.DeathKind.KILLED: 3})
    monkeypatch.setattr(blame, "MEMORY_PAUSES", (0.0,))
    ids = ["a", "abort", "b", "kill", "memory", "c"]
    decoder = Decoder(settings(tmp_path))
    results = dict(zip(ids, take(decoder, [Recording(id, sound_file) for id in ids]), strict=True))
    words = {
        id: error.message for id, error in results.items() if isinstance(error, RecordingError)
    }
    assert "SIGABRT 2 times, each time alone" in words.pop("abort")
    assert "memory runs out" in words.pop("kill") and "ran out of memory" in words.pop("memory")
    assert not words
    decoder.close()


def test_a_stop_longer_than_the_timeout_costs_nothing(tmp_path: Path, sound_file: str) -> None:
    decoder = Decoder(settings(tmp_path, timeout=2.0))
    whole = read_audio(sound_file, 48_000, 2).samples
    for number, decoding in enumerate(decoder.decode([Recording(id, sound_file) for id in "abc"])):
        if number == 1:
            assert decoder._child is not None
            os.kill(decoder._child._process.pid, signal.SIGSTOP)
        assert np.array_equal(np.concatenate(list(decoding), axis=1), whole)
    decoder.close()


def test_a_file_that_changed_before_it_was_read_again_is_no_mixture(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", sound(2_400_000).samples.T, 44_100)
    decoder = Decoder(settings(tmp_path))
    for decoding in decoder.decode([Recording("x", str(tmp_path / "x.wav"))]):
        blocks = iter(decoding)
        next(blocks)
        soundfile.write(tmp_path / "x.wav", sound(2_400_000, seed=7).samples.T, 44_100)
        assert decoder._child is not None
        os.kill(decoder._child._process.pid, signal.SIGKILL)
        with pytest.raises(RecordingError, match="other samples the second time"):
            list(blocks)
    decoder.close()


def test_a_full_temporary_folder_stops_the_run(tmp_path: Path, sound_file: str) -> None:
    decoder = Decoder(settings(tmp_path))
    with pytest.raises(SourceUnavailable, match="is full"):
        take(decoder, [Recording("a", sound_file), Recording("full", sound_file)])
    decoder.close()


def test_a_decoder_that_cannot_start_is_no_recordings_fault(
    tmp_path: Path, sound_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        child_module, "own_command", lambda *_: [sys.executable, "-c", "import no_such_package"]
    )
    with pytest.raises(
        UsageError, match="cannot start: ModuleNotFoundError: No module named 'no_such_package'"
    ):
        take(Decoder(settings(tmp_path)), [Recording("a", sound_file)])


def test_what_is_not_wanted_is_passed_over(tmp_path: Path, sound_file: str) -> None:
    decoder = Decoder(settings(tmp_path))
    recordings = [Recording(str(n), sound_file) for n in range(6)]
    whole = read_audio(sound_file, 48_000, 2).num_samples
    lengths = []
    for number, decoding in enumerate(decoder.decode(recordings)):
        blocks = iter(decoding)
        lengths.append(
            next(blocks).shape[1] if number % 2 else sum(block.shape[1] for block in blocks)
        )
    assert lengths[::2] == [whole] * 3
    # A call that is broken off leaves nothing behind for the next.
    for _ in decoder.decode(recordings):
        break
    assert (
        sum(block.shape[1] for decoding in decoder.decode(recordings[:1]) for block in decoding)
        == whole
    )
    decoder.close()


def test_a_report_comes_at_the_end(tmp_path: Path, sound_file: str) -> None:
    decoder = Decoder(settings(tmp_path))
    for decoding in decoder.decode([Recording("a", sound_file)]):
        with pytest.raises(RuntimeError):
            _ = decoding.report
    decoder.close()


def test_other_channel_counts(tmp_path: Path, sound_file: str) -> None:
    decoder = Decoder(settings(tmp_path, channels=1))
    (samples,) = take(decoder, [Recording("a", sound_file)])
    assert np.array_equal(samples, read_audio(sound_file, 48_000, 1).samples)
    decoder.close()


PARENT = """
import sys
from test_reader import *
decoder = Decoder(settings(Path(".")))
for decoding in decoder.decode([Recording("hang", sys.argv[1])]):
    decoder._start()
    print(decoder._child._process.pid, flush=True)
    list(decoding)
"""


def test_the_child_does_not_outlive_its_parent(sound_file: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, sound_file], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(1.0)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()


def test_the_child_imports_neither_torch_nor_ray() -> None:
    heavy = "{'torch', 'ray', 'transformers', 'datasets'}"
    code = f"import sys, pipelines.corpus.reader_process; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert out.strip() == "[]"
