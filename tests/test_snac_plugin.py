"""SNAC as another package's codec, on seeded checkpoints; skipped where `snac` is not installed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tokenizer import Waveform, plugins
from tokenizer.codecs.registry import describe_codec, load_codec
from tokenizer.errors import CodecLoadError, ShapeError

snac = pytest.importorskip("snac")
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "snac_plugin"
SMALL = {
    "sampling_rate": 24_000,
    "encoder_dim": 4,
    "encoder_rates": [2, 4, 8, 8],
    "decoder_dim": 64,
    "decoder_rates": [8, 8, 4, 2],
    "codebook_size": 256,
    "codebook_dim": 8,
    "noise": True,
    "depthwise": True,
}
KINDS: dict[str, dict[str, Any]] = {
    "24khz": {"vq_strides": [4, 2, 1], "attn_window_size": None},
    # `snac` has heads of 64 numbers: a latent of as many is one head.
    "44khz": {"vq_strides": [8, 4, 2, 1], "attn_window_size": 32},
}


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where: Path = tmp_path_factory.mktemp("snac") / request.param
    where.mkdir()
    config = {**SMALL, **KINDS[request.param]}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = snac.SNAC(**config).eval()
        frames = model.encoder(model.preprocess(torch.randn(1, 1, 40_000)))
        for layer in model.quantizer.quantizers:  # or all frames would lie in one direction
            layer.in_proj.bias -= layer.in_proj(frames).mean(dim=(0, 2))
    (where / "config.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), where / "pytorch_model.bin")
    return where


@pytest.fixture
def codec(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Through the registry, as an installed package would be."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setenv("CODECSHARDS_SNAC", str(folder))
    monkeypatch.setattr(plugins, "plugin_names", lambda group, taken: ["snac"])
    from codecshards_snac import SNAC

    monkeypatch.setattr(plugins, "load_plugin", lambda group, name: SNAC)
    yield load_codec("snac", device="cpu")
    sys.modules.pop("codecshards_snac")


def sound(count: int) -> Waveform:
    rng = np.random.default_rng(count)
    return Waveform((0.3 * rng.standard_normal((1, count))).astype(np.float32), 24_000)


def test_codes_are_those_of_the_package(codec: Any, folder: Path) -> None:
    model = snac.SNAC.from_pretrained(str(folder))
    hop, repeats = codec.spec.frame_length, codec.spec.level_repeats
    seen: set[int] = set()
    for count in (1, hop - 1, hop, hop + 1, 5 * hop + 3, 40 * hop):
        waveform = sound(count)
        codes = codec.encode(waveform)
        assert codes.codes.shape == (sum(repeats), -(-count // hop))
        with torch.inference_mode():
            levels = model.encode(torch.from_numpy(waveform.samples)[None])
        rows = list(codes.codes)
        for level, each in zip(levels, repeats, strict=True):
            own = np.stack([rows.pop(0) for _ in range(each)], axis=1).reshape(-1)
            assert np.array_equal(own, level[0].numpy()[: own.size])
            seen |= set(own.tolist())
    assert not rows and len(seen) > 12


def test_batches_lengths_and_decoding(codec: Any) -> None:
    waveforms = [sound(count) for count in (1, 700, 9_000)]
    together = codec.encode_batch(waveforms)
    for waveform, found in zip(waveforms, together, strict=True):
        assert codec.encode(waveform).equals(found)
        decoded = codec.decode(found)
        assert decoded.num_samples == waveform.num_samples
        assert np.array_equal(decoded.samples, codec.decode(found).samples)


def test_decoding_is_the_packages(codec: Any, folder: Path) -> None:
    model = snac.SNAC.from_pretrained(str(folder))
    waveform = sound(32 * codec.spec.frame_length)  # whole windows: nothing is filled up
    with torch.inference_mode(), torch.random.fork_rng():
        levels = model.encode(torch.from_numpy(waveform.samples)[None])
        torch.manual_seed(0)
        expected = model.decode(levels)[0].numpy()
    found = codec.decode(codec.encode(waveform)).samples
    np.testing.assert_allclose(found, expected[:, : found.shape[1]], atol=1e-5)


def test_the_first_levels_are_encoded_and_decoded_alone(codec: Any, folder: Path) -> None:
    """As the package does with as many levels."""
    model, whole = snac.SNAC.from_pretrained(str(folder)), codec.spec
    waveform = sound(32 * whole.frame_length)
    codes = codec.encode(waveform)
    with torch.inference_mode():
        levels = model.encode(torch.from_numpy(waveform.samples)[None])
    for count, rows in enumerate(accumulate(whole.level_repeats), 1):
        few = load_codec("snac", n_q=rows, device="cpu")
        bandwidth = whole.bandwidth_of(rows)
        assert few.spec == load_codec("snac", bandwidth=bandwidth, device="cpu").spec
        assert few.spec.level_repeats == whole.level_repeats[:count]
        assert few.spec.bandwidth == pytest.approx(bandwidth)
        kept = few.encode(waveform)
        assert np.array_equal(kept.codes, codes.codes[:rows])
        model.quantizer.n_codebooks = count
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(0)
            expected = model.decode(levels[:count])[0].numpy()
        for found in (
            *(few.decode(kept), codec.decode(kept)),
            *(few.decode_codes(kept.codes), codec.decode_codes(codes.codes[:rows])),
        ):
            assert found.num_samples == waveform.num_samples
            np.testing.assert_allclose(found.samples, expected, atol=1e-5)


def test_a_level_is_not_decoded_in_half(codec: Any) -> None:
    codes = codec.encode(sound(9_000))
    for rows in (2, 5):
        half = replace(codes, codes=codes.codes[:rows])
        for decode, given in (
            (codec.decode, half),
            (codec.decode_batch, [half]),
            (codec.decode_codes, half.codes),
        ):
            with pytest.raises(ShapeError, match=f"codes have {rows} .*give one of 1, 3, 7"):
                decode(given)


def test_what_it_is_and_what_it_refuses(codec: Any, monkeypatch: Any, tmp_path: Path) -> None:
    spec = describe_codec("snac")
    assert spec.n_q == sum(spec.level_repeats or ()) and spec.bandwidth == pytest.approx(
        8 * spec.n_q * 24 / spec.frame_length
    )
    for wrong in ({"n_q": 2}, {"n_q": spec.n_q + 1}, {"bandwidth": 1.5 * spec.bandwidth}):
        with pytest.raises(CodecLoadError, match=r"give one of.* 1, 3, 7"):
            load_codec("snac", **wrong)
    monkeypatch.setenv("CODECSHARDS_SNAC", str(tmp_path))
    with pytest.raises(CodecLoadError, match="no checkpoint of SNAC"):
        describe_codec("snac")


def test_it_stays_small() -> None:
    assert len((EXAMPLE / "codecshards_snac.py").read_text().splitlines()) < 100
