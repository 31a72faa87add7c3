"""ViSQOL (Chinen et al. 2020, v3, audio and speech mode) through the optional package
`visqol-python`, with its traps taken out.

It calls a silent reference perfect, fails on less than a spectrogram patch, and on NaN: all of them
are "not applicable" here. What it needs libsvm for, which is built with a compiler, NumPy does here
where libsvm is not there (`svr`).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from pipelines.auditing.measure.measures import SILENT_RMS, SILENT_SOURCE
from pipelines.auditing.measure.windows import WindowMeasure
from pipelines.auditing.results import Figure
from tokenizer.errors import UsageError

RATE = 48_000
RATES = {"audio": RATE, "speech": 16_000}
"""by mode, as its authors feed it"""
SHORTEST_SECONDS = 1.0
"""below this the library has too few patches (0.6 s each) to align and compare"""


def open_visqol(mode: str = "audio") -> WindowMeasure:
    """The measure, of a mode of `RATES`.

    Raises:
        UsageError: the package is not installed.
    """
    api = _api(mode)

    def measure(
        source: NDArray[np.float64], decoded: NDArray[np.float64], sample_rate: int
    ) -> Figure:
        return visqol(source, decoded, sample_rate, api, RATES[mode])

    return measure


def visqol(
    source: NDArray[np.float64],
    decoded: NDArray[np.float64],
    sample_rate: int,
    api: Any,
    rate: int = RATE,
) -> Figure:
    """MOS-LQO, 1 to 4.73 (5 in speech mode), of mono float64 `[n]` signals; `rate` is the mode's
    own."""
    reason = not_applicable(source, decoded, sample_rate)
    if reason is not None:
        return Figure.none(reason)
    if sample_rate != rate:
        source, decoded = (
            soxr.resample(source, sample_rate, rate),
            soxr.resample(decoded, sample_rate, rate),
        )
    try:
        score = float(api.measure_from_arrays(source, decoded, rate).moslqo)
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


def speech_mapping() -> str:
    """By what similarity becomes a score in speech mode: the lattice of ViSQOL's own program, or
    the polynomial of its earlier versions, which gives higher scores."""
    return "lattice" if find_spec("ai_edge_litert") is not None else "polynomial"


@cache
def _api(mode: str) -> Any:
    try:
        import visqol as package
    except ImportError as error:
        raise UsageError(
            "visqol needs a package: pip install visqol-python (or '.[eval]' in a clone of "
            "codecshards), which builds libsvm with a compiler; without one: pip install scipy && "
            "pip install --no-deps visqol-python"
        ) from error
    if mode == "audio" and find_spec("libsvm") is None and find_spec("svmutil") is None:
        from pipelines.auditing.measure.svr import NumpyMapper

        manager: Any = import_module("visqol.visqol_manager")
        manager.SvrSimilarityToQualityMapper = NumpyMapper
    api = package.VisqolApi()
    # The library says by itself which mapping of speech it takes.
    api.create(mode=mode)
    return api
