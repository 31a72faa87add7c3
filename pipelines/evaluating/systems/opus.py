"""Opus by libopus: VBR, frames of 20 ms, as `opusenc` does by itself.

Where it changes its mode, the rate of some sounds leaps over the one that was asked for: those are
encoded at a constant one."""

from __future__ import annotations

from pipelines.evaluating.systems.lossy import LossySystem
from pipelines.evaluating.wrapping import packets


class Opus(LossySystem):
    name, title = "opus", "Opus"
    encoder, container = "libopus", "ogg"
    bounds = (500, 256_000)
    second = {"vbr": "off"}  # noqa: RUF012
    lowest = 6.0

    def __init__(self) -> None:
        self.words = packets.version("libopus, VBR,")

    def form(self, kbps: float, channels: int) -> tuple[int, int]:
        return 48_000, channels
