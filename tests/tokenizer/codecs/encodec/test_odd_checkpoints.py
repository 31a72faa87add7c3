"""Checkpoints that the faster networks were not written for, against transformers' own `encode` and
`decode`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sounds import sound
from transformers import EncodecConfig, EncodecModel

from tokenizer import CodecLoadError, RecordingError, load_codec
from tokenizer.codecs.encodec.checkpoint import encodec_spec, load_model
from tokenizer.codecs.encodec.codec import EncodecCodec
from tokenizer.codecs.encodec.cpu.tiled_network import TiledNetwork
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.proven import unproven
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.seeded import MODELS, SIZES, write_seeded

_SMALL: dict[str, Any] = {"codebook_size": 64, "target_bandwidths": [0.9, 3.6]}
_FAST: dict[str, Any] = {"target_bandwidths": [20.0, 60.0]}
ODD: dict[str, tuple[dict[str, Any], bool]] = {
    "replicate": ({"pad_mode": "replicate"}, False),
    "circular": ({"pad_mode": "circular"}, False),
    "constant": ({"pad_mode": "constant"}, True),
    "dilated": ({"num_residual_layers": 2, "dilation_growth_rate": 400}, False),
    "dilated three times": ({"num_residual_layers": 3, "dilation_growth_rate": 9}, False),
    "dilated a little": ({"num_residual_layers": 3, "dilation_growth_rate": 4}, True),
    "long kernel": ({"kernel_size": 131}, False),
    "chunks of no whole frames": ({"chunk_length_s": 0.31, "overlap": 0.1}, True),
    "chunks of few samples": ({"chunk_length_s": 0.011, "overlap": 0.6}, True),
    "identity": ({"use_conv_shortcut": False}, True),
    "causal": ({"use_causal_conv": True, "trim_right_ratio": 0.5}, True),
    "other ratios": (
        {
            "upsampling_ratios": [5, 3],
            "kernel_size": 4,
            "last_kernel_size": 6,
            "residual_kernel_size": 5,
            **_FAST,
        },
        True,
    ),
    "no levels": ({"normalize": False, "num_residual_layers": 0, "compress": 4}, True),
}
"""settings, and whether the faster networks compute them"""


@pytest.fixture(autouse=True)
def short_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codebooks of 64 entries need no twenty seconds to be drawn from."""
    monkeypatch.setattr("tokenizer.codecs.encodec.seeded._SECONDS", 2)


def upstream(
    oracle: Any, samples: np.ndarray, bandwidth: float, hop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Valid codes of all chunks `[n_q, frames]`, and what they decode to."""
    with torch.inference_mode():
        out = oracle.encode(torch.from_numpy(samples)[None], bandwidth=bandwidth)
        pad = out.last_frame_pad_length
        decoded = oracle.decode(
            out.audio_codes, out.audio_scales, last_frame_pad_length=pad
        ).audio_values[0]
    length = oracle.config.chunk_length
    spans = [
        min(length, samples.shape[1] - at)
        for at in range(0, samples.shape[1], oracle.config.chunk_stride)
    ]
    codes = [out.audio_codes[i, 0, :, : -(-n // hop)] for i, n in enumerate(spans)]
    return torch.cat(codes, dim=1).numpy(), decoded.numpy()[:, : samples.shape[1]]


ONE = np.array([1], np.uint16)
COMPARED = {"chunks of few samples": 1, "chunks of no whole frames": 3, "circular": 2}
"""of five lengths, those at which upstream's own encode or decode does not raise; all five for
every other checkpoint"""


@pytest.mark.parametrize("name", sorted(ODD))
def test_odd_checkpoints_equal_upstream(name: str, tmp_path: Path) -> None:
    changes, fast = ODD[name]
    folder = write_seeded(tmp_path / "codec", size="reduced", changes={**_SMALL, **changes})
    oracle: Any = EncodecModel.from_pretrained(folder).eval()
    bandwidth = oracle.config.target_bandwidths[-1]
    codec = load_codec(str(folder), bandwidth=bandwidth, device="cpu")
    assert isinstance(codec, EncodecCodec)
    assert isinstance(codec._network, TiledNetwork) == fast == (not unproven(oracle.config))
    hop, chunk, stride = (
        getattr(oracle.config, name) for name in ("hop_length", "chunk_length", "chunk_stride")
    )
    compared = 0
    for length in (hop + 1, stride, chunk, 3 * stride, 2 * stride + chunk - 7):
        waveform = sound(length, seed=length)
        if name == "circular" and length not in (
            stride,
            3 * stride,
        ):  # the last chunk is short, and circles more than once
            with pytest.raises(RuntimeError):
                upstream(oracle, waveform.samples, bandwidth, hop)
            with pytest.raises(RecordingError, match="layers do not take"):
                codec.encode(waveform)
            continue
        found = codec.encode(waveform)
        blocks = np.concatenate(list(codec.decode_stream(found)), axis=1)
        assert blocks.shape == waveform.samples.shape
        try:
            codes, decoded = upstream(oracle, waveform.samples, bandwidth, hop)
        except RuntimeError:
            assert (
                "chunks of" in name
            )  # a chunk before the last reaches further than the last, which it cannot join
            continue
        compared += 1
        assert np.array_equal(found.codes, codes)
        np.testing.assert_allclose(codec.decode(found).samples, decoded, atol=3e-6, rtol=2e-5)
        np.testing.assert_allclose(blocks, decoded, atol=3e-6, rtol=2e-5)
    assert compared == COMPARED.get(name, 5)


_WHOLE: dict[str, Any] = {"chunk_length_s": None, "overlap": None, "normalize": False}


@pytest.mark.parametrize("pad_mode", ["circular", "replicate"])
def test_padding_of_recordings_without_chunks(pad_mode: str, tmp_path: Path) -> None:
    """Padding that circles takes a recording's first samples from its last: no piece has them."""
    changes = {**_SMALL, **_WHOLE, "norm_type": "weight_norm", "pad_mode": pad_mode}
    folder = write_seeded(tmp_path / "codec", size="reduced", changes=changes)
    oracle: Any = EncodecModel.from_pretrained(folder).eval()
    codec, waveform = load_codec(str(folder), bandwidth=3.6, device="cpu"), sound(150_007)
    assert (codec.piece_length is None) == (pad_mode == "circular")
    found = codec.encode(waveform)
    with torch.inference_mode():
        out = oracle.encode(torch.from_numpy(waveform.samples)[None], bandwidth=3.6)
        decoded = oracle.decode(out.audio_codes, out.audio_scales).audio_values[0]
    assert np.array_equal(found.codes, out.audio_codes[0, 0].numpy())
    expected = decoded.numpy()[:, : waveform.num_samples]
    np.testing.assert_allclose(codec.decode(found).samples, expected, atol=3e-6)
    if pad_mode == "circular":
        with pytest.raises(RecordingError, match="a chunk of 2 samples"):
            codec.encode(sound(2))
        with pytest.raises(RecordingError, match="a chunk of 1 frames"):
            codec.decode(replace(found, codes=found.codes[:, :1], chunk_frames=ONE, num_samples=9))


def test_frames_of_a_few_samples_are_no_pieces(tmp_path: Path) -> None:
    short = {"upsampling_ratios": [3, 2], "target_bandwidths": [200.0], "norm_type": "weight_norm"}
    folder = write_seeded(tmp_path / "codec", size="reduced", changes={**_SMALL, **_WHOLE, **short})
    oracle: Any = EncodecModel.from_pretrained(folder).eval()
    codec, waveform = load_codec(str(folder), device="cpu"), sound(20_003)
    with torch.inference_mode():
        samples = torch.from_numpy(waveform.samples)[None]
        codes = oracle.encode(samples, bandwidth=200.0).audio_codes[0, 0]
    assert codec.piece_length is None
    assert np.array_equal(codec.encode(waveform).codes, codes.numpy())


def test_ties_at_the_start_of_short_recordings(tmp_path: Path) -> None:
    """A network that leaves most frames in doubt."""
    changes = {
        **_WHOLE,
        "audio_channels": 1,
        "norm_type": "weight_norm",
        "pad_mode": "constant",
        "num_residual_layers": 3,
        "hidden_size": 10,
        "use_causal_conv": True,
        "trim_right_ratio": 0.5,
        "target_bandwidths": [7.5],
    }
    folder = write_seeded(tmp_path / "codec", size="reduced", seed=8004, changes=changes)
    oracle: Any = EncodecModel.from_pretrained(folder).eval()
    codec = load_codec(str(folder), device="cpu")
    for number in range(10):
        waveform = sound(320 * (9 + 4 * number) + 7 * (number % 2), 1, seed=number)
        with torch.inference_mode():
            samples = torch.from_numpy(waveform.samples)[None]
            codes = oracle.encode(samples, bandwidth=7.5).audio_codes[0, 0]
        assert np.array_equal(codec.encode(waveform).codes, codes.numpy())


def test_a_normalisation_of_a_single_number_is_this_recording_s_failure(tmp_path: Path) -> None:
    """A branch of a single channel, and a single frame."""
    changes = {**_SMALL, "num_filters": 2, "pad_mode": "replicate", "compress": 2}
    folder = write_seeded(tmp_path / "codec", size="reduced", changes=changes)
    codec = load_codec(str(folder), bandwidth=3.6, device="cpu")
    with pytest.raises(RecordingError, match="more than 1 value per channel"):
        codec.encode(sound(1))


@pytest.mark.parametrize(
    "name",
    [
        "constant",
        "dilated a little",
        "chunks of no whole frames",
        "identity",
        "causal",
        "other ratios",
    ],
)
def test_the_batched_network_computes_what_is_said_to_be_proven(name: str, tmp_path: Path) -> None:
    folder = write_seeded(tmp_path / "codec", size="reduced", changes={**_SMALL, **ODD[name][0]})
    model = load_model(folder, torch.device("cpu"))
    bandwidth = model.config.target_bandwidths[-1]
    oracle = load_codec(str(folder), bandwidth=bandwidth, device="cpu", reference=True)
    network = BatchedNetwork(model, ReferenceModules(model, static=True), n_q=oracle.spec.n_q)
    width = model.config.chunk_length
    chunks = [sound(n, seed=n).samples for n in (width, width, width - 1, width // 3, 1)]
    with torch.inference_mode():
        found = network.encode(chunks)
        decoded = network.decode(found)
    expected = oracle.encode_chunks(chunks)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.codes, other.codes)
    for samples, other_samples in zip(decoded, oracle.decode_chunks(expected), strict=True):
        np.testing.assert_allclose(samples, other_samples, atol=3e-6)


@pytest.mark.parametrize("samples", [47_521, 47_600, 47_680, 47_519])
def test_the_triangle_is_as_long_as_the_first_chunk_is_decoded_to(
    reduced: Path, samples: int
) -> None:
    oracle: Any = EncodecModel.from_pretrained(reduced).eval()
    codec, waveform = load_codec(str(reduced), device="cpu"), sound(samples, seed=samples)
    codes, decoded = upstream(oracle, waveform.samples, 6.0, 320)
    found = codec.encode(waveform)
    assert np.array_equal(found.codes, codes)
    np.testing.assert_allclose(codec.decode(found).samples, decoded, atol=2e-6)
    np.testing.assert_allclose(codec.decode_batch([found, found])[1].samples, decoded, atol=2e-6)


def config(**changes: Any) -> EncodecConfig:
    return EncodecConfig(**{**MODELS["48khz"], **SIZES["reduced"], **changes})


def spec_of(one: EncodecConfig, bandwidth: float) -> Any:
    return encodec_spec(one, codec="x", revision=None, weights="", bandwidth=bandwidth)


def test_codebooks_are_counted_as_upstream_counts_them() -> None:
    """2.4 kbps at 80 frames a second are three codebooks of 10 bits; divided first, floats make
    that 2.9999…."""
    wrong = []
    for rate, ratios in (
        (16_000, [5, 5, 4, 2]),
        (24_000, [8, 5, 4, 2]),
        (48_000, [8, 5, 4, 2]),
        (32_000, [8, 5, 4, 4]),
        (44_100, [7, 7, 9]),
    ):
        for size in (256, 1000, 1024, 2048):
            bandwidths = [round(0.1 * i, 1) for i in range(3, 140)]
            one = config(
                sampling_rate=rate,
                upsampling_ratios=ratios,
                codebook_size=size,
                target_bandwidths=bandwidths,
            )
            quantizer = EncodecModel(
                config(hidden_size=2, codebook_size=4, target_bandwidths=[6.0])
            ).quantizer
            quantizer.codebook_size, quantizer.frame_rate = size, one.frame_rate
            for bandwidth in bandwidths:
                expected = min(
                    quantizer.get_num_quantizers_for_bandwidth(bandwidth), one.num_quantizers
                )
                if spec_of(one, bandwidth).n_q != expected:
                    wrong.append((rate, size, bandwidth))
    assert not wrong
    one = config(sampling_rate=16_000, upsampling_ratios=[5, 5, 4, 2], target_bandwidths=[2.4, 8.0])
    assert spec_of(one, 2.4).n_q == 3


def test_codes_that_16_bits_do_not_hold_are_refused() -> None:
    assert spec_of(config(codebook_size=65_536), 6.0).codebook_size == 65_536
    with pytest.raises(CodecLoadError, match="16 bits"):
        spec_of(config(codebook_size=65_537), 6.0)
    with pytest.raises(CodecLoadError, match="too low"):
        spec_of(config(target_bandwidths=[0.5]), 0.5)
