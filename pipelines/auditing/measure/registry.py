"""Every measure, one row each: from its row come the command's options and help, the report's
units, and the titles, directions and explanations of the page and the notebook.

A row says how the measure is computed in one of two ways: from sums that add up over segments
(`of_sums`), or over windows of some seconds (`open_window`). Nothing heavy is imported here, since
the command's options are made from these rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.auditing.measure.measures import Sums
    from pipelines.auditing.measure.windows import WindowMeasure
    from pipelines.auditing.results import Figure

WINDOW_SECONDS = 10.0
"""ViSQOL's authors advise 8 to 10 s; more would only be averaged, and take memory"""


class Better(StrEnum):
    """Which values are good."""

    HIGHER = "higher"
    LOWER = "lower"
    """a distance: 0 is best"""
    ZERO = "zero"
    """a difference with a sign: it counts by its size"""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of a reconstruction against its source."""

    name: str
    """on the command line and in the report; `--min-NAME` or `--max-NAME` is its limit"""
    title: str
    unit: str
    """empty when there is none"""
    better: Better
    help: str
    """what a value means, for people who look at the page"""
    of_sums: Callable[[Sums], Figure] | None = None
    """from the sums over a segment, and over the whole recording"""
    open_window: Callable[[], WindowMeasure] | None = None
    """gives a function of mono source and reconstruction; UsageError when a package is missing"""
    note: str | None = None
    """what must be known to read it, said wherever its figures are"""
    hint: str = ""
    """what it needs or is for, in the command's help"""
    default: bool = False
    """measured where nothing else is asked for"""

    @property
    def window(self) -> float | None:
        """Seconds that one value covers; None when each segment has its own."""
        return WINDOW_SECONDS if self.open_window else None

    @property
    def limit_option(self) -> str:
        """The command's option that sets its limit, without dashes."""
        return f"{'min' if self.better is Better.HIGHER else 'max'}-{self.name}"

    def size(self, value: float) -> float:
        """What is averaged where a limit is set: a difference counts by its size."""
        return abs(value) if self.better is Better.ZERO else value

    def badness(self, value: float) -> float:
        """A value as something that grows as quality falls."""
        return -value if self.better is Better.HIGHER else self.size(value)


def _visqol() -> WindowMeasure:
    from pipelines.auditing.measure.visqol import open_visqol

    return open_visqol()


def _stoi() -> WindowMeasure:
    from pipelines.auditing.measure.stoi import stoi

    return stoi


_ROWS = (
    Measure(
        "si-snr",
        "SI-SNR",
        "dB",
        Better.HIGHER,
        "Waveform match. Neural codecs are low here and still sound fine.",
        of_sums=lambda sums: sums.si_snr(),
        default=True,
    ),
    Measure(
        "level",
        "level difference",
        "dB",
        Better.ZERO,
        "Loudness against the source; above 0 the reconstruction is louder.",
        of_sums=lambda sums: sums.level(),
        default=True,
    ),
    Measure(
        "convergence",
        "spectral convergence",
        "",
        Better.LOWER,
        "Relative error of the spectrum.",
        of_sums=lambda sums: sums.convergence(),
        default=True,
    ),
    Measure(
        "mel",
        "log-mel distance",
        "dB",
        Better.LOWER,
        "How far the spectra are apart in bands as ears group them.",
        of_sums=lambda sums: sums.mel_distance(),
        default=True,
    ),
    Measure(
        "visqol",
        "ViSQOL",
        "MOS",
        Better.HIGHER,
        "Predicted listening score: 1 is bad, 4.7 is no difference to be heard.",
        open_window=_visqol,
        hint="needs visqol-python",
    ),
    Measure(
        "stoi",
        "STOI",
        "",
        Better.HIGHER,
        "Predicted intelligibility, from 0 to 1.",
        open_window=_stoi,
        note="of speech only: of other sounds it says nothing",
        hint="speech",
    ),
)

MEASURES: dict[str, Measure] = {row.name: row for row in _ROWS}
"""by name, in the order in which they are listed. A row that is added here, by whatever package, is
everywhere: in the options, the report, the page"""
JUDGED_BY = ("visqol", "mel")
"""what tells which stretch of a recording is its worst: the first of these that is measured; the
last one always is"""


def default_metrics() -> tuple[str, ...]:
    """Names of what is measured where nothing else is asked for."""
    return tuple(name for name, row in MEASURES.items() if row.default)
