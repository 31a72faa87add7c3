"""An encoder of PyAV as a system: its setting is searched so that each sound comes to the bitrate
that was asked for, counted in packets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from pipelines.evaluating.systems.base import NotReached, Passed, System
from pipelines.evaluating.wrapping import packets
from pipelines.evaluating.wrapping.search import Search, reached
from pipelines.evaluating.wrapping.shaping import Samples, aligned, fitted, restored, shaped
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
    second: Mapping[str, str] | None = None
    """options for sounds with which the first come near to no such bitrate"""
    lowest = 0.0
    """kbps below which the second are not tried"""
    bounds: tuple[float, float] = (500, 512_000)
    """of its bitrates"""

    @property
    def fingerprint(self) -> str:
        options = (sorted(self.options.items()), sorted((self.second or {}).items()))
        return f"{self.words} {self.encoder} {options}"

    @abstractmethod
    def form(self, kbps: float, channels: int) -> tuple[int, int]:
        """The sample rate and the channels that it is given at a bitrate."""

    def through(self, sound: Waveform, kbps: float) -> Passed:
        rate, channels = self.form(kbps, sound.channels)
        given = shaped(sound.samples, sound.sample_rate, rate, channels)
        wanted = kbps * 1000 * sound.seconds
        how = ""
        try:
            bit_rate, made = self._search(given, rate, self.options).find(wanted, kbps * 1000)
        except NotReached as error:
            if self.second is None or kbps < self.lowest:
                raise reached(self.title, kbps, error) from None
            how = "".join(f", {name} {value}" for name, value in self.second.items())
            bit_rate, made = self._second(given, rate, wanted, kbps)
        decoded, seconds = packets.decode(made.file)
        back = restored(fitted(decoded, given.shape[1]), rate, sound)
        most = round(_MOST_LAG * sound.sample_rate)
        return Passed(
            samples=aligned(back, sound.samples, most),
            bits=made.bits,
            encode_seconds=made.seconds,
            decode_seconds=seconds,
            setting=f"{bit_rate / 1000:g} kbps, {rate} Hz, {channels} ch{how}",
        )

    def _second(
        self, given: Samples, rate: int, wanted: float, kbps: float
    ) -> tuple[float, packets.Encoded]:
        try:
            return self._search(given, rate, self.second or {}).find(wanted, kbps * 1000)
        except NotReached as error:
            raise reached(self.title, kbps, error) from None

    def _search(
        self, given: Samples, rate: int, options: Mapping[str, str]
    ) -> Search[packets.Encoded]:
        return Search(
            lambda bit_rate: packets.encode(
                given, rate, self.encoder, self.container, bit_rate, options
            ),
            lambda made: made.bits,
            self.bounds,
        )
