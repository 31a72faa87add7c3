"""Lengths that containers declare, sizes that say nothing, ends that are missing, and sound that is
missing in the middle."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
from audio_files import RATE, Files, by_ffmpeg, by_soundfile, joined, noise, pages, spoiled, wav

from tokenizer import RecordingError, read_audio
from tokenizer.audio import stream_audio
from tokenizer.audio.containers.extents import is_cut
from tokenizer.audio.containers.mpeg import before_tags
from tokenizer.audio.containers.ogg import checksum, read_links
from tokenizer.audio.stream import AudioReport

SOUND = noise(2.0)


def report(content: bytes, **how: object) -> AudioReport:
    stream = stream_audio(io.BytesIO(content), name="a", **how)  # type: ignore[arg-type]
    for _ in stream:
        pass
    return stream.report


def refusal(content: bytes, **how: object) -> str:
    with pytest.raises(RecordingError) as caught:
        report(content, **how)
    assert "\n" not in caught.value.message
    return str(caught.value.kind)


@pytest.mark.parametrize(
    "size", [0x7FFFF000, 0x80000000, 0xFFFFFFDB, 0x7FFFFFDB, 0x7FFFEFFE, 0xFFFFFFFF, 0x80000024, 0]
)
def test_a_wave_size_that_its_writer_could_not_know_is_no_lie(size: int) -> None:
    assert np.array_equal(
        read_audio(io.BytesIO(wav(SOUND, size))).samples, read_audio(io.BytesIO(wav(SOUND))).samples
    )


@pytest.mark.parametrize("size", [500_000, 0xB2D05E00, 0x40000000, 0x7FFE0000])
def test_a_wave_that_is_cut_is_truncated_however_long_it_was(size: int) -> None:
    assert refusal(wav(SOUND, size)) == "truncated"
    kept = report(wav(SOUND, size), allow_truncated=True)
    assert (kept.source_samples, kept.flags) == (2 * RATE, ("truncated",))


def rf64(size: int) -> bytes:
    plain = wav(SOUND)
    sizes = b"ds64" + struct.pack("<IQQQI", 28, (size + 72) % 2**64, size, size // 4, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + sizes + plain[12:36] + b"data\xff\xff\xff\xff" + plain[44:]


def test_rf64_is_as_long_as_its_64_bit_size() -> None:
    assert report(rf64(len(wav(SOUND)) - 44)).source_samples == 2 * RATE
    assert refusal(rf64(6 << 30)) == "truncated"


CUT = {
    "rf64": lambda: rf64(len(wav(SOUND)) - 44),
    "ima.wav": lambda: by_soundfile(SOUND, "WAV", "IMA_ADPCM"),
    "ms.wav": lambda: by_soundfile(SOUND, "WAV", "MS_ADPCM"),
    "gsm.wav": lambda: by_soundfile(SOUND[:1], "WAV", "GSM610", 8_000),
    "ulaw.wav": lambda: by_soundfile(SOUND, "WAV", "ULAW"),
    "nist": lambda: by_soundfile(SOUND, "NIST"),
    "caf": lambda: by_soundfile(SOUND, "CAF", "PCM_16"),
    "voc": lambda: by_soundfile(SOUND, "VOC", "PCM_16"),
    "svx": lambda: by_soundfile(SOUND[:1], "SVX", "PCM_16"),
    "au": lambda: by_soundfile(SOUND, "AU", "PCM_16"),
    "aiff": lambda: by_soundfile(SOUND, "AIFF", "PCM_16"),
    "gsm.aiff": lambda: by_soundfile(SOUND[:1], "AIFF", "GSM610", 8_000),
    "w64": lambda: by_soundfile(SOUND, "W64", "PCM_16"),
    "ima.w64": lambda: by_soundfile(SOUND, "W64", "IMA_ADPCM"),
    "ms.w64": lambda: by_soundfile(SOUND, "W64", "MS_ADPCM"),
    "mka": lambda: by_ffmpeg("matroska", ("libopus", SOUND)),
    "webm": lambda: by_ffmpeg("webm", ("libopus", SOUND), video_seconds=2.0),
    "mp4": lambda: by_ffmpeg("mp4", ("aac", SOUND), options={"movflags": "faststart"}),
    "wma": lambda: by_ffmpeg("asf", ("wmav2", SOUND)),
    "avi": lambda: by_ffmpeg("avi", ("libmp3lame", SOUND), video_seconds=2.0),
}


@pytest.mark.parametrize("name", CUT)
def test_what_is_whole_is_a_row_and_what_is_cut_is_truncated(name: str) -> None:
    """Of the codecs that count blocks or packets, the last one may be padded: 0.1 s is more than
    any here."""
    content = CUT[name]()
    whole = report(content)
    assert abs(whole.source_samples - SOUND.shape[1]) <= RATE // 10
    assert not whole.flags
    for share in (0.6, 0.95):
        assert refusal(content[: int(len(content) * share)]) in ("truncated", "damaged"), share


@pytest.mark.parametrize("name", ["ima.wav", "ms.wav", "ima.w64"])
def test_a_late_start_changes_no_sample(name: str) -> None:
    form, subtype = (
        name.split(".")[1].upper(),
        {"ima": "IMA_ADPCM", "ms": "MS_ADPCM"}[name.split(".")[0]],
    )
    content = by_soundfile(noise(7.0, 1), form, subtype)
    whole = read_audio(io.BytesIO(content)).samples
    assert np.array_equal(
        read_audio(io.BytesIO(content), start=5.5).samples, whole[:, round(5.5 * RATE) :]
    )


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_U8"),
        ("AIFF", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("CAF", "FLOAT"),
        ("W64", "PCM_16"),
    ],
)
def test_a_late_start_in_what_can_be_sought_changes_nothing_either(form: str, subtype: str) -> None:
    content = by_soundfile(noise(7.0), form, subtype)
    whole = read_audio(io.BytesIO(content)).samples
    assert np.array_equal(
        read_audio(io.BytesIO(content), start=5.5).samples, whole[:, round(5.5 * RATE) :]
    )
    assert refusal(content[: int(len(content) * 0.9)], start=5.5) in ("truncated", "damaged")
    for end in (None, 9.0):
        assert refusal(content, start=8.0, end=end) == "empty"


@pytest.mark.parametrize("name", ["ms.wav", "mka", "ulaw.wav", "nist"])
def test_a_start_behind_the_end_is_empty(name: str) -> None:
    for how in (
        {"start": 3.0},
        {"start": 3.0, "end": 4.0},
        {"start": 30.0, "end": 40.0, "allow_truncated": True},
    ):
        assert refusal(CUT[name](), **how) == "empty"


def opus(seconds: float, page: str = "1000000", seed: int = 0) -> bytes:
    return by_ffmpeg("ogg", ("libopus", noise(seconds, seed=seed)), options={"page_duration": page})


def vorbis(seconds: float, seed: int = 0) -> bytes:
    return by_soundfile(noise(seconds, seed=seed), "OGG", "VORBIS")


LONG = Files(
    {
        "opus": lambda: opus(6.0),
        "vorbis": lambda: vorbis(6.0),
        "live": lambda: opus(6.0, "20000"),
    }
)


def test_the_checksum_is_that_of_the_format() -> None:
    """Bit by bit, as RFC 3533 has it."""
    for page in pages(opus(0.5)):
        register = 0
        for byte in bytes(page[:22]) + bytes(4) + bytes(page[26:]):
            register ^= byte << 24
            for _ in range(8):
                register = (
                    register << 1 ^ (0x04C11DB7 if register & 0x80000000 else 0)
                ) & 0xFFFFFFFF
        assert register == checksum(bytes(page)) == struct.unpack("<I", page[22:26])[0]


@pytest.mark.parametrize("make", [opus, vorbis])
def test_ogg_without_a_mark_at_its_end_is_a_row_when_its_last_page_is_whole(make) -> None:  # type: ignore[no-untyped-def]
    parts = pages(make(3.6))
    parts[-1][5] &= ~4
    endless = joined(parts)
    assert abs(report(endless).source_samples - 3.6 * RATE) <= 1_024
    assert refusal(endless[:-100]) == "truncated"
    assert refusal(endless[: len(endless) * 6 // 10]) == "truncated"


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("at", [0.3, 0.5, 0.8])
def test_pages_that_are_damaged_in_the_middle_are_said_and_can_be_kept(
    name: str, at: float
) -> None:
    content = LONG[name]
    rotten = spoiled(content, 900, at)
    assert refusal(rotten) == "damaged"
    whole, kept = read_audio(io.BytesIO(content)), report(rotten, allow_damaged=True)
    assert kept.flags == ("damaged",) and abs(kept.source_samples - whole.num_samples) <= 480
    (start, end), *others = kept.gaps
    assert not others and 0.015 < end - start < 2.2
    samples = read_audio(io.BytesIO(rotten), allow_damaged=True).samples
    assert np.array_equal(
        samples[:, : int(start * RATE) - 1], whole.samples[:, : int(start * RATE) - 1]
    )
    assert not samples[:, round(start * RATE) + 10 : round(end * RATE) - 10].any()
    later = slice(
        round(end * RATE) + 9_600, whole.num_samples - 100
    )  # decoders settle after a loss
    assert np.abs(samples[:, later] - whole.samples[:, later]).max() < 0.05
    assert not report(rotten, allow_damaged=True, end=start - 0.01).gaps


def test_a_page_that_was_taken_out_is_missed() -> None:
    parts = pages(opus(4.0))
    assert refusal(joined(parts[:4] + parts[5:])) == "damaged"
    assert refusal(joined(parts[:2] + parts[3:])) == "damaged"


@pytest.mark.parametrize("seconds", [0.5, 0.5002, 0.505])
def test_a_short_page_that_was_taken_out_is_missed_wherever_it_was(seconds: float) -> None:
    """Near the end too, where what its page cuts off the last packet hid the loss of another."""
    parts = pages(opus(seconds, "20000"))
    assert not report(joined(parts)).flags
    for number in range(3, len(parts) - 1):
        assert refusal(joined(parts[:number] + parts[number + 1 :])) == "damaged", number


@pytest.mark.parametrize("make", [opus, vorbis])
@pytest.mark.parametrize("lengths", [(1.7, 0.6), (0.6, 1.7), (0.03, 1.7), (0.5, 0.5, 0.5)])
def test_all_links_of_a_chain_are_read_as_files_of_their_own(
    make, lengths: tuple[float, ...]
) -> None:  # type: ignore[no-untyped-def]
    parts = [make(length, seed=number) for number, length in enumerate(lengths)]
    apart = np.concatenate([read_audio(io.BytesIO(part)).samples for part in parts], axis=1)
    chain = b"".join(parts)
    assert np.array_equal(read_audio(io.BytesIO(chain)).samples, apart)
    assert refusal(chain[:-50]) in ("truncated", "damaged")


def test_links_of_a_chain_are_handed_out_as_they_come() -> None:
    """What was held of a short link behind a long one, or the other way round, was nearly the whole
    file."""
    stream = stream_audio(io.BytesIO(vorbis(12.0) + vorbis(1.0, seed=1)), name="a")
    assert max(block.shape[1] for block in stream) < 3 * RATE
    assert len(read_links(io.BytesIO(vorbis(1.0) + vorbis(1.0)))) == 2


def test_a_checksum_of_flac_is_looked_at_and_so_is_its_md5() -> None:
    for bits in ("PCM_S8", "PCM_16", "PCM_24"):
        content = by_soundfile(SOUND, "FLAC", bits)
        assert not report(content).flags
        assert refusal(spoiled(content)) == "damaged"
    content = bytearray(by_soundfile(SOUND, "FLAC", "PCM_16"))
    content[26] ^= 1  # of the MD5 in the first block
    assert refusal(bytes(content)) == "damaged"
    kept = report(bytes(content), allow_damaged=True)
    assert kept.flags == ("damaged",) and kept.source_samples == 2 * RATE


@pytest.mark.parametrize(("muxer", "codec"), [("wv", "wavpack"), ("tta", "tta"), ("ac3", "ac3")])
def test_checksums_of_other_codecs_are_looked_at(muxer: str, codec: str) -> None:
    content = by_ffmpeg(muxer, (codec, SOUND))
    assert not report(content).flags
    assert refusal(spoiled(content)) == "damaged"
    assert "damaged" in report(spoiled(content), allow_damaged=True).flags


def test_sound_is_as_long_as_its_own_track() -> None:
    for content in (
        by_ffmpeg("matroska", ("libopus", SOUND), video_seconds=4.0),
        by_ffmpeg("webm", ("libopus", SOUND), video_seconds=3.0),
        by_ffmpeg("asf", ("wmav2", SOUND), video_seconds=4.0),
        by_ffmpeg("avi", ("pcm_s16le", SOUND), video_seconds=4.0),
        by_ffmpeg("matroska", ("libopus", SOUND), begin=2.0, video_seconds=4.4),
        by_ffmpeg("matroska", ("libopus", SOUND), begin=2.0),
    ):
        found = report(content)
        assert abs(found.source_samples - 2 * RATE) <= 4_800 and not found.flags


def without_packets(codec: str, muxer: str, lost: range) -> bytes:
    """The same packets with some left out, their times kept."""
    content = by_ffmpeg(muxer, (codec, noise(3.0)))
    sink = io.BytesIO()
    with av.open(io.BytesIO(content)) as source, av.open(sink, "w", format=muxer) as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for number, packet in enumerate(source.demux(source.streams.audio[0])):
            if packet.dts is not None and number not in lost:
                packet.stream = stream
                target.mux(packet)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("codec", "muxer"),
    [("libopus", "matroska"), ("aac", "mp4"), ("flac", "matroska"), ("ac3", "mpegts")],
)
def test_packets_that_were_lost_leave_a_gap_in_the_times(codec: str, muxer: str) -> None:
    content = without_packets(codec, muxer, range(9, 12))
    assert refusal(content) == "damaged"
    kept = report(content, allow_damaged=True)
    assert kept.flags == ("damaged",) and len(kept.gaps) == 1
    assert abs(kept.source_samples - 3 * RATE) <= 5_000
    assert refusal(without_packets(codec, muxer, range(9, 10))) == "damaged"


def ape(key: bytes, value: bytes) -> bytes:
    item = struct.pack("<II", len(value), 2) + key + b"\0" + value
    foot = b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, 0x80000000) + bytes(8)
    return foot[:20] + struct.pack("<I", 0xA0000000) + bytes(8) + item + foot


def lyrics() -> bytes:
    body = b"LYRICSBEGININD0000200"
    return body + f"{len(body):06d}LYRICS200".encode()


ID3_1 = b"TAG" + b"A Song".ljust(125, b"\0")
COVER = np.random.default_rng(1).bytes(30_000)
TAGS = {
    "id3v1": ID3_1,
    "ape": ape(b"Title", b"A Song"),
    "cover": ape(b"Cover Art (Front)", b"cover.png\0" + COVER),
    "cover and id3v1": ape(b"Cover Art (Front)", b"cover.png\0" + COVER) + ID3_1,
    "lyrics": lyrics() + ID3_1,
}


@pytest.mark.parametrize("xing", ["1", "0"])
@pytest.mark.parametrize("name", TAGS)
def test_tags_behind_an_mp3_are_no_sound(name: str, xing: str) -> None:
    content = by_ffmpeg(
        "mp3", ("libmp3lame", SOUND), options={"write_xing": xing, "id3v2_version": "0"}
    )
    assert before_tags(io.BytesIO(content + TAGS[name])) == len(content)
    tagged = read_audio(io.BytesIO(content + TAGS[name])).samples
    assert np.array_equal(tagged, read_audio(io.BytesIO(content)).samples)


def test_an_mp3_that_lacks_one_packet_at_its_end_is_truncated() -> None:
    content = by_ffmpeg("mp3", ("libmp3lame", SOUND))
    assert refusal(content[: len(content) * 95 // 100]) in ("truncated", "damaged")


def test_of_two_tracks_the_default_is_read_and_the_other_is_said() -> None:
    other = np.zeros_like(SOUND)
    for default in (0, 1):
        tracks = [("flac", other), ("flac", other)]
        tracks[default] = ("flac", SOUND)
        content = by_ffmpeg("matroska", *tracks, default=default)
        found = report(content)
        assert found.tracks == 2 and found.flags == ("other_tracks",)


@pytest.mark.parametrize(
    "head",
    [
        bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + b"\xff" * 7 + b"\x7f",
        b"caff\0\1\0\0" + b"free\x7f" + b"\xff" * 7,
        b"riff\x2e\x91\xcf\x11" + bytes(32) + b"junk" + bytes(12) + b"\xff" * 7 + b"\x7f",
    ],
    ids=["asf", "caf", "w64"],
)
def test_a_chunk_larger_than_any_file_says_nothing(head: bytes) -> None:
    assert not is_cut(io.BytesIO(head + bytes(100)))


GUID_OF_PCM = bytes.fromhex("0100000000001000800000aa00389b71")


def padded(samples: np.ndarray, width: int, valid: int, extensible: bool = True) -> bytes:
    """WAVE whose samples take `width` bytes and have `valid` bits, the others zero."""
    channels, align = len(samples), len(samples) * width
    body = b"".join(int(value).to_bytes(width, "little", signed=True) for value in samples.T.flat)
    bits = 8 * width if extensible else valid
    head = struct.pack(
        "<HHIIHH", 0xFFFE if extensible else 1, channels, RATE, RATE * align, align, bits
    )
    if extensible:
        head += struct.pack("<HHI", 22, valid, (1 << channels) - 1) + GUID_OF_PCM
    chunks = b"fmt " + struct.pack("<I", len(head)) + head
    chunks += b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(("width", "valid"), [(4, 24), (4, 20), (4, 16), (3, 16), (3, 20), (2, 12)])
def test_samples_with_fewer_bits_than_their_bytes(width: int, valid: int, channels: int) -> None:
    """Windows records 24 bits in 32: FFmpeg takes them for floats, and others for packed ones."""
    low = 8 * width - valid
    whole = (noise(0.1, channels).astype(np.float64) * 2 ** (8 * width - 1)).astype(np.int64)
    whole = whole >> low << low
    content = padded(whole, width, valid)
    truth = (whole / 2.0 ** (8 * width - 1)).astype(np.float32)
    assert np.array_equal(read_audio(io.BytesIO(content)).samples, truth)
    late = read_audio(io.BytesIO(content), start=0.05, end=0.08).samples
    assert np.array_equal(late, truth[:, 2_400:3_840])
    assert refusal(content[: -len(content) // 3]) == "truncated"
    if low >= 8 and (width, valid) != (4, 24):
        assert refusal(padded(whole, width, valid, extensible=False)) == "bad_header"


def test_a_block_that_is_too_small_for_its_samples_is_no_length() -> None:
    content = bytearray(wav(SOUND))
    content[32:34] = struct.pack("<H", 2)
    assert np.array_equal(
        read_audio(io.BytesIO(content)).samples, read_audio(io.BytesIO(wav(SOUND))).samples
    )


@pytest.mark.parametrize(
    ("muxer", "codec"), [("avi", "mp2"), ("avi", "libmp3lame"), ("asf", "wmav2")]
)
def test_what_was_written_to_a_pipe_has_no_length(muxer: str, codec: str) -> None:
    """FFmpeg makes one up, of an hour for 2 s of AVI."""
    piped = io.BytesIO()
    piped.seekable = lambda: False  # type: ignore[method-assign]
    with av.open(piped, "w", format=muxer) as file:
        stream = file.add_stream(codec, rate=RATE, layout="stereo", bit_rate=128_000)
        frame = av.AudioFrame.from_ndarray(SOUND.T.reshape(1, -1).copy(), "flt", "stereo")
        frame.sample_rate = RATE
        frames = av.AudioResampler(stream.format, "stereo", RATE, stream.frame_size)
        for each in [*frames.resample(frame), *frames.resample(None), None]:
            file.mux(stream.encode(each))
    found = report(piped.getvalue())
    assert not found.flags and abs(found.source_samples - 2 * RATE) < 4_800


def test_flac_in_avi_whose_last_packet_is_short() -> None:
    content = by_ffmpeg("avi", ("flac", SOUND))
    assert report(content).source_samples == 2 * RATE
    assert refusal(content[: len(content) // 2]) == "truncated"
