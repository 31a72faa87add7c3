"""Lengths from headers, against what FFmpeg's libraries and libsndfile decode."""

from __future__ import annotations

import io
import random
import struct
from collections import ChainMap

import av
import pytest

from tests.audio_files import Files, by_ffmpeg, by_soundfile, noise, pages, spoiled, wav
from tokenizer.audio.containers.glance import Glance
from tokenizer.audio.containers.lengths import length_of

SOUND = noise(1.37)
MADE = Files(
    {
        "wav": lambda: wav(SOUND),
        "wav, streamed": lambda: wav(SOUND, 0xFFFFFFFF),
        "rf64": lambda: by_soundfile(SOUND, "RF64", "PCM_16"),
        "w64": lambda: by_soundfile(SOUND, "W64", "PCM_24"),
        "aiff": lambda: by_soundfile(SOUND, "AIFF", "PCM_16"),
        "au": lambda: by_soundfile(SOUND, "AU", "PCM_16"),
        "caf": lambda: by_soundfile(SOUND, "CAF", "PCM_16"),
        "flac": lambda: by_soundfile(SOUND, "FLAC", "PCM_16"),
        "vorbis": lambda: by_soundfile(SOUND, "OGG", "VORBIS"),
        "opus": lambda: by_ffmpeg("ogg", ("libopus", SOUND)),
        "flac in ogg": lambda: by_ffmpeg("ogg", ("flac", SOUND)),
        "mp3": lambda: by_ffmpeg("mp3", ("libmp3lame", SOUND)),
        "wavpack": lambda: by_ffmpeg("wv", ("wavpack", SOUND)),
        "tta": lambda: by_ffmpeg("tta", ("tta", SOUND)),
    }
)
NEAR = Files(
    {
        "mp3 without counts": lambda: by_ffmpeg(
            "mp3", ("libmp3lame", SOUND), options={"write_xing": "0"}
        ),
        "adts": lambda: by_ffmpeg("adts", ("aac", SOUND)),
        "ac3": lambda: by_ffmpeg("ac3", ("ac3", SOUND)),
        "m4a": lambda: by_ffmpeg("ipod", ("aac", SOUND)),
        "mov": lambda: by_ffmpeg("mov", ("pcm_s16le", SOUND)),
        "mka": lambda: by_ffmpeg("matroska", ("flac", SOUND)),
        "webm, with a picture": lambda: by_ffmpeg("webm", ("libopus", SOUND), video_seconds=1.2),
        "wma": lambda: by_ffmpeg("asf", ("wmav2", SOUND)),
        "avi": lambda: by_ffmpeg("avi", ("mp3", SOUND), video_seconds=1.2),
        "adpcm": lambda: by_ffmpeg("wav", ("adpcm_ms", SOUND)),
    }
)


def decoded(content: bytes) -> float:
    with av.open(io.BytesIO(content)) as file:
        rate = file.streams.audio[0].rate
        return sum(frame.samples for frame in file.decode(audio=0)) / rate


@pytest.mark.parametrize("name", MADE)
def test_an_exact_length_is_what_is_decoded_to_the_sample(name: str) -> None:
    found = length_of(io.BytesIO(MADE[name]))
    assert found is not None and found.exact
    assert found.seconds == pytest.approx(decoded(MADE[name]), abs=0.5 / 48_000)


@pytest.mark.parametrize("name", NEAR)
def test_others_say_that_they_are_estimates(name: str) -> None:
    found = length_of(io.BytesIO(NEAR[name]))
    assert found is not None and not found.exact
    assert found.seconds == pytest.approx(decoded(NEAR[name]), abs=0.1)


def test_tags_before_a_file_are_passed_over() -> None:
    tag = b"ID3\x04\0\0" + bytes([0, 0, 2, 0]) + bytes(256)
    for name in ("flac", "mp3", "wav"):
        found = length_of(io.BytesIO(tag + MADE[name])) if name != "wav" else None
        assert name == "wav" or found == length_of(io.BytesIO(MADE[name]))


def test_a_file_that_was_cut_is_as_long_as_what_is_left() -> None:
    found = length_of(io.BytesIO(MADE["wav"][: len(MADE["wav"]) // 2]))
    assert found is not None and not found.exact
    assert found.seconds == pytest.approx(1.37 / 2, abs=0.01)


def test_a_chain_and_lies_have_no_length() -> None:
    other = by_ffmpeg("ogg", ("libopus", SOUND))
    renamed = b"".join(bytes(page[:14] + b"\1\2\3\4" + page[18:]) for page in pages(other))
    assert length_of(io.BytesIO(MADE["opus"] + renamed)) is None
    flac = bytearray(MADE["flac"])
    flac[21:26] = b"\xff" * 5
    assert length_of(io.BytesIO(bytes(flac))) is None
    rate = bytearray(MADE["wav"])
    rate[24:28] = bytes(4)
    assert length_of(io.BytesIO(bytes(rate))) is None
    assert length_of(io.BytesIO(b"")) is None


def test_bytes_that_mean_harm_cost_a_bounded_number_of_looks() -> None:
    """Boxes and chunks that follow each other for ever, and sizes of gigabytes."""
    endless = (
        b"\0\0\0\x08free" * 200_000,
        b"RIFF\xff\xff\xff\x7fWAVE" + b"JUNK\0\0\0\0" * 200_000,
        b"FORM\0\0\0\0AIFF" + b"JUNK\0\0\0\0" * 200_000,
        b"RIFF\xff\xff\xff\x7fWAVEfmt \xf0\xff\xff\xff" + bytes(1 << 21),
        b"\x1a\x45\xdf\xa3\x80" + b"\xec\x80" * 500_000,
        b"OggS\0\2" + bytes(20) + b"\0" + bytes(1 << 20),
        b"\xff\xfb\0\0" * 300_000,
    )
    for content in endless:
        looks, asked = 0, 0

        def fetch(start: int, stop: int, content: bytes = content) -> bytes:
            nonlocal looks, asked
            looks, asked = looks + 1, asked + stop - start
            return content[start:stop]

        assert length_of(Glance(fetch, len(content))) is None
        assert looks <= 256 and asked <= 4 << 20


@pytest.mark.parametrize("name", [*MADE, *NEAR])
def test_no_damage_raises(name: str) -> None:
    content, rng = ChainMap(MADE, NEAR)[name], random.Random(name)
    for _ in range(150):
        broken = spoiled(content, rng.randrange(1, 9), rng.random() ** 3)
        length_of(
            io.BytesIO(broken[: rng.randrange(len(broken))] if rng.random() < 0.3 else broken)
        )
    for at in range(min(len(content), 256)):
        for number in (0, 0xFFFFFFFF, 0x80000000):
            length_of(io.BytesIO(content[:at] + struct.pack(">I", number) + content[at + 4 :]))


@pytest.mark.parametrize("name", ["mp3", "flac", "vorbis", "m4a", "wav"])
def test_a_few_looks_do_for_what_is_far_away(name: str) -> None:
    content = ChainMap(MADE, NEAR)[name]
    far = Glance(lambda start, stop: content[start:stop], len(content), block=1 << 16, most=4)
    assert length_of(far) == length_of(io.BytesIO(content))
