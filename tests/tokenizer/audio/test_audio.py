"""Audio in: every format, every rate, honest lengths, and readable refusals."""

from __future__ import annotations

import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from audio_files import failure, write
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import sound

from tokenizer import FailureKind, RecordingError, read_audio
from tokenizer.audio import stream_audio
from tokenizer.audio.channels import apply_mapping, mapping_matrix
from tokenizer.audio.meter import SignalMeter
from tokenizer.audio.readers.pyav import PyAVReader
from tokenizer.audio.readers.sndfile import SoundFileReader


def encode(path: Path, samples: np.ndarray, rate: int, codec: str) -> Path:
    """Write float `[channels, n]` with FFmpeg."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            codec, rate=rate, layout="stereo" if len(samples) == 2 else "mono"
        )
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), "fltp", stream.layout.name
        )
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            format=stream.format, rate=rate, frame_size=stream.codec_context.frame_size or 1024
        )
        for ready in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("rate", [48_000, 44_100, 22_050])
@pytest.mark.parametrize("seconds", [0.3, 2.0, 7.0])
def test_an_mp3_in_memory_has_the_samples_of_the_file(
    tmp_path: Path, rate: int, seconds: float
) -> None:
    """Against libsndfile's own mpg123, which reads through no handle of ours."""
    path = encode(
        tmp_path / "a.mp3", sound(int(seconds * rate), sample_rate=rate).samples, rate, "libmp3lame"
    )
    there, truth = (
        io.BytesIO(path.read_bytes()),
        soundfile.read(path, dtype="float32", always_2d=True)[0].T,
    )
    there.seek(100)  # where its last reader left it
    assert np.array_equal(read_audio(path).samples, read_audio(there).samples)
    assert read_audio(path).samples.shape == truth.shape
    assert np.abs(read_audio(path).samples - truth).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.flac", "PCM_16"),
        ("a.aiff", None),
    ],
)
def test_lossless_files_come_back_exactly(tmp_path: Path, name: str, subtype: str | None) -> None:
    samples = np.round(sound(30_000).samples * 8192) / 8192
    waveform = read_audio(write(tmp_path / name, samples, 44_100, subtype))
    assert waveform.sample_rate == 44_100
    assert np.array_equal(waveform.samples, samples.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.mp3", "libmp3lame", 44_100),
        ("a.m4a", "aac", 48_000),
        ("a.opus", "libopus", 48_000),
        ("a.ogg", "libvorbis", 44_100),
    ],
)
def test_lossy_files_have_about_the_right_length_and_sound(
    tmp_path: Path, name: str, codec: str, rate: int
) -> None:
    samples = sound(2 * rate, sample_rate=rate).samples
    vorbis = codec == "libvorbis"  # which PyAV's wheel can read and not write
    path = (
        write(tmp_path / name, samples, rate)
        if vorbis
        else encode(tmp_path / name, samples, rate, codec)
    )
    waveform = read_audio(path)
    assert waveform.sample_rate == rate and abs(waveform.num_samples - 2 * rate) <= 2_500
    level = np.sqrt(np.mean(waveform.samples**2)) / np.sqrt(np.mean(samples**2))
    assert 0.7 < level < 1.3


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 44_101, 96_000, 192_000])
@pytest.mark.parametrize("samples", [1, 100, 50_001])
def test_resampling_is_soxr_at_once_whatever_the_blocks(
    tmp_path: Path, rate: int, samples: int
) -> None:
    source = sound(samples, sample_rate=rate).samples
    path = write(tmp_path / "a.wav", source, rate, "FLOAT")
    if int(samples * 48_000 / rate + 0.5) == 0:
        assert failure(path, 48_000, 2).kind is FailureKind.EMPTY, (
            "shorter than half a sample at the codec's rate"
        )
        return
    waveform = read_audio(path, 48_000, 2)
    expected = soxr.resample(source.T, rate, 48_000, "HQ").T
    assert waveform.num_samples == int(samples * 48_000 / rate + 0.5) == expected.shape[1]
    assert np.array_equal(waveform.samples, expected)


def test_the_codecs_own_rate_is_the_identity(tmp_path: Path) -> None:
    source = sound(100_000).samples
    assert np.array_equal(
        read_audio(write(tmp_path / "a.wav", source, 48_000, "FLOAT"), 48_000, 2).samples, source
    )


def test_a_stream_has_blocks_of_about_a_second(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", sound(500_000, sample_rate=44_100).samples, 44_100, "FLOAT")
    stream = stream_audio(path, 48_000, 2)
    blocks = list(stream)
    assert max(block.shape[1] for block in blocks) < 4 * 48_000
    assert np.array_equal(np.concatenate(blocks, axis=1), read_audio(path, 48_000, 2).samples)
    assert stream.report.num_samples == sum(block.shape[1] for block in blocks)
    assert (stream.report.source_samples, stream.report.source_channels) == (500_000, 2)


def test_mono_goes_to_both_channels_at_full_level(tmp_path: Path) -> None:
    mono = sound(1000, 1).samples
    both = read_audio(write(tmp_path / "a.wav", mono, 48_000, "FLOAT"), 48_000, 2).samples
    assert np.array_equal(both, np.repeat(mono, 2, axis=0))


def test_stereo_to_mono_is_the_mean(tmp_path: Path) -> None:
    stereo = sound(1000).samples
    one = read_audio(write(tmp_path / "a.wav", stereo, 48_000, "FLOAT"), 48_000, 1).samples
    np.testing.assert_allclose(one[0], stereo.mean(axis=0), atol=1e-7)


def test_more_than_two_channels_are_refused_unless_asked_for(tmp_path: Path) -> None:
    names = ("FL", "FR", "FC", "LFE", "BL", "BR")
    with pytest.raises(RecordingError) as caught:
        mapping_matrix("x.wav", names, 2, downmix=False)
    assert caught.value.kind is FailureKind.CHANNELS and "--downmix" in caught.value.message
    matrix = mapping_matrix("x.wav", names, 2, downmix=True)
    half = 0.70710678
    np.testing.assert_allclose(
        matrix, [[1, 0, half, 0, half, 0], [0, 1, half, 0, 0, half]], rtol=1e-6
    )
    surround = np.eye(6, dtype=np.float32)
    np.testing.assert_allclose(apply_mapping(surround, matrix), matrix)
    path = write(tmp_path / "a.wav", sound(5000, 6).samples, 48_000, "FLOAT")
    assert failure(path, 48_000, 2).kind is FailureKind.CHANNELS
    assert read_audio(path, 48_000, 2, downmix=True).channels == 2
    assert read_audio(path).channels == 6


def test_unknown_places_are_not_mixed_down() -> None:
    with pytest.raises(RecordingError, match="unknown"):
        mapping_matrix("x", tuple(f"?{i}" for i in range(5)), 2, downmix=True)


@settings(deadline=None, max_examples=40)
@given(start=st.integers(0, 30_000), length=st.integers(1, 30_000))
def test_segments_are_cut_to_the_sample(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "segments.wav"
    whole = sound(60_000, 1, 16_000).samples
    if not path.exists():
        write(path, whole, 16_000, "FLOAT")
    part = read_audio(path, start=start / 16_000, end=(start + length) / 16_000).samples
    assert np.array_equal(part, whole[:, start : start + length])


@pytest.mark.parametrize("name", ["long.wav", "long.flac", "long.mp3", "long.ogg"])
def test_late_segments_are_those_of_the_whole(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, sound(9 * 16_000, 1, 16_000).samples, 16_000)
    whole = read_audio(path).samples
    stream = stream_audio(path, start=7.25, end=8.5)
    part = np.concatenate(list(stream), axis=1)
    assert np.array_equal(part, whole[:, 116_000:136_000])
    assert stream.report.decoder == ("soundfile" if name in ("long.wav", "long.flac") else "pyav")


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_16", 16), ("PCM_32", 32)])
def test_every_packed_sample_becomes_the_float_of_libswresample(
    tmp_path: Path, subtype: str, bits: int
) -> None:
    """The extremes, and 32-bit samples that float32 has to round."""
    rng = np.random.default_rng(7)
    samples = rng.integers(-(1 << bits - 1), 1 << bits - 1, (5_000, 2))
    samples[:2] = [[-(1 << bits - 1), (1 << bits - 1) - 1], [0, -1]]
    path = tmp_path / "a.wav"
    soundfile.write(path, samples.astype(f"int{bits}"), 48_000, subtype=subtype)
    resampler = av.AudioResampler(format="flt")
    with av.open(str(path)) as container:
        expected = [
            flat.to_ndarray()
            for frame in container.decode(audio=0)
            for flat in resampler.resample(frame)
        ]
    assert np.array_equal(read_audio(path).samples.T.ravel(), np.concatenate(expected, axis=1)[0])


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [
        ("a.mp3", "libmp3lame", "fltp"),
        ("a.m4a", "alac", "s32p"),
        ("a.flac", "flac", "s16"),
        ("a.wav", "pcm_u8", "u8"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_of_any_layout_become_the_floats_of_libswresample(
    tmp_path: Path, name: str, codec: str, form: str, channels: int
) -> None:
    """Planar and packed, over several blocks; formats that nothing reads as they are go through the
    resampler."""
    path = encode(
        tmp_path / name, sound(150_000, channels, sample_rate=44_100).samples, 44_100, codec
    )
    resampler = av.AudioResampler(format="flt")
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        assert frames[0].format.name == form
        expected = [flat.to_ndarray() for frame in frames for flat in resampler.resample(frame)]
    assert np.array_equal(read_audio(path).samples.T.ravel(), np.concatenate(expected, axis=1)[0])


def test_mono_is_resampled_once_and_as_two_channels_would_be(tmp_path: Path) -> None:
    mono = sound(100_000, 1, sample_rate=44_100).samples
    both = read_audio(write(tmp_path / "mono.wav", mono, 44_100, "FLOAT"), 48_000, 2)
    twice = read_audio(
        write(tmp_path / "stereo.wav", np.repeat(mono, 2, axis=0), 44_100, "FLOAT"), 48_000, 2
    )
    assert np.array_equal(both.samples, twice.samples)


def test_mono_earns_the_flags_of_two_equal_channels(tmp_path: Path) -> None:
    """Three neighbouring pairs at full scale are too few in one channel to be called clipped, and
    enough in two."""
    mono = np.zeros((1, 20_000), np.float32)
    mono[0, 100:104] = 1.0
    for name, samples in (("mono.wav", mono), ("stereo.wav", np.repeat(mono, 2, axis=0))):
        stream = stream_audio(write(tmp_path / name, samples, 48_000, "FLOAT"), 48_000, 2)
        list(stream)
        assert stream.report.flags == ("clipped",)


def test_samples_before_a_change_of_rate_are_read(tmp_path: Path) -> None:
    """A segment that ends before the change is sound, though both lie in one second."""
    first = encode(
        tmp_path / "a.mp3", sound(66_150, sample_rate=44_100).samples, 44_100, "libmp3lame"
    )
    whole = read_audio(first).samples
    second = encode(tmp_path / "b.mp3", sound(48_000).samples, 48_000, "libmp3lame")
    first.write_bytes(first.read_bytes() + second.read_bytes())
    assert failure(first).kind is FailureKind.DAMAGED
    assert np.array_equal(read_audio(first, end=1.2).samples, whole[:, :52_920])


def dts_frame(rng: np.random.Generator, size: int = 2_048) -> bytes:
    """A DTS core frame of 512 samples at 44.1 kHz whose header is right (ETSI TS 102 114, 5.3) and
    whose payload is noise."""
    fields = [
        (0x7FFE8001, 32),
        (1, 1),
        (31, 5),
        (0, 1),
        (15, 7),
        (size - 1, 14),
        (2, 6),
        (8, 4),
        (24, 5),
        (0, 5),
        (0, 3),
    ]
    fields += [(0, 2), (0, 2), (1, 1), (0, 1), (7, 4), (0, 2), (0, 3), (0, 2), (0, 4)]
    bits = "".join(format(value, f"0{width}b") for value, width in fields)
    header = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    return header + rng.bytes(size - len(header))


@pytest.mark.parametrize("lead", [0, 20_000, 200_000])
def test_dts_that_a_header_calls_pcm_is_not_read_as_noise(tmp_path: Path, lead: int) -> None:
    rng = np.random.default_rng(0)
    words = np.frombuffer(b"".join(dts_frame(rng) for _ in range(100)), dtype=">i2").astype("<i2")
    path = tmp_path / "disc.wav"
    soundfile.write(
        path,
        np.concatenate([np.zeros(lead // 4 * 2, "<i2"), words]).reshape(-1, 2),
        44_100,
        subtype="PCM_16",
    )
    reader = PyAVReader(str(path), path.name)
    assert reader.facts.codec in ("dca", "dts")
    reader.close()


def test_both_decoders_agree_on_lossless_files(tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac"):
        path = write(tmp_path / name, sound(70_000).samples, 48_000, "PCM_24")
        reader = SoundFileReader(str(path), name)
        theirs = np.concatenate(list(reader.blocks()), axis=1)
        assert np.array_equal(read_audio(path).samples, theirs)


@pytest.mark.parametrize(
    ("subtype", "decoder"), [("PCM_16", "soundfile"), ("FLOAT", "soundfile"), ("PCM_U8", "pyav")]
)
def test_plain_wave_is_opened_by_the_quicker_decoder(
    tmp_path: Path, subtype: str, decoder: str
) -> None:
    path = write(tmp_path / "a.wav", sound(30_000, sample_rate=44_100).samples, 44_100, subtype)
    reader = PyAVReader(str(path), "a.wav")
    expected = np.concatenate(list(reader.blocks()), axis=1)
    for name in ("a.wav", "a.raw"):  # a name that libsndfile takes for headerless samples
        stream = stream_audio(path.rename(tmp_path / name), start=0.1)
        assert np.array_equal(np.concatenate(list(stream), axis=1), expected[:, 4_410:])
        assert stream.report.decoder == (decoder if name == "a.wav" else "pyav")
        path = tmp_path / name


def test_a_wave_file_that_lacks_its_end_is_left_to_ffmpeg(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", sound(30_000).samples, 48_000, "PCM_16")
    os.truncate(path, path.stat().st_size - 4_000)
    assert failure(path).kind is FailureKind.TRUNCATED
    stream = stream_audio(path, allow_truncated=True)
    assert sum(block.shape[1] for block in stream) == 29_000
    assert stream.report.flags == ("truncated",) and stream.report.decoder == "pyav"


def test_bytes_in_memory_are_read_like_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", sound(10_000).samples, 44_100)
    from_memory = read_audio(io.BytesIO(path.read_bytes()), 48_000, 2)
    assert np.array_equal(from_memory.samples, read_audio(path, 48_000, 2).samples)


def flags_of(samples: np.ndarray) -> tuple[str, ...]:
    meter = SignalMeter()
    for part in np.array_split(samples.astype(np.float32), 3, axis=1):
        meter.add(part)
    return meter.flags()


def test_flags_are_raised_by_what_they_name_and_by_nothing_else() -> None:
    music = sound(48_000).samples
    assert flags_of(music) == ()
    assert flags_of(0 * music) == ("silent",)
    assert flags_of(np.full((2, 1000), 1 / 32768)) == (), (
        "the smallest step of 16 bits is no silence"
    )
    assert flags_of(np.stack([music[0], -music[0]])) == ("antiphase",)
    assert flags_of(np.stack([music[0], 0 * music[0]])) == (), "one silent channel is no antiphase"
    assert flags_of(np.clip(8 * music, -1, 1)) == ("clipped",)
    peak = music / np.abs(music).max()
    assert flags_of(peak) == (), "a single peak at full scale is ordinary mastering"
    assert flags_of(music[:1]) == (), "mono has no phase"


def test_a_report_is_known_at_the_end_only(tmp_path: Path) -> None:
    stream = stream_audio(write(tmp_path / "a.wav", sound(1000).samples, 48_000))
    with pytest.raises(RuntimeError):
        _ = stream.report
    stream.close()
