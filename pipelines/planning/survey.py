"""What a corpus is, counted as it is listed: nothing is kept of a recording but sums."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pipelines.corpus.by_channel import planned
from pipelines.corpus.sources import SOURCES, Source, source_kind, source_names
from pipelines.corpus.sources.base import EstimateFromHeader, FromHeader, Guess
from pipelines.corpus.sources.forms.several import OF, SeveralSources
from pipelines.corpus.sources.identity import VERSION
from pipelines.output.config import TokenizeConfig
from pipelines.output.plans.placing import Placing, estimated, place_in_shards
from pipelines.planning.corpus import open_cutting
from pipelines.planning.lengths import Histogram
from pipelines.system.compute import DECODE_TIMEOUT
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.facts import code_frames
from tokenizer.errors import FailureKind, UsageError
from tokenizer.types import Recording

HEADER_SECONDS = 60.0
"""that reading a header may take before it counts as one that cannot be read"""
FIRST = 5
"""rejected items that are shown with their reasons"""
_TITLES = {
    "file": "an audio file",
    "folder": "a folder of audio files",
    "list": "a list of a layout",
    "manifest": "a table",
    "tar": "WebDataset tars",
    "parquet": "Parquet files with audio",
    "hf": "a Hugging Face data set",
}


@dataclass(slots=True)
class Part:
    """One of the sources."""

    label: str
    """as ids begin; empty where it is the only one"""
    address: str
    kind: str
    """a row of `pipelines.corpus.sources.SOURCES`, or another package's"""
    layout: str = ""
    recordings: int = 0
    seconds: float = 0.0

    @property
    def title(self) -> str:
        """What it is, for people."""
        if self.layout:
            return f"{self.layout} layout"
        return _TITLES.get(self.kind, self.kind)


@dataclass(slots=True)
class Survey:
    """Sums over all recordings. Lengths are seconds as they are planned with."""

    parts: dict[str, Part]
    notes: tuple[str, ...] = ()
    lengths: Histogram = field(default_factory=Histogram)
    stated: int = 0
    """of the recordings, those whose length is known: from the corpus, or the ends of a segment"""
    from_headers: int = 0
    """those whose file's header says it, to the sample"""
    estimated: int = 0
    """those whose file's header says it more or less"""
    guessed: int = 0
    """those whose length is estimated from a file's size"""
    assumed: int = 0
    """those of which nothing is known"""
    segments: int = 0
    with_text: int = 0
    characters: int = 0
    with_speaker: int = 0
    speakers: set[str] = field(default_factory=set)
    with_language: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    """by kind of failure"""
    first_rejected: list[tuple[str, str, str]] = field(default_factory=list)
    """id, kind and message of the first few"""
    shards: int = 0
    longest_shard: float = 0.0
    frames: int = 0
    """of the codec, where its facts are known"""
    metadata_bytes: int = 0
    """of ids, texts and the like, as UTF-8"""

    def add(self, recording: Recording, spec: CodecSpec | None) -> None:
        """Count one."""
        refused = _refused(recording)
        if refused is not None:
            kind, message = refused
            self.rejected[kind] += 1
            if len(self.first_rejected) < FIRST:
                self.first_rejected.append((recording.id, kind, message))
            return
        seconds = estimated(recording)
        self._length(recording, seconds, spec)
        self._words(recording)
        part = self.parts[recording.locator.get(OF, "")]
        part.recordings += 1
        part.seconds += seconds

    @property
    def recordings(self) -> int:
        """Without the rejected ones."""
        return self.lengths.count

    def _length(self, recording: Recording, seconds: float, spec: CodecSpec | None) -> None:
        self.lengths.add(seconds)
        self.segments += recording.start is not None or recording.end is not None
        if isinstance(recording.seconds, FromHeader):
            self.from_headers += 1
        elif isinstance(recording.seconds, EstimateFromHeader):
            self.estimated += 1
        elif isinstance(recording.seconds, Guess):
            self.guessed += 1
        elif recording.seconds is None and recording.end is None:
            self.assumed += 1
        else:
            self.stated += 1
        if spec is not None:
            self.frames += code_frames(max(1, round(seconds * spec.sample_rate)), spec)

    def _words(self, recording: Recording) -> None:
        if recording.text is not None and recording.text.strip():
            self.with_text += 1
            self.characters += len(recording.text)
        if recording.speaker:
            self.with_speaker += 1
            self.speakers.add(recording.speaker)
        if recording.language:
            self.with_language += 1
            self.languages[recording.language] += 1
        split = recording.meta.get("split")
        if isinstance(split, str) and split:
            self.splits[split] += 1
        self.metadata_bytes += sum(
            len(value.encode("utf-8", "replace"))
            for value in (recording.id, recording.uri, recording.text or "")
        )


def take_survey(
    source: Source,
    config: TokenizeConfig,
    spec: CodecSpec | None,
    watch: Callable[[Iterator[Recording]], Iterator[Recording]] = iter,
    say: Callable[[str], None] = lambda text: None,
) -> Survey:
    """List a corpus, and place its recordings in shards as a run would.

    Args:
        source: the corpus.
        config: what a run would be asked for.
        spec: the codec's facts, where they are known.
        watch: passes recordings on, and shows that something happens.
        say: is told how far cutting is, where that is asked for.

    Raises:
        SourceError: it cannot be listed, or could not be planned.
        UsageError: it cannot be cut as asked.
    """
    survey, placing = Survey(_parts(source)), Placing(config.shard_hours, config.split)
    cutting = open_cutting(config, source, DECODE_TIMEOUT, say)
    listed = planned(source, config.channels, config.stream, HEADER_SECONDS, cutting=cutting)
    for _, recording in place_in_shards(watch(listed), placing):
        survey.add(recording, spec)
    survey.shards, survey.longest_shard = len(placing.shards), max(placing.filled)
    survey.notes = source.notes
    for part, each in zip(survey.parts.values(), _each(source), strict=True):
        part.layout = each.layout
    return survey


def _refused(recording: Recording) -> tuple[str, str] | None:
    """Kind and message of a recording that is known to fail."""
    if "rejected" in recording.locator:
        kind, message = recording.locator["rejected"]
        return str(kind), str(message)
    # A file that has no version was not there as it was listed, or is not on this machine.
    unseen = VERSION not in recording.locator and recording.uri.startswith("/")
    if unseen and not os.path.exists(recording.uri):  # noqa: PTH110
        return str(FailureKind.NOT_FOUND), f"{recording.uri}: no such file"
    return None


def _parts(source: Source) -> dict[str, Part]:
    labels = source.labels if isinstance(source, SeveralSources) else ("",)
    return {
        label: Part(label, str(each.address), _kind(each))
        for label, each in zip(labels, _each(source), strict=True)
    }


def _each(source: Source) -> tuple[Source, ...]:
    return source.sources if isinstance(source, SeveralSources) else (source,)


def _kind(source: Source) -> str:
    """The row that a source is of; packages that do not load are not asked."""
    for name in SOURCES:
        if type(source) is source_kind(name):
            return name
    return next(
        (name for name in source_names() if name not in SOURCES and _is_of(source, name)),
        type(source).__name__,
    )


def _is_of(source: Source, name: str) -> bool:
    try:
        return type(source) is source_kind(name)
    except UsageError:
        return False
