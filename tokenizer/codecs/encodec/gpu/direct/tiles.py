"""How much of a layer one program of a kernel computes at a time, as was fastest on an H200
(`python -m benchmarks.gpu.tiles`). What comes out depends on it by rounding alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tile:
    """What a program of `tokenizer.codecs.encodec.gpu.kernels` computes at a time."""

    frames: int
    channels: int
    """that go out, or entries that are compared"""
    terms: int
    """of a sum that are taken at a time"""
    warps: int
    stages: int
    """blocks of terms that are loaded before they are needed"""


CONVOLUTIONS: dict[tuple[bool, int, int, int], Tile] = {}
"""by whether exact, channels in and out, and taps"""
RECURRENCE: dict[bool, Tile] = {}
QUANTIZER: dict[bool, Tile] = {}
"""by whether exact"""


def of_convolution(exact: bool, channels_in: int, channels_out: int, taps: int, width: int) -> Tile:
    """The one that was measured, or one for any layer: of `width` frames at most."""
    found = CONVOLUTIONS.get((exact, channels_in, channels_out, taps))
    if found is not None:
        return found
    terms = min(max(channels_in, 16), 32)
    if channels_out < 64:
        return Tile(frames=64, channels=channels_out, terms=terms, warps=4, stages=2)
    if width < 1024:
        return Tile(frames=64, channels=64, terms=terms, warps=4, stages=3)
    return Tile(frames=128, channels=64, terms=terms, warps=8, stages=2)


def of_recurrence(exact: bool, size: int) -> Tile:
    """For an LSTM of so many units."""
    found = RECURRENCE.get(exact, Tile(frames=64, channels=32, terms=32, warps=4, stages=3))
    return Tile(
        found.frames, min(found.channels, size), min(found.terms, size), found.warps, found.stages
    )


def of_quantizer(exact: bool, entries: int, dim: int) -> Tile:
    """For codebooks of this size."""
    found = QUANTIZER.get(exact, Tile(frames=64, channels=64, terms=32, warps=4, stages=3))
    return Tile(
        found.frames, min(found.channels, entries), min(found.terms, dim), found.warps, found.stages
    )
