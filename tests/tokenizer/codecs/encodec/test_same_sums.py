"""Convolutions in oneDNN's order have transformers' bits, and codes are the same either way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import EncodecConfig, EncodecModel

from tokenizer.codecs import load_codec
from tokenizer.codecs.base import Codec
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.cpu.same_sums import SameSums
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.codecs.encodec.streams.stack import parts_of
from tokenizer.codecs.encodec.streams.tiled import TiledPieces
from tokenizer.codecs.pieces import Piece

CHANGES = {
    "num_filters": 32,
    "hidden_size": 16,
    "upsampling_ratios": [4, 2, 2],
    "codebook_size": 256,
}
HOP, KBPS = 16, {"24khz": 24.0, "32khz": 64.0}
Samples = NDArray[np.float32]


def encoder(**changes: Any) -> Any:
    torch.manual_seed(0)
    model: Any = EncodecModel(EncodecConfig(**changes))
    return model.eval().encoder


@pytest.fixture(scope="module")
def parts() -> tuple[list[Any], list[Any]]:
    """A full-size encoder's layers before and after its LSTM."""
    before, _, after = parts_of(encoder())
    return before, after


@pytest.fixture(scope="module")
def convolutions(parts: tuple[list[Any], list[Any]]) -> SameSums:
    return SameSums(parts[0], 320)


def noise(samples: int, seed: int) -> Samples:
    rng = np.random.default_rng(seed)
    level = 0.05 + 0.1 * np.abs(np.sin(np.arange(samples) / 8_000 + seed))
    return (rng.standard_normal(samples) * level)[None].astype(np.float32)


@pytest.mark.parametrize("samples", [320 * 66, 320 * 70 - 1])
def test_bits_are_those_of_the_modules(
    parts: tuple[list[Any], list[Any]], convolutions: SameSums, threads: int, samples: int
) -> None:
    same = convolutions
    if not same.proven:
        pytest.skip("this machine's convolutions are summed in another order")
    rows = torch.from_numpy(noise(samples, samples)[0])[:, None]
    with torch.inference_mode(), exact_float32():
        x = rows.t()[None]
        for layer in parts[0]:
            x = layer(x)
        whole, later = same([rows, rows[320 * 20 :]])
        # Where torch's threads end, it takes another exponential for a few numbers.
        end = -(-samples // 320) - 2
        assert torch.equal(whole[:end], x[0].t()[:end])
        assert torch.equal(later[2 : end - 20], whole[22:end])


def test_the_last_convolution_too(parts: tuple[list[Any], list[Any]], threads: int) -> None:
    same = SameSums(parts[1], 1)
    if not same.proven:
        pytest.skip("this machine's convolutions are summed in another order")
    rows = torch.randn(100, 512, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), exact_float32():
        x = rows.t()[None].contiguous()
        for layer in parts[1]:
            x = layer(x)
        (found,) = same([rows])
    assert torch.equal(found, x[0].t())


AVX2 = """
import sys, torch
from transformers import EncodecConfig, EncodecModel
from tokenizer.codecs.encodec.cpu.same_sums import ORDERS, SameSums
from tokenizer.codecs.encodec.streams.same_lstm import SameLstm
from tokenizer.codecs.encodec.streams.stack import parts_of
torch.manual_seed(0)
model = EncodecModel(EncodecConfig(upsampling_ratios=[4, 2, 2])).eval()
before, lstm, after = parts_of(model.encoder)
for threads in (1, 2):
    torch.set_num_threads(threads)
    same = SameSums(before, 16)
    print(same.proven, same._proven()[0].order == ORDERS[1] if same.proven else None)
    print(SameSums(after, 1).proven, SameLstm(lstm).proven)
"""


def test_the_order_of_avx2_is_known_too() -> None:
    """As a processor without AVX-512 has it; oneDNN and torch can be told not to use it."""
    told = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", AVX2],
        env=os.environ | told | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("this machine has no AVX2")
    assert done.stdout.split() == ["True"] * 8


def test_another_order_runs_something_else(
    parts: tuple[list[Any], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SameSums, "_find", lambda self: None)
    same = SameSums(parts[1], 1)
    assert same.where_proven(lambda windows: list(windows))([torch.ones(3, 512)])[0].sum() == 1536


@pytest.mark.parametrize(
    "changes",
    [
        {"num_filters": 4},
        {"num_residual_layers": 2},
        {"norm_type": "time_group_norm"},
    ],
)
def test_what_has_no_known_order_is_refused(changes: dict[str, Any]) -> None:
    before, _, _ = parts_of(encoder(**changes))
    with pytest.raises(UnknownLayer):
        SameSums(before, 320)


@pytest.fixture(scope="module", params=list(KBPS))
def model(request: pytest.FixtureRequest) -> str:
    """One that looks ahead, and one that does not."""
    return str(request.param)


@pytest.fixture(scope="module")
def folder(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("codec") / "wide"
    bandwidths = {"target_bandwidths": [KBPS[model]]} if model == "32khz" else {}
    return write_seeded(place, model=model, changes=CHANGES | bandwidths)


@pytest.fixture(scope="module")
def kbps(model: str) -> float:
    return KBPS[model]


@pytest.fixture(scope="module")
def codec(folder: Path, kbps: float) -> Codec:
    return load_codec(str(folder), bandwidth=kbps, device="cpu")


def test_codes_are_those_of_one_shot(
    folder: Path, codec: Codec, kbps: float, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short, with every frame in doubt, and in pieces."""
    network = codec._network  # type: ignore[attr-defined]
    assert isinstance(network, TiledPieces) and network._same is not None
    upstream: Any = EncodecModel.from_pretrained(folder).eval()  # type: ignore[no-untyped-call]
    samples = noise(300 * HOP + 5, 3)
    with torch.inference_mode():
        found = upstream.encode(torch.from_numpy(samples)[None], bandwidth=kbps)
    expected = found.audio_codes[0, 0].numpy()
    cut = 200 * HOP + 3
    begun = codec.encode_pieces([Piece(samples[:, :cut], None, False)])[0]
    ended = codec.encode_pieces([Piece(samples[:, cut:], begun.state)])[0]
    assert np.array_equal(np.concatenate([begun.codes, ended.codes], axis=1), expected)
    assert np.array_equal(codec.encode_chunks([samples])[0].codes, expected)
    monkeypatch.setattr(TiledPieces, "_is_exact", lambda self, samples: False)
    assert np.array_equal(codec.encode_chunks([samples])[0].codes, expected)
    monkeypatch.setattr(
        "tokenizer.codecs.encodec.streams.tiled.uncertain", lambda certainty: certainty < 30.0
    )
    assert np.array_equal(codec.encode_chunks([samples])[0].codes, expected)


def test_recordings_side_by_side_and_a_last_piece_of_one_frame(
    folder: Path, codec: Codec, kbps: float, threads: int
) -> None:
    """Their LSTM is shared, and none is left in doubt."""
    upstream: Any = EncodecModel.from_pretrained(folder).eval()  # type: ignore[no-untyped-call]
    lengths = [1, 200, 40 * HOP, 41 * HOP + 1, *range(90 * HOP, 98 * HOP, HOP + 3), 300 * HOP + 1]
    recordings = [noise(length, length) for length in lengths]
    expected = []
    with torch.inference_mode():
        for samples in recordings:
            found = upstream.encode(torch.from_numpy(samples)[None], bandwidth=kbps)
            expected.append(found.audio_codes[0, 0].numpy())
    for samples, codes, theirs in zip(
        recordings, codec.encode_chunks(recordings), expected, strict=True
    ):
        assert np.array_equal(codes.codes, theirs), samples.shape
    begun = codec.encode_pieces([Piece(recordings[-1][:, : 300 * HOP], None, False)])[0]
    ended = codec.encode_pieces([Piece(recordings[-1][:, 300 * HOP :], begun.state)])[0]
    assert np.array_equal(np.concatenate([begun.codes, ended.codes], axis=1), expected[-1])
