"""Audio files to `.ecdc` files and back, with reduced checkpoints."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from ecdc_golden import coder_weights
from sounds import sound

from tokenizer import load_codec, read_audio
from tokenizer.ecdc.audio import _reduced, _resampled, converted
from tokenizer.ecdc.files import read_ecdc
from tokenizer.ecdc.models import MODELS
from tokenizer.ecdc.tool import LIMIT, decode_file, encode_file
from tokenizer.errors import CodecLoadError, FailureKind, RecordingError, UsageError
from tokenizer.types import Waveform


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    return written(tmp_path / "song.wav", sound(48_000 + 700))


def written(file: Path, waveform: Waveform) -> Path:
    soundfile.write(file, waveform.samples.T, waveform.sample_rate, subtype="FLOAT")
    return file


def test_a_file_holds_the_codecs_codes_and_decodes_to_its_samples(
    stereo: Path, reduced: Path
) -> None:
    done = encode_file(stereo, codec=str(reduced), bandwidth=12, device="cpu")
    assert done.file == stereo.with_suffix(".ecdc") and done.size == done.file.stat().st_size
    codec = load_codec(str(reduced), bandwidth=12, device="cpu")
    codes = codec.encode(read_audio(stereo))
    assert read_ecdc(done.file).codes == codes == done.codes
    decoded = decode_file(done.file, codec=str(reduced), device="cpu")
    assert decoded.file.name == "song_decompressed.wav"
    samples, rate = soundfile.read(decoded.file, dtype="float32", always_2d=True)
    expected = codec.decode(codes).samples
    assert rate == 48_000 and samples.T.shape == expected.shape
    np.testing.assert_allclose(samples.T, np.clip(expected, -LIMIT, LIMIT), atol=1 / 32_000)
    assert decoded.peak == pytest.approx(float(np.abs(expected).max()))


@pytest.mark.parametrize("tail", [1, 161, 320, 6_720])
def test_lengths_at_which_the_original_fails(tmp_path: Path, reduced: Path, tail: int) -> None:
    wav = written(tmp_path / "odd.wav", sound(47_520 + tail))
    encode_file(wav, codec=str(reduced), bandwidth=3, device="cpu")
    decode_file(wav.with_suffix(".ecdc"), wav, codec=str(reduced), device="cpu", force=True)
    assert soundfile.info(wav).frames == 47_520 + tail


def test_mono_model_takes_the_mean_and_flac_comes_out(
    tmp_path: Path, stereo: Path, mono: Path
) -> None:
    file = tmp_path / "x.ecdc"
    done = encode_file(stereo, file, codec=str(mono), device="cpu")
    samples = read_audio(stereo).samples.mean(axis=0, keepdims=True)
    at_rate = next(iter(_resampled([samples], 2, 1, 10**6)))
    codec = load_codec(str(mono), device="cpu")
    assert done.codes == codec.encode(Waveform(np.ascontiguousarray(at_rate), 24_000))
    flac = decode_file(file, tmp_path / "x.flac", codec=str(mono), device="cpu").file
    info = soundfile.info(flac)
    assert (info.format, info.subtype, info.channels) == ("FLAC", "PCM_16", 1)
    assert info.frames == done.codes.num_samples == math.ceil(48_700 / 2)


def test_rescaling_instead_of_clipping(tmp_path: Path, stereo: Path, reduced: Path) -> None:
    file = encode_file(stereo, codec=str(reduced), bandwidth=3, device="cpu").file
    held = bytearray(file.read_bytes())
    start = held.index(b"}") + 1
    held[start : start + 4] = struct.pack("!f", 50.0)
    file.write_bytes(held)
    loud = {"codec": str(reduced), "device": "cpu"}
    clipped = decode_file(file, tmp_path / "clipped.wav", **loud)
    scaled = decode_file(file, tmp_path / "scaled.wav", rescale=True, **loud)
    assert clipped.peak == scaled.peak > 1
    cut, quiet = (soundfile.read(done.file)[0] for done in (clipped, scaled))
    assert np.abs(cut).max() == pytest.approx(LIMIT, abs=1e-4)
    assert np.abs(quiet).max() == pytest.approx(LIMIT, abs=1e-4)
    assert (np.abs(cut) > LIMIT - 1e-4).sum() > (np.abs(quiet) > LIMIT - 1e-4).sum()


def test_a_scale_beyond_all_numbers_is_damage(tmp_path: Path, stereo: Path, reduced: Path) -> None:
    file = encode_file(stereo, codec=str(reduced), bandwidth=3, device="cpu").file
    held = bytearray(file.read_bytes())
    start = held.index(b"}") + 1
    held[start : start + 4] = struct.pack("!f", 3e38)
    file.write_bytes(held)
    with pytest.raises(RecordingError, match="no numbers") as raised:
        decode_file(file, tmp_path / "x.wav", codec=str(reduced), device="cpu")
    assert raised.value.kind is FailureKind.DAMAGED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["song.ecdc", "song.wav"]


def test_with_a_language_model(tmp_path: Path, mono: Path) -> None:
    weights = tmp_path / "coder.th"
    torch.save(coder_weights(MODELS["encodec_24khz"]), weights)
    wav = written(tmp_path / "a.wav", sound(5_000, channels=1, sample_rate=24_000))
    with_one = {"codec": str(mono), "device": "cpu", "language_model": weights}
    done = encode_file(wav, bandwidth=1.5, **with_one)
    stored = decode_file(done.file, tmp_path / "b.wav", **with_one).stored
    assert stored.header.entropy_coded and stored.codes == done.codes
    with pytest.raises(UsageError, match="--lm FILE"):
        decode_file(done.file, tmp_path / "c.wav", codec=str(mono), device="cpu")


def test_what_cannot_be_done(tmp_path: Path, stereo: Path, reduced: Path, mono: Path) -> None:
    def refused(words: str, error: type[Exception] = UsageError, **more: object) -> None:
        with pytest.raises(error, match=words):
            encode_file(**{"source": stereo, "codec": str(reduced), "device": "cpu"} | more)

    before = stereo.read_bytes()
    refused("no such file", source=tmp_path / "none.wav")
    refused("not a file", source=tmp_path)
    refused("no folder", target=tmp_path / "none" / "x.ecdc")
    refused("is a folder", target=tmp_path)
    refused("ends with .ecdc", target=tmp_path / "x.wav")
    refused("overwrite what it is made from", target=stereo, force=True)
    refused("no bandwidth 1.5", CodecLoadError, bandwidth=1.5)
    refused("mulaw is no EnCodec", CodecLoadError, codec="mulaw")
    text = tmp_path / "text.wav"
    text.write_text("hello")
    refused("text.wav", RecordingError, source=text, target=tmp_path / "t.ecdc")
    written(tmp_path / "three.wav", sound(9_000, channels=3))
    refused("3 channels", RecordingError, source=tmp_path / "three.wav")
    encode_file(tmp_path / "three.wav", codec=str(reduced), device="cpu", downmix=True)
    file = encode_file(stereo, codec=str(reduced), device="cpu").file
    refused("--force overwrites it")
    for words, more in (
        ("has not the shape of encodec_48khz", {"codec": str(mono)}),
        ("ends with .wav or .flac", {"target": tmp_path / "x.mp3"}),
        ("there already", {"target": stereo}),
    ):
        with pytest.raises(UsageError, match=words):
            decode_file(**{"source": file, "codec": str(reduced), "device": "cpu"} | more)
    assert stereo.read_bytes() == before and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("rates", [(44_100, 24_000), (8_000, 48_000), (96_000, 24_000)])
def test_resampling_is_a_windowed_sinc_whatever_the_blocks(rates: tuple[int, int]) -> None:
    """Against the formula in float64, sample by sample."""
    old, new = _reduced(*rates)
    samples = sound(801, channels=1, sample_rate=rates[0]).samples
    cut = min(rates) * 0.99
    times = np.arange(math.ceil(samples.shape[1] * new / old)) / rates[1]
    at = (times[:, None] - np.arange(samples.shape[1]) / rates[0]) * cut
    window = np.where(np.abs(at) < 6, np.cos(np.pi * at / 12) ** 2, 0)
    expected = (np.sinc(at) * window * samples[0]).sum(1) * cut / rates[0]
    for size in (801, 300, 7):
        blocks = [samples[:, place : place + size] for place in range(0, 801, size)]
        found = np.concatenate(list(_resampled(blocks, old, new, 1)), axis=1)
        np.testing.assert_allclose(found[0], expected, atol=2e-6)


def test_rates_without_a_common_divisor_do_not_need_a_machine(tmp_path: Path) -> None:
    wav = written(tmp_path / "odd.wav", sound(9_973, channels=1, sample_rate=47_999))
    blocks = list(converted(wav, 48_000, 2))
    assert sum(block.shape[1] for block in blocks) == 9_973 and len(blocks[0]) == 2
