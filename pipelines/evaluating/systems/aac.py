"""AAC-LC by FFmpeg's own encoder, the one that everybody has; HE-AAC, which is meant for the lowest
of these bitrates, is in no build of FFmpeg that may be handed on."""

from __future__ import annotations

from pipelines.evaluating.systems.lossy import LossySystem
from pipelines.evaluating.wrapping import packets

_LEAST_STEREO = 16.0
"""kbps below which it is given one channel: with two it uses more, whatever it is told"""
_RATES = ((10, 12_000), (16, 24_000), (24, 32_000))
"""kbps a channel, and the sample rate that it is given below them"""


class Aac(LossySystem):
    name, title = "aac", "AAC"
    encoder, container = "aac", "ipod"
    bounds = (1_000, 320_000)

    def __init__(self) -> None:
        self.words = packets.version("AAC-LC by the native encoder")

    def form(self, kbps: float, channels: int) -> tuple[int, int]:
        used = 1 if kbps < _LEAST_STEREO else channels
        rate = next((rate for most, rate in _RATES if kbps / used < most), 48_000)
        return rate, used
