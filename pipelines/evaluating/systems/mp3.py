"""MP3 by LAME: ABR, which comes nearest to any bitrate, at the sample rates that LAME's own program
chooses for it (`optimum_bandwidth` and `optimum_samplefreq` of libmp3lame 3.100)."""

from __future__ import annotations

from pipelines.evaluating.systems.lossy import LossySystem
from pipelines.evaluating.wrapping import packets

_LOWPASS = (
    (8, 2_000),
    (16, 3_700),
    (24, 3_900),
    (32, 5_500),
    (40, 7_000),
    (48, 7_500),
    (56, 10_000),
    (64, 11_000),
    (80, 13_500),
    (96, 15_100),
)
"""kbps of a stereo file, and the highest frequency that it is left"""
_RATES = ((4_510, 8_000), (5_420, 12_000), (7_230, 16_000), (11_220, 24_000), (15_250, 32_000))
_MONO = 1.5


class Mp3(LossySystem):
    name, title = "mp3", "MP3"
    encoder, container = "libmp3lame", "mp3"
    options = {"abr": "1"}  # noqa: RUF012
    bounds = (4_000, 310_000)

    def __init__(self) -> None:
        self.words = packets.version("libmp3lame, ABR,")

    def form(self, kbps: float, channels: int) -> tuple[int, int]:
        at = min(_LOWPASS, key=lambda row: abs(row[0] - kbps))[1] if kbps < 104 else 20_000
        top = at * (_MONO if channels == 1 else 1)
        return next((rate for most, rate in _RATES if top <= most), 48_000), channels
