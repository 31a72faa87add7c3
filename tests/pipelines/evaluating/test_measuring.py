from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from sounds import sound

from pipelines.auditing.results import Figure
from pipelines.evaluating import measuring
from pipelines.evaluating.measuring import MEASURED, NOT_SPEECH, measure, missing, to_json

RATE = 48_000


@pytest.fixture
def fresh() -> Iterator[None]:
    measuring._opened.cache_clear()
    yield
    measuring._opened.cache_clear()


def test_what_is_of_speech_is_asked_of_speech_only() -> None:
    given = sound(RATE).samples
    metrics = ("si-snr", "stoi", "level")
    music = measure(given, 0.5 * given, RATE, metrics, speech=False)
    assert list(music) == list(metrics)
    assert music["stoi"] == Figure(None, NOT_SPEECH)
    assert music["level"].value == pytest.approx(20 * np.log10(0.5))
    speech = measure(given, given, RATE, metrics, speech=True)
    assert speech["stoi"].value == pytest.approx(1.0, abs=1e-6)


def test_silence_has_reasons_and_no_figures() -> None:
    silent = np.zeros((1, RATE), np.float32)
    found = measure(silent, silent, RATE, ("si-snr", "mel", "stoi"), speech=True)
    values, reasons = to_json(found)
    assert set(values.values()) == {None} and set(reasons) == {"si-snr", "mel", "stoi"}


def test_samples_that_are_not_finite_have_no_figures() -> None:
    given = sound(RATE).samples
    broken = given.copy()
    broken[0, 5] = np.nan
    found = measure(given, broken, RATE, ("si-snr", "mel", "level"), speech=False)
    assert all(figure.value is None for figure in found.values())


@pytest.mark.usefixtures("fresh")
def test_pesq_is_given_16_khz_of_one_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Refused(Exception):
        pass

    def pesq(rate: int, one: np.ndarray, other: np.ndarray, mode: str) -> float:
        seen.append((rate, one.shape, other.shape, one.dtype, mode))
        if len(seen) > 1:
            raise Refused
        return 3.25

    monkeypatch.setitem(sys.modules, "pesq", SimpleNamespace(pesq=pesq, PesqError=Refused))
    given = sound(2 * RATE).samples
    assert measure(given, given, RATE, ("pesq",), speech=True)["pesq"] == Figure(3.25)
    assert seen == [(16_000, (32_000,), (32_000,), np.float32, "wb")]
    refused = measure(given, given, RATE, ("pesq",), speech=True)["pesq"]
    assert refused.value is None and "Refused" in (refused.reason or "")


@pytest.mark.usefixtures("fresh")
def test_packages_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("visqol", "pesq"):
        monkeypatch.setitem(sys.modules, package, None)
    from pipelines.auditing.measure import visqol

    visqol._api.cache_clear()
    found = missing(tuple(MEASURED))
    assert set(found) == {"visqol", "visqol-speech", "pesq"}
    assert "--no-deps visqol-python" in found["visqol"]
    assert "pip install pesq" in found["pesq"]
