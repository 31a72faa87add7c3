"""Which excerpts: recordings drawn by a seed within each domain, and a place in each.

A corpus is listed once, and of each domain only as many recordings are kept as may be needed. Each
that is read passes by in blocks: whatever its length, no more is held than the stretches that are
taken.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.corpus.reader import Decoder, DecodeSettings, Decoding
from pipelines.corpus.sources import Source
from pipelines.evaluating.folder import REFERENCE, Excerpt, audio_path, safe_name, write_audio
from pipelines.evaluating.options import SHORTEST, EvaluateOptions
from tokenizer.errors import RecordingError, UsageError
from tokenizer.types import Recording

CHANNELS = 2
ALL = "all"
"""the domain of recordings that lie in no folder"""
QUIET = 1e-4
"""RMS below which a stretch is silence, -80 dBFS"""
_SPARE = 200
"""recordings beside eight times those that are wanted: in place of those that are too short, silent
or cannot be read"""


@dataclass(slots=True)
class Drawn:
    """Recordings of one domain, in the order in which they are tried."""

    seen: int = 0
    kept: list[tuple[int, int, Recording]] = field(default_factory=list)
    """a heap: minus the place that the seed gives, the number in the corpus, the recording"""

    def add(self, place: int, recording: Recording, most: int) -> None:
        self.seen += 1
        row = (-place, -self.seen, recording)
        if len(self.kept) < most:
            heapq.heappush(self.kept, row)
        elif row[:2] > self.kept[0][:2]:
            heapq.heapreplace(self.kept, row)

    def recordings(self) -> list[Recording]:
        return [row[2] for row in sorted(self.kept, key=lambda row: row[:2], reverse=True)]


@dataclass(frozen=True, slots=True)
class Stretch:
    start: int
    """sample"""
    samples: NDArray[np.float32]


def place_of(seed: int, *what: object) -> int:
    """A number that looks like chance, and is the same for the same."""
    text = "\0".join(map(str, (seed, *what)))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def domain_of(recording: Recording, column: str | None) -> str:
    """
    Raises:
        UsageError: the recording has no such column.
    """
    if column is None:
        first, inner, _ = recording.id.partition("/")
        return first if inner else ALL
    values: Mapping[str, Any] = {
        "text": recording.text,
        "language": recording.language,
        "speaker": recording.speaker,
        **recording.meta,
    }
    value = values.get(column)
    if value is None:
        raise UsageError(
            f"--domain-column {column}: {recording.id} has none; there are "
            f"{', '.join(name for name, value in values.items() if value is not None) or 'none'}"
        )
    return str(value)


def draw(recordings: Iterable[Recording], options: EvaluateOptions) -> dict[str, Drawn]:
    """The recordings of each domain that may be taken.

    Raises:
        UsageError: a column that a recording has not; a domain that is not there; none at all.
    """
    found: dict[str, Drawn] = {}
    for recording in recordings:
        domain = domain_of(recording, options.domain_column)
        drawn = found.setdefault(domain, Drawn())
        if not options.domains or domain in options.domains:
            most = 8 * options.excerpts + _SPARE
            drawn.add(place_of(options.seed, recording.id), recording, most)
    if not found:
        raise UsageError("the corpus has no recordings")
    for domain in options.domains:
        if domain not in found:
            raise UsageError(f"--domains {domain}: there are {', '.join(sorted(found))}")
    return {domain: drawn for domain, drawn in sorted(found.items()) if drawn.kept}


class Excerpts:
    """Reads the recordings that were drawn, and writes the references."""

    def __init__(self, source: Source, folder: Path, rate: int, options: EvaluateOptions) -> None:
        self._folder, self._rate, self._options = folder, rate, options
        self._length = round(options.seconds * rate)
        self.passed_over: list[dict[str, str]] = []
        self._decoder = Decoder(
            DecodeSettings(
                source=source,
                sample_rate=rate,
                channels=CHANNELS,
                downmix=True,
                timeout=options.decode_timeout,
            )
        )

    def close(self) -> None:
        """End the process that decodes."""
        self._decoder.close()

    def write(self, domain: str, drawn: Drawn) -> Iterator[Excerpt]:
        """The excerpts of a domain, each once its reference is there.

        Raises:
            CodecshardsError: the corpus cannot be read at all, or the folder not be written.
        """
        wanted = self._options.excerpts
        each = -(-wanted // min(drawn.seen, wanted))
        """stretches of a recording, where there are fewer recordings than excerpts"""
        written = 0
        for decoding in self._decoder.decode(drawn.recordings()):
            recording = decoding.recording
            try:
                stretches = self._stretches(decoding, each)
            except RecordingError as error:
                self._pass_over(recording, error.message)
                continue
            if not stretches:
                self._pass_over(recording, f"silent, or shorter than {SHORTEST:g} s")
            for stretch in stretches[: wanted - written]:
                written += 1
                yield self._written(domain, written, recording, stretch)
            if written == wanted:
                break
        self._decoder.close()

    def _pass_over(self, recording: Recording, reason: str) -> None:
        self.passed_over.append({"id": recording.id, "reason": reason})

    def _stretches(self, decoding: Decoding, most: int) -> list[Stretch]:
        """Those that the seed puts first among what is not silent, in the order of time."""
        best: list[tuple[int, int, Stretch]] = []
        for start, samples in pieces(iter(decoding), self._length):
            whole = samples.shape[1] == self._length or start == 0
            if not whole or samples.shape[1] < SHORTEST * self._rate or quiet(samples):
                continue
            place = place_of(self._options.seed, decoding.recording.id, start // self._length)
            heapq.heappush(best, (-place, start, Stretch(start, samples)))
            if len(best) > most:
                heapq.heappop(best)
        return [row[2] for row in sorted(best, key=lambda row: row[1])]

    def _written(self, domain: str, number: int, recording: Recording, stretch: Stretch) -> Excerpt:
        samples = as_heard(stretch.samples)
        name = f"{safe_name(domain)[:20]}-{number:03d}-{safe_name(recording.id)[-40:].strip('-.')}"
        write_audio(audio_path(self._folder, REFERENCE, name), samples, self._rate)
        return Excerpt(
            name=name,
            domain=domain,
            source=recording.uri,
            id=recording.id,
            start=stretch.start / self._rate,
            seconds=samples.shape[1] / self._rate,
            sample_rate=self._rate,
            channels=samples.shape[0],
        )


def pieces(
    blocks: Iterator[NDArray[np.float32]], length: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """A stream in pieces of one length, the last one shorter: the sample that each begins at, and
    its samples."""
    held: list[NDArray[np.float32]] = []
    have = start = 0
    for block in blocks:
        held.append(block)
        have += block.shape[1]
        while have >= length:
            joined = np.concatenate(held, axis=1)
            yield start, joined[:, :length].copy()
            start += length
            held, have = [joined[:, length:]], have - length
    if have:
        yield start, np.concatenate(held, axis=1)


def quiet(samples: NDArray[np.float32]) -> bool:
    """Whether there is nothing to hear."""
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean())) < QUIET


def as_heard(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """One channel where both are the same."""
    same = bool(np.array_equal(samples[0], samples[-1]))
    return samples[:1] if same else samples
