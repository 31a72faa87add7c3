"""What is said of a codec without its weights is what a loaded one says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.chunking import chunk_spans, frames_of
from tokenizer.codecs import describe_codec
from tokenizer.codecs.facts import code_frames, codec_facts
from tokenizer.errors import CodecLoadError

PUBLISHED = {"reduced": "facebook/encodec_48khz", "mono": "facebook/encodec_24khz"}


@pytest.mark.parametrize("bandwidth", [3.0, 6.0, 24.0])
@pytest.mark.parametrize("checkpoint", PUBLISHED)
def test_the_published_checkpoints_are_known_without_them(
    checkpoint: str, bandwidth: float, request: pytest.FixtureRequest
) -> None:
    """The seeded ones have their configuration, but for the size of the network."""
    folder: Path = request.getfixturevalue(checkpoint)
    known = codec_facts(PUBLISHED[checkpoint], bandwidth)
    loaded = describe_codec(str(folder), bandwidth=bandwidth)
    assert known is not None
    same = {"codec": loaded.codec, "weights_sha256": loaded.weights_sha256}
    assert replace(known, **same) == loaded  # type: ignore[arg-type]
    assert codec_facts(str(folder), bandwidth) == replace(loaded, weights_sha256="")


def test_the_facts_of_codecs_without_a_bandwidth() -> None:
    """By their papers: DAC's table of models, Mimi's 12.5 Hz, MusicGen's EnCodec."""
    known = {
        "facebook/encodec_32khz": (4, 2048, 50.0, 2.2),
        "descript/dac_44khz": (9, 1024, 44_100 / 512, 9 * 10 * 44.1 / 512),
        "descript/dac_24khz": (32, 1024, 75.0, 24.0),
        "descript/dac_16khz": (12, 1024, 50.0, 6.0),
        "kyutai/mimi": (32, 2048, 12.5, 4.4),
        "hf-audio/xcodec-wavlm-mls": (8, 1024, 50.0, 4.0),
        "hf-audio/xcodec2": (1, 65_536, 50.0, 0.8),
        "neuphonic/neucodec": (1, 65_536, 50.0, 0.8),
    }
    for name, (n_q, size, rate, kbps) in known.items():
        spec = codec_facts(name)
        assert spec is not None and spec.channels == 1 and not spec.has_scales
        assert (spec.n_q, spec.codebook_size, spec.frame_rate) == (n_q, size, rate)
        assert spec.bandwidth == pytest.approx(kbps, abs=1e-9)
    mimi = codec_facts("kyutai/mimi", n_q=8)
    assert mimi is not None and mimi.n_q == 8 and mimi.bandwidth == pytest.approx(1.1)
    assert mimi == codec_facts("kyutai/mimi", 1.1)
    with pytest.raises(CodecLoadError, match="give n_q, 1 to 32"):
        codec_facts("kyutai/mimi", n_q=33)
    with pytest.raises(CodecLoadError, match=r"come to 0.1375, 0.275, .*4.4 kbps"):
        codec_facts("kyutai/mimi", 6.0)


def test_what_no_codec_offers_is_refused_and_what_is_not_here_is_unknown() -> None:
    with pytest.raises(CodecLoadError, match="choose one of 3, 6, 12, 24"):
        codec_facts("facebook/encodec_48khz", 7.0)
    with pytest.raises(CodecLoadError):
        codec_facts("./no/such/folder", 6.0)
    assert codec_facts("nobody/has_this", 6.0) is None
    assert codec_facts("mulaw", 24.0) == describe_codec("mulaw", bandwidth=24.0)


@given(num_samples=st.integers(1, 2_000_000))
def test_frames_are_counted_as_they_are_cut(num_samples: int) -> None:
    spec = codec_facts("facebook/encodec_48khz", 6.0)
    assert spec is not None
    spans = chunk_spans(num_samples, spec.chunk_length, spec.chunk_stride)
    assert code_frames(num_samples, spec) == sum(frames_of(b - a, 320) for a, b in spans)
