"""ViSQOL (Chinen et al. 2020, v3, audio mode) through the optional package `visqol-python`, with
its traps taken out.

It calls a silent reference perfect, fails on less than a spectrogram patch, and on NaN: all of them
are "not applicable" here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from pipelines.auditing.measure.measures import SILENT_RMS, SILENT_SOURCE
from pipelines.auditing.measure.windows import WindowMeasure
from pipelines.auditing.results import Figure
from tokenizer.errors import UsageError

RATE = 48_000
SHORTEST_SECONDS = 1.0
"""below this the library has too few patches (0.6 s each) to align and compare"""


def open_visqol() -> WindowMeasure:
    """The measure.

    Raises:
        UsageError: the package is not installed.
    """
    api = _api()

    def measure(
        source: NDArray[np.float64], decoded: NDArray[np.float64], sample_rate: int
    ) -> Figure:
        return visqol(source, decoded, sample_rate, api)

    return measure


def visqol(
    source: NDArray[np.float64], decoded: NDArray[np.float64], sample_rate: int, api: Any
) -> Figure:
    """MOS-LQO, 1 to 4.73, of mono float64 `[n]` signals."""
    reason = not_applicable(source, decoded, sample_rate)
    if reason is not None:
        return Figure.none(reason)
    if sample_rate != RATE:
        source, decoded = (
            soxr.resample(source, sample_rate, RATE),
            soxr.resample(decoded, sample_rate, RATE),
        )
    try:
        score = float(api.measure_from_arrays(source, decoded, RATE).moslqo)
    except (ValueError, RuntimeError, IndexError, ArithmeticError) as error:
        return Figure.none(
            "ViSQOL cannot compare them: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        )
    return Figure(score) if np.isfinite(score) else Figure.none("ViSQOL gave no finite score")


def not_applicable(
    source: NDArray[np.float64], decoded: NDArray[np.float64], sample_rate: int
) -> str | None:
    """Why ViSQOL must not be asked; None when it may be."""
    if len(source) < SHORTEST_SECONDS * sample_rate:
        return f"shorter than {SHORTEST_SECONDS:g} s"
    if not (np.isfinite(source).all() and np.isfinite(decoded).all()):
        return "samples that are not finite"
    if np.sqrt(np.mean(np.square(source))) < SILENT_RMS:
        return SILENT_SOURCE
    if np.sqrt(np.mean(np.square(decoded))) < SILENT_RMS:
        return "the reconstruction is silent"
    return None


@cache
def _api() -> Any:
    try:
        from visqol import VisqolApi
    except ImportError as error:
        raise UsageError(
            "--metrics visqol needs a package: pip install visqol-python (or '.[eval]' in a clone "
            "of codecshards)"
        ) from error
    api = VisqolApi()
    api.create(mode="audio")
    return api
