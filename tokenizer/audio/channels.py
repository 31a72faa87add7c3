"""Channel mapping in NumPy. FFmpeg's own would scale mono by 0.707 on its way to stereo."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from tokenizer.errors import FailureKind, RecordingError, UsageError
from tokenizer.types import LEFT, MIX, RIGHT, SPLIT

_HALF_POWER = float(np.sqrt(0.5))
_ITU: dict[str, tuple[float, float]] = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (_HALF_POWER, _HALF_POWER),
    "LFE": (0.0, 0.0),
    "BL": (_HALF_POWER, 0.0),
    "BR": (0.0, _HALF_POWER),
    "SL": (_HALF_POWER, 0.0),
    "SR": (0.0, _HALF_POWER),
    "BC": (0.5, 0.5),
    "FLC": (1.0, 0.0),
    "FRC": (0.0, 1.0),
}
"""gain of each loudspeaker in the left and right channel: ITU-R BS.775, annex 4, without
normalisation"""


_SIDES = {LEFT: (0, "FL"), RIGHT: (1, "FR")}


def picked_channel(name: str, layout: tuple[str, ...], wanted: int | str | None) -> int | None:
    """The one channel, from 0, that is meant; None where it is not one.

    Args:
        name: what errors call the file.
        layout: names of its channels.
        wanted: a channel's number, or one of `CHANNEL_CHOICES`. The left and the right one of a
            pair are its first and second, of more than two FL and FR, and mono stands for both.
            `split` means the only one there is: of several, each is asked for by its number.

    Raises:
        RecordingError: no such channel (CHANNELS).
        UsageError: `wanted` is none of these.
    """
    count = len(layout)
    there = f"{count} channels ({' '.join(layout)})" if count > 1 else "1 channel"
    reason = ""
    if isinstance(wanted, Integral):  # NumPy's too
        if 0 <= wanted < count:
            return int(wanted)
        reason = f"there is no channel {wanted}, it has {there}, counted from 0"
    elif wanted in _SIDES:
        place, label = _SIDES[wanted]
        if count <= 2:
            return min(place, count - 1)
        if label in layout:
            return layout.index(label)
        reason = f"has {there} and none is called {label}: --channels split takes each"
    elif wanted == SPLIT:
        if count == 1:
            return 0
        reason = (
            f"has {there}, which could not be read when the corpus was listed: --channels split "
            "needs them to plan rows, so choose another OUT"
        )
    elif wanted in (None, MIX):
        return None
    else:
        raise UsageError(f"channel={wanted!r}: give a number from 0, left, right or mix")
    raise RecordingError(FailureKind.CHANNELS, f"{name}: {reason}", "open")


def mapping_matrix(
    name: str, layout: tuple[str, ...], channels: int, downmix: bool
) -> NDArray[np.float32] | None:
    """Gains float32 `[channels, source channels]`; None when the samples stay as they are.

    Mono goes to both channels at full level; stereo to mono is the mean; more than two are refused
    unless `downmix`.

    Raises:
        RecordingError: more than two channels and no downmix, or channels whose places are unknown
            (CHANNELS).
    """
    count = len(layout)
    if count == channels:
        return None
    if count == 1:
        return np.ones((channels, 1), np.float32)
    if count == 2:
        return np.full((1, 2), 0.5, np.float32)
    if not downmix:
        message = (
            f"{name}: has {count} channels ({' '.join(layout)}); --downmix (downmix=True) mixes "
            "them down"
        )
        raise RecordingError(FailureKind.CHANNELS, message, "open")
    unknown = [place for place in layout if place not in _ITU]
    if unknown:
        message = f"{name}: cannot mix down {count} channels, places unknown: {' '.join(unknown)}"
        raise RecordingError(FailureKind.CHANNELS, message, "open")
    stereo = np.array([_ITU[place] for place in layout], np.float32).T
    return stereo if channels == 2 else np.ascontiguousarray(stereo.mean(axis=0, keepdims=True))


def apply_mapping(
    block: NDArray[np.float32], matrix: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Mix a block float32 `[source channels, n]` with the gains of `mapping_matrix`."""
    if matrix is None:
        return block
    # Not BLAS, whose threads cost more than so small a product.
    mixed: NDArray[np.float32] = np.einsum("oc,cn->on", matrix, block)
    return mixed
