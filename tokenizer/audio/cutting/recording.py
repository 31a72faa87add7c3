"""One recording, from an open stream to where it is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tokenizer.audio.cutting.activity import Listener
from tokenizer.audio.cutting.energy import EnergyListener
from tokenizer.audio.cutting.places import cut_evenly, cut_in_pauses
from tokenizer.audio.cutting.vad import VadListener
from tokenizer.audio.readers.base import CUT_OFF, SourceFacts
from tokenizer.audio.stream import AudioStream
from tokenizer.cuts import FIXED, VAD, CutRule, Cuts
from tokenizer.errors import FailureKind, RecordingError


def cut_by_header(
    stream: AudioStream, rule: CutRule, start: float | None = None, end: float | None = None
) -> Cuts | None:
    """Where a recording is cut, if what its header says for certain is enough: how long it is,
    where that is no more than a segment may be, or nothing else is asked.

    Args:
        stream: of the whole file; nothing is read of it.
        rule: what is asked for.
        start: of the recording, in seconds of the file.
        end: of the recording.
    """
    known = declared_length(stream.facts, start, end)
    rate = stream.facts.sample_rate
    if known is None or (rule.kind != FIXED and known > rule.most * rate):
        return None
    return cut_evenly(known, rate, rule)


def cut_by_listening(
    stream: AudioStream,
    rule: CutRule,
    words: Iterable[tuple[float, float]] = (),
    beat: Callable[[float], None] = lambda seconds: None,
) -> Cuts:
    """Where a recording is cut, read from its beginning to its end.

    Args:
        stream: at the source's own rate.
        rule: what is asked for.
        words: start and end of what is known to be said, in seconds from the recording's beginning:
            none is left out, and none is cut through where it can be helped.
        beat: is told again and again how many seconds have been read.

    Raises:
        RecordingError: as iterating the stream; nothing is heard in it (EMPTY).
    """
    rate = stream.sample_rate
    listener: Listener | None = None
    if rule.kind != FIXED:
        listener = VadListener(rate) if rule.kind == VAD else EnergyListener(rate)
    samples = 0
    own = 1 if stream.facts.channels == 1 else None  # of which a mono file's other is a copy
    for block in stream:
        samples += block.shape[1]
        if listener is not None:
            listener.add(block[:own])
        beat(samples / rate)
    if listener is None:
        return cut_evenly(samples, rate, rule)
    activity = listener.result().also((start * rate, end * rate) for start, end in words)
    cuts = cut_in_pauses(activity, rate, rule)
    if not cuts.pieces and (cuts.left_out or cuts.lost):
        what = "no speech" if rule.kind == VAD else "nothing but silence"
        message = f"{stream.name}: {what} in {samples / rate:.1f} s (--cut {rule.kind})"
        raise RecordingError(FailureKind.EMPTY, message, "cut")
    return cuts


def declared_length(
    facts: SourceFacts, start: float | None = None, end: float | None = None
) -> int | None:
    """Source samples of a recording, where its header says so to the sample; None where only
    decoding tells, as of an MP3 without a count of its frames."""
    if facts.declared is None or facts.declared == CUT_OFF or facts.tolerance > 1 or facts.trims:
        return None
    first = round((start or 0.0) * facts.sample_rate)
    last = facts.declared
    if end is not None:
        if round(end * facts.sample_rate) > last:
            return None  # how much may be missing there, decoding says
        last = round(end * facts.sample_rate)
    return last - first if last > first else None
