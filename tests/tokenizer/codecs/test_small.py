"""The codec that ships: what a stranger who relies on it would check."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pytest
import torch

from tokenizer import CodecLoadError, Waveform, load_codec
from tokenizer.codecs import describe_codec
from tokenizer.codecs.lookup import BUNDLED, find_checkpoint
from tokenizer.training.data.synthesis import music
from tokenizer.training.losses import si_snr

FOLDER = BUNDLED["small"]
BANDWIDTHS = (3.0, 6.0, 12.0, 24.0)


@pytest.fixture(scope="module")
def piece() -> Waveform:
    """4.4 s of music of another seed than any that the training used, its last chunk a short
    one."""
    return Waveform(music(4.4, 48_000, np.random.default_rng([99, 1])), 48_000)


def reconstruct(waveform: Waveform, bandwidth: float) -> np.ndarray:
    codec = load_codec("small", bandwidth=bandwidth, device="cpu")
    return codec.decode(codec.encode(waveform)).samples


def test_it_is_what_the_full_size_codec_is_but_smaller() -> None:
    spec = describe_codec("small", bandwidth=24.0)
    assert (spec.sample_rate, spec.channels, spec.frame_length, spec.codebook_size, spec.n_q) == (
        48_000,
        2,
        320,
        1024,
        16,
    )
    assert (spec.chunk_length, spec.chunk_stride, spec.has_scales) == (48_000, 47_520, True)
    assert (spec.codec, spec.revision) == ("small", None)
    assert [describe_codec("small", bandwidth=kbps).n_q for kbps in BANDWIDTHS] == [2, 4, 8, 16]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 6_000_000


def test_plain_transformers_gives_the_same_codes(piece: Waveform) -> None:
    from transformers import EncodecModel

    model = EncodecModel.from_pretrained(FOLDER).eval()
    assert model.dtype == torch.float32
    ours = load_codec("small", bandwidth=24.0, device="cpu").encode(piece)
    with torch.no_grad():
        theirs = model.encode(torch.from_numpy(piece.samples)[None], bandwidth=24.0)
    # transformers fills up the last chunk's frames to as many as the others have.
    frames = [
        chunk[0, :, :valid].numpy()
        for chunk, valid in zip(theirs.audio_codes, ours.chunk_frames, strict=True)
    ]
    assert np.array_equal(np.concatenate(frames, axis=1), ours.codes)
    assert ours.scales is not None
    assert [float(scale) for scale in theirs.audio_scales] == pytest.approx(
        ours.scales.tolist(), rel=1e-6
    )


def test_music_comes_back_better_with_every_bandwidth_and_at_its_level(piece: Waveform) -> None:
    ratios, target = [], torch.from_numpy(piece.samples)[None]
    for bandwidth in BANDWIDTHS:
        decoded = reconstruct(piece, bandwidth)
        assert decoded.shape == piece.samples.shape
        ratios.append(float(si_snr(torch.from_numpy(decoded)[None], target)))
    assert all(low < high for low, high in pairwise(ratios))
    assert ratios[-1] > 6.0
    level = 10 * np.log10(np.square(decoded).sum() / np.square(piece.samples).sum())
    assert abs(level) < 1.0


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
def test_silence_stays_silent(bandwidth: float) -> None:
    decoded = reconstruct(Waveform(np.zeros((2, 100_000), np.float32), 48_000), bandwidth)
    assert np.sqrt(np.square(decoded).mean()) < 1e-3


def test_a_revision_makes_no_sense_for_it() -> None:
    with pytest.raises(CodecLoadError, match="on this machine"):
        find_checkpoint("small", "main")


def test_a_folder_of_its_name_does_not_hide_it(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "small").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint("small").folder == FOLDER


def test_its_card_tells_where_it_comes_from() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in (
        "CC0",
        "CC BY",
        "train-codec",
        "codec_quality",
        "SI-SNR",
        "ViSQOL",
        "perplexity",
        "Opus",
        "steps",
        "hours",
    ):
        assert word in card, word
    assert not re.search(r"fsdd[^\n]*trained on", card)
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == "float32" and config["model_type"] == "encodec"
