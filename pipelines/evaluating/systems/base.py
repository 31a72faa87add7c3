"""What a system is: samples at a bitrate, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenizer.types import Waveform

TOLERANCE = 0.1
"""share of the bitrate that was asked for by which the measured one may be off"""
NEAR = 0.01
"""share at which the search for a setting ends"""


class NotReached(Exception):
    """A system has no setting with this bitrate for this sound; the message says why."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What became of a sound."""

    samples: NDArray[np.float32]
    """as it was given: channels, rate and number of samples, aligned to the sample"""
    bits: int
    """that a decoder must be sent, without a container"""
    encode_seconds: float
    decode_seconds: float
    entropy_bits: int | None = None
    """with an entropy coder behind it; None where there is none"""
    setting: str = ""
    """how that bitrate was asked for"""


class System(ABC):
    """A codec, or what it is compared with. Picklable; it may load what it needs on first use."""

    name: str
    """safe as a name of a file"""
    words: str = ""
    """for people: what program, which version"""

    @property
    def fingerprint(self) -> str:
        """What decides its results beside the sound and the bitrate."""
        return self.words

    @abstractmethod
    def through(self, sound: Waveform, kbps: float) -> Passed:
        """Encode and decode.

        Raises:
            NotReached: it has no such bitrate.
            CodecshardsError: it cannot be used at all.
        """
