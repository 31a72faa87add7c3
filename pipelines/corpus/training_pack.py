"""A corpus becomes a pack to train on: every recording decoded once, labelled, held out or not."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from pipelines.corpus.reader import Decoder, DecodeSettings
from pipelines.corpus.sources import open_source
from tokenizer.errors import OutputError, RecordingError, UsageError
from tokenizer.training.data.pack import INDEX, Pack, PackWriter
from tokenizer.training.data.synthesis import music, noises, speech
from tokenizer.training.presets import find_preset
from tokenizer.types import Recording

_PIECE_SECONDS = 10.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PackConfig:
    """What a pack is made from."""

    source: str | tuple[str, ...]
    """as `pipelines.corpus.sources.open_source` reads it; several are one corpus"""
    music: tuple[str, ...] = ("music/*",)
    """patterns of ids that are music; the mixing strategies of training tell music from the rest"""
    speech: tuple[str, ...] = ("speech/*",)
    hold_out: tuple[str, ...] = ()
    """patterns of ids that are never trained on"""
    leave_out: tuple[str, ...] = ()
    """patterns of ids that are not read at all: what its licence forbids, say"""
    hold_out_share: float = 0.05
    """of the other recordings, chosen by a hash of their ids"""
    synthetic_minutes: float = 0.0
    """of synthesised audio to add, half of it music"""
    downmix: bool = False
    seed: int = 0
    """of the synthesis"""

    def __post_init__(self) -> None:
        if not 0.0 <= self.hold_out_share < 1.0:
            raise UsageError(
                f"--hold-out-share {self.hold_out_share}: give 0 or more, and less than 1"
            )
        if not 0 <= self.synthetic_minutes < math.inf:
            raise UsageError(f"--synthetic-minutes {self.synthetic_minutes}: give 0 or more")

    def reads(self, name: str) -> bool:
        """Whether a recording goes into the pack."""
        return not _matches(name, self.leave_out)

    def kind(self, name: str) -> str:
        """The label of a recording's id: "music", "speech" or "other"."""
        if _matches(name, self.music):
            return "music"
        return "speech" if _matches(name, self.speech) else "other"

    def holds_out(self, name: str) -> bool:
        """Whether a recording is kept for evaluation; a function of its id, so a corpus that grows
        keeps its split."""
        draw = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
        return _matches(name, self.hold_out) or draw < self.hold_out_share


def prepare_pack(
    config: PackConfig, folder: Path, init: str | None, preset: str | None, say: Say = print
) -> Pack:
    """The pack in `folder`, made if it is not there yet.

    Args:
        config: what it is made from; a pack of something else is refused.
        folder: where.
        init: checkpoint whose rate and channels it is made for; else the preset's.
        preset: as on the command line.

    Raises:
        SourceError: the corpus cannot be listed.
        OutputError: the folder holds another pack, or cannot be written.
    """
    made_from = asdict(config)
    if (folder / INDEX).exists():
        pack = Pack(folder)
        wanted = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in made_from.items()
        }
        if pack.made_from and pack.made_from != wanted:
            raise OutputError(
                f"pack {folder} was made from something else ({pack.made_from}): give another "
                "--pack"
            )
        return pack
    rate, channels = _shape_for(init, preset)
    with PackWriter(folder, rate, channels, made_from) as writer:
        failures = _add_corpus(writer, config, rate, channels, say)
        for name, kind, samples in _synthesised(config, rate, channels):
            writer.add(name, kind, [samples])
    pack = Pack(folder)
    for glob in config.hold_out:
        if not any(_matches(one.id, (glob,)) for one in pack.recordings):
            say(f"--hold-out {glob}: no recording has such an id")
    held_out = pack.seconds(held_out=True)
    say(
        f"{folder}: {len(pack.recordings)} recordings, {pack.seconds(held_out=False) / 60:.1f} min "
        "to train on, "
        f"{held_out / 60:.1f} min held out, {failures} recordings left out"
    )
    return pack


def _add_corpus(writer: PackWriter, config: PackConfig, rate: int, channels: int, say: Say) -> int:
    source = open_source(config.source)
    decoder = Decoder(DecodeSettings(source, rate, channels, downmix=config.downmix))
    failures, unused = 0, dict.fromkeys(config.leave_out)

    def wanted() -> Iterator[Recording]:
        for recording in source.scan():
            for glob in [glob for glob in unused if _matches(recording.id, (glob,))]:
                del unused[glob]
            if config.reads(recording.id):
                yield recording

    try:
        for decoding in decoder.decode(wanted()):
            name = decoding.recording.id
            try:
                writer.add(name, config.kind(name), decoding, held_out=config.holds_out(name))
            except RecordingError as error:
                failures += 1
                say(f"left out: {error}")
    finally:
        decoder.close()
    for note in source.notes:
        say(note)
    for glob in unused:
        say(f"--leave-out {glob}: no recording has such an id")
    return failures


def _synthesised(
    config: PackConfig, rate: int, channels: int
) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Pieces in turn: music, effects, music, speech (effects where there is no espeak-ng)."""
    for number in range(round(config.synthetic_minutes * 60 / _PIECE_SECONDS)):
        rng = np.random.default_rng([config.seed, 7, number])
        name = f"synthetic/{number:06d}"
        spoken = speech(rng) if number % 4 == 3 else None
        if spoken is not None:
            samples, spoken_rate = spoken
            resampled = soxr.resample(
                np.ascontiguousarray(samples.T), spoken_rate, rate, quality="HQ"
            ).T
            yield name, "speech", _with_channels(resampled, channels)
        elif number % 2 == 0:
            yield name, "music", _with_channels(music(_PIECE_SECONDS, rate, rng), channels)
        else:
            yield name, "other", _with_channels(noises(_PIECE_SECONDS, rate, rng), channels)


def _with_channels(samples: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    if samples.shape[0] != channels:
        samples = np.repeat(samples.mean(axis=0, keepdims=True), channels, axis=0)
    return np.ascontiguousarray(samples, np.float32)


def _shape_for(init: str | None, preset: str | None) -> tuple[int, int]:
    """Rate and channels of the model that will be trained."""
    facts: dict[str, Any]
    if init is None:
        facts = dict(find_preset(preset or "small").architecture)
    else:
        from tokenizer.codecs.encodec.checkpoint import find_encodec, read_config

        facts = read_config(find_encodec(init)).to_dict()
    return int(facts["sampling_rate"]), int(facts["audio_channels"])


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
