"""Samples that no recording has, and that a codec would turn into garbage without an error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenizer.errors import FailureKind, RecordingError

ABSURD_SAMPLE = 1e4
"""80 dB above full scale: no recording, and near the range in which float32 arithmetic overflows in
a codec"""


def check_samples(samples: NDArray[np.float32], name: str = "waveform") -> None:
    """Refuse samples that are no audio.

    Raises:
        RecordingError: NaN, infinite, or more than 80 dB above full scale (NON_FINITE).
    """
    if not samples.size:
        return
    # One pass: a NaN or an infinity makes the extremes NaN or infinite, and every comparison with
    # NaN is false.
    low, high = float(samples.min()), float(samples.max())
    if not (low >= -ABSURD_SAMPLE and high <= ABSURD_SAMPLE):
        what = "NaN" if np.isnan(samples).any() else f"samples from {low:.3g} to {high:.3g}"
        raise RecordingError(
            FailureKind.NON_FINITE, f"{name}: has {what}; full scale is 1.0", "check"
        )
