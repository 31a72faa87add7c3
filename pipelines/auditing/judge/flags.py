"""What is odd about a source, a reconstruction or the corpus.

Most of it is for ears to judge: a silent recording may be meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.auditing.measure.measures import SILENT_RMS, PairSums
from pipelines.auditing.results import FindingName, Remark, Severity
from pipelines.system.words import fixed

BAND_EDGE = 8_000.0
"""Hz: half of 16 kHz, the rate of most speech corpora"""
BAND_SHARE = 10**-6.5
"""power above the edge over all power: -65 dB; below it an ear hears nothing there"""
LOUD_SCALE = 2.0
"""RMS +6 dB above full scale: no recording of full scale 1 has it"""
_OF_THE_METER = {
    "antiphase": (
        FindingName.ANTIPHASE,
        "left and right cancel in mono: the codec normalises by the mono mix and loses it",
    ),
    "clipped": (FindingName.CLIPPING, "runs of samples at full scale: the source is clipped"),
}


def silence_flag(flags: Sequence[str], sums: PairSums) -> Iterator[Remark]:
    """A source that is digital silence, or so near it that the measures say nothing of it; `flags`
    as for `meter_flags`."""
    if "silent" in flags:
        yield Remark(FindingName.SILENCE, "the source is digital silence (below -120 dBFS)")
    elif sums.n and sums.rms() < SILENT_RMS:
        level = 20 * np.log10(max(sums.rms(), 1e-10))
        yield Remark(FindingName.SILENCE, f"the source is silent ({fixed(float(level), 0)} dBFS)")


def meter_flags(flags: Sequence[str]) -> Iterator[Remark]:
    """The flags that reading the source raised (`tokenizer.audio.meter`), without silence."""
    for flag in flags:
        if flag in _OF_THE_METER:
            name, detail = _OF_THE_METER[flag]
            yield Remark(name, detail)


def band_flag(spectrum: NDArray[np.float64] | None, sample_rate: int) -> Iterator[Remark]:
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
        yield Remark(FindingName.LOW_BANDWIDTH, detail)


def impossible_scales(scales: NDArray[np.float32] | None) -> Iterator[Remark]:
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
            yield Remark(FindingName.SCALE_OUTLIER, detail, tuple(chunks[:8].tolist()), severity)
