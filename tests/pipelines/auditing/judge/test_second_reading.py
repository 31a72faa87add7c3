"""A source read by two decoders: a fault of the one cannot hide behind itself."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from audio_files import by_ffmpeg, by_soundfile, noise, wav

from pipelines.auditing.judge.agreement import Agreement
from pipelines.auditing.options import AuditOptions
from pipelines.auditing.run import audit
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus
from tokenizer.audio import stream_audio
from tokenizer.audio.readers import second

SOUND = noise(3.2)
FILES = {
    "a.wav": (lambda: wav(SOUND), second.PROGRAM),
    "a.flac": (lambda: by_soundfile(SOUND, "FLAC"), second.LIBSNDFILE),
    "a.mp3": (lambda: by_ffmpeg("mp3", ("libmp3lame", SOUND)), second.LIBSNDFILE),
    "a.ogg": (lambda: by_soundfile(SOUND, "OGG", "VORBIS"), second.LIBSNDFILE),
    "a.m4a": (lambda: by_ffmpeg("ipod", ("aac", SOUND)), second.PROGRAM),
    "ms.wav": (lambda: by_soundfile(SOUND, "WAV", "MS_ADPCM"), second.PROGRAM),
}


def compared(first: np.ndarray, other: np.ndarray, block: int = 30_000) -> Agreement:
    found = Agreement(48_000)
    for at in range(0, max(first.shape[1], other.shape[1]), block):
        for which, samples in enumerate((first, other)):
            if at < samples.shape[1]:
                found.add(which, samples[:, at : at + block])
    found.close()
    return found


def test_what_is_the_same_agrees_and_what_is_not_does_not() -> None:
    rng = np.random.default_rng(1)
    hiss = (1e-4 * rng.standard_normal(SOUND.shape)).astype(np.float32)
    assert compared(SOUND, SOUND).fault is None and compared(SOUND, SOUND).level == float("-inf")
    assert compared(SOUND, SOUND + hiss).fault is None
    late = np.concatenate([np.zeros((2, 1_105), np.float32), SOUND], axis=1)
    assert compared(SOUND, late).delay == 1_105 and compared(SOUND, late).fault is None
    assert compared(late, SOUND).delay == -1_105 and compared(late, SOUND).fault is None
    assert "differ" in (compared(SOUND, -SOUND).fault or "")
    assert "differ" in (
        compared(SOUND, np.concatenate([SOUND[:, :90_000], SOUND[:, 91_000:]], axis=1)).fault or ""
    )
    assert "by the other" in (compared(SOUND, np.concatenate([SOUND, SOUND], axis=1)).fault or "")
    assert compared(0 * SOUND, 0 * SOUND).fault is None


@pytest.mark.parametrize("program", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_the_second_way_hears_the_same(
    name: str, program: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, way = FILES[name]
    if not program:
        monkeypatch.setattr(second.shutil, "which", lambda _: None)
        way = second.LIBRARY if way == second.PROGRAM else way
    elif way == second.PROGRAM and second.shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    content = make()
    for start, end in ((None, None), (1.0, 2.5)):
        read = []
        for again in (False, True):
            stream = stream_audio(
                io.BytesIO(content), 48_000, 2, start=start, end=end, second=again
            )
            read.append(np.concatenate(list(stream), axis=1))
        assert stream.report.decoder == way
        assert compared(*read).fault is None


def test_reencode_says_by_which_way_and_finds_a_reader_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.flac", "a.mp3", "a.ogg"):
        (tmp_path / "in" / name).write_bytes(FILES[name][0]())
    out = str(tmp_path / "out")
    config = TokenizeConfig(str(tmp_path / "in"), codec="mulaw", bandwidth=24.0)
    tokenize_corpus(config, out, RunOptions(workers=0, quiet=True))
    options = AuditOptions(all=True, reencode=True, page=False, quiet=True)
    report = audit(out, options=options).report
    assert report["passed"] and report["second_readers"] == {second.LIBSNDFILE: 3}
    monkeypatch.setattr(
        "pipelines.auditing.judge.agreement.MOST_LENGTH", -1.0
    )  # as if one of the two had another length
    wrong = audit(
        out,
        options=AuditOptions(all=True, reencode=True, page=False, quiet=True, clip_seconds=29.0),
    ).report
    assert not wrong["passed"] and {f["name"] for f in wrong["findings"]} >= {"readers differ"}
