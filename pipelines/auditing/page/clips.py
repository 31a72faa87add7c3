"""What the page plays and shows of one recording: a stretch around its worst chunk, from source and
every nested bandwidth."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import soundfile

from pipelines.auditing.measure.pairs import Block
from pipelines.auditing.page.images import difference_png, mel_image, spectrogram_png
from pipelines.auditing.places import AUDIT, MEDIA
from pipelines.output.formats.webdataset.writer import key_of
from pipelines.output.storage import Storage
from tokenizer.audio.check import ABSURD_SAMPLE
from tokenizer.chunking import OverlapAdd
from tokenizer.codecs.base import Codec, CodecSpec, split
from tokenizer.types import Codes

MOST_HEARD = 100
"""recordings of one page that have sound and pictures: the worst; its table lists all"""
PAGE_BYTES = 140_000_000
"""of sound and pictures, so that with its data a page stays under 150 MB"""
PICTURE_BYTES = 250_000
"""of one recording's three pictures, on the high side"""
SOUND_BYTES = 3_500_000
"""of one recording's versions, where only few share the page"""
QUALITIES: tuple[tuple[int | None, int | None], ...] = (
    (None, None),
    (None, 96_000),
    (128_000, 64_000),
    (96_000, 48_000),
)
"""Opus bits a second and channel, None for FLAC: of source and full reconstruction, and of the
lower bandwidths. The first that fits is taken, and the clip gets shorter rather than worse: from
96,000 on hardly anyone hears that it is Opus"""
FLAC_BYTES_A_SAMPLE = 2
"""a channel: what 16 bits take at the most, for codecs at rates that Opus does not know"""
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
LEAD_SECONDS = 30
"""before a stretch, from which a codec without chunks is decoded"""
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
    """Writes the files of one of `heard` recordings below `OUT/audit/media`."""

    def __init__(self, storage: Storage, codec: Codec, heard: int = MOST_HEARD) -> None:
        self._storage, self._codec = storage, codec
        self._bytes = min(SOUND_BYTES, PAGE_BYTES // max(1, heard) - PICTURE_BYTES)

    def write(
        self, id: str, codes: Codes, stretch: Stretch, source: Block | None
    ) -> dict[str, Any]:
        """Write audio and images; returns their names, relative to the page, and the waveform's
        peaks.

        Args:
            id: of the recording.
            codes: all of it.
            stretch: what is played, if there is room for that much.
            source: that stretch of the source, float32 `[channels, n]`; None when it cannot be had.

        Raises:
            OutputError: OUT cannot be written.
        """
        spec = self._codec.spec
        levels = nested_levels(codes.n_q, spec.level_repeats)
        asked, stretch = stretch, self._affordable(stretch, len(levels) - 1, codes.num_samples)
        sounds: list[tuple[str, Block]] = []
        if source is not None and source.shape[1] > stretch.start - asked.start:
            sounds.append(
                (
                    "source",
                    _finite(source[:, stretch.start - asked.start : stretch.stop - asked.start]),
                )
            )
        for n_q in levels:
            kept = replace(codes, codes=codes.codes[:n_q])
            sounds.append(
                (
                    f"{spec.bandwidth_of(n_q):.4g} kbps",
                    _finite(decode_stretch(self._codec, kept, stretch)),
                )
            )
        folder = f"{MEDIA}/{key_of(id)}"
        return {
            "start": stretch.start / spec.sample_rate,
            "seconds": (stretch.stop - stretch.start) / spec.sample_rate,
            "first_segment": stretch.first_segment,
            "worst_segment": stretch.worst,
            "versions": self._audio(folder, sounds),
            "images": self._images(folder, sounds),
            "source_seconds": sounds[0][1].shape[1] / spec.sample_rate
            if sounds[0][0] == "source"
            else None,
            "peaks": {
                name: peaks(sound, stretch.stop - stretch.start)
                for name, sound in (sounds[0], sounds[-1])
            },
        }

    def _affordable(self, stretch: Stretch, lower: int, num_samples: int) -> Stretch:
        """The stretch, or as much of it around its worst segment as fits in the leanest quality
        with `lower` versions."""
        spec = self._codec.spec
        main, less = QUALITIES[-1]
        rate = spec.channels * (2 * main + lower * less) / 8 if main and less else 0.0
        if spec.sample_rate not in OPUS_RATES:
            rate = spec.channels * (2 + lower) * spec.sample_rate * FLAC_BYTES_A_SAMPLE
        seconds = self._bytes / rate
        if stretch.stop - stretch.start <= seconds * spec.sample_rate:
            return stretch
        return choose_stretch(stretch.worst, num_samples, spec, seconds)

    def _audio(self, folder: str, sounds: list[tuple[str, Block]]) -> list[dict[str, str]]:
        spec = self._codec.spec
        lossless = [_encoded(sound, spec.sample_rate, None) for _, sound in sounds]
        main = {0, len(sounds) - 1} if sounds[0][0] == "source" else {len(sounds) - 1}
        for rates in QUALITIES if spec.sample_rate in OPUS_RATES else QUALITIES[:1]:
            chosen = [rates[0] if i in main else rates[1] for i in range(len(sounds))]
            sizes = [
                len(flac) if rate is None else rate * sound.size / spec.sample_rate / 8
                for flac, rate, (_, sound) in zip(lossless, chosen, sounds, strict=True)
            ]
            if sum(sizes) <= self._bytes:
                break
        versions = []
        for (name, sound), rate, flac in zip(sounds, chosen, lossless, strict=True):
            file = f"{folder}/{name.replace(' ', '')}.{'flac' if rate is None else 'ogg'}"
            self._storage.write(
                f"{AUDIT}/{file}", flac if rate is None else _encoded(sound, spec.sample_rate, rate)
            )
            how = "FLAC" if rate is None else f"Opus, {rate * spec.channels // 1000} kbps"
            versions.append({"name": name, "file": file, "format": how})
        return versions

    def _images(self, folder: str, sounds: list[tuple[str, Block]]) -> dict[str, str]:
        span = max(
            sound.shape[1] for _, sound in sounds
        )  # one clock for all: what is shorter ends before
        pictures = {"decoded": mel_image(sounds[-1][1], self._codec.sample_rate, span)}
        content = {}
        if sounds[0][0] == "source":
            pictures = {
                "source": mel_image(sounds[0][1], self._codec.sample_rate, span),
                **pictures,
            }
            content["difference"] = difference_png(pictures["decoded"], pictures["source"])
        content |= {name: spectrogram_png(picture) for name, picture in pictures.items()}
        for name, png in content.items():
            self._storage.write(f"{AUDIT}/{folder}/{name}.png", png)
        return {name: f"{folder}/{name}.png" for name in content}


def _encoded(sound: Block, sample_rate: int, rate: int | None) -> bytes:
    """As 16-bit FLAC, or as Opus with `rate` bits a second and channel."""
    how: dict[str, Any] = {"format": "FLAC", "subtype": "PCM_16"}
    if rate is not None:
        # libsndfile's scale of levels: 1 is 6 kbit/s a channel, 0 is 256.
        how = {
            "format": "OGG",
            "subtype": "OPUS",
            "compression_level": 1 - (rate - 6_000) / 250_000,
        }
    sink = io.BytesIO()
    soundfile.write(sink, np.clip(sound, -1.0, 1.0).T, sample_rate, **how)
    return sink.getvalue()


def _finite(sound: Block) -> Block:
    """What a player can play: NaN is silence there, and what a damaged scale has blown up is cut at
    80 dB above full scale."""
    return np.clip(np.nan_to_num(sound, nan=0.0), -ABSURD_SAMPLE, ABSURD_SAMPLE)


def nested_levels(n_q: int, repeats: tuple[int, ...] | None = None) -> list[int]:
    """Numbers of codebooks to listen to, few first: residual codebooks nest, and each halving is a
    bandwidth of its own. A level of several rows has all or none."""
    levels = [n_q]
    if repeats is not None:
        return [whole for whole in accumulate(repeats) if whole < n_q] + levels
    while levels[0] % 2 == 0 and levels[0] >= 4:
        levels.insert(0, levels[0] // 2)
    return levels


def choose_stretch(worst: int | None, num_samples: int, spec: CodecSpec, seconds: float) -> Stretch:
    """At most `seconds`, whole segments, with the worst one in the middle where that is
    possible."""
    segment = spec.chunk_stride or spec.sample_rate
    count = -(-num_samples // segment)
    length = min(count, most_segments(spec, seconds))
    first = min(max(0, (worst or 0) - length // 2), count - length)
    return Stretch(first * segment, min((first + length) * segment, num_samples), first, worst)


def most_segments(spec: CodecSpec, seconds: float) -> int:
    """Whole segments in `seconds`, at least one."""
    return max(1, int(seconds * spec.sample_rate / (spec.chunk_stride or spec.sample_rate)))


def decode_stretch(codec: Codec, codes: Codes, stretch: Stretch) -> Block:
    """The same samples as decoding all of it gives, from the chunks that touch the stretch. A codec
    without chunks remembers what was before: it begins `LEAD_SECONDS` early, by when that makes no
    difference to an ear."""
    spec = codec.spec
    if spec.chunk_length is None or spec.chunk_stride is None:
        return _decoded_within(codec, codes, stretch)
    chunks = split(codes, spec)
    first = max(0, stretch.start // spec.chunk_stride - 1)
    last = min(len(chunks), -(-stretch.stop // spec.chunk_stride))
    at = first * spec.chunk_stride
    joined = OverlapAdd(
        spec.channels,
        codes.num_samples - at,
        spec.chunk_stride,
        int(codes.chunk_frames[0]) * spec.frame_length,
    )
    parts = []
    for start in range(first, last, codec.batch_chunks):
        group = chunks[start : min(last, start + codec.batch_chunks)]
        parts += [joined.push(decoded) for decoded in codec.decode_chunks(group)]
    if last == len(chunks):
        parts.append(joined.finish())
    return np.concatenate(parts, axis=1)[:, stretch.start - at : stretch.stop - at]


def _decoded_within(codec: Codec, codes: Codes, stretch: Stretch) -> Block:
    """Of a codec without chunks: a block is let go once it has passed."""
    hop = codec.spec.frame_length
    lead = int(LEAD_SECONDS * codec.sample_rate)
    first = max(0, stretch.start - lead) // hop if codec.piece_length else 0
    at, parts = first * hop, []
    for block in codec.decode_stream(replace(codes, layout=codec.spec.layout)[first:]):
        parts.append(block[:, max(0, stretch.start - at) : max(0, stretch.stop - at)])
        at += block.shape[1]
        if at >= stretch.stop:
            break
    return np.concatenate(parts, axis=1)


def peaks(sound: Block, span: int) -> list[list[int] | None]:
    """Lowest and highest sample of the mono mix in each column of `span` samples, in 127ths of full
    scale.

    None in columns that begin after the sound's end, so that all sounds are drawn on one clock.
    """
    mono = np.clip(np.nan_to_num(sound.mean(axis=0), nan=0.0), -1.0, 1.0) * 127
    count = max(1, min(PEAKS, span))
    columns = [mono[i * span // count : (i + 1) * span // count] for i in range(count)]
    return [[round(float(c.min())), round(float(c.max()))] if c.size else None for c in columns]
