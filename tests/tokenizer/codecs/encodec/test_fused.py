"""What lies between convolutions, fused: the same frames, and the very codes, with and without a
compiler."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from sounds import sound

from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.gpu import fused
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.gpu.fused import Fused
from tokenizer.codecs.encodec.gpu.masked import MaskedEncoder
from tokenizer.codecs.encodec.reference import ReferenceModules

CPU = torch.device("cpu")
LENGTHS = [4_000, 700, 1, 2, 319, 320, 480, 3_999]


def rows(lengths: list[int]) -> torch.Tensor:
    batch = torch.zeros(len(lengths), 2, max(lengths))
    for row, count in enumerate(lengths):
        batch[row, :, :count] = torch.from_numpy(sound(count, seed=count).samples)
    return batch


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("masked", [True, False])
@torch.inference_mode()
def test_frames_are_the_same(
    reduced: Path, masked: bool, pad_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(reduced, CPU)
    for module in model.encoder.modules():
        if hasattr(module, "pad_mode"):
            monkeypatch.setattr(module, "pad_mode", pad_mode)
    plain, other = MaskedEncoder(model.encoder), MaskedEncoder(model.encoder, fused=Fused(None))
    lengths = torch.tensor(LENGTHS) if masked else None
    samples = rows(LENGTHS if masked else [4_000, 4_000])
    expected, frames, condition = plain.conditioned(samples, lengths)
    found, its_frames, its_condition = other.conditioned(samples, lengths)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(its_condition, condition, atol=1e-4, rtol=1e-4)
    assert (frames is None) == (its_frames is None)
    assert frames is None or torch.equal(frames, its_frames)


def test_codes_are_the_references(reduced: Path) -> None:
    model = load_model(reduced, CPU)
    chunks = [sound(n, seed=n).samples for n in [48_000, *LENGTHS]]
    network = BatchedNetwork(model, ReferenceModules(model), 16, fused=Fused(None))
    for chunk, one in zip(chunks, network.encode(chunks), strict=True):
        with torch.inference_mode():
            theirs, scale = model._encode_frame(torch.from_numpy(chunk)[None], 24.0)
        assert (one.codes == theirs[0].numpy()).all()
        assert one.scale == pytest.approx(float(scale), rel=1e-6)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler needs one for C++ here")
@torch.inference_mode()
def test_a_compiler_writes_what_the_function_says() -> None:
    y, bias, lengths = torch.randn(3, 4, 50), torch.randn(4), torch.tensor([50, 7, 1])
    arguments = (y, bias, lengths, torch.rand(4), torch.randn(4), 1e-5)
    for found, expected in zip(
        Fused().normalisation(*arguments), fused.normalisation(*arguments), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
