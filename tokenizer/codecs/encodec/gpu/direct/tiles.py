"""How much of a layer one program of a kernel computes at a time, as was fastest on an H200
(`python -m benchmarks.gpu.tiles`). What comes out depends on it by rounding alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tile:
    """What a program of `tokenizer.codecs.encodec.gpu.direct.kernels` computes at a time."""

    frames: int
    channels: int
    """that go out, or entries that are compared"""
    terms: int
    """of a sum that are taken at a time"""
    warps: int
    stages: int
    """blocks of terms that are loaded before they are needed"""


CONVOLUTIONS: dict[tuple[bool, int, int, int], Tile] = {
    (True, 2, 32, 7): Tile(64, 32, 16, 4, 3),
    (True, 32, 16, 3): Tile(64, 16, 32, 4, 2),
    (True, 16, 32, 1): Tile(64, 32, 16, 4, 2),
    (True, 32, 32, 1): Tile(128, 32, 32, 8, 2),
    (True, 32, 64, 4): Tile(128, 64, 32, 8, 2),
    (True, 64, 32, 3): Tile(64, 32, 32, 4, 2),
    (True, 32, 64, 1): Tile(64, 64, 32, 4, 3),
    (True, 64, 64, 1): Tile(128, 64, 32, 8, 2),
    (True, 64, 128, 8): Tile(128, 128, 32, 8, 3),
    (True, 128, 64, 3): Tile(128, 64, 32, 8, 2),
    (True, 64, 128, 1): Tile(64, 128, 32, 4, 2),
    (True, 128, 128, 1): Tile(64, 128, 32, 4, 2),
    (True, 128, 256, 10): Tile(128, 128, 32, 8, 3),
    (True, 256, 128, 3): Tile(64, 128, 32, 4, 2),
    (True, 128, 256, 1): Tile(64, 128, 32, 4, 2),
    (True, 256, 256, 1): Tile(64, 128, 32, 4, 2),
    (True, 256, 512, 16): Tile(64, 128, 32, 4, 2),
    (True, 512, 128, 7): Tile(64, 64, 32, 4, 3),
    (True, 512, 2048, 1): Tile(128, 128, 32, 8, 3),
    (False, 2, 32, 7): Tile(128, 32, 16, 4, 2),
    (False, 32, 16, 3): Tile(64, 16, 32, 4, 2),
    (False, 16, 32, 1): Tile(64, 32, 16, 4, 2),
    (False, 32, 32, 1): Tile(128, 32, 32, 8, 2),
    (False, 32, 64, 4): Tile(128, 64, 32, 8, 3),
    (False, 64, 32, 3): Tile(64, 32, 32, 4, 2),
    (False, 32, 64, 1): Tile(128, 64, 32, 8, 2),
    (False, 64, 64, 1): Tile(64, 64, 32, 4, 2),
    (False, 64, 128, 8): Tile(128, 128, 32, 8, 3),
    (False, 128, 64, 3): Tile(64, 64, 32, 4, 2),
    (False, 64, 128, 1): Tile(64, 128, 32, 4, 2),
    (False, 128, 128, 1): Tile(64, 128, 32, 4, 3),
    (False, 128, 256, 10): Tile(128, 256, 32, 8, 3),
    (False, 256, 128, 3): Tile(64, 128, 32, 4, 3),
    (False, 128, 256, 1): Tile(64, 128, 32, 4, 2),
    (False, 256, 256, 1): Tile(128, 256, 32, 8, 3),
    (False, 256, 512, 16): Tile(128, 256, 32, 8, 3),
    (False, 512, 128, 7): Tile(64, 128, 32, 4, 3),
    (False, 512, 2048, 1): Tile(128, 128, 32, 8, 3),
}
"""by whether exact, channels in and out, and taps"""
RECURRENCE: dict[bool, Tile] = {
    True: Tile(128, 16, 32, 8, 4),
    False: Tile(64, 32, 32, 4, 4),
}
QUANTIZER: dict[bool, Tile] = {
    True: Tile(64, 64, 32, 4, 3),
    False: Tile(64, 64, 32, 4, 3),
}
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
    found = RECURRENCE[exact]
    return Tile(
        found.frames, min(found.channels, size), min(found.terms, size), found.warps, found.stages
    )


def of_quantizer(exact: bool, entries: int, dim: int) -> Tile:
    """For codebooks of this size."""
    found = QUANTIZER[exact]
    return Tile(
        found.frames, min(found.channels, entries), min(found.terms, dim), found.warps, found.stages
    )
