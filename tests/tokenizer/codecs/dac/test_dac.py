"""DAC against transformers' `DacFeatureExtractor` and `DacModel.encode` on one recording alone."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tokenizer.codecs.base import Codec
from tokenizer.codecs.dac.codec import DacCodec
from tokenizer.codecs.dac.kernels import snake
from tokenizer.codecs.dac.layers import Whole
from tokenizer.codecs.dac.network import Ran, _through
from tokenizer.codecs.dac.seeded import write_seeded_dac
from tokenizer.codecs.dac.tracks import Track
from tokenizer.codecs.pieces import CodedPiece, Piece
from tokenizer.codecs.registry import describe_codec, load_codec
from tokenizer.errors import CodecLoadError, RecordingError, ShapeError

Samples = NDArray[np.float32]
LENGTHS = (1, 2, 511, 512, 513, 2560, 64 * 512, 65 * 512 + 3, 129 * 512 - 1, 300 * 512 + 5)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a reduced checkpoint, by its model."""
    where = tmp_path_factory.mktemp("dac")
    return cache(lambda model: write_seeded_dac(where / model, model=model))


@pytest.fixture(scope="module", params=["44khz", "16khz"])
def pair(
    request: pytest.FixtureRequest, seeded: Callable[[str], Path]
) -> tuple[Any, Callable[[Samples], NDArray[Any]], Any]:
    """Our codec, transformers' codes of a recording, and its model."""
    from transformers import DacFeatureExtractor, DacModel

    folder = seeded(request.param)
    model = DacModel.from_pretrained(folder).eval().requires_grad_(False)
    extract = DacFeatureExtractor.from_pretrained(folder)

    def truth(samples: Samples) -> NDArray[Any]:
        rate = model.config.sampling_rate
        inputs = extract(samples[0], sampling_rate=rate, return_tensors="pt")
        codes: NDArray[Any] = model.encode(inputs["input_values"]).audio_codes[0].numpy()
        return codes

    return load_codec(str(folder), device="cpu"), truth, model


def sound(count: int, seed: int = 0) -> Samples:
    """Noise whose level moves, with a tone."""
    rng, time = np.random.default_rng(seed), np.arange(count)
    noise = rng.standard_normal((1, count)) * np.abs(np.sin(time / 3000))
    return (0.2 * noise + 0.1 * np.sin(time / 20)).astype(np.float32)


def in_pieces(codec: Codec, samples: Samples, sizes: Callable[[], int]) -> NDArray[np.uint16]:
    at, state, found = 0, None, []
    while at < samples.shape[1]:
        stop = min(at + sizes(), samples.shape[1])
        # A state may be handed to another process.
        piece = Piece(
            samples[:, at:stop], pickle.loads(pickle.dumps(state)), stop == len(samples.T)
        )
        (one,) = codec.encode_pieces([piece])
        found.append(one.codes)
        at, state = stop, one.state
    assert state is None
    return np.concatenate(found, axis=1)


def test_codes_are_those_of_transformers_at_every_length(pair: Any) -> None:
    codec, truth, _ = pair
    recordings = [sound(count, count) for count in LENGTHS]
    together = codec.encode_pieces([Piece(one) for one in recordings])
    for one, found in zip(recordings, together, strict=True):
        expected = truth(one)
        assert (
            found.codes.shape
            == expected.shape
            == (codec.spec.n_q, -(-len(one.T) // codec.spec.frame_length))
        )
        assert found.codes.dtype == np.uint16
        assert np.array_equal(found.codes, expected)
        assert np.array_equal(codec.encode_pieces([Piece(one)])[0].codes, expected)


def test_codes_are_of_every_level_and_many_entries(pair: Any) -> None:
    codec, truth, _ = pair
    codes = truth(sound(200 * codec.spec.frame_length))
    assert min(len(np.unique(level)) for level in codes) > 40


def test_32_codebooks_at_24_khz(seeded: Callable[[str], Path]) -> None:
    from transformers import DacFeatureExtractor, DacModel

    folder = seeded("24khz")
    model = DacModel.from_pretrained(folder).eval()
    extract = DacFeatureExtractor.from_pretrained(folder)
    codec = load_codec(str(folder), device="cpu")
    assert isinstance(codec, DacCodec)
    samples = sound(70 * 320 + 7)
    with torch.inference_mode():
        inputs = extract(samples[0], sampling_rate=24_000, return_tensors="pt")["input_values"]
        expected = model.encode(inputs).audio_codes
        audio = model.decode(audio_codes=expected).audio_values.numpy()
    assert expected.shape == (1, 32, 71)
    rng = np.random.default_rng(0)
    for sizes in (lambda: 1 << 20, lambda: int(rng.integers(1, 9_000))):
        assert np.array_equal(in_pieces(codec, samples, sizes), expected[0])
    codes = expected[0].numpy().astype(np.uint16)
    found = codec.decode_pieces([CodedPiece(codes)])[0].samples
    np.testing.assert_allclose(found[:, : audio.shape[1]], audio, atol=1e-5, rtol=0)


@pytest.mark.parametrize("most", [1, 700, 30_000])
def test_any_pieces_have_the_codes_of_the_whole(pair: Any, most: int) -> None:
    codec, truth, _ = pair
    samples = sound(400 if most == 1 else 90_001, most)
    rng = np.random.default_rng(most)
    found = in_pieces(codec, samples, lambda: int(rng.integers(1, most + 1)))
    assert np.array_equal(found, truth(samples))


def test_a_recording_longer_than_is_looked_at_as_a_whole(pair: Any, monkeypatch: Any) -> None:
    codec, truth, _ = pair
    monkeypatch.setattr(codec, "_longest_whole", 10 * codec.spec.frame_length)
    samples = sound(420 * codec.spec.frame_length + 7)
    expected = truth(samples)
    rng = np.random.default_rng(1)
    pieces = in_pieces(codec, samples, lambda: int(rng.integers(1, 50_000)))
    whole = codec.encode_pieces([Piece(samples)])[0].codes
    assert np.array_equal(pieces, whole)
    # Where its convolutions are blocked otherwise for this length, ties may fall otherwise.
    assert (whole != expected).sum() <= codec.spec.n_q


def test_memory_is_that_of_a_piece(pair: Any, monkeypatch: Any) -> None:
    codec, _, _ = pair
    hop = codec.spec.frame_length
    monkeypatch.setattr(codec, "_longest_whole", 10 * hop)
    state, sizes = None, []
    for _i in range(6):
        (found,) = codec.encode_pieces([Piece(sound(100 * hop), state, False)])
        state = found.state
        sizes.append(len(pickle.dumps(state)))
    assert max(sizes[1:]) < 1 << 20


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_that_threads_share_have_the_same_codes(pair: Any, threads: int) -> None:
    codec, truth, _ = pair
    samples, before = sound(500 * codec.spec.frame_length), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert np.array_equal(codec.encode_pieces([Piece(samples)])[0].codes, truth(samples))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_of_a_narrow_network_add_up_as_the_whole_does(pair: Any, threads: int) -> None:
    """torch leaves a convolution to oneDNN by how many numbers it has, and by its threads."""
    codec, _truth, model = pair
    network, frames, before = codec._network.encoder, 701, torch.get_num_threads()
    samples = sound(frames * codec.spec.frame_length)
    signal = torch.from_numpy(samples)
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            whole = model.encoder(signal[None])[0]
            torch.set_num_threads(1)  # as each of several runs is computed
            track = Track(codec._encoder, samples, None, True, torch.device("cpu"))
            parts = []
            while runs := track.runs(1, whole=Whole(signal.shape[1], threads)):
                found, tails = _through(network, runs[0])
                track.take([Ran(found, found, tails)])
                parts.append(found)
    finally:
        torch.set_num_threads(before)
    found = torch.cat(parts, dim=1)
    assert found.shape == whole.shape
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-4)
    assert (found == whole).all(0).float().mean() > 0.9


def test_a_frame_in_doubt_is_settled_by_transformers(pair: Any, monkeypatch: Any) -> None:
    codec, truth, _ = pair
    samples = sound(90 * codec.spec.frame_length)
    monkeypatch.setattr("tokenizer.codecs.dac.quantizer.NOISE", 1e-3)
    doubted, settled = codec.doubted, codec.settled
    monkeypatch.setattr(codec._reference, "agrees", lambda *_: False)
    assert np.array_equal(codec.encode_pieces([Piece(samples)])[0].codes, truth(samples))
    assert codec.doubted > doubted and codec.settled == settled + 1


def test_silence_and_the_reference(pair: Any, seeded: Callable[[str], Path]) -> None:
    codec, truth, model = pair
    silence = np.zeros((1, 40 * codec.spec.frame_length), np.float32)
    assert np.array_equal(codec.encode_pieces([Piece(silence)])[0].codes, truth(silence))
    name = "44khz" if model.config.sampling_rate == 44_100 else "16khz"
    slow = load_codec(str(seeded(name)), device="cpu", reference=True)
    samples = sound(40_000)
    assert np.array_equal(slow.encode_pieces([Piece(samples)])[0].codes, truth(samples))


def test_fewer_codebooks_nest(pair: Any, seeded: Callable[[str], Path]) -> None:
    _codec, truth, model = pair
    name = "44khz" if model.config.sampling_rate == 44_100 else "16khz"
    few = load_codec(str(seeded(name)), device="cpu", n_q=3)
    samples = sound(30_000)
    found = few.encode_pieces([Piece(samples)])[0].codes
    assert np.array_equal(found, truth(samples)[:3])
    assert few.spec.bandwidth == pytest.approx(3 * 8 * few.spec.frame_rate / 1000)


def test_decoding_is_transformers_in_any_pieces(pair: Any) -> None:
    codec, _truth, model = pair
    hop, rng = codec.spec.frame_length, np.random.default_rng(0)
    for frames in (1, 2, 63, 300):
        codes = rng.integers(0, codec.spec.codebook_size, (codec.spec.n_q, frames))
        expected = model.decode(audio_codes=torch.from_numpy(codes)[None]).audio_values[0].numpy()
        stored = codes.astype(np.uint16)
        whole = codec.decode_pieces([CodedPiece(stored)])[0].samples
        at, state, parts = 0, None, []
        while at < frames:
            stop = min(at + int(rng.integers(1, 90)), frames)
            (one,) = codec.decode_pieces([CodedPiece(stored[:, at:stop], state, stop == frames)])
            parts.append(one.samples)
            at, state = stop, one.state
        for found in (whole, np.concatenate(parts, axis=1)):
            assert found.shape == (1, frames * hop)
            assert np.abs(found[0, : len(expected)] - expected).max() < 1e-5
            assert not found[0, len(expected) :].any()


def test_a_recording_there_and_back_has_its_length(pair: Any) -> None:
    codec, _, _ = pair
    waveform = sound(12_345)
    codes = codec.encode(waveform, sample_rate=codec.sample_rate)
    assert codec.decode(codes).samples.shape == waveform.shape


def test_snake_is_torchs_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    for channels, length in ((1, 1), (3, 70_001), (64, 5000), (512, 33)):
        x = 10 * torch.randn(channels, length, generator=generator)
        alpha = torch.rand(channels, generator=generator) + 0.1
        over = (alpha + 1e-9).reciprocal()
        out = torch.zeros(channels, length + 5)
        snake(x, alpha, over, out, 3)
        expected = x + over[:, None] * torch.sin(alpha[:, None] * x).pow(2)
        assert torch.equal(out[:, 3:-2], expected)
        assert not out[:, :3].any() and not out[:, -2:].any()


def test_what_is_refused(pair: Any) -> None:
    codec, _, _ = pair
    with pytest.raises(ShapeError, match=r"float32 \[1, 1 or more\]"):
        codec.encode_pieces([Piece(np.zeros((2, 5), np.float32))])
    with pytest.raises(ShapeError, match="code 256 is outside"):
        codec.decode_pieces([CodedPiece(np.full((1, 2), 256, np.uint16))])
    with pytest.raises(RecordingError, match="not finite"):
        codec.encode_pieces([Piece(np.full((1, 600), 3e38, np.float32) * sound(600))])


def test_a_configuration_that_is_not_dacs(seeded: Callable[[str], Path], tmp_path: Path) -> None:
    written = json.loads((seeded("44khz") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**written, "codebook_size": 1000}))
    with pytest.raises(CodecLoadError, match="codebook_size 1000: it must be a power of 2"):
        describe_codec(str(tmp_path))
    with pytest.raises(CodecLoadError, match="9 codebooks, not 10"):
        describe_codec(str(seeded("44khz")), n_q=10)
