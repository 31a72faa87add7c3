"""What every family of checkpoints promises, on a small seeded checkpoint of its class.

`test_codecs` asks more of codecs with chunks and bandwidths; families hold their codes against
transformers' own in folders of their own.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from families import WRITERS
from sounds import sound

from tokenizer import Codec, Codes, ShapeError, Waveform, load_codec
from tokenizer.codecs.pieces import CodedPiece, Piece, State
from tokenizer.codecs.registry import FAMILIES, describe_codec

CLOSE = 2e-5
"""between ways to decode, of full scale"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    where: Path = tmp_path_factory.mktemp("families")

    @cache
    def folder(name: str) -> str:
        WRITERS[name](where / name)
        return str(where / name)

    return folder


@pytest.fixture(scope="module", params=WRITERS)
def codec(request: pytest.FixtureRequest, folders: Callable[[str], str]) -> Codec:
    return load_codec(folders(request.param), device="cpu")


def recordings(codec: Codec) -> list[Waveform]:
    hop = codec.spec.frame_length
    lengths = [1, hop - 1, hop, hop + 1, 3 * hop + 7, 11 * hop, codec.sample_rate + 13]
    return [sound(n, codec.channels, codec.sample_rate, seed=n) for n in lengths]


def test_every_family_is_here() -> None:
    assert {name.partition("-")[0] for name in WRITERS} == set(FAMILIES)


def test_lengths_come_back_and_codes_are_in_bounds(codec: Codec) -> None:
    spec, seen = codec.spec, [set[int]() for _ in range(codec.spec.n_q)]
    for waveform in recordings(codec):
        codes = codec.encode(waveform)
        assert codes.n_q == spec.n_q and codes.num_samples == waveform.num_samples
        assert all(int(row.max()) < size for row, size in zip(codes.codes, spec.sizes, strict=True))
        assert codec.decode(codes).num_samples == waveform.num_samples
        for level, row in zip(seen, codes.codes, strict=True):
            level |= set(row.tolist())
    assert min(map(len, seen)) > 4  # or equal codes would say nothing


def test_a_batch_gives_the_codes_of_each_alone(codec: Codec) -> None:
    waveforms = recordings(codec)
    together = codec.encode_batch(waveforms)
    assert all(
        codec.encode(one).equals(found) for one, found in zip(waveforms, together, strict=True)
    )
    for alone, found in zip(map(codec.decode, together), codec.decode_batch(together), strict=True):
        np.testing.assert_allclose(found.samples, alone.samples, atol=CLOSE, rtol=0)


def test_a_stream_gives_the_codes_of_the_whole(codec: Codec) -> None:
    rng = np.random.default_rng(1)
    for waveform in recordings(codec)[3:]:
        whole = codec.encode(waveform)
        for longest in (codec.spec.frame_length // 3, 4_000):
            with codec.stream() as stream:
                at, parts = 0, []
                while at < waveform.num_samples:
                    step = int(rng.integers(1, longest))
                    parts.append(stream.push(waveform.samples[:, at : at + step]))
                    at += step
                parts.append(stream.finish())
            assert Codes.join(parts).equals(whole)


def test_what_is_remembered_between_pieces_is_a_value(codec: Codec) -> None:
    """It outlives its process, and the same piece may be encoded again."""
    if codec.piece_length is None:
        pytest.skip("it takes chunks or whole recordings")
    waveform = recordings(codec)[-1]
    whole, half = codec.encode(waveform), waveform.num_samples // 2
    first, second = waveform.samples[:, :half], waveform.samples[:, half:]
    begun = codec.encode_pieces([Piece(first, None, last=False)])[0]
    state: State = pickle.loads(pickle.dumps(begun.state))
    assert len(pickle.dumps(begun.state)) < 16_000_000
    for _ in range(2):
        ended = codec.encode_pieces([Piece(second, state)])[0]
        joined = np.concatenate([begun.codes, ended.codes], axis=1)
        assert np.array_equal(joined, whole.codes) and ended.state is None


def test_codes_are_decoded_in_pieces_as_whole(codec: Codec) -> None:
    if codec.piece_length is None:
        pytest.skip("it takes chunks or whole recordings")
    codes = codec.encode(recordings(codec)[-1])
    whole = codec.decode(codes).samples
    for step in (1, 7):
        state, samples = None, []
        for at in range(0, codes.frames, step):
            piece = CodedPiece(codes.codes[:, at : at + step], state, at + step >= codes.frames)
            found = codec.decode_pieces([piece])[0]
            state = found.state
            samples.append(found.samples)
        joined = np.concatenate(samples, axis=1)[:, : codes.num_samples]
        np.testing.assert_allclose(joined, whole, atol=CLOSE, rtol=0)


def test_codebooks_nest(codec: Codec) -> None:
    if codec.spec.n_q == 1:
        pytest.skip("it has one codebook")
    fewer = load_codec(codec.spec.codec, n_q=codec.spec.n_q // 2, device="cpu")
    for waveform in recordings(codec)[-3:]:
        codes = codec.encode(waveform)
        assert np.array_equal(fewer.encode(waveform).codes, codes.codes[: fewer.spec.n_q])


def test_silence_and_full_scale_have_codes(codec: Codec) -> None:
    length = 5 * codec.spec.frame_length + 3
    ones = np.ones((codec.channels, length), np.float32)
    impulse = np.zeros_like(ones)
    impulse[:, length // 2] = 1.0
    for samples in (0 * ones, ones, -ones, impulse):
        codes = codec.encode(Waveform(samples, codec.sample_rate))
        assert np.isfinite(codec.decode(codes).samples).all()


def test_it_is_what_it_is_described_as(codec: Codec) -> None:
    described = describe_codec(codec.spec.codec)
    for name in ("n_q", "bandwidth", "codebook_size", "sample_rate", "frame_length", "channels"):
        assert getattr(described, name) == getattr(codec.spec, name)
    assert described.weights_sha256 == codec.spec.weights_sha256
    rate = sum(np.log2(size) for size in codec.spec.sizes) * codec.spec.frame_rate / 1000
    if codec.spec.chunk_length is None:
        assert codec.spec.bandwidth == pytest.approx(rate, rel=0.02)


def test_wrong_samples_are_refused(codec: Codec) -> None:
    other = sound(5_000, codec.channels, codec.sample_rate + 1)
    with pytest.raises(ShapeError, match="Hz"):
        codec.encode(other)
    codes = codec.encode(recordings(codec)[4])
    if codec.spec.codebook_size < 65_536:
        wrong = codes.codes.copy()
        wrong[0, 1] = codec.spec.codebook_size
        with pytest.raises(ShapeError, match=str(codec.spec.codebook_size)):
            codec.decode(
                Codes(wrong, codes.scales, codes.chunk_frames, codes.num_samples, codes.sample_rate)
            )
