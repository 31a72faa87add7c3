"""X-Codec, X-Codec2, Higgs and NeuCodec: the codes of transformers' own models for one recording
alone, whole and in windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from semantic_oracle import model_of, oracle_codes
from sounds import sound
from transformers import AutoConfig

from tokenizer import Codec, ShapeError, Waveform, load_codec
from tokenizer.codecs.registry import describe_codec
from tokenizer.codecs.semantic.seeded import REDUCED
from tokenizer.codecs.semantic.windows import WindowedCodec, cut_windows
from tokenizer.errors import CodecLoadError

KINDS = sorted(REDUCED)
Seeded = Callable[[str], str]


def loaded(seeded: Seeded, kind: str, **changes: Any) -> Codec:
    return load_codec(seeded(kind), device="cpu", **changes)


def noise(codec: Codec, samples: int, seed: int = 0) -> Waveform:
    return sound(samples, 1, codec.sample_rate, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_transformers_own(seeded: Seeded, kind: str) -> None:
    codec, model = loaded(seeded, kind), model_of(seeded(kind), kind)
    hop, different = codec.spec.frame_length, set()
    for samples in (1, hop, hop + 1, 7_001, codec.sample_rate + 13):
        waveform = noise(codec, samples, seed=samples)
        codes = codec.encode(waveform)
        assert codes.frames == -(-samples // hop) and codes.num_samples == samples
        expected = oracle_codes(model, kind, waveform.samples)
        assert np.array_equal(codes.codes, expected[:, : codes.frames])
        # X-Codec2's extractor adds a frame of zeros alone behind a recording that is full.
        assert expected.shape[1] - codes.frames == (kind == "xcodec2" and samples % hop == 0)
        different |= set(codes.codes[0].tolist())
    assert len(different) > 5


@pytest.mark.parametrize("kind", KINDS)
def test_decoded_audio_is_transformers_own(seeded: Seeded, kind: str) -> None:
    codec, model = loaded(seeded, kind), model_of(seeded(kind), kind)
    codes = codec.encode(noise(codec, 9_000))
    with torch.inference_mode():
        expected = model.decode(
            audio_codes=torch.from_numpy(codes.codes.astype(np.int64))[None]
        ).audio_values[0]
    found = codec.decode(codes)
    assert found.num_samples == 9_000 and np.abs(found.samples).max() > 1e-3
    if kind == "neucodec":
        wide = codec.decode_wide(codes)  # type: ignore[attr-defined]
        assert (wide.sample_rate, wide.num_samples) == (24_000, 13_500)
        assert np.array_equal(wide.samples, expected[:, :13_500].numpy())
    else:
        assert np.array_equal(found.samples, expected[:, :9_000].numpy())


def windowed(codec: Codec, length: int, context: int) -> Codec:
    """The same codec with shorter windows, in frames."""
    hop = codec.spec.frame_length
    codec.spec = replace(codec.spec, window_length=length * hop, window_context=context * hop)
    return codec


@pytest.mark.parametrize("kind", KINDS)
def test_long_recordings_are_encoded_in_windows(seeded: Seeded, kind: str) -> None:
    """Each window alone by transformers, cut out here by hand: 10 frames, 2 of them context."""
    codec, model = windowed(loaded(seeded, kind), 10, 2), model_of(seeded(kind), kind)
    hop = codec.spec.frame_length
    for frames in (10, 10.25, 16.1, 22):
        waveform = noise(codec, int(frames * hop), seed=int(8 * frames))
        codes = codec.encode(waveform)
        expected, start = [], 0
        while True:
            window = waveform.samples[:, start : start + 10 * hop]
            last = start + 10 * hop >= waveform.num_samples
            found = oracle_codes(model, kind, window)[:, : -(-window.shape[1] // hop)]
            expected.append(found[:, 2 if start else 0 : None if last else -2])
            if last:
                break
            start += 6 * hop
        assert np.array_equal(codes.codes, np.concatenate(expected, axis=1))
        assert codec.decode(codes).num_samples == waveform.num_samples


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_do_not_matter(seeded: Seeded, kind: str) -> None:
    codec = windowed(loaded(seeded, kind), 10, 2)
    waveform = noise(codec, 30 * codec.spec.frame_length + 17)
    whole, rng = codec.encode(waveform), np.random.default_rng(3)
    for _ in range(2):
        with codec.stream() as stream:
            at, parts = 0, []
            while at < waveform.num_samples:
                step = int(rng.integers(1, 3_000))
                parts.append(stream.push(waveform.samples[:, at : at + step]))
                at += step
            parts.append(stream.finish())
        codes = [part.codes for part in parts if part is not None]
        assert np.array_equal(np.concatenate(codes, axis=1), whole.codes)


def test_windows_cover_a_signal_once() -> None:
    for length, context, values in ((10, 2, 37), (10, 0, 20), (7, 3, 30), (10, 2, 10), (10, 2, 11)):
        signal = np.arange(values, dtype=np.float32)[None]
        windows, rest = cut_windows(signal, None, True, length, context)
        kept = [one.values[0, one.before : one.values.shape[1] - one.after] for one in windows]
        assert rest is None and np.array_equal(np.concatenate(kept), signal[0])
        assert all(one.values.shape[1] == length for one in windows[:-1])
        assert windows[-1].values.shape[1] > windows[-1].before


def test_facts_and_choices(seeded: Seeded) -> None:
    spec = describe_codec(seeded("xcodec2"))
    assert (spec.n_q, spec.codebook_size, spec.frame_rate) == (1, 65_536, 50)
    assert spec.bandwidth == pytest.approx(0.8) and spec.window_length == 30 * 16_000
    spec = describe_codec(seeded("higgs_audio_v2_tokenizer"), n_q=3)
    assert (spec.n_q, spec.frame_rate, spec.bandwidth) == (3, 25, pytest.approx(0.75))
    with pytest.raises(CodecLoadError, match="n_q"):
        describe_codec(seeded("xcodec"), n_q=9)
    few, all_levels = (loaded(seeded, "xcodec", **one) for one in ({"bandwidth": 1.5}, {}))
    waveform = noise(few, 5_000)
    assert np.array_equal(few.encode(waveform).codes, all_levels.encode(waveform).codes[:3])


def test_a_damaged_checkpoint_is_one_line(seeded: Seeded, tmp_path: Any) -> None:
    for name, text in (("settings", '{"model_type": "xcodec2", "hidden_size": "x"}'),):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
        with pytest.raises(CodecLoadError, match="xcodec2"):
            describe_codec(str(tmp_path / name))
    AutoConfig.from_pretrained(seeded("xcodec")).save_pretrained(tmp_path / "bare")
    with pytest.raises(CodecLoadError, match="no weights"):
        load_codec(str(tmp_path / "bare"))


def test_other_shapes_are_refused(seeded: Seeded) -> None:
    codec = loaded(seeded, "neucodec")
    assert isinstance(codec, WindowedCodec)
    shapes: Sequence[NDArray[Any]] = (np.zeros((2, 9), np.float32), np.zeros((1, 9)))
    for samples in shapes:
        with pytest.raises(ShapeError):
            codec.encode_chunks([samples])
