"""The cheap measures of a reconstruction against its source, from sums that add up over segments.

SI-SNR                Luo & Mesgarani 2018: mean removed, the source scaled to fit, per channel;
                      the mean over channels, in dB
level difference      energy of the reconstruction over the source's, all channels, in dB
spectral convergence  ‖|S| − |Ŝ|‖ / ‖|S|‖ over magnitude spectra (Frobenius norms; Arık et al.
                      2018), 0 is best
log-mel distance      mean of |difference| of 80-band mel spectra in dB, floor at −80 dB

Against a silent source none of them means anything: they say so instead of giving a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.measure.registry import JUDGED_BY, MEASURES, default_metrics
from pipelines.auditing.measure.spectra import decibels, magnitudes, mel_power
from pipelines.auditing.results import Figure

SILENT_RMS = 1e-5
"""-100 dBFS: below one step of 16-bit audio, and what dither leaves of it"""
LIMIT_DB = 120.0
"""figures in dB end here: float32 holds no more, and infinity is no JSON"""
SILENT_SOURCE, CONSTANT_SOURCE = "the source is silent", "the source does not vary"
NOT_FINITE = "the reconstruction is not finite, or absurdly large"
LARGEST = 1e15
"""samples beyond this, 300 dB above full scale, overflow float32 once their spectra are squared"""


@dataclass(slots=True)
class PairSums:
    """Sums over samples of a source and its reconstruction, per channel, in float64."""

    channels: int
    n: int = 0
    moments: NDArray[np.float64] = field(init=False)
    """`[5, channels]`: Σs, Σr, Σs², Σr², Σsr"""

    def __post_init__(self) -> None:
        self.moments = np.zeros((5, self.channels))

    def add(self, source: NDArray[np.float32], decoded: NDArray[np.float32]) -> PairSums:
        """Take in `[channels, n]` samples of both; returns itself."""
        s, r = source.astype(np.float64), decoded.astype(np.float64)
        self.n += s.shape[1]
        self.moments += np.stack(
            [s.sum(1), r.sum(1), (s * s).sum(1), (r * r).sum(1), (s * r).sum(1)]
        )
        return self

    def merge(self, other: PairSums) -> None:
        self.n += other.n
        self.moments += other.moments

    def rms(self, which: int = 0) -> float:
        """Of the source (0) or the reconstruction (1), over all channels."""
        return float(np.sqrt(self.moments[2 + which].sum() / max(1, self.n * self.channels)))

    def si_snr(self) -> Figure:
        """In dB; the mean over the channels that are not silent."""
        if not self.n:
            return Figure.none("no samples to compare")
        s, r, ss, rr, sr = self.moments
        energy = ss - s * s / self.n
        cross = sr - s * r / self.n
        total = rr - r * r / self.n
        loud = energy > self.n * SILENT_RMS**2
        if not loud.any():
            return Figure.none(SILENT_SOURCE if self.rms() < SILENT_RMS else CONSTANT_SOURCE)
        target = cross[loud] ** 2 / energy[loud]
        ratios = [_db_ratio(t, n) for t, n in zip(target, total[loud] - target, strict=True)]
        return Figure(float(np.mean(ratios)))

    def level(self) -> Figure:
        """In dB, above 0 when the reconstruction is louder."""
        if not self.n:
            return Figure.none("no samples to compare")
        if self.rms() < SILENT_RMS:
            return Figure.none(SILENT_SOURCE)
        return Figure(_db_ratio(self.moments[3].sum(), self.moments[2].sum()))


@dataclass(slots=True)
class SpectralSums:
    """Sums over short-time spectra of both."""

    sample_rate: int
    difference: float = 0.0
    energy: float = 0.0
    mel: float = 0.0
    cells: int = 0
    spectrum: NDArray[np.float64] | None = None
    """summed power of the source per bin, to see where its band ends"""

    def add(self, source: NDArray[np.float32], decoded: NDArray[np.float32]) -> SpectralSums:
        """Take in a segment; its frames reach over no other. Returns itself."""
        s, r = magnitudes(source), magnitudes(decoded)
        self.difference += float(np.square(s - r, dtype=np.float64).sum())
        power = np.square(s, dtype=np.float64).sum(axis=(0, 1))
        self.energy += float(power.sum())
        self.spectrum = power if self.spectrum is None else self.spectrum + power
        bands = np.abs(
            decibels(mel_power(s, self.sample_rate)) - decibels(mel_power(r, self.sample_rate))
        )
        self.mel += float(bands.sum(dtype=np.float64))
        self.cells += bands.size
        return self

    def merge(self, other: SpectralSums) -> None:
        self.difference += other.difference
        self.energy += other.energy
        self.mel += other.mel
        self.cells += other.cells
        if other.spectrum is not None:
            self.spectrum = (
                other.spectrum if self.spectrum is None else self.spectrum + other.spectrum
            )

    def convergence(self) -> float:
        return float(np.sqrt(self.difference / self.energy)) if self.energy > 0 else 0.0

    def mel_distance(self) -> float:
        return self.mel / max(1, self.cells)


class Sums:
    """Everything that is summed of a source and its reconstruction, and what follows from it."""

    def __init__(self, channels: int, sample_rate: int) -> None:
        self.pair = PairSums(channels)
        self.spectral = SpectralSums(sample_rate)

    def add(self, source: NDArray[np.float32], decoded: NDArray[np.float32]) -> Sums:
        """Take in a segment, `[channels, n]` of both; returns itself."""
        self.pair.add(source, decoded)
        self.spectral.add(source, decoded)
        return self

    def merge(self, other: Sums) -> None:
        self.pair.merge(other.pair)
        self.spectral.merge(other.spectral)

    def si_snr(self) -> Figure:
        return self.pair.si_snr()

    def level(self) -> Figure:
        return self.pair.level()

    def convergence(self) -> Figure:
        return self._spectral(self.spectral.convergence())

    def mel_distance(self) -> Figure:
        return self._spectral(self.spectral.mel_distance())

    def _spectral(self, value: float) -> Figure:
        """Not applicable where the level is not, and for the same reason."""
        level = self.pair.level()
        return level if level.value is None else Figure(value)


class Measures:
    """The measures of one recording that follow from sums, whole and segment by segment: those of
    `metrics`, and what the worst segment is found by."""

    def __init__(
        self, channels: int, sample_rate: int, metrics: Sequence[str] | None = None
    ) -> None:
        self._channels, self._sample_rate = channels, sample_rate
        self.sums = Sums(channels, sample_rate)
        asked = default_metrics() if metrics is None else metrics
        self._of_sums = {
            name: row.of_sums
            for name, row in MEASURES.items()
            if row.of_sums is not None and (name in asked or name in JUDGED_BY)
        }
        self.series: dict[str, list[float | None]] = {name: [] for name in self._of_sums}
        self.usable = True
        """whether every reconstructed segment so far was finite; one that is not leaves no figure
        over the whole"""

    def add(self, source: NDArray[np.float32], decoded: NDArray[np.float32]) -> None:
        """Take in the next segment of both, float32 `[channels, n]`."""
        if not usable(decoded):
            self.usable = False
            for values in self.series.values():
                values.append(None)
            return
        segment = Sums(self._channels, self._sample_rate).add(source, decoded)
        for name, figure in self._figures(segment).items():
            self.series[name].append(figure.value)
        self.sums.merge(segment)

    def figures(self) -> dict[str, Figure]:
        """Over the whole recording."""
        return (
            self._figures(self.sums)
            if self.usable
            else dict.fromkeys(self._of_sums, Figure.none(NOT_FINITE))
        )

    def _figures(self, sums: Sums) -> dict[str, Figure]:
        return {name: of_sums(sums) for name, of_sums in self._of_sums.items()}


def usable(decoded: NDArray[np.float32]) -> bool:
    """Whether anything can be measured of a reconstruction: a damaged scale gives NaN, infinities,
    or near that."""
    # A NaN makes the extremes NaN, and every comparison with NaN is false.
    return not decoded.size or bool(decoded.min() >= -LARGEST and decoded.max() <= LARGEST)


def _db_ratio(over: Any, under: Any) -> float:
    """10 log10 of a ratio of energies, within the limits."""
    if over <= 0:
        return -LIMIT_DB
    if under <= 0:
        return LIMIT_DB
    return float(np.clip(10 * np.log10(over / under), -LIMIT_DB, LIMIT_DB))
