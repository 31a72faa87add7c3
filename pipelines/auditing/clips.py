"""What the page plays and shows of one recording: a stretch around its worst chunk, from source and every nested bandwidth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import soundfile

from pipelines.auditing.images import difference_png, mel_image, spectrogram_png
from pipelines.auditing.pairs import Block
from pipelines.shards.webdataset import key_of
from pipelines.storage import Storage
from tokenizer.chunking import OverlapAdd
from tokenizer.codecs.base import ABSURD_SAMPLE, Codec, CodecSpec, split
from tokenizer.errors import OutputError
from tokenizer.types import Codes

AUDIT = "audit"
MEDIA = "media"
RECORDING_BYTES = 1_100_000
"""of audio for one recording: a hundred of them, with their images, stay under 150 MB"""
FLAC_BYTES_A_SAMPLE = 1.6
"""a channel, at 16 bits: an estimate on the high side, to choose FLAC only where it fits"""
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
OPUS_MOST = 80_000
OPUS_LEAST = 16_000
"""bits a second and channel; at 80,000 Opus is transparent to nearly everyone"""
PEAKS = 400
"""columns of the waveform"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is played: samples `start` to `stop` at the codec's rate."""

    start: int
    stop: int
    first_segment: int
    worst: int | None


class PageFiles:
    """Writes one recording's files below `OUT/audit/media`."""

    def __init__(self, storage: Storage, codec: Codec) -> None:
        self._storage, self._codec = storage, codec

    def write(self, id: str, codes: Codes, stretch: Stretch, source: Block | None) -> dict[str, Any]:
        """Write audio and images; returns their names, relative to the page, and the waveform's peaks.

        Args:
            id: of the recording.
            codes: all of it.
            stretch: what is played.
            source: that stretch of the source, float32 `[channels, n]`; None when it cannot be had.

        Raises:
            OutputError: OUT cannot be written.
        """
        spec = self._codec.spec
        sounds: list[tuple[str, Block]] = [] if source is None else [("source", source)]
        for n_q in nested_levels(codes.n_q):
            kept = replace(codes, codes=codes.codes[:n_q])
            sounds.append((f"{n_q * spec.bandwidth / spec.n_q:g} kbps", _finite(decode_stretch(self._codec, kept, stretch))))
        folder = f"{MEDIA}/{key_of(id)}"
        return {
            "start": stretch.start / spec.sample_rate,
            "seconds": (stretch.stop - stretch.start) / spec.sample_rate,
            "first_segment": stretch.first_segment,
            "worst_segment": stretch.worst,
            "versions": [{"name": name, "file": self._audio(folder, name, sound, len(sounds))} for name, sound in sounds],
            "images": self._images(folder, sounds),
            "peaks": {name: peaks(sound) for name, sound in (sounds[0], sounds[-1])},
        }

    def _audio(self, folder: str, name: str, sound: Block, versions: int) -> str:
        spec = self._codec.spec
        flac = sound.size * FLAC_BYTES_A_SAMPLE * versions <= RECORDING_BYTES or spec.sample_rate not in OPUS_RATES
        file = f"{folder}/{name.replace(' ', '')}.{'flac' if flac else 'ogg'}"
        how: dict[str, Any] = {"format": "FLAC", "subtype": "PCM_16"}
        if not flac:
            rate = min(OPUS_MOST, max(OPUS_LEAST, 8 * RECORDING_BYTES * spec.sample_rate / (sound.size * versions)))
            # libsndfile's scale of levels: 1 is 6 kbit/s a channel, 0 is 256.
            how = {"format": "OGG", "subtype": "OPUS", "compression_level": 1 - (rate - 6_000) / 250_000}
        try:
            with self._storage.stage(f"{AUDIT}/{file}") as path:
                soundfile.write(path, np.clip(sound, -1.0, 1.0).T, spec.sample_rate, **how)
        except soundfile.LibsndfileError as error:
            raise OutputError(f"{self._storage.root}/{AUDIT}/{file} cannot be written: {error}") from error
        return file

    def _images(self, folder: str, sounds: list[tuple[str, Block]]) -> dict[str, str]:
        pictures = {"decoded": mel_image(sounds[-1][1], self._codec.sample_rate)}
        content = {}
        if sounds[0][0] == "source":
            pictures = {"source": mel_image(sounds[0][1], self._codec.sample_rate), **pictures}
            columns = min(picture.shape[1] for picture in pictures.values())
            pictures = {name: picture[:, :columns] for name, picture in pictures.items()}
            content["difference"] = difference_png(pictures["decoded"], pictures["source"])
        content |= {name: spectrogram_png(picture) for name, picture in pictures.items()}
        for name, png in content.items():
            self._storage.write(f"{AUDIT}/{folder}/{name}.png", png)
        return {name: f"{folder}/{name}.png" for name in content}


def _finite(sound: Block) -> Block:
    """What a player can play: NaN is silence there, and what a damaged scale has blown up is cut at 80 dB above full scale."""
    return np.clip(np.nan_to_num(sound, nan=0.0), -ABSURD_SAMPLE, ABSURD_SAMPLE)


def nested_levels(n_q: int) -> list[int]:
    """Numbers of codebooks to listen to, few first: residual codebooks nest, and each halving is a bandwidth of its own."""
    levels = [n_q]
    while levels[0] % 2 == 0 and levels[0] >= 4:
        levels.insert(0, levels[0] // 2)
    return levels


def choose_stretch(worst: int | None, num_samples: int, spec: CodecSpec, seconds: float) -> Stretch:
    """At most `seconds`, whole segments, with the worst one in the middle where that is possible."""
    segment = spec.chunk_stride or spec.sample_rate
    count = -(-num_samples // segment)
    length = min(count, most_segments(spec, seconds))
    first = min(max(0, (worst or 0) - length // 2), count - length)
    return Stretch(first * segment, min((first + length) * segment, num_samples), first, worst)


def most_segments(spec: CodecSpec, seconds: float) -> int:
    """Whole segments in `seconds`, at least one."""
    return max(1, int(seconds * spec.sample_rate / (spec.chunk_stride or spec.sample_rate)))


def decode_stretch(codec: Codec, codes: Codes, stretch: Stretch) -> Block:
    """The same samples as decoding all of it gives, from the chunks that touch the stretch."""
    spec = codec.spec
    if spec.chunk_length is None or spec.chunk_stride is None:
        return codec.decode(codes).samples[:, stretch.start : stretch.stop]
    chunks = split(codes, spec)
    first = max(0, stretch.start // spec.chunk_stride - 1)
    last = min(len(chunks), -(-stretch.stop // spec.chunk_stride))
    at = first * spec.chunk_stride
    joined = OverlapAdd(spec.channels, codes.num_samples - at, spec.chunk_length, spec.chunk_stride)
    parts = []
    for start in range(first, last, codec.batch_chunks):
        group = chunks[start : min(last, start + codec.batch_chunks)]
        parts += [joined.push(decoded) for decoded in codec.decode_chunks(group)]
    if last == len(chunks):
        parts.append(joined.finish())
    return np.concatenate(parts, axis=1)[:, stretch.start - at : stretch.stop - at]


def peaks(sound: Block) -> list[list[int]]:
    """Lowest and highest sample of the mono mix in each column, in 127ths of full scale."""
    mono = np.clip(sound.mean(axis=0), -1.0, 1.0) * 127
    columns = np.array_split(mono, min(PEAKS, len(mono)))
    return [[round(float(column.min())), round(float(column.max()))] for column in columns]
