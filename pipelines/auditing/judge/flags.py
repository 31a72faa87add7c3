"""What is odd about a source, a reconstruction or the corpus: each flag by name, with the rule that
raises it.

Flags are warnings for ears: a silent recording may be meant. A length that does not match is an
error, since lengths are exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.choose.survey import Entry
from pipelines.auditing.measure.measures import SILENT_RMS, PairSums
from pipelines.auditing.results import Finding, Severity
from pipelines.output.inspect import CodebookUse
from pipelines.system.words import fixed


class Flag(StrEnum):
    """Every flag."""

    SILENCE = "silence"
    ANTIPHASE = "antiphase"
    CLIPPING = "clipping"
    SCALE_OUTLIER = "scale outlier"
    LOW_BANDWIDTH = "low bandwidth"
    BOUNDARY_CLICKS = "boundary clicks"
    DURATION = "duration mismatch"
    DUPLICATE = "duplicate"
    COLLAPSE = "codebook collapse"


BAND_EDGE = 8_000.0
"""Hz: half of 16 kHz, the rate of most speech corpora"""
BAND_SHARE = 10**-6.5
"""power above the edge over all power: -65 dB; below it an ear hears nothing there"""
LOUD_SCALE = 2.0
"""RMS +6 dB above full scale: no recording of full scale 1 has it"""
FAR_DB = 20.0
"""a recording's level this far from the corpus's median, and beyond 4 robust standard deviations"""
CLICK_RATIO = 12.0
"""curvature at a boundary over that around it; Gaussian noise reaches 4"""
CLICK_GAIN = 3.0
"""and over what the source has there"""
COLLAPSED_SHARE = 1 / 64
"""perplexity over codebook size below which a level has collapsed: 16 of 1,024"""
DEAD_SHARE = 1 / 2
"""of the codebook that never occurs, from which a level has collapsed. The shipped codec uses 75%
of every level or more over any 20,000 frames of speech or of music, and 99% over 80,000"""
COUNTED_ENOUGH = 20
"""codes per entry of the codebook before its use says anything: 137 s with 1,024 entries"""
_NEAR, _AROUND = 8, 1024
"""samples at a boundary, and around it"""

_OF_THE_METER = {
    "antiphase": (
        Flag.ANTIPHASE,
        "left and right cancel in mono: the codec normalises by the mono mix and loses it",
    ),
    "clipped": (Flag.CLIPPING, "runs of samples at full scale: the source is clipped"),
}


def silence_flag(flags: Sequence[str], sums: PairSums) -> Iterator[Finding]:
    """A source that is digital silence, or so near it that the measures say nothing of it; `flags`
    as for `meter_flags`."""
    if "silent" in flags:
        yield Finding(
            Flag.SILENCE, Severity.WARNING, "the source is digital silence (below -120 dBFS)"
        )
    elif sums.n and sums.rms() < SILENT_RMS:
        level = 20 * np.log10(max(sums.rms(), 1e-10))
        yield Finding(
            Flag.SILENCE, Severity.WARNING, f"the source is silent ({fixed(float(level), 0)} dBFS)"
        )


def meter_flags(flags: Sequence[str]) -> Iterator[Finding]:
    """The flags that reading the source raised (`tokenizer.audio.meter`), without silence."""
    for flag in flags:
        if flag in _OF_THE_METER:
            name, detail = _OF_THE_METER[flag]
            yield Finding(name, Severity.WARNING, detail)


def band_flag(spectrum: NDArray[np.float64] | None, sample_rate: int) -> Iterator[Finding]:
    """Nothing above 8 kHz, from the summed power per bin at the codec's rate."""
    if spectrum is None or sample_rate < 2.5 * BAND_EDGE or not spectrum.sum() > 0:
        return
    frequencies = np.linspace(0, sample_rate / 2, len(spectrum))
    share = float(spectrum[frequencies > BAND_EDGE].sum() / spectrum.sum())
    if share < BAND_SHARE:
        heard = frequencies[np.cumsum(spectrum) <= (1 - BAND_SHARE) * spectrum.sum()]
        edge = float(heard[-1]) if heard.size else 0.0
        detail = (
            f"nothing above {BAND_EDGE / 1000:g} kHz (its band ends near {edge / 1000:.1f} kHz): "
            "upsampled, or a narrow band"
        )
        yield Finding(Flag.LOW_BANDWIDTH, Severity.WARNING, detail)


def duration_flag(stored: int, found: int, sample_rate: int) -> Iterator[Finding]:
    """Any difference in length: the stored one is exact."""
    if stored != found:
        detail = (
            f"stored {stored} samples ({stored / sample_rate:.3f} s), the source has {found} "
            f"({found / sample_rate:.3f} s) at "
            f"{sample_rate} Hz"
        )
        yield Finding(Flag.DURATION, Severity.ERROR, detail)


def impossible_scales(scales: NDArray[np.float32] | None) -> Iterator[Finding]:
    """Scales that no audio has; those that are no scales are an error. `scales` are of one
    recording, float32 `[chunks]`."""
    if scales is None:
        return
    broken = ~np.isfinite(scales) | (scales <= 0)
    for found, severity, which in (
        (broken, Severity.ERROR, "no codec gives"),
        (~broken & (scales > LOUD_SCALE), Severity.WARNING, "no recording has"),
    ):
        chunks = np.flatnonzero(found)
        if chunks.size:
            values = ", ".join(f"{scales[i]:.3g}" for i in chunks[:3])
            detail = f"{chunks.size} of {len(scales)} chunks have scales that {which} ({values})"
            yield Finding(Flag.SCALE_OUTLIER, severity, detail, tuple(chunks[:8].tolist()))


def level_flag(entry: Entry, levels: NDArray[np.float64]) -> Iterator[Finding]:
    """A recording far from the corpus's loudness; `levels` are those of all recordings that have
    one, in dB."""
    if entry.level is None or len(levels) < 8:
        return
    middle = float(np.median(levels))
    spread = 1.4826 * float(np.median(np.abs(levels - middle)))
    if abs(entry.level - middle) > max(4 * spread, FAR_DB):
        detail = (
            f"level {fixed(entry.level, 1)} dB, the corpus has {fixed(middle, 1)} ± "
            f"{fixed(spread, 1)} dB"
        )
        yield Finding(Flag.SCALE_OUTLIER, Severity.WARNING, detail)


class ClickMeter:
    """Looks for discontinuities in the reconstruction where chunks join, that the source does not
    have."""

    def __init__(self, overlap: int) -> None:
        self._overlap = overlap
        self._tails: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._chunk = 0
        self.clicks: list[int] = []
        """chunks that begin with one"""

    def add(self, source: NDArray[np.float32], decoded: NDArray[np.float32]) -> None:
        """Take in the next segment of both; segments begin where chunks do."""
        if self._tails is not None and source.shape[1] > self._overlap + _AROUND:
            joined = [
                np.concatenate([tail, part[:, : self._overlap + _AROUND]], axis=1)
                for tail, part in zip(self._tails, (source, decoded), strict=True)
            ]
            at = self._tails[0].shape[1]
            if any(self._clicks(joined[0], joined[1], edge) for edge in {at, at + self._overlap}):
                self.clicks.append(self._chunk)
        self._tails = (source[:, -_AROUND:].copy(), decoded[:, -_AROUND:].copy())
        self._chunk += 1

    def findings(self) -> Iterator[Finding]:
        if self.clicks:
            detail = (
                f"{len(self.clicks)} of {self._chunk} chunks begin with a click that the source "
                "does not have"
            )
            yield Finding(Flag.BOUNDARY_CLICKS, Severity.WARNING, detail, tuple(self.clicks[:8]))

    @staticmethod
    def _clicks(source: NDArray[np.float32], decoded: NDArray[np.float32], edge: int) -> bool:
        before, after = curvature(source, edge), curvature(decoded, edge)
        return after > CLICK_RATIO and after > CLICK_GAIN * before


def curvature(samples: NDArray[np.float32], edge: int) -> float:
    """Largest second difference within 8 samples of `edge`, over the RMS of those around it (at
    least -100 dBFS)."""
    second = np.abs(np.diff(samples.astype(np.float64), n=2, axis=1))
    near = second[:, max(0, edge - _NEAR) : edge + _NEAR]
    others = np.concatenate([second[:, : max(0, edge - _NEAR)], second[:, edge + _NEAR :]], axis=1)
    around = float(np.sqrt(np.mean(np.square(others)))) if others.size else 0.0
    return float(near.max(initial=0.0)) / max(around, 1e-5)


def duplicates(entries: Sequence[Entry]) -> dict[str, str]:
    """For each recording that is another's copy (same source bytes, same part of them): the id of
    the first."""
    groups: defaultdict[object, list[str]] = defaultdict(list)
    for entry in entries:
        groups[entry.content].append(entry.recording.id)
    return {id: ids[0] for ids in groups.values() for id in ids[1:]}


def duplicate_flag(id: str, copies: Mapping[str, str]) -> Iterator[Finding]:
    """A recording with the same source bytes as an earlier one."""
    if id in copies:
        yield Finding(
            Flag.DUPLICATE, Severity.WARNING, f"the same audio, byte for byte, as {copies[id]}"
        )


def collapse_flags(use: Sequence[CodebookUse], frames: int, size: int) -> Iterator[Finding]:
    """Codebook levels that use few of their codes, or few of them often, over `frames` frames and
    codebooks of `size`."""
    if frames < COUNTED_ENOUGH * size:
        return
    for level in use:
        if level.perplexity < COLLAPSED_SHARE * size or 1 - level.used > DEAD_SHARE:
            dead = round((1 - level.used) * size)
            detail = (
                f"codebook {level.level}: perplexity {level.perplexity:g} of {size}, {dead} dead "
                "codes"
            )
            yield Finding(Flag.COLLAPSE, Severity.WARNING, detail)
