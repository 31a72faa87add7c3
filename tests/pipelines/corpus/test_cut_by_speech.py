"""`--cut vad` from files to rows: a voice is kept, and what is no voice is not, however loud.

Everywhere the voice is made here: pulses through the resonances of vowels, which a network that was
trained on speech takes for it. Where the folder of real recordings is there, people speak.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from stored_rows import by_id

from codecshards import tokenize
from pipelines.corpus import cutting
from tokenizer.audio import read_audio

RATE = 16_000
VOWELS = [(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480)]
"""formants in Hz: G. E. Peterson and H. L. Barney, Control methods used in a study of the vowels
(1952)"""
SYLLABLE = 0.18
NEAR = 0.35
"""seconds that a segment may begin before a voice does, or end behind it, or the other way round"""
Samples = NDArray[np.float64]


@pytest.fixture(autouse=True)
def silero(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("silero_vad", reason="pip install '.[vad]'")
    monkeypatch.setattr(cutting, "usable_cores", lambda: 1)


def voice(seconds: float, seed: int) -> Samples:
    """Somebody who says vowels, one a syllable."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time) + 8 * np.sin(2 * np.pi * 3 * time)
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0)
    pulses += 0.01 * rng.standard_normal(len(time))
    said = np.zeros(len(time))
    for start in range(0, len(time), round(SYLLABLE * RATE)):
        source = pulses[start : start + round(SYLLABLE * RATE)]
        z = np.exp(-2j * np.pi * np.arange(len(source) + 1) / (2 * len(source)))
        mouth = 1 / (1 - 0.95 * z)
        for formant, width in zip(VOWELS[rng.integers(len(VOWELS))], (80, 100, 140), strict=True):
            r = np.exp(-np.pi * width / RATE)
            mouth *= (1 - r) / (1 - 2 * r * np.cos(2 * np.pi * formant / RATE) * z + (r * z) ** 2)
        heard = np.fft.irfft(np.fft.rfft(source, 2 * len(source)) * mouth)[: len(source)]
        loud = np.sin(np.pi * np.arange(len(source)) / (SYLLABLE * RATE)) ** 0.6
        said[start : start + len(source)] = 0.3 * loud * heard / np.abs(heard).max()
    return said


def tone(seconds: float) -> Samples:
    """As loud as the voice."""
    return 0.15 * np.sin(2 * np.pi * 1_000 * np.arange(round(seconds * RATE)) / RATE)


def assert_cut_around(voices: list[Samples], tmp_path: Path) -> None:
    """A talk of silence, voices and a tone gives a row for each voice, in every way in."""
    silence, spans, parts, at = np.zeros(RATE), [], [], 0
    for number, said in enumerate(voices):
        between = [silence, tone(1.0), silence] if number == 1 else [silence]
        parts += [*between, said]
        at += sum(map(len, between))
        spans.append((at / RATE, (at + len(said)) / RATE))
        at += len(said)
    talk = np.concatenate([*parts, silence])
    talk += 1e-3 * np.random.default_rng(0).standard_normal(len(talk))
    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / "corpus" / "talk.flac", talk, RATE)
    (tmp_path / "corpus" / "short.txt").write_text("not cut")
    soundfile.write(tmp_path / "corpus" / "short.flac", voices[0][: 2 * RATE], RATE)
    longest = max(end - start for start, end in spans)
    rows = {}
    for way in ("corpus", "corpus/talk.flac"):
        out = tmp_path / f"out-{len(rows)}"
        settings = {"cut": "vad", "cut_min": 0.5, "cut_max": longest + 1.0, "cut_pad": 0.1}
        tokenize(str(tmp_path / way), str(out), codec="mulaw", workers=0, quiet=True, **settings)
        rows[way] = by_id(out)
    found = {id: row for id, row in rows["corpus"].items() if id.startswith("talk.flac#")}
    assert [row["codes"] for row in found.values()] == [
        row["codes"] for row in rows["corpus/talk.flac"].values()
    ]
    assert rows["corpus"].keys() - found.keys() == {"short.flac"}
    assert rows["corpus"]["short.flac"]["text"] == "not cut"
    cuts = [(meta["start"], meta["end"]) for meta in map(meta_of, found.values())]
    assert len(cuts) == len(spans)
    np.testing.assert_allclose(cuts, spans, atol=NEAR)
    assert min(start for start, _ in cuts[1:]) > spans[0][1] + 2.0  # the tone is in none


def meta_of(row: dict[str, str]) -> dict[str, float]:
    found: dict[str, float] = json.loads(row["meta"])
    return found


def test_a_voice_is_cut_out_of_silence_and_tones(tmp_path: Path) -> None:
    assert_cut_around([voice(2.5, 1), voice(2.0, 2), voice(3.0, 3)], tmp_path)


def test_people_are_cut_out_of_silence_and_tones(tmp_path: Path, shared_audio: Path) -> None:
    voices = []
    for path in sorted((shared_audio / "speech" / "speechbrain").glob("ASR__spk1_snt[123].wav")):
        said = read_audio(str(path), sample_rate=RATE).samples.mean(axis=0).astype(np.float64)
        loud = np.flatnonzero(np.abs(said) > 0.1 * np.abs(said).max())
        voices.append(0.3 * said[loud[0] : loud[-1]] / np.abs(said).max())
    assert_cut_around(voices, tmp_path)
