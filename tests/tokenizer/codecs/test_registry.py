"""Which codecs there are, and on which devices."""

from __future__ import annotations

import json
import os
import pickle
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
from tokenizer.codecs.amounts import choose_codebooks
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.devices import repeatable_products, resolve_device
from tokenizer.codecs.facts import codec_facts
from tokenizer.codecs.lookup import Checkpoint
from tokenizer.codecs.mulaw import MuLawCodec, describe_mulaw
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

    def describe(checkpoint: Checkpoint, bandwidth: float | None, n_q: int | None) -> CodecSpec:
        return replace(Loudness("cpu").spec, codec=checkpoint.name, bandwidth=bandwidth or 6.0)

    def load(checkpoint: Checkpoint, spec: CodecSpec, device: str, reference: bool) -> Codec:
        codec = Loudness()
        codec.spec = spec
        return codec

    with pytest.raises(
        CodecLoadError, match=r"model_type 'loudness'; give a checkpoint of .*encodec"
    ):
        load_codec(name)
    monkeypatch.setitem(registry.FAMILIES, "loudness", Family(describe, load))
    codec = load_codec(name, bandwidth=1.5, device="cpu")
    assert codec.spec == describe_codec(name, bandwidth=1.5)
    assert (codec.spec.codec, codec.spec.bandwidth, codec.spec.device) == (name, 1.5, "cpu")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("smal", "small"),
        ("mimi", "kyutai/mimi"),
        ("kyutai/mimmi", "kyutai/mimi"),
        ("dac", "descript/dac_44khz or descript/dac_24khz or descript/dac_16khz"),
        ("descript/dac-44khz", "descript/dac_44khz"),
        ("encodec_32khz", "facebook/encodec_32khz"),
        ("xcodec2", "hf-audio/xcodec2"),
        ("NeuCodec", "neuphonic/neucodec"),
        ("encodec", "facebook/encodec_48khz or facebook/encodec_32khz or facebook/encodec_24khz"),
        ("EnCodec", "facebook/encodec_48khz or facebook/encodec_32khz or facebook/encodec_24khz"),
        ("encodec24", "facebook/encodec_24khz"),
        ("encodec_24khz", "facebook/encodec_24khz"),
        ("xcodec", "hf-audio/xcodec-hubert-librispeech or "),
        ("X-Codec", "hf-audio/xcodec-hubert-librispeech or "),
        ("x-codec2", "hf-audio/xcodec2"),
        ("higgs", "bosonai/higgs-audio-v2-tokenizer or eustlb/higgs-audio-v2-tokenizer"),
        ("moshi", "kyutai/mimi"),
        ("mu-law", "mulaw"),
        ("higgs-audio-v2", "bosonai/higgs-audio-v2-tokenizer"),
    ],
)
def test_a_misspelt_codec_is_guessed(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CodecLoadError) as caught:
        load_codec(name)
    assert f"did you mean {meant}" in str(caught.value) and "\n" not in str(caught.value)


def test_codebooks_are_counted_or_chosen_by_bandwidth(reduced: Path) -> None:
    by_rate = describe_codec(str(reduced), bandwidth=12.0)
    assert describe_codec(str(reduced), n_q=8) == by_rate
    assert describe_codec(str(reduced)) == describe_codec(str(reduced), bandwidth=6.0)
    odd = describe_codec(str(reduced), n_q=3)
    assert (odd.n_q, odd.bandwidth) == (3, 4.5)
    mulaw = describe_codec("mulaw", n_q=16)
    assert mulaw == describe_codec("mulaw", bandwidth=24.0) != describe_codec("mulaw")
    wave = sound(1_000)
    many, few = load_codec("mulaw", n_q=16).encode(wave), load_codec("mulaw", n_q=5).encode(wave)
    assert (many.codes[:5] == few.codes).all()


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ({"n_q": 0}, "n_q 0: give a number"),
        ({"n_q": 17}, "16 codebooks, not 17"),
        ({"n_q": 2.0}, "n_q 2.0: give a number"),
        ({"n_q": True}, "n_q True: give a number"),
        ({"n_q": 4, "bandwidth": 6.0}, "give one of them"),
        ({"bandwidth": 7.0}, "choose one of 3, 6, 12, 24"),
        ({"bandwidth": float("nan")}, "kbps above 0"),
        ({"bandwidth": float("inf")}, "kbps above 0"),
        ({"bandwidth": "6"}, "bandwidth '6': give kbps above 0"),
        ({"bandwidth": True}, "bandwidth True: give kbps above 0"),
        ({"n_q": "2"}, "n_q '2': give a number"),
        ({"n_q": np.float64(2)}, "n_q 2.0: give a number"),
    ],
)
def test_an_amount_that_is_none_is_refused(
    reduced: Path, amount: dict[str, Any], words: str
) -> None:
    for name in ("mulaw", str(reduced)):
        for ask in (describe_codec, load_codec, codec_facts):
            with pytest.raises(CodecLoadError, match=words) as caught:
                ask(name, **amount)
            assert "\n" not in str(caught.value)


def test_of_levels_of_several_rows_all_or_none_are_chosen() -> None:
    def chosen(bandwidth: float | None = None, n_q: int | None = None) -> int:
        return choose_codebooks("levels", [256] * 7, 12.5, bandwidth, n_q, (1, 2, 4))

    assert [chosen(n_q=n_q) for n_q in (1, 3, 7)] == [1, 3, 7] and chosen() == 7
    assert [chosen(kbps) for kbps in (0.1, 0.3, 0.7)] == [1, 3, 7]
    for n_q in (2, 5, 8):
        with pytest.raises(CodecLoadError, match=rf"n_q {n_q}: .*\(1, 2, 4\) .*one of 1, 3, 7"):
            chosen(n_q=n_q)
    with pytest.raises(CodecLoadError, match=r"to 0\.1, 0\.3, 0\.7 kbps; .* n_q, one of 1, 3, 7"):
        chosen(0.2)


@pytest.mark.parametrize("count", [np.int64(4), np.uint8(4)])
def test_numbers_of_numpy_are_numbers(reduced: Path, count: Any) -> None:
    for name in ("mulaw", str(reduced)):
        codec = load_codec(name, n_q=count, device="cpu")
        assert (
            codec.spec == load_codec(name, n_q=4, device="cpu").spec == describe_codec(name, n_q=4)
        )
        assert type(codec.spec.n_q) is int and type(codec.origin and codec.origin.n_q) is int
        assert pickle.loads(pickle.dumps(codec)).spec == codec.spec
        by_rate = describe_codec(name, bandwidth=np.float32(6))
        assert by_rate == describe_codec(name, bandwidth=6) and type(by_rate.bandwidth) is float


@pytest.mark.parametrize("device", [None, 0, True, torch.device("meta"), "gpu"])
def test_a_device_is_what_to_takes(reduced: Path, device: Any) -> None:
    for name in ("mulaw", str(reduced)):
        codec = load_codec(name, device=torch.device("cpu"))
        assert codec.origin is not None and codec.origin.device == "cpu"
        words = f"device {device}: choose one of auto, cpu"
        with pytest.raises(CodecLoadError, match=words):
            load_codec(name, device=device)
        with pytest.raises(CodecLoadError, match=words):
            codec.to(device)


@pytest.mark.parametrize("name", [None, 5, b"small"])
def test_a_codec_is_named_by_text_or_a_path(reduced: Path, name: Any) -> None:
    for ask in (load_codec, describe_codec, codec_facts):
        spec = ask(reduced)
        assert getattr(spec, "spec", spec).codec == str(reduced)
        with pytest.raises(CodecLoadError, match="no such folder"):
            ask(reduced / "away")
        with pytest.raises(CodecLoadError, match=f"codec {name!r}: give a name or a folder"):
            ask(name)


@pytest.mark.parametrize("threads", [0, -1, "2", 1.5, True])
def test_threads_that_are_no_number_are_refused(reduced: Path, threads: Any) -> None:
    for name in ("mulaw", str(reduced)):
        with pytest.raises(CodecLoadError, match=r"threads .*: give a number of threads, 1 or"):
            load_codec(name, device="cpu", threads=threads)


def test_what_a_codec_without_a_checkpoint_has_not_is_refused() -> None:
    for ask in (describe_codec, load_codec, codec_facts):
        with pytest.raises(CodecLoadError, match="--revision x pins a hub checkpoint; mulaw is"):
            ask("mulaw", revision="x")
    with pytest.raises(CodecLoadError, match="precision fast: codec mulaw has exact alone"):
        load_codec("mulaw", precision="fast")


def test_a_printed_codec_says_which_device_it_runs_on(
    monkeypatch: pytest.MonkeyPatch, reduced: Path
) -> None:
    cards(monkeypatch, 0)
    assert repr(load_codec(str(reduced))).endswith(", on cpu)")
    assert "on " not in repr(load_codec("mulaw"))

    def load(checkpoint: Checkpoint, spec: CodecSpec, device: str, reference: bool) -> Codec:
        made = Loudness()
        made.spec = spec
        return made

    cards(monkeypatch, 2)
    row = replace(registry.FAMILIES["encodec"], load=load)
    monkeypatch.setitem(registry.FAMILIES, "encodec", row)
    for asked, said in (("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("cpu", "cpu")):
        assert repr(load_codec(str(reduced), device=asked)).endswith(f", on {said})")


def test_a_row_of_an_earlier_version_takes_a_bandwidth_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[float, str]] = []

    def load(bandwidth: float, device: str) -> Codec:
        asked.append((bandwidth, device))
        return Loudness()

    row = Builtin(lambda bandwidth: replace(Loudness().spec, bandwidth=bandwidth), load)
    monkeypatch.setitem(registry.CODECS, "loudness", row)
    load_codec("loudness", bandwidth=3.0, device="cpu")
    load_codec("loudness")
    assert asked == [(3.0, "cpu"), (6.0, "auto")]
    with pytest.raises(CodecLoadError, match="by its bandwidth, not by n_q"):
        load_codec("loudness", n_q=1)
    assert registry.stored_amount(Loudness().spec) == (3.0, None)
    assert registry.stored_amount(describe_mulaw(3.0)) == (None, 2)


def test_the_revision_that_a_package_s_codec_says_of_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a corpus has stored, and asks for again."""

    def load(bandwidth: float, device: str) -> Codec:
        return Loudness()

    row = Builtin(lambda bandwidth: replace(Loudness().spec, revision="0123abc"), load)
    monkeypatch.setitem(registry.CODECS, "loudness", row)
    for ask in (describe_codec, load_codec, codec_facts):
        ask("loudness", revision="0123abc")
        with pytest.raises(CodecLoadError, match="--revision other pins"):
            ask("loudness", revision="other")


def test_codes_that_sixteen_bits_do_not_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(**change: Any) -> None:
        spec = replace(Loudness().spec, **change)
        monkeypatch.setitem(
            registry.CODECS, "loudness", Builtin(lambda bandwidth, n_q: spec, lambda b, d, n_q: ...)
        )

    row(codebook_size=65_536)
    assert describe_codec("loudness").codebook_size == 65_536
    for change, words in (
        ({"codebook_size": 65_537}, "65,537 entries; 16 bits hold 65,536"),
        ({"codebook_sizes": (8, 70_000), "n_q": 2}, "70,000 entries"),
        ({"codebook_sizes": (8,), "n_q": 2}, "2 codebooks and the sizes of 1"),
        ({"level_repeats": (1, 2), "n_q": 2}, "levels of"),
        ({"n_q": 0}, "no codebooks"),
    ):
        row(**change)
        with pytest.raises(CodecLoadError, match=words):
            describe_codec("loudness")


def test_a_codec_is_pickled_as_how_it_was_loaded(reduced: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(reduced, folder)
    wave = sound(5_000)
    for codec in (load_codec(str(folder), n_q=3, device="cpu"), load_codec("mulaw", n_q=3)):
        content = pickle.dumps(codec)
        again = pickle.loads(content)
        assert len(content) < 2_000 and again.spec == codec.spec
        assert (again.encode(wave).codes == codec.encode(wave).codes).all()
        assert repr(again) == repr(codec) and "3 codebooks of 1,024" in repr(codec)
    content = pickle.dumps(load_codec(str(folder), device="cpu"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(CodecLoadError, match=r"other weights|do not load"):
        pickle.loads(content)
    shutil.rmtree(folder)
    with pytest.raises(CodecLoadError, match="no such folder"):
        pickle.loads(content)


def test_a_codec_moves_to_another_device(monkeypatch: pytest.MonkeyPatch, reduced: Path) -> None:
    """Without a GPU: what the family is asked for."""
    codec = load_codec(str(reduced), n_q=2, device="cpu")
    assert codec.to("cpu") is codec is codec.to(torch.device("cpu"))
    with pytest.raises(CodecLoadError, match="choose one of"):
        codec.to("gpu")
    with pytest.raises(CodecLoadError, match="torch sees no GPU"):
        codec.to("cuda:1")
    weightless = load_codec("mulaw")
    assert weightless.to("cuda:1") is weightless
    asked: list[tuple[str, int]] = []

    def load(checkpoint: Checkpoint, spec: CodecSpec, device: str, reference: bool) -> Codec:
        asked.append((device, spec.n_q))
        made = Loudness()
        made.spec = spec
        return made

    row = replace(registry.FAMILIES["encodec"], load=load)
    monkeypatch.setitem(registry.FAMILIES, "encodec", row)
    cards(monkeypatch, 2)
    moved = codec.to(torch.device("cuda", 1))
    assert asked == [("cuda:1", 2)] and moved.to("cuda:1") is moved
    assert moved.spec.device == "cuda" and "on cuda:1" in repr(moved)


def test_a_codec_that_was_made_by_hand_is_pickled_as_any_object() -> None:
    made = MuLawCodec(6.0)
    assert pickle.loads(pickle.dumps(made)).spec == made.spec
    with pytest.raises(CodecLoadError, match="not made by load_codec"):
        Loudness("cpu").to("cpu")


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
