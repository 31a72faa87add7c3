"""What a writer could not go back to fill in, and what it filled its last block with."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from audio_files import RATE, by_soundfile, noise, wav

from tokenizer import read_audio
from tokenizer.audio import stream_audio
from tokenizer.audio.containers.lengths import length_of

SOUND = noise(0.5)
GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")


def start_of_samples(content: bytes) -> int:
    return {
        b"riff": content.find(b"data" + GUID) + 24,
        b"caff": content.find(b"data\0\0\0\0") + 16,
    }[content[:4]]


def as_piped(content: bytes, copies: int = 1) -> bytes:
    """As libsndfile leaves Wave64 and CAF in a pipe: its header twice, and again at the end."""
    at = start_of_samples(content)
    size = {b"riff": struct.pack("<q", 23), b"caff": struct.pack(">q", 4)}[content[:4]]
    place = at - (8 if content[:4] == b"riff" else 12)
    first = content[:place] + size + content[place + 8 : at]
    samples = SOUND.shape[1] * bytes_a_sample(content)
    last = content[:place] + struct.pack("<q", -80) + content[place + 8 : at]
    return first * (1 + copies) + content[at : at + samples] + last


def bytes_a_sample(content: bytes) -> int:
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        widths = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "ULAW": 1}
        return widths[file.subtype] * file.channels


@pytest.mark.parametrize("kind", ["W64", "CAF"])
@pytest.mark.parametrize("encoding", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "ULAW"])
def test_headers_written_again_are_no_sound(kind: str, encoding: str, tmp_path: Path) -> None:
    whole = by_soundfile(SOUND, kind, encoding)
    piped = as_piped(whole)
    expected = read_audio(io.BytesIO(whole)).samples
    assert expected.shape == SOUND.shape
    path = tmp_path / "piped.bin"
    path.write_bytes(piped)
    for way in (io.BytesIO(piped), path):
        assert np.array_equal(read_audio(way).samples, expected)
    again = stream_audio(path, second=True)
    assert np.array_equal(np.concatenate(list(again), axis=1), expected)
    middle = read_audio(path, start=0.2, end=0.3).samples
    assert np.array_equal(middle, expected[:, round(0.2 * RATE) : round(0.3 * RATE)])
    length = length_of(io.BytesIO(piped))
    assert length is not None and length.seconds == pytest.approx(0.5)


def test_what_only_begins_like_a_header_stays_sound() -> None:
    whole = by_soundfile(SOUND, "W64", "PCM_16")
    at = start_of_samples(whole)
    unknown = whole[: at - 8] + struct.pack("<q", 23) + whole[at:]
    assert read_audio(io.BytesIO(unknown)).samples.shape == SOUND.shape


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
@pytest.mark.parametrize("sizes", [0, 2**64 - 1])
def test_rf64_without_its_64_bit_sizes_reaches_to_the_end(magic: bytes, sizes: int) -> None:
    plain = wav(SOUND)
    table = b"ds64" + struct.pack("<IQQQI", 28, sizes, sizes, 0, 0)
    head = magic + b"\xff\xff\xff\xffWAVE" + table + plain[12:36]
    content = head + b"data\xff\xff\xff\xff" + plain[44:]
    assert np.array_equal(
        read_audio(io.BytesIO(content)).samples, read_audio(io.BytesIO(plain)).samples
    )
    again = stream_audio(io.BytesIO(content), name="a", second=True)
    assert sum(block.shape[1] for block in again) == SOUND.shape[1]


def with_fact(content: bytes, samples: int) -> bytes:
    at = content.find(b"fact") + 8
    return content[:at] + struct.pack("<I", samples) + content[at + 4 :]


def as_ffmpeg_decodes(content: bytes) -> np.ndarray:
    """Samples int16 `[channels, n]`, of the whole blocks."""
    with av.open(io.BytesIO(content)) as container:
        channels = container.streams.audio[0].codec_context.channels
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        if len(frames[0]) == channels:
            return np.concatenate(frames, axis=1)
        return np.concatenate(frames, axis=1).reshape(-1, channels).T


@pytest.mark.parametrize("encoding", ["MS_ADPCM", "IMA_ADPCM", "GSM610"])
@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_end_where_their_fact_chunk_says(encoding: str, channels: int) -> None:
    if encoding == "GSM610" and channels == 2:
        return
    sound = 0.3 * noise(0.5, channels)
    content = with_fact(by_soundfile(sound, "WAV", encoding), sound.shape[1])
    decoded = as_ffmpeg_decodes(content)
    assert decoded.shape[1] > sound.shape[1] or encoding == "GSM610"
    found = read_audio(io.BytesIO(content)).samples
    assert found.shape == sound.shape
    assert np.allclose(found, decoded[:, : sound.shape[1]] / 32768, atol=1e-6)
    length = length_of(io.BytesIO(content))
    assert length is not None and length.seconds == pytest.approx(0.5)


@pytest.mark.parametrize("fact", [0, 1, 12_000, 10**6, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("encoding", ["MS_ADPCM", "IMA_ADPCM"])
def test_a_fact_that_cannot_be_costs_nothing(encoding: str, fact: int) -> None:
    content = with_fact(by_soundfile(0.3 * noise(0.5), "WAV", encoding), fact)
    found = read_audio(io.BytesIO(content)).samples
    assert found.shape[1] == as_ffmpeg_decodes(content).shape[1]
    length = length_of(io.BytesIO(content))
    assert length is not None and length.seconds == pytest.approx(found.shape[1] / RATE, rel=0.02)


TITLE = b"ID3\3\0\0\0\0\0\x20TIT2\0\0\0\x0c\0\0\0Hello world".ljust(42, b"\0")


@pytest.mark.parametrize("tag", [b"", TITLE])
def test_free_format_mp3_is_read_by_what_decodes_it(tag: bytes, tmp_path: Path) -> None:
    """MPEG-1 layer 3 at 48 kHz, silent frames of a bit rate that no table has."""
    frame = bytes([0xFF, 0xFB, 0x04, 0xC4])
    content = tag + (frame + bytes(1_200 - len(frame))) * 40
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    found = stream_audio(path)
    samples = np.concatenate(list(found), axis=1)
    assert 40 * 1_152 <= samples.shape[1] < 41 * 1_152 and not samples.any()
    assert found.report.decoder == "soundfile"
