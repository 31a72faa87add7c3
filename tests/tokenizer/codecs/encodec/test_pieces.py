"""EnCodecs without chunks give transformers' codes of a whole recording, however it comes in
pieces, and its sound."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import EncodecModel

from tokenizer.codecs import load_codec
from tokenizer.codecs.base import Codec
from tokenizer.codecs.encodec.arithmetic import exact_float32, one_thread
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.codecs.encodec.streams.lstm import SegmentedLstm
from tokenizer.codecs.encodec.streams.reach import usual
from tokenizer.codecs.encodec.streams.stack import parts_of
from tokenizer.codecs.encodec.streams.tiled import TiledPieces
from tokenizer.codecs.pieces import CodedPiece, Piece
from tokenizer.errors import FailureKind, RecordingError, ShapeError

KBPS = {"24khz": 6.0, "32khz": 2.2}
HOP = {"24khz": 320, "32khz": 640}
Samples = NDArray[np.float32]


@pytest.fixture(scope="module", params=list(KBPS))
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeded(tmp_path_factory.mktemp("codec") / model, model=model, size="reduced")


@pytest.fixture(scope="module")
def codec(model: str, folder: Path) -> Codec:
    return load_codec(str(folder), bandwidth=KBPS[model], device="cpu")


@pytest.fixture(scope="module")
def upstream(folder: Path) -> Any:
    return EncodecModel.from_pretrained(folder).eval()


def noise(samples: int, seed: int = 0) -> Samples:
    """Noise and a chord, whose level moves."""
    rng, time = np.random.default_rng(seed), np.arange(samples) / 24_000
    tones = sum(np.sin(2 * np.pi * hertz * time) for hertz in rng.uniform(60, 3000, 3))
    level = 0.05 + 0.1 * np.abs(np.sin(3.0 * time + seed))
    return ((rng.standard_normal(samples) + tones) * level)[None].astype(np.float32)


def one_shot(upstream: Any, samples: Samples, kbps: float) -> NDArray[np.uint16]:
    with torch.inference_mode():
        found = upstream.encode(torch.from_numpy(samples)[None], bandwidth=kbps)
    codes: NDArray[np.uint16] = found.audio_codes[0, 0].numpy().astype(np.uint16)
    return codes


def in_pieces(codec: Codec, samples: Samples, sizes: list[int]) -> NDArray[np.uint16]:
    """Codes of pieces whose sizes come over and over; the state goes through pickle."""
    state, at, found = None, 0, []
    while at < samples.shape[1]:
        end = min(at + sizes[len(found) % len(sizes)], samples.shape[1])
        (one,) = codec.encode_pieces([Piece(samples[:, at:end], state, end == samples.shape[1])])
        state, at = pickle.loads(pickle.dumps(one.state)), end
        found.append(one.codes)
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("frames", [0.003, 1.0, 1.003, 2.5, 15.9, 17.0, 89.9, 91.0, 333.3])
def test_a_recording_has_the_codes_of_one_shot(
    codec: Codec, upstream: Any, model: str, frames: float
) -> None:
    samples = noise(max(int(frames * HOP[model]), 1), seed=int(10 * frames))
    expected = one_shot(upstream, samples, KBPS[model])
    assert np.array_equal(codec.encode_chunks([samples])[0].codes, expected)
    sizes = [1, HOP[model] // 2, 7 * HOP[model] + 3, 100 * HOP[model]]
    assert np.array_equal(in_pieces(codec, samples, sizes), expected)


@pytest.mark.parametrize("seed", range(3))
def test_any_cut_gives_the_same_codes(codec: Codec, upstream: Any, model: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = noise(int(rng.integers(100, 400) * HOP[model] + rng.integers(HOP[model])), seed)
    expected = one_shot(upstream, samples, KBPS[model])
    for most in (60, 400):
        sizes = [int(size) for size in rng.integers(1, most * HOP[model], 50)]
        assert np.array_equal(in_pieces(codec, samples, sizes), expected)


@pytest.mark.parametrize("kind", ["silence", "dc", "impulse", "loud"])
def test_structured_signals(codec: Codec, upstream: Any, model: str, kind: str) -> None:
    samples = np.zeros((1, 150 * HOP[model] + 7), np.float32)
    if kind == "dc":
        samples[:] = 0.5
    elif kind == "impulse":
        samples[:, 12_345] = 1.0
    elif kind == "loud":
        samples = np.sign(noise(samples.shape[1]))
    expected = one_shot(upstream, samples, KBPS[model])
    assert np.array_equal(codec.encode_chunks([samples])[0].codes, expected)
    assert np.array_equal(in_pieces(codec, samples, [3333]), expected)


def test_recordings_of_unequal_lengths_share_a_call(
    codec: Codec, upstream: Any, model: str
) -> None:
    recordings = [noise(length, length) for length in (1, 500, 30_000, 77_777, 12_000)]
    begun = codec.encode_pieces([Piece(noise(70_000, 9), None, False)])[0]
    pieces = [Piece(samples) for samples in recordings]
    found = codec.encode_pieces([*pieces, Piece(noise(10_000, 8), begun.state)])
    for samples, one in zip(recordings, found, strict=False):
        assert np.array_equal(one.codes, one_shot(upstream, samples, KBPS[model]))
        assert one.state is None
    both = np.concatenate([noise(70_000, 9), noise(10_000, 8)], axis=1)
    whole = np.concatenate([begun.codes, found[-1].codes], axis=1)
    assert np.array_equal(whole, one_shot(upstream, both, KBPS[model]))


def test_the_state_is_small_and_stays_as_it_was(codec: Codec, model: str) -> None:
    first = codec.encode_pieces([Piece(noise(400 * HOP[model]), None, False)])[0]
    held = pickle.dumps(first.state)
    next_one = Piece(noise(50_000, 1), first.state)
    again = [codec.encode_pieces([next_one])[0].codes for _ in range(2)]
    assert np.array_equal(*again) and pickle.dumps(first.state) == held
    assert len(held) < 1_500_000


def test_the_reference_goes_piece_by_piece_too(folder: Path, upstream: Any, model: str) -> None:
    reference = load_codec(str(folder), bandwidth=KBPS[model], device="cpu", reference=True)
    samples = noise(300 * HOP[model] + 5)
    expected = one_shot(upstream, samples, KBPS[model])
    assert reference.piece_length is not None
    assert np.array_equal(in_pieces(reference, samples, [41 * HOP[model] + 1]), expected)


@pytest.mark.parametrize("sizes", [[1], [3, 1, 50], [400]])
def test_pieces_of_codes_sound_as_upstream_decodes_them(
    codec: Codec, upstream: Any, model: str, sizes: list[int]
) -> None:
    frames = 60 if sizes == [1] else 260
    codes = np.random.default_rng(1).integers(
        0, codec.spec.codebook_size, (codec.spec.n_q, frames), dtype=np.uint16
    )
    with torch.inference_mode():
        there = torch.from_numpy(codes[None, None].astype(np.int64))
        expected = upstream.decode(there, [None]).audio_values[0].numpy()
    state, at, found = None, 0, []
    while at < frames:
        end = min(at + sizes[len(found) % len(sizes)], frames)
        (one,) = codec.decode_pieces([CodedPiece(codes[:, at:end], state, end == frames)])
        state, at = pickle.loads(pickle.dumps(one.state)), end
        found.append(one.samples)
    joined = np.concatenate(found, axis=1)
    assert joined.shape == expected.shape == (1, frames * HOP[model])
    assert np.abs(joined - expected).max() < 1e-5


def test_what_is_doubtful_is_settled_or_encoded_again(
    codec: Codec, upstream: Any, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every frame in doubt, all go through stretches, and give the same codes."""
    network = codec._network  # type: ignore[attr-defined]
    assert isinstance(network, TiledPieces)
    monkeypatch.setattr(TiledPieces, "_is_exact", lambda self, samples: False)
    monkeypatch.setattr(
        "tokenizer.codecs.encodec.streams.tiled.uncertain", lambda certainty: certainty < 30.0
    )
    samples = noise(200 * HOP[model], 5)
    before = network.settled, network.repeated
    assert np.array_equal(
        codec.encode_chunks([samples])[0].codes, one_shot(upstream, samples, KBPS[model])
    )
    assert (network.settled, network.repeated) > before


def test_a_recordings_beginning_decides_as_all_of_it(
    codec: Codec, upstream: Any, model: str
) -> None:
    network = codec._network  # type: ignore[attr-defined]
    samples = noise(300 * HOP[model] + 5, 3)
    with one_thread(), torch.inference_mode(), exact_float32():
        expected = one_shot(upstream, samples, KBPS[model])
        for frames in ([0], [7, 64], [200, 211], [300]):
            found = network._beginning(np.ascontiguousarray(samples.T), frames)
            assert np.array_equal(found.numpy(), expected[:, frames])


def test_lengths_that_are_rounded_in_another_order_are_known(upstream: Any, model: str) -> None:
    """Of the published shapes: for 512 frames of 24 kHz several threads gave other last bits."""
    before, _, _ = parts_of(upstream.encoder)
    assert not usual(before, 512 * HOP[model])
    assert usual(before, 511 * HOP[model]) and usual(before, 513 * HOP[model])


def test_samples_that_are_not_finite_are_refused(codec: Codec) -> None:
    samples = noise(900 * codec.spec.frame_length)
    samples[0, 2_000] = np.nan
    for last in (True, False):
        with pytest.raises(RecordingError) as refused:
            codec.encode_pieces([Piece(samples, None, last)])
        assert refused.value.kind is FailureKind.ENCODER
    with pytest.raises(ShapeError):
        codec.encode_pieces([Piece(samples[0], None, False)])


def test_an_lstm_in_segments_is_the_lstm() -> None:
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(32, 32, 2)
    quick = SegmentedLstm(lstm)
    sequences = [torch.randn(length, 32) for length in (1, 40, 1500, 333)]
    start = quick.start()
    for sequence, trace in zip(sequences, quick(sequences, [start] * 4), strict=True):
        with torch.inference_mode():
            expected, (_, cells) = lstm(sequence[:, None])
        assert np.abs(trace.outputs[-1] - expected[:, 0].numpy()).max() < 1e-6
        assert np.abs(trace.cells[:, -1] - cells[:, 0].numpy()).max() < 1e-5


def test_an_lstm_that_does_not_forget_is_run_from_its_start() -> None:
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(8, 8, 1)
    with torch.no_grad():
        lstm.bias_ih_l0[8:16] = 30.0  # its forget gates stay open
    quick, sequence = SegmentedLstm(lstm), torch.randn(1200, 8)
    with torch.inference_mode():
        expected = lstm(sequence[:, None])[0][:, 0].numpy()
    for _ in range(3):
        (trace,) = quick([sequence], [quick.start()])
        assert np.abs(trace.outputs[-1] - expected).max() < 1e-5
