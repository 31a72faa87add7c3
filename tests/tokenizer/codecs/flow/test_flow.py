"""Recordings of any length through a codec, whole, in pieces, as a stream: always the same codes.

The truth is the codec on the whole signal in one call, which knows nothing of pieces.
"""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lag_codec import HOP, RATE, LagCodec
from sounds import sound

from tokenizer import (
    Codec,
    Codes,
    FailureKind,
    RecordingError,
    ShapeError,
    UsageError,
    Waveform,
    load_codec,
    read_audio,
)
from tokenizer.chunking import Layout, PieceCutter, runs_of
from tokenizer.codecs.base import ChunkCodes, assemble, require_codes, split
from tokenizer.codecs.facts import code_frames
from tokenizer.codecs.pieces import Piece

LENGTHS = [1, 2, 79, 80, 81, 160, 799, 800, 801, 1_600, 1_601, 5_000, 12_345]


def whole(codec: Codec, waveform: Waveform) -> Codes:
    return assemble(codec.encode_chunks([waveform.samples]), waveform.num_samples, codec.spec)


def noises(codec: Codec) -> list[Waveform]:
    return [sound(n, codec.channels, codec.sample_rate, seed=n) for n in LENGTHS]


@pytest.fixture(params=["lag", "lag-whole", "mulaw", "reduced", "mono"])
def codec(request: pytest.FixtureRequest) -> Codec:
    name = request.param
    if name.startswith("lag"):
        return LagCodec(None if name == "lag-whole" else 800)
    path = name if name == "mulaw" else str(request.getfixturevalue(name))
    return load_codec(path, bandwidth=6.0, device="cpu")


def test_pieces_of_any_lengths_give_the_codes_of_the_whole() -> None:
    codec, rng = LagCodec(), np.random.default_rng(0)
    for waveform in noises(codec):
        state, found, at = None, [], 0
        while at < waveform.num_samples:
            size = int(rng.integers(1, 300))
            last = at + size >= waveform.num_samples
            (one,) = codec.encode_pieces([Piece(waveform.samples[:, at : at + size], state, last)])
            state, at = one.state, at + size
            found.append(one.codes)
        assert np.array_equal(np.concatenate(found, axis=1), whole(codec, waveform).codes)


def test_recordings_side_by_side_give_the_codes_of_each_alone() -> None:
    codec = LagCodec()
    waveforms = noises(codec)
    together = codec.encode_batch(waveforms)
    assert codec.longest <= 800 and max(codec.calls) == codec.batch_chunks
    for waveform, codes in zip(waveforms, together, strict=True):
        assert codes == whole(codec, waveform) == codec.encode(waveform)
        assert codes.frames == -(-waveform.num_samples // HOP)
    assert codec.encode_batch([]) == []
    for one, waveform in zip(together, codec.decode_batch(together), strict=True):
        truth = codec.decode_chunks(split(one, codec.spec))[0][:, : one.num_samples]
        assert np.array_equal(waveform.samples, truth)
        assert np.array_equal(codec.decode(one).samples, truth)


def test_a_stream_gives_the_codes_of_the_whole(codec: Codec) -> None:
    rng = np.random.default_rng(1)
    for length in (1, 79, 5_000, 100_000):
        waveform = sound(length, codec.channels, codec.sample_rate)
        truth = codec.encode(waveform)
        most = max(length // 7, 2)
        with codec.stream() as stream:
            parts, at = [], 0
            while at < length:
                block = waveform.samples[:, at : at + int(rng.integers(0, most))].copy()
                parts.append(stream.push(block))
                at += block.shape[1]
                block[:] = 7  # the caller's buffer is the caller's
            parts.append(stream.finish())
        assert Codes.join(parts) == truth
        assert sum(part.num_samples for part in parts) == length == stream.num_samples


def test_a_stream_hands_a_frame_out_once_nothing_can_change_it() -> None:
    stream = LagCodec().stream()
    assert stream.push(np.zeros((1, HOP), np.float32)).frames == 0
    assert stream.push(np.zeros((1, HOP), np.float32)).frames == 0
    assert stream.push(torch.zeros(1)).frames == 1  # a frame of look-ahead has passed
    assert stream.finish().frames == 2


def test_a_stream_that_has_ended_takes_no_more() -> None:
    codec = LagCodec()
    with codec.stream() as stream:
        with pytest.raises(ShapeError, match=r"wants samples \[1, n\]"):
            stream.push(np.zeros((2, 10), np.float32))
        with pytest.raises(RecordingError) as caught:
            stream.push(np.full(10, np.nan))
        assert caught.value.kind is FailureKind.NON_FINITE
        stream.push(np.zeros(10))
        stream.finish()
        with pytest.raises(UsageError, match=r"codec.stream\(\)"):
            stream.push(np.zeros(10))
    with pytest.raises(RecordingError, match="no samples"):
        codec.stream().finish()


def test_long_recordings_take_little_memory() -> None:
    """1,000 s of samples are 32 MB as float32; no more than a few pieces of them are held."""
    codec, seconds = LagCodec(piece_length=10 * RATE), 1_000
    block = sound(RATE, 1, RATE).samples
    tracemalloc.start()
    with codec.stream() as stream:
        codes = Codes.join([*(stream.push(block) for _ in range(seconds)), stream.finish()])
    assert codes.chunk_frames.tolist() == runs_of(100_000) == [65_535, 34_465]
    assert sum(one.shape[1] for one in codec.decode_stream(codes)) == seconds * RATE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6


def test_more_frames_than_an_entry_holds_are_several_runs() -> None:
    spec = LagCodec().spec
    for frames in (1, 65_534, 65_535, 65_536, 131_070, 131_071):
        samples = frames * HOP - 3
        parts = [np.full((3, n), 5, np.uint16) for n in (frames // 2, frames - frames // 2)]
        codes = assemble([ChunkCodes(part, None) for part in parts], samples, spec)
        assert code_frames(samples, spec) == frames == int(codes.chunk_frames.sum(dtype=np.int64))
        assert len(codes.chunk_frames) == -(-frames // 65_535)
        (one,) = split(codes, spec)
        assert one.codes.shape == (3, frames)
        assert assemble([one], samples, spec) == codes
        require_codes(codes, spec)
        if frames > 1:
            uneven = np.array([1, frames - 1], np.int64)
            if uneven.max() < 65_536:
                with pytest.raises(ShapeError, match="chunks"):
                    split(replace(codes, chunk_frames=uneven.astype(np.uint16)), spec)


def test_codes_are_cut_and_joined(codec: Codec) -> None:
    rng = np.random.default_rng(2)
    for length in (1, 47_520, 47_600, 48_000, 200_000):
        codes = codec.encode(sound(length, codec.channels, codec.sample_rate))
        for _ in range(4):
            first, last = sorted(int(at) for at in rng.integers(0, codes.units + 1, 2))
            parts = [codes[:first], codes[first:last], codes[last:]]
            assert Codes.join(parts) == codes
            middle = parts[1]
            if middle.frames:
                assert codec.decode(middle).num_samples == middle.num_samples
    assert codes[-1:].units == 1 and codes[3:2].frames == 0


def test_a_stretch_sounds_as_the_whole_does_there() -> None:
    codec = load_codec("mulaw")
    codes = codec.encode(sound(300_000))
    stretch, all_of_it = codec.decode(codes[2:5]).samples, codec.decode(codes).samples
    begin = 2 * 47_520
    assert stretch.shape[1] == 3 * 47_520
    np.testing.assert_allclose(
        stretch[:, 480:], all_of_it[:, begin + 480 : begin + 3 * 47_520], atol=1e-6
    )


def test_what_cannot_be_cut_or_joined_is_said() -> None:
    codec = LagCodec()
    codes = codec.encode(sound(1_000, 1, RATE))
    with pytest.raises(ShapeError, match="slice"):
        codes[3]  # type: ignore[index]
    with pytest.raises(ShapeError, match="layout"):
        replace(codes, layout=None)[:3]
    with pytest.raises(ShapeError, match="do not follow"):
        Codes.join([codes[10:], codes[:10]])
    with pytest.raises(ShapeError, match="two kinds"):
        Codes.join([codes, load_codec("mulaw").encode(sound(1_000))])
    for none in ([], None, 5):
        with pytest.raises(ShapeError, match="nothing to join"):
            Codes.join(none)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="not uint16"):
        Codes.join([codes, codes.codes])  # type: ignore[list-item]
    assert Codes.join(part for part in (codes[:4], codes[4:])) == codes


def test_codes_of_other_weights_are_not_taken_for_a_codec_s_own(tmp_path: Path) -> None:
    """Of two codecs that differ in nothing else."""
    codec, other = LagCodec(), LagCodec()
    other.spec = replace(other.spec, weights_sha256="others")
    codes, theirs = (one.encode(sound(1_000, 1, RATE)) for one in (codec, other))
    assert codes == theirs
    theirs.save(tmp_path / "theirs.npz")
    for foreign in (theirs, theirs[:5], Codes.join([theirs]), Codes.load(tmp_path / "theirs.npz")):
        with pytest.raises(ShapeError, match="other weights than those of codec lag"):
            codec.decode(foreign)
        with pytest.raises(ShapeError, match="two codecs"):
            Codes.join([codes, foreign])
    with codec.stream() as stream, other.stream() as another:
        pushed = [one.push(sound(1_000, 1, RATE).samples) for one in (stream, another)]
    with pytest.raises(ShapeError, match="two codecs"):
        Codes.join(pushed)
    unsaid = replace(theirs, weights=None)
    assert np.array_equal(codec.decode(unsaid).samples, other.decode(theirs).samples)
    assert Codes.join([unsaid[:5], theirs[5:]]) == theirs


def test_decode_takes_codes() -> None:
    codec = LagCodec()
    with pytest.raises(ShapeError, match="decode_codes takes arrays"):
        codec.decode(np.zeros((3, 5), np.uint16))  # type: ignore[arg-type]


def test_codes_are_compared_hashed_and_kept(tmp_path: Path, codec: Codec) -> None:
    codes = codec.encode(sound(100_000, codec.channels, codec.sample_rate))
    codes.save(tmp_path / "one.npz")
    loaded = Codes.load(tmp_path / "one.npz")
    assert loaded == codes and hash(loaded) == hash(codes) and loaded.layout == codes.layout
    with np.load(tmp_path / "one.npz") as plain:
        assert np.array_equal(plain["codes"], codes.codes)
    assert codes != replace(codes, codes=codes.codes ^ np.uint16(1)) and codes != "codes"
    with pytest.raises(UsageError, match=r"\.npz"):
        codes.save(tmp_path / "one.safetensors")
    with pytest.raises(UsageError, match="cannot be written"):
        codes.save(tmp_path / "nowhere" / "one.npz")
    with pytest.raises(UsageError, match="no such file"):
        Codes.load(tmp_path / "other.npz")
    for bad in (b"", b"PK\x03\x04", b"nothing"):
        (tmp_path / "bad.npz").write_bytes(bad)
        with pytest.raises(UsageError, match="not a file of"):
            Codes.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", codes=np.zeros((2, 3), np.uint16))
    with pytest.raises(UsageError, match="not a file of"):
        Codes.load(tmp_path / "other.npz")


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_files_and_samples_are_encoded_as_read_audio_reads_them(
    tmp_path: Path, channels: int, rate: int
) -> None:
    waveform = sound(30_000, channels, rate)
    pcm = np.rint(np.clip(waveform.samples, -1, 1) * 32_767).astype(np.int16)
    path = tmp_path / "a.wav"
    soundfile.write(path, pcm.T, rate, subtype="PCM_16")
    for codec in (LagCodec(), load_codec("mulaw")):
        truth = codec.encode(read_audio(path, codec.sample_rate, codec.channels))
        floats = (pcm / 32_768).astype(np.float32)
        given: list[Any] = [pcm, floats, floats.astype(np.float64), torch.from_numpy(floats)]
        given += [pcm[0], torch.from_numpy(pcm[0])] if channels == 1 else []
        for samples in given:
            assert codec.encode(samples, sample_rate=rate) == truth
        assert codec.encode(path) == codec.encode(str(path)) == truth
        with path.open("rb") as file:
            assert codec.encode(file) == truth
        assert codec.encode_batch([path, floats][:1]) == [truth]


def test_what_is_no_audio_is_said_in_one_line(tmp_path: Path) -> None:
    codec = LagCodec()
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (np.zeros((1, 100), np.float32), {}, "sample_rate=44_100"),
        (np.zeros((100, 2), np.float32), {"sample_rate": 8_000}, r"samples\.T"),
        (np.zeros((5, 100), np.float32), {"sample_rate": 8_000}, "5 channels"),
        (np.zeros((1, 1, 100), np.float32), {"sample_rate": 8_000}, "floats or integers"),
        (np.zeros((1, 100), np.complex64), {"sample_rate": 8_000}, "floats or integers"),
        ([0.0, 0.1], {"sample_rate": 8_000}, "from list"),
        (np.zeros((1, 0), np.float32), {"sample_rate": 8_000}, "no samples"),
        (np.full((1, 9), np.inf, np.float32), {"sample_rate": 8_000}, "has samples from inf"),
        (tmp_path / "none.wav", {}, "none.wav"),
        (tmp_path / "none.wav", {"sample_rate": 8_000}, "a file says its own"),
        (np.zeros((0, 100), np.float32), {"sample_rate": 8_000}, "have no channels"),
        (np.zeros((1, 1), np.float32), {"sample_rate": 192_000}, "are none at 8000 Hz"),
        (sound(100, 1, RATE), {"sample_rate": 16_000}, "16000 is not that of the waveform"),
        *(
            (np.zeros((1, 100), np.float32), {"sample_rate": rate}, "a whole number of Hz, not")
            for rate in (0, -8_000, "8000", float("nan"), 8_000.5, True, [8_000])
        ),
    ]
    for source, options, reason in cases:
        with pytest.raises((ShapeError, RecordingError), match=reason) as caught:
            codec.encode(source, **options)
        assert "\n" not in str(caught.value)
        with pytest.raises((ShapeError, RecordingError), match=reason):
            codec.encode_batch([source], **options)
    same = codec.encode(np.zeros((1, 100), np.float32), sample_rate=RATE)
    for rate in (float(RATE), np.array(RATE), torch.tensor(RATE), np.int64(RATE)):
        assert codec.encode(np.zeros((1, 100), np.float32), sample_rate=rate) == same  # type: ignore[arg-type]


def test_one_recording_is_no_batch(tmp_path: Path) -> None:
    codec = LagCodec()
    one = sound(100, 1, RATE)
    with (tmp_path / "a.wav").open("wb") as file:
        for source in ("a.wav", tmp_path / "a.wav", one, one.samples[0], file):
            with pytest.raises(ShapeError, match="a list of recordings, not one"):
                codec.encode_batch(source, sample_rate=RATE)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="a list of recordings, not one NoneType"):
        codec.encode_batch(None)  # type: ignore[arg-type]
    several = np.empty(2, object)
    several[:] = [one.samples[0], one.samples[0, :50]]
    for given in (one.samples[None], several, (one.samples for _ in range(2))):
        assert codec.encode_batch(given, sample_rate=RATE)[0].num_samples == 100  # type: ignore[arg-type]


def test_a_cutter_keeps_the_last_piece_back() -> None:
    rng, samples = np.random.default_rng(3), np.arange(2_000, dtype=np.float32)[None]
    for length in (1, 2, 79, 80, 81, 160, 2_000):
        cutter, pieces, at = PieceCutter(1, 80), [], 0
        while at < length:
            size = int(rng.integers(0, 200))
            pieces += cutter.push(samples[:, at : min(at + size, length)])
            at += size
        last = cutter.finish()
        assert len(last) == 1 and cutter.finish() == [] and cutter.num_samples == length
        assert [one.shape[1] for one in pieces] == [80] * ((length - 1) // 80)
        assert np.array_equal(np.concatenate([*pieces, *last], axis=1), samples[:, :length])
    with pytest.raises(ShapeError):
        PieceCutter(1, 80).push(np.zeros((2, 5), np.float32))


def test_layouts_by_hand() -> None:
    layout = Layout(320, 48_000, 47_520)
    assert layout.chunk_frames(48_000) == [150, 2] and layout.full == 150
    assert layout.fits([150, 150], 95_040) and layout.fits([150, 149], 95_040)
    assert not layout.fits([150, 150], 95_041) and not layout.fits([150], 95_040)
    assert Layout(320).chunk_frames(321) == [2] and Layout(320).fits([2], 640)
