"""Sound that is missing within a recording: found where time stamps, sample counts or decoders say
so.

A clock takes packets with the frames that came out of them, and gives the frames back with a `Gap`
wherever something is missing before the next one. A gap of known length can be filled with silence,
so that what follows stays at its time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from tokenizer.audio.containers.ogg import Link

LONGEST_LOSS = 0.010
"""seconds that may be missing without a word: time stamps of milliseconds are rounded, and so are
splices"""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that is missing, or wrong."""

    start: int
    """samples of the recording before it"""
    samples: int
    """how much is missing; 0 where nobody knows, or what is there is wrong"""
    reason: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """In a packet's place where the container gives no more."""

    size: int = 0
    pos: int | None = None
    pts: int | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out of a packet."""

    packet: Any
    frames: tuple[Any, ...]
    error: str | None = None


class Clock(Protocol):
    """Tells where something is missing."""

    def frames(self, decoded: Iterable[Decoded]) -> Iterator[Any | Gap]: ...


class Untimed:
    """For containers whose packets are bytes in a row: only what does not decode is missing."""

    def __init__(self) -> None:
        self._at = 0

    def frames(self, decoded: Iterable[Decoded]) -> Iterator[Any | Gap]:
        """Frames, and gaps of unknown length where packets do not decode."""
        for one in decoded:
            if one.error is not None:
                yield Gap(self._at, 0, one.error)
            for frame in one.frames:
                self._at += frame.samples
                yield frame


class Timestamps:
    """For containers that give packets a time: a frame that comes later than the one before it
    ended."""

    def __init__(self, rate: int, begin: int = 0) -> None:
        """`begin` is the number of samples before the first frame that comes."""
        self._rate = rate
        self._at = begin
        self._due: float | None = None
        """the time, in samples, at which the next frame is due"""

    def frames(self, decoded: Iterable[Decoded]) -> Iterator[Any | Gap]:
        """Frames, and gaps between them."""
        error: str | None = None
        for one in decoded:
            error = one.error or error
            if (
                one.error is not None and self._due is None and one.packet.pts is not None
            ):  # nothing has come yet
                self._due = float(one.packet.pts * one.packet.time_base) * self._rate
            for frame in one.frames:
                late = self._late(frame)
                if late or error is not None:
                    yield Gap(self._at, late, error or "time stamps leave a gap")
                    self._at, error = self._at + late, None
                self._at += frame.samples
                yield frame
        if error is not None:
            yield Gap(self._at, 0, error)

    def _late(self, frame: Any) -> int:
        """Samples that are missing before a frame."""
        late = 0.0
        if frame.pts is not None and frame.time_base is not None:
            now = float(frame.pts * frame.time_base) * self._rate
            late = 0.0 if self._due is None else now - self._due
            self._due = now
        if self._due is not None:
            self._due += frame.samples
        return round(late) if late > LONGEST_LOSS * self._rate else 0


class PageCounts:
    """For Ogg: the counts of samples that its pages carry, against what was decoded of them.

    FFmpeg gives a packet the place of the page in which it begins. When the first packet of a page
    comes, the packets that ended on pages before it have all been decoded, and their samples must
    be as many as that page counts. The frames since the page before are held until then: what is
    missing is missing before them.
    """

    def __init__(self, link: Link, rate: int, origin: int) -> None:
        """`origin` is the byte of the file from which FFmpeg counts."""
        self._link, self._rate, self._origin = link, rate, origin
        self._ahead: int | None = None
        """by how much granules run ahead of the samples given out"""
        self._at = 0
        self._judged = 0
        """the first page of which it is not known yet whether those before it are missed"""
        self._held: list[Any] = []
        self._last = 0
        """samples of the last packet"""
        self._error: str | None = None

    def frames(self, decoded: Iterable[Decoded]) -> Iterator[Any | Gap]:
        """Frames, and gaps between them."""
        place: int | None = None
        for one in decoded:
            at = (
                one.packet.pos + self._origin
                if one.packet.size and one.packet.pos is not None
                else None
            )
            if at is not None and at != place:
                place = at
                yield from self._page(at)
            self._error = one.error or self._error
            self._held += one.frames
            if at is not None:
                self._last = sum(frame.samples for frame in one.frames)
        yield from self._end()

    def _page(self, at: int) -> Iterator[Any | Gap]:
        """The first packet of the page at this place has come."""
        link = self._link
        index = bisect_left(link.offsets, at)
        if index == len(link.offsets) or link.offsets[index] != at:
            return
        counted = next(
            (link.granules[i] for i in range(index - 1, -1, -1) if link.granules[i] > 0), None
        )
        held = sum(frame.samples for frame in self._held)
        spanning = self._last if link.continued[index] else 0
        if counted is not None and self._at + held > spanning:
            lost = self._lost(counted - (self._at + held - spanning), index)
            yield from self._release(lost, spanning)

    def _end(self) -> Iterator[Any | Gap]:
        held = sum(frame.samples for frame in self._held)
        lost = 0
        if self._at + held and self._link.last_granule:
            lost = self._lost(self._link.last_granule - self._at - held, len(self._link.missing))
        yield from self._release(lost, 0)
        if self._link.strange:
            self._error = "the beginning of a stream is missing"
        if self._error is not None:
            yield Gap(self._at, 0, self._error)

    def _lost(self, ahead: int, index: int) -> int:
        """Samples that are missing before what is held, when the page with this index has come."""
        if self._ahead is None:  # a stream that is joined while it runs begins with any count
            self._ahead = self._link.nominal if any(self._link.missing[:index]) else ahead
        lost = ahead - self._ahead
        # What stays of the last packet, which its page cuts short, hides a part of a lost one.
        known = any(self._link.missing[self._judged : index])
        self._judged = index
        return lost if lost > (0 if known else LONGEST_LOSS * self._rate) else 0

    def _release(self, lost: int, spanning: int) -> Iterator[Any | Gap]:
        """Give out what is held, but for the packet that ends on the next page."""
        if lost or (self._error is not None and self._held):
            yield Gap(self._at, lost, self._error or "pages are missing or damaged")
            self._at, self._error = self._at + lost, None
        kept: list[Any] = []
        while spanning and self._held and sum(frame.samples for frame in kept) < spanning:
            kept.insert(0, self._held.pop())
        for frame in self._held:
            self._at += frame.samples
            yield frame
        self._held = kept
