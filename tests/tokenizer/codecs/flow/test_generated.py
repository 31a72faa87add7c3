"""What a language model made, decoded. The truth is what the codec decodes its own codes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lag_codec import HOP, RATE, LagCodec
from sounds import sound

from tokenizer import Codec, ShapeError, Waveform, load_codec


@pytest.fixture(params=["lag", "mulaw", "reduced", "mono"])
def codec(request: pytest.FixtureRequest) -> Codec:
    if request.param == "lag":
        return LagCodec(800)
    name = request.param
    path = name if name == "mulaw" else str(request.getfixturevalue(name))
    return load_codec(path, bandwidth=6.0, device="cpu")


@pytest.mark.parametrize("length", [1, 321, 47_000, 48_000, 48_321, 100_000, 190_000])
def test_its_own_codes_sound_as_they_do(codec: Codec, length: int) -> None:
    """But for lengths that end just behind a stride, a recording has the chunks that its frames
    fill."""
    codes = codec.encode(sound(length, codec.channels, codec.sample_rate))
    found = codec.decode_codes(codes.codes, codes.scales)
    truth = codec.decode(codes).samples
    assert isinstance(found, Waveform) and found.sample_rate == codec.sample_rate
    assert 0 <= found.num_samples - length < codec.spec.frame_length
    np.testing.assert_allclose(found.samples[:, :length], truth, atol=2e-6)
    exact = codec.decode_codes(codes.codes, codes.scales, num_samples=length)
    assert exact.num_samples == length


def test_any_integers_are_taken_alone_or_in_a_batch(codec: Codec) -> None:
    codes = codec.encode(sound(60_000, codec.channels, codec.sample_rate)).codes
    truth = codec.decode_codes(codes).samples
    kinds = [np.int16, np.int32, np.int64, np.uint16, np.uint32, np.uint64]
    given: list[Any] = [codes.astype(kind) for kind in kinds]
    given += [torch.from_numpy(codes.astype(np.int64)), torch.from_numpy(codes.astype(np.int32))]
    for one in given:
        assert np.array_equal(codec.decode_codes(one).samples, truth)
    batch = torch.stack([torch.from_numpy(codes.astype(np.int64))] * 3)
    found = codec.decode_codes(batch)
    assert len(found) == 3
    for one in found:
        np.testing.assert_allclose(one.samples, truth, atol=2e-6)
    fewer = codec.decode_codes(codes[:1])
    assert fewer.samples.shape == truth.shape
    assert codec.decode_codes(np.zeros((0, codes.shape[0], 5), np.int64)) == []


@pytest.mark.parametrize("frames", [1, 2, 149, 150, 151, 152, 299, 300, 301, 450])
def test_any_number_of_frames_of_the_48_khz_model(reduced: Path, frames: int) -> None:
    codec = load_codec(str(reduced), device="cpu")
    codes = np.random.default_rng(frames).integers(0, 1024, (4, frames))
    full, rest = divmod(frames, 150)
    found = codec.decode_codes(codes, scales=0.2)
    assert found.num_samples == full * 47_520 + min(rest * 320, 47_520)
    chunks = -(-frames // 150)
    louder = codec.decode_codes(codes, scales=np.full(chunks, 0.4)).samples
    np.testing.assert_allclose(louder, 2 * found.samples, rtol=1e-4, atol=1e-6)
    plain = codec.decode_codes(codes).samples
    np.testing.assert_allclose(2 * plain, found.samples, rtol=1e-4, atol=1e-6)  # default: 0.1


def test_scales_of_a_batch_are_one_a_recording_or_one_a_chunk() -> None:
    codec = load_codec("mulaw")
    codes = np.random.default_rng(0).integers(0, 1024, (2, 4, 300))
    one = codec.decode_codes(codes, scales=torch.tensor([0.1, 0.3]))
    np.testing.assert_allclose(one[1].samples, codec.decode_codes(codes[1], 0.3).samples)
    each = codec.decode_codes(codes, scales=[[0.1, 0.2], [0.3, 0.4]])
    np.testing.assert_allclose(each[0].samples, codec.decode_codes(codes[0], [0.1, 0.2]).samples)
    half = codec.decode_codes(codes, scales=torch.tensor(0.25, dtype=torch.bfloat16))
    np.testing.assert_allclose(half[1].samples, codec.decode_codes(codes[1], 0.25).samples)
    for wrong in ([0.1, 0.2, 0.3], "loud", [np.nan, 0.1], [-1.0, 0.1], 1e300, [[0.1, 0.2], [0.3]]):
        with pytest.raises(ShapeError, match="scales must be"):
            codec.decode_codes(codes, scales=wrong)
    with pytest.raises(ShapeError, match=r"one number or \[2\], not \[3\]"):
        codec.decode_codes(codes[0], scales=[0.1, 0.2, 0.3])


def test_what_cannot_be_decoded_is_said_with_its_place() -> None:
    codec = LagCodec()
    good = np.full((3, 10), 5)
    cases: list[tuple[Any, str]] = [
        (np.where(np.arange(10) == 7, 64, good), r"code 64 at \[0, 7\] is outside its codebook of"),
        (good - np.eye(3, 10, 4, dtype=int) * 6, r"code -1 at \[0, 4\]"),
        (np.stack([good, good + 100]), r"code 105 at \[1, 0, 0\]"),
        (good.astype(np.float32), "integers, not float32"),
        (good > 3, "integers, not bool"),
        (torch.rand(3, 10), "argmax"),
        (good[0], r"\[n_q, T\] or \[B, n_q, T\]"),
        (good[:, :0], "with T frames"),
        (good.T, "transpose them"),
        (np.full((7, 10), 5), "7 codebooks, the codec was loaded with 3"),
        (np.full((0, 10), 5), "0 codebooks"),
        ("codes", "integers"),
        (codec.encode(sound(800, 1, RATE)), "decode takes them"),
        ([good, good[:, :4]], r"of \[3, 10\], \[3, 4\]…? do not make one array"),
        ([[1, 2], [3]], "do not make one array"),
        ([torch.rand(3, 4, dtype=torch.bfloat16)] * 2, "integers, not float32"),
    ]
    for codes, reason in cases:
        with pytest.raises(ShapeError, match=reason) as caught:
            codec.decode_codes(codes)
        assert "\n" not in str(caught.value)
    with pytest.raises(ShapeError, match="10 frames are 1 to 800 samples, not 801"):
        codec.decode_codes(good, num_samples=801)
    for length in (100.5, "9", True):
        with pytest.raises(ShapeError, match="1 to 800 samples, not"):
            codec.decode_codes(good, num_samples=length)  # type: ignore[arg-type]
    for nine in (np.int64(9), np.array(9), torch.tensor(9)):
        assert codec.decode_codes(good, num_samples=nine).num_samples == 9
    listed = codec.decode_codes([torch.from_numpy(good)] * 2)
    assert [one.num_samples for one in listed] == [800, 800]


def test_hours_that_were_made_are_more_than_an_entry_of_chunk_frames_holds() -> None:
    codes = np.random.default_rng(0).integers(0, 64, (3, 70_000))
    assert LagCodec(8_000).decode_codes(codes).num_samples == 70_000 * HOP == 700 * RATE
