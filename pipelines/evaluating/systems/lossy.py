"""An encoder of PyAV as a system: its setting is searched so that each sound comes to the bitrate
that was asked for, counted in packets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from pipelines.evaluating.systems.base import NotReached, Passed, System
from pipelines.evaluating.wrapping import packets
from pipelines.evaluating.wrapping.search import Search, reached
from pipelines.evaluating.wrapping.shaping import aligned, fitted, restored, shaped
from tokenizer.types import Waveform

_MOST_LAG = 0.01
"""seconds by which a file may be off after its container's word on the delay: a few samples in the
modes of Opus for speech"""


class LossySystem(System):
    """One encoder of libavcodec."""

    title: str
    encoder: str
    container: str
    options: Mapping[str, str] = {}
    bounds: tuple[float, float] = (500, 512_000)
    """of its bitrates"""

    @property
    def fingerprint(self) -> str:
        return f"{self.words} {self.encoder} {sorted(self.options.items())}"

    @abstractmethod
    def form(self, kbps: float, channels: int) -> tuple[int, int]:
        """The sample rate and the channels that it is given at a bitrate."""

    def through(self, sound: Waveform, kbps: float) -> Passed:
        rate, channels = self.form(kbps, sound.channels)
        given = shaped(sound.samples, sound.sample_rate, rate, channels)
        search = Search(
            lambda bit_rate: packets.encode(
                given, rate, self.encoder, self.container, bit_rate, self.options
            ),
            lambda made: made.bits,
            self.bounds,
        )
        try:
            bit_rate, made = search.find(kbps * 1000 * sound.seconds, kbps * 1000)
        except NotReached as error:
            raise reached(self.title, kbps, error) from None
        decoded, seconds = packets.decode(made.file)
        back = restored(fitted(decoded, given.shape[1]), rate, sound)
        most = round(_MOST_LAG * sound.sample_rate)
        return Passed(
            samples=aligned(back, sound.samples, most),
            bits=made.bits,
            encode_seconds=made.seconds,
            decode_seconds=seconds,
            setting=f"{bit_rate / 1000:g} kbps, {rate} Hz, {channels} ch",
        )
