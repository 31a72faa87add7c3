"""Real recordings, and files that are damaged, lying, odd and extreme, with the truth beside
them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from tokenizer import RecordingError, read_audio
from tokenizer.audio import stream_audio
from tokenizer.audio.stream import AudioReport

PRIMING = 2_500
"""samples that a lossy codec may add or drop, a stream"""


def outcome(path: Path) -> AudioReport | RecordingError:
    try:
        stream = stream_audio(path, 48_000, None, downmix=True)
        for _ in stream:
            pass
        return stream.report
    except RecordingError as error:
        return error


def test_every_nasty_file_is_a_true_row_or_a_readable_failure(shared_audio: Path) -> None:
    truth = json.loads((shared_audio / "nasty_truth.json").read_text())
    wrong = []
    for name, facts in sorted(truth.items()):
        path = shared_audio / "nasty" / name
        found = outcome(path)
        if isinstance(found, RecordingError):
            if name not in found.message or "\n" in found.message or not found.stage:
                wrong.append(f"{name}: unreadable failure {found.message!r}")
            continue
        streams = 2 if facts.get("bad") == "chain" else 1
        true = (
            facts.get("bad") != "all"
            and found.source_sample_rate == facts["sr"]
            and found.source_channels == facts["ch"]
            and abs(found.source_samples - facts["frames"]) <= PRIMING * streams
        )
        if not true:
            wrong.append(f"{name}: {found} is not {facts}")
    assert not wrong, "\n".join(wrong)


SOUND_AND_REFUSED = {
    # Nothing marks these as bad, and a run must refuse them all the same.
    "ch71.opus",  # an empty file
    "hdr_data_too_big.wav",  # a third of what its header declares
    "sig_huge_1e30.wav",
    "sig_inf.wav",
    "sig_nan_all.wav",
    "sig_nan_some.wav",
}


def test_sound_files_are_not_refused(shared_audio: Path) -> None:
    truth = json.loads((shared_audio / "nasty_truth.json").read_text())
    refused = {
        name
        for name, facts in truth.items()
        if "bad" not in facts and isinstance(outcome(shared_audio / "nasty" / name), RecordingError)
    }
    assert refused == SOUND_AND_REFUSED


def test_hopeless_and_halved_files_are_refused(shared_audio: Path) -> None:
    truth = json.loads((shared_audio / "nasty_truth.json").read_text())
    for name, facts in truth.items():
        if facts.get("bad") in ("all", "half"):
            assert isinstance(outcome(shared_audio / "nasty" / name), RecordingError), name


@pytest.mark.parametrize("folder", ["music", "effects", "speech"])
def test_ordinary_recordings_all_decode(shared_audio: Path, folder: str) -> None:
    """A spread sample: each container that occurs, and every ninth file."""
    files = sorted(
        path
        for path in (shared_audio / folder).rglob("*")
        if path.is_file() and path.stat().st_size < 3_000_000
    )
    first_of_kind = {path.suffix: path for path in reversed(files)}
    for path in {*files[::9], *first_of_kind.values()}:
        found = outcome(path)
        assert isinstance(found, AudioReport), found


def test_real_mp3s_in_memory_have_the_samples_of_the_files(shared_audio: Path) -> None:
    files = sorted(
        path for path in (shared_audio / "effects").rglob("*.mp3") if path.stat().st_size < 300_000
    )
    for path in files[::6]:
        assert np.array_equal(
            read_audio(path).samples, read_audio(io.BytesIO(path.read_bytes())).samples
        ), path
