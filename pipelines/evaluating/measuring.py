"""What is measured of an excerpt that went through a system: the audit's measures, and those of
speech."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from pipelines.auditing.measure.registry import MEASURES, Better
from pipelines.auditing.results import Figure
from tokenizer.errors import UsageError

Samples = NDArray[np.float32]
"""float32 `[channels, n]`"""
PESQ_RATE = 16_000


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure, as the table and the page have it."""

    name: str
    title: str
    unit: str
    better: Better
    digits: int
    speech: bool = False
    """says something of speech only"""


def _own(name: str, digits: int, speech: bool = False) -> Measured:
    row = MEASURES[name]
    return Measured(name, row.title, row.unit, row.better, digits, speech)


_ROWS = (
    _own("si-snr", 2),
    _own("visqol", 2),
    _own("mel", 2),
    _own("level", 2),
    Measured("visqol-speech", "ViSQOL, speech mode", "MOS", Better.HIGHER, 2, speech=True),
    _own("stoi", 3, speech=True),
    Measured("pesq", "PESQ, wide band", "MOS", Better.HIGHER, 2, speech=True),
)
MEASURED: dict[str, Measured] = {row.name: row for row in _ROWS}
"""by name, in the order of the table's columns"""
_SUMS = ("si-snr", "mel", "level")
NOT_SPEECH = "of speech only"


def missing(metrics: Sequence[str]) -> dict[str, str]:
    """Those that cannot be measured on this machine, and what they need."""
    found = {}
    for name in metrics:
        try:
            _opened(name)
        except UsageError as error:
            found[name] = str(error)
    return found


def by_what(metrics: Sequence[str]) -> dict[str, str]:
    """The packages that measure, with what decides their figures."""
    found = {}
    for name in metrics:
        package = {"visqol": "visqol-python", "visqol-speech": "visqol-python", "pesq": "pesq"}
        if name not in package:
            continue
        try:
            found[name] = f"{package[name]} {version(package[name])}"
        except PackageNotFoundError:
            continue
    if "visqol-speech" in found:
        found["visqol-speech"] += f", {_speech_mapping()}"
    return found


def _speech_mapping() -> str:
    from pipelines.auditing.measure.visqol import speech_mapping

    return speech_mapping()


def measure(
    reference: Samples, samples: Samples, rate: int, metrics: Sequence[str], speech: bool
) -> dict[str, Figure]:
    """Every measure of one excerpt.

    Args:
        reference: what the system was given.
        samples: what came back, of the same shape.
        rate: of both.
        metrics: names of `MEASURED`.
        speech: whether it is speech.
    """
    found = dict(_of_sums(reference, samples, rate, metrics))
    # Mono is the mean of the channels: what these measures are defined on.
    one, other = (x.mean(axis=0, dtype=np.float64) for x in (reference, samples))
    for name in metrics:
        if name in found:
            continue
        if MEASURED[name].speech and not speech:
            found[name] = Figure.none(NOT_SPEECH)
            continue
        try:
            found[name] = _opened(name)(one, other, rate)
        except UsageError as error:
            found[name] = Figure.none(str(error))
    return {name: found[name] for name in metrics}


def _of_sums(
    reference: Samples, samples: Samples, rate: int, metrics: Sequence[str]
) -> Iterator[tuple[str, Figure]]:
    from pipelines.auditing.measure.measures import NOT_FINITE, Sums, usable

    if not usable(samples):
        yield from ((name, Figure.none(NOT_FINITE)) for name in _SUMS if name in metrics)
        return
    sums = Sums(reference.shape[0], rate).add(reference, samples)
    for name in _SUMS:
        of_sums = MEASURES[name].of_sums
        if name in metrics and of_sums is not None:
            yield name, of_sums(sums)


Measure = Callable[[NDArray[np.float64], NDArray[np.float64], int], Figure]


@cache
def _opened(name: str) -> Measure:
    """
    Raises:
        UsageError: it needs a package that is not there.
    """
    if name == "pesq":
        return _pesq()
    if name == "visqol-speech":
        from pipelines.auditing.measure.visqol import open_visqol

        return open_visqol("speech")
    window = MEASURES[name].open_window
    return window() if window is not None else _nothing


def _nothing(one: NDArray[np.float64], other: NDArray[np.float64], rate: int) -> Figure:
    return Figure.none("of sums")


def _pesq() -> Measure:
    try:
        library: Any = import_module("pesq")
    except ImportError as error:
        raise UsageError(
            "pesq needs a package that is built with a C compiler: pip install pesq"
        ) from error

    def measured(one: NDArray[np.float64], other: NDArray[np.float64], rate: int) -> Figure:
        if not (np.isfinite(one).all() and np.isfinite(other).all()):
            return Figure.none("samples that are not finite")
        signals = [
            soxr.resample(signal, rate, PESQ_RATE, "VHQ").astype(np.float32)
            for signal in (one, other)
        ]
        try:
            return Figure(float(library.pesq(PESQ_RATE, *signals, "wb")))
        except (library.PesqError, ValueError, RuntimeError) as error:
            return Figure.none(f"PESQ cannot compare them: {type(error).__name__}")

    return measured


def to_json(figures: Mapping[str, Figure]) -> tuple[dict[str, float | None], dict[str, str]]:
    """Values, and the reasons of those that are not there."""
    values = {name: figure.value for name, figure in figures.items()}
    reasons = {name: figure.reason for name, figure in figures.items() if figure.reason}
    return values, reasons
