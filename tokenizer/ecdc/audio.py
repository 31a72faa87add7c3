"""Recordings at a model's rate and channels, as the original's `convert_audio` makes them.

It resamples by torchaudio's `Resample`: band-limited interpolation with a sinc of 6 zero crossings
under a Hann window (Smith, "Digital Audio Resampling"), whose weights are computed in float64.
`tokenizer.codecs.semantic` does likewise with weights in float32, as another function of torchaudio
has them: other last bits.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tokenizer.audio import stream_audio

Block = NDArray[np.float32]
"""float32 `[channels, n]`"""
_CROSSINGS, _ROLLOFF = 6, 0.99
"""of the sinc, and where it cuts off beside half the lower rate"""
_SECONDS = 10
"""that are resampled at once"""
_LARGEST_FILTER = 1 << 25
"""weights of its filters; rates without a common divisor need billions"""


def converted(
    file: str | os.PathLike[str], sample_rate: int, channels: int, *, downmix: bool = False
) -> Iterator[Block]:
    """A file's samples in blocks: mono to both channels, stereo to its mean, then another rate. By
    soxr where torchaudio's way would take more memory than a machine has.

    Args:
        file: local path.
        sample_rate: that is wanted.
        channels: 1 or 2.
        downmix: mix more than two channels down instead of refusing them.

    Raises:
        RecordingError: it cannot be read, or not to its end (`stream_audio`).
    """
    found = stream_audio(file, None, channels, downmix=downmix)
    rate = found.facts.sample_rate
    old, new = _reduced(rate, sample_rate)
    if old == new:
        yield from found
    elif new * (2 * _reach(old, new) + old) > _LARGEST_FILTER:
        found.close()
        yield from stream_audio(file, sample_rate, channels, downmix=downmix)
    else:
        yield from _resampled(found, old, new, _SECONDS * rate // old)


def _resampled(blocks: Iterable[Block], old: int, new: int, together: int) -> Iterator[Block]:
    """Blocks at `new / old` of their rate, in lowest terms: what torchaudio gives for the whole.

    Every `old` samples become `new`, by what lies within `_reach` of them. At least `together` of
    these groups are resampled at once, when all that they need is there; what the next ones need is
    kept.
    """
    reach = _reach(old, new)
    before = -(-reach // old)
    held: Block | None = None
    done = 0
    """groups at the beginning of `held` that were given already"""
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], axis=1)
        ready = (held.shape[1] - reach) // old
        if ready >= done + max(1, together):
            yield _at_rate(held, old, new)[:, done * new : ready * new]
            kept = max(0, ready - before)
            held, done = held[:, kept * old :], ready - kept
    if held is not None:
        yield _at_rate(held, old, new)[:, done * new :]


def _at_rate(samples: Block, old: int, new: int) -> Block:
    """float32 `[channels, ceil(n * new / old)]`, with silence around the samples."""
    reach, filters = _reach(old, new), _filters(old, new)
    rows = torch.from_numpy(np.ascontiguousarray(samples))
    with torch.inference_mode():
        padded = functional.pad(rows, (reach, reach + old))
        groups = functional.conv1d(padded[:, None], filters, stride=old)
        found: Block = groups.transpose(1, 2).reshape(len(rows), -1).numpy()
    return found[:, : -(-samples.shape[1] * new // old)]


@lru_cache(maxsize=2)
def _filters(old: int, new: int) -> torch.Tensor:
    """float32 `[new, 1, taps]`: for each sample of a group the weights of those around it."""
    lower, reach = min(old, new) * _ROLLOFF, _reach(old, new)
    taps = torch.arange(-reach, reach + old, dtype=torch.float64).view(1, 1, -1) / old
    places = torch.arange(0, -new, -1).view(-1, 1, 1) / new
    crossings = ((places + taps) * lower).clamp(-_CROSSINGS, _CROSSINGS)
    window = torch.cos(crossings * math.pi / _CROSSINGS / 2) ** 2
    angles = crossings * math.pi
    sinc = torch.where(angles == 0, 1.0, angles.sin() / angles)
    return (sinc * (window * (lower / old))).float()


def _reach(old: int, new: int) -> int:
    """Samples on each side that a group is made of, beside its own."""
    return math.ceil(_CROSSINGS * old / (min(old, new) * _ROLLOFF))


def _reduced(old: int, new: int) -> tuple[int, int]:
    divisor = math.gcd(old, new)
    return old // divisor, new // divisor
