"""The interface between the two decoders and everything behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from tokenizer.audio.timeline import Gap
from tokenizer.errors import FailureKind, RecordingError

AudioFile = str | BinaryIO
"""a local path, or a seekable binary file"""
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Hz; beyond them a header is wrong, and 1 Hz would grow 48,000 times"""

CUT_OFF = 1 << 62
"""a declared length beyond any file's: the end is known to be missing, and not how much of it"""


PADDING = 2_048
"""samples beyond the declared length that can be a decoder's padding: an AAC or Vorbis packet"""
_WITHOUT_LABELS = {
    1: ("FC",),
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""the order that WAVE files without a channel mask are taken to have"""


def usual_layout(channels: int) -> tuple[str, ...]:
    """Names of the channels of a file that does not name them; `?` where nothing is usual."""
    return _WITHOUT_LABELS.get(channels, tuple(f"?{i}" for i in range(channels)))


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a reader knows once a file is open."""

    decoder: str
    """ "pyav" or "soundfile" """
    container: str
    codec: str
    sample_rate: int
    layout: tuple[str, ...]
    """names of the channels (FL, FR, FC …); as many as there are"""
    declared: int | None
    """samples per channel that the header declares, where it can be believed"""
    tolerance: int
    """samples by which a sound file may fall short of that (priming, rounded time stamps)"""
    trims: bool
    """whether up to `padding` samples beyond the declared length are what the decoder left on"""
    tracks: int = 1
    """of sound; unless one is asked for, the one that the file calls its default is read, or else
    the first"""
    track: int = 0
    """the one that is read"""
    padding: int = PADDING
    """samples"""

    @property
    def channels(self) -> int:
        return len(self.layout)


class Reader(Protocol):
    """A file that is open: facts, then blocks float32 `[channels, n]` at its own rate."""

    facts: SourceFacts

    @property
    def gaps(self) -> list[Gap]:
        """What was found missing so far, where that is allowed."""

    def blocks(self) -> Iterator[NDArray[np.float32]]: ...
    def close(self) -> None: ...


@contextmanager
def opened(file: AudioFile) -> Iterator[BinaryIO]:
    """A file as bytes, from its start, to look at its header; a handle is left at the place where
    it was.

    A decoder that reads through the same handle goes on from there: moving it shifts what is
    decoded next.
    """
    if isinstance(file, str):
        with Path(file).open("rb") as handle:
            yield handle
        return
    place = file.tell()
    file.seek(0)
    try:
        yield file
    finally:
        file.seek(place)


def check_facts(name: str, sample_rate: int, channels: int) -> None:
    """Refuse rates and channel counts that cannot be.

    Raises:
        RecordingError: BAD_HEADER.
    """
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        message = (
            f"{name}: a sample rate of {sample_rate} Hz cannot be ({LOWEST_RATE} to {HIGHEST_RATE} "
            "can)"
        )
        raise RecordingError(FailureKind.BAD_HEADER, message, "open")
    if channels < 1:
        raise RecordingError(
            FailureKind.BAD_HEADER, f"{name}: its header declares {channels} channels", "open"
        )


def require_track(name: str, wanted: int | None, tracks: int) -> None:
    """Refuse a track of sound that a file does not have.

    Raises:
        RecordingError: CHANNELS.
    """
    if wanted is not None and not 0 <= wanted < tracks:
        message = f"{name}: there is no track {wanted}, it has {tracks} of sound, counted from 0"
        raise RecordingError(FailureKind.CHANNELS, message, "open")


def trimmed(
    blocks: Iterator[NDArray[np.float32]], declared: int, padding: int = PADDING
) -> Iterator[NDArray[np.float32]]:
    """Blocks without up to a packet of padding behind the declared end; more than that is no
    padding, but sound that follows."""
    at = 0
    beyond: list[NDArray[np.float32]] = []
    for block in blocks:
        inside = block[:, : max(0, declared - at)]
        at += block.shape[1]
        if inside.shape[1]:
            yield inside
        if inside.shape[1] < block.shape[1]:
            beyond.append(block[:, inside.shape[1] :])
        if at - declared > padding:
            yield from beyond
            beyond = []


def reason_of(error: BaseException) -> str:
    """What FFmpeg says is wrong, in a line."""
    log = getattr(error, "log", None)
    if log and "whitelist" in log[2]:
        return f"a {log[1]} file is no container of audio"
    if log:
        return str(log[2]).strip() or type(error).__name__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
