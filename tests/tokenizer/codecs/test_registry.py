"""Which codecs there are, and on which devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sounds import sound

from tokenizer import Codec, CodecLoadError, CodecSpec, UsageError, load_codec
from tokenizer.codecs import batch_chunks, describe_codec, registry
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.devices import repeatable_products, resolve_device
from tokenizer.codecs.lookup import Checkpoint
from tokenizer.codecs.mulaw import describe_mulaw
from tokenizer.codecs.registry import Builtin, Family


class Loudness(Codec):
    """One code a second: how loud it is. No windows, no scales."""

    def __init__(self, device: str = "none") -> None:
        self.spec = replace(
            describe_mulaw(3.0),
            codec="loudness",
            n_q=1,
            frame_length=48_000,
            chunk_length=None,
            chunk_stride=None,
            has_scales=False,
            device=device,
        )

    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        found = []
        for chunk in chunks:
            frames = -(-chunk.shape[1] // 48_000)
            rms = [np.sqrt(np.mean(chunk[:, i * 48_000 :][:, :48_000] ** 2)) for i in range(frames)]
            found.append(ChunkCodes(np.clip(np.array([rms]) * 255, 0, 255).astype(np.uint16), None))
        return found

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        return [
            np.repeat(np.repeat(chunk.codes / 255, 48_000, axis=1), 2, axis=0).astype(np.float32)
            for chunk in chunks
        ]


def test_importing_codecs_and_describing_one_needs_no_torch() -> None:
    """In a fresh process, as modules that it imports import others."""
    code = (
        "import sys, tokenizer.codecs.base, tokenizer.codecs.registry, tokenizer.codecs;"
        "tokenizer.codecs.describe_codec('mulaw'); tokenizer.codecs.load_codec('mulaw');"
        "print([name for name in sys.modules if name in ('torch', 'transformers', 'numba', 'av')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_codec_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load(bandwidth: float, device: str) -> Codec:
        asked.append(device)
        return Loudness()

    row = Builtin(lambda bandwidth: Loudness().spec, load)
    monkeypatch.setitem(registry.CODECS, "loudness", row)
    codec = load_codec("loudness", device="cpu")
    assert describe_codec("loudness") == codec.spec and asked == ["cpu"]
    waveform = sound(100_000)
    codes = codec.encode(waveform)
    assert codes.codes.shape == (1, 3) and codes.scales is None
    assert codec.decode(codes).samples.shape == waveform.samples.shape
    with pytest.raises(CodecLoadError, match="did you mean loudness"):
        load_codec("loudnes")


def folder(path: Path, config: dict[str, Any]) -> str:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return str(path)


def test_a_kind_of_checkpoint_is_one_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = folder(tmp_path / "checkpoint", {"model_type": "loudness"})

    def describe(checkpoint: Checkpoint, bandwidth: float) -> CodecSpec:
        return replace(Loudness("cpu").spec, codec=checkpoint.name, bandwidth=bandwidth)

    def load(checkpoint: Checkpoint, spec: CodecSpec, device: str, reference: bool) -> Codec:
        codec = Loudness()
        codec.spec = spec
        return codec

    with pytest.raises(CodecLoadError, match="model_type 'loudness'; give a checkpoint of encodec"):
        load_codec(name)
    monkeypatch.setitem(registry.FAMILIES, "loudness", Family(describe, load))
    codec = load_codec(name, bandwidth=1.5, device="cpu")
    assert codec.spec == describe_codec(name, bandwidth=1.5)
    assert (codec.spec.codec, codec.spec.bandwidth, codec.spec.device) == (name, 1.5, "cpu")


def test_what_works_with_an_encodec_only_says_so(tmp_path: Path) -> None:
    from tokenizer.training.networks.model import initial_model

    with pytest.raises(UsageError, match="not an EnCodec but 'bert'"):
        initial_model(folder(tmp_path / "bert", {"model_type": "bert"}))
    odd = folder(tmp_path / "odd", {"model_type": "encodec", "upsampling_ratios": "wide"})
    for ask in (initial_model, load_codec):
        with pytest.raises(UsageError, match=r"config.json is not an EnCodec's") as caught:
            ask(odd)
        assert "\n" not in str(caught.value)


def cards(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("count", "device", "found"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (2, "auto", "cuda"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda"),
        (2, "cuda:1", "cuda:1"),
        (2, "cuda:01", "cuda:1"),
    ],
)
def test_devices_by_name(
    monkeypatch: pytest.MonkeyPatch, count: int, device: str, found: str
) -> None:
    cards(monkeypatch, count)
    assert resolve_device(device) == found


@pytest.mark.parametrize(
    ("count", "device", "words"),
    [
        (0, "cuda:1", "device cuda:1: torch sees no GPU here"),
        (1, "cuda:1", "device cuda:1: torch sees cuda:0 here"),
        (4, "cuda:4", "device cuda:4: torch sees cuda:0 to cuda:3 here"),
        (4, "cuda:", "choose one of auto, cpu, cuda, or cuda:N"),
        (4, "cuda:-1", "choose one of"),
        (4, "cuda:1 ", "choose one of"),
        (4, "cuda:\u0661", "choose one of"),
        (4, "CPU", "choose one of"),
    ],
)
def test_devices_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch, reduced: Path, count: int, device: str, words: str
) -> None:
    cards(monkeypatch, count)
    for ask in (resolve_device, lambda one: load_codec(str(reduced), device=one)):
        with pytest.raises(CodecLoadError, match=words) as caught:
            ask(device)
        assert "\n" not in str(caught.value)


def test_a_card_is_loaded_on_and_its_kind_is_recorded(
    monkeypatch: pytest.MonkeyPatch, reduced: Path
) -> None:
    """Without a GPU: what the family is asked for."""
    cards(monkeypatch, 2)
    asked: list[tuple[str, str]] = []

    def load(checkpoint: Checkpoint, spec: CodecSpec, device: str, reference: bool) -> Codec:
        asked.append((device, spec.device))
        return Loudness()

    row = replace(registry.FAMILIES["encodec"], load=load)
    monkeypatch.setitem(registry.FAMILIES, "encodec", row)
    for device in ("cuda:1", "cuda", "auto", "cpu"):
        load_codec(str(reduced), device=device)
    assert asked == [("cuda:1", "cuda"), ("cuda", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")]


def test_every_card_has_the_batches_of_its_kind() -> None:
    assert batch_chunks("cuda:3") == batch_chunks("cuda") > batch_chunks("cpu")


def test_the_users_own_workspaces_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    repeatable_products()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    repeatable_products()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
