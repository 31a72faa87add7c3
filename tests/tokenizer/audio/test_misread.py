"""Files that one of the two decoders takes for something else: what is heard is what was written,
whole and from any place."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from audio_files import RATE, by_ffmpeg, by_soundfile, joined, noise, pages

from tokenizer import read_audio
from tokenizer.audio import stream_audio

SOUND = noise(6.0)
LATE = 5.5


def extensible_wave64(encoding: int, bits: int, samples: np.ndarray) -> bytes:
    """Samples of 32 bits under the newer kind of header, as FFmpeg's program writes it."""

    def name(four: bytes) -> bytes:
        return four + bytes.fromhex("f3acd3118cd100c04f8edb8a")

    body = samples.T.tobytes()
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 2, RATE, RATE * 8, 8, 32, 22, bits, 3)
    form += struct.pack("<H", encoding) + bytes.fromhex("000000001000800000aa00389b71")
    chunks = name(b"fmt ") + struct.pack("<Q", 24 + len(form)) + form
    chunks += name(b"data") + struct.pack("<Q", 24 + len(body)) + body
    head = bytes.fromhex("726966662e91cf11a5d628db04c10000")
    return head + struct.pack("<Q", 40 + len(chunks)) + name(b"wave") + chunks


def floats() -> bytes:
    """Wave64 that libsndfile takes for integers."""
    return extensible_wave64(3, 32, SOUND.astype("<f4"))


def padded() -> bytes:
    """Wave64 that FFmpeg takes for samples without padding."""
    return extensible_wave64(1, 24, (SOUND * 2**23).astype("<i4") << 8)


def swapped(subtype: str) -> bytes:
    """A RIFX file, whose samples are big-endian."""
    sink = io.BytesIO()
    soundfile.write(sink, SOUND.T, RATE, format="WAV", subtype=subtype, endian="BIG")
    assert sink.getvalue().startswith(b"RIFX")
    return sink.getvalue()


WAVES = {
    "w64 of floats": floats,
    "w64 of 24 bits in 32": padded,
    **{f"rifx {each}": lambda each=each: swapped(each) for each in ("PCM_16", "PCM_24", "FLOAT")},
}


@pytest.mark.parametrize("name", WAVES)
def test_samples_are_those_that_were_written(name: str) -> None:
    content = WAVES[name]()
    whole = read_audio(io.BytesIO(content)).samples
    assert whole.shape == SOUND.shape
    assert np.abs(whole - SOUND).max() <= 2**-15
    late = read_audio(io.BytesIO(content), start=LATE).samples
    assert np.array_equal(late, whole[:, round(LATE * RATE) :])


@pytest.mark.parametrize("form", ["IRCAM", "PAF", "PVF"])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_what_ffmpeg_does_not_open_is_read_by_libsndfile(form: str, endian: str) -> None:
    sink = io.BytesIO()
    soundfile.write(sink, SOUND.T, RATE, format=form, subtype="PCM_16", endian=endian)
    whole = read_audio(io.BytesIO(sink.getvalue())).samples
    assert whole.shape == SOUND.shape and np.abs(whole - SOUND).max() <= 2**-15


def test_a_second_way_reads_floats_in_wave64_as_such() -> None:
    again = stream_audio(io.BytesIO(floats()), name="a", second=True)
    assert np.array_equal(np.concatenate(list(again), axis=1), SOUND)


def test_a_rifx_that_is_cut_is_truncated() -> None:
    content = swapped("PCM_16")
    stream = stream_audio(io.BytesIO(content[:-4000]), name="a", allow_truncated=True)
    assert sum(block.shape[1] for block in stream) == SOUND.shape[1] - 1000
    assert stream.report.flags == ("truncated",)


@pytest.mark.parametrize("channels", [1, 2])
def test_alac_in_caf_keeps_its_end(channels: int) -> None:
    sound = SOUND[:channels, :-2_000]  # most of a packet stands at the end
    whole = read_audio(io.BytesIO(by_soundfile(sound, "CAF", "ALAC_16"))).samples
    assert whole.shape == sound.shape
    assert np.abs(whole - sound).max() <= 2**-15


@pytest.mark.parametrize("codec", ["libopus", "flac", "vorbis"])
@pytest.mark.parametrize("ahead", [48_000, 10 * 3_600 * 48_000])
def test_counts_of_ogg_may_begin_at_any_number(codec: str, ahead: int) -> None:
    """As in a broadcast that is recorded from its middle."""
    sound = noise(2.0)
    made = by_soundfile(sound, "OGG") if codec == "vorbis" else by_ffmpeg("ogg", (codec, sound))
    parts = pages(made)
    whole = read_audio(io.BytesIO(joined(parts))).samples
    for page in parts:
        granule = struct.unpack("<q", page[6:14])[0]
        if granule > 0:
            page[6:14] = struct.pack("<q", granule + ahead)
    assert np.array_equal(read_audio(io.BytesIO(joined(parts))).samples, whole)


def test_opus_may_leave_out_more_than_a_second_in_front() -> None:
    parts = pages(by_ffmpeg("ogg", ("libopus", noise(3.0))))
    before = struct.unpack("<H", parts[0][38:40])[0]
    whole = read_audio(io.BytesIO(joined(parts))).samples
    parts[0][38:40] = struct.pack("<H", before + 60_000)
    left = read_audio(io.BytesIO(joined(parts))).samples
    assert np.array_equal(left, whole[:, 60_000:])
