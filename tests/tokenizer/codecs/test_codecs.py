"""What every codec promises, run over the registry and over checkpoints of both kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from sounds import sound

from tokenizer import (
    Codec,
    CodecLoadError,
    Codes,
    FailureKind,
    RecordingError,
    ShapeError,
    Waveform,
    load_codec,
)
from tokenizer.codecs import CODECS, describe_codec
from tokenizer.codecs.base import assemble, split
from tokenizer.codecs.facts import codec_facts

Opener = Callable[[float], Codec]
NAMES = [*CODECS, "reduced", "mono"]
LENGTHS = [
    1,
    2,
    319,
    320,
    321,
    480,
    481,
    47_520,
    47_521,
    48_000,
    95_041,
    95_140,
    95_360,
    95_520,
    100_000,
]


@pytest.fixture(params=NAMES)
def open_codec(request: pytest.FixtureRequest) -> Opener:
    name = request.param if request.param in CODECS else str(request.getfixturevalue(request.param))
    return lambda bandwidth: load_codec(name, bandwidth=bandwidth, device="cpu")


@pytest.fixture
def codec(open_codec: Opener) -> Codec:
    return open_codec(6.0)


def sounds(codec: Codec) -> list[Waveform]:
    return [sound(n, codec.channels, codec.sample_rate, seed=n) for n in LENGTHS]


def test_any_batch_gives_the_codes_of_each_alone(codec: Codec) -> None:
    waveforms = sounds(codec)
    alone = [codec.encode(waveform) for waveform in waveforms]
    order = np.random.default_rng(1).permutation(len(waveforms))
    together = codec.encode_batch([waveforms[i] for i in order])
    for i, codes in zip(order, together, strict=True):
        assert codes.equals(alone[i]), LENGTHS[i]


def test_the_exact_length_comes_back(codec: Codec) -> None:
    for waveform in sounds(codec):
        codes = codec.encode(waveform)
        assert codes.num_samples == waveform.num_samples
        decoded = codec.decode(codes)
        assert decoded.samples.shape == waveform.samples.shape
        assert decoded.sample_rate == waveform.sample_rate
        assert np.isfinite(decoded.samples).all()


def test_any_batch_decodes_to_what_each_decodes_to_alone(codec: Codec) -> None:
    codes = codec.encode_batch(sounds(codec))
    codec.batch_chunks = 3
    for one, waveform in zip(codes, codec.decode_batch(codes), strict=True):
        np.testing.assert_allclose(waveform.samples, codec.decode(one).samples, atol=2e-6)
    assert codec.decode_batch([]) == []


def test_blocks_of_a_decoded_stream_are_the_decoded_whole(codec: Codec) -> None:
    codec.batch_chunks = 2
    codes = codec.encode(sound(200_000, codec.channels, codec.sample_rate))
    blocks = list(codec.decode_stream(codes))
    assert np.array_equal(np.concatenate(blocks, axis=1), codec.decode(codes).samples)


def test_fewer_codebooks_are_the_first_of_more(open_codec: Opener) -> None:
    many, few = open_codec(24.0), open_codec(3.0)
    waveform = sound(60_000, many.channels, many.sample_rate)
    high, low = many.encode(waveform), few.encode(waveform)
    assert high.n_q == 8 * low.n_q == many.spec.n_q
    assert np.array_equal(high.codes[: low.n_q], low.codes)
    nested = Codes(
        high.codes[: low.n_q], high.scales, high.chunk_frames, high.num_samples, high.sample_rate
    )
    assert np.array_equal(many.decode(nested).samples, few.decode(low).samples)


def test_codes_are_diverse_and_in_range(open_codec: Opener) -> None:
    codec = open_codec(24.0)
    codes = codec.encode(sound(200_000, codec.channels, codec.sample_rate)).codes
    assert codes.max() < codec.spec.codebook_size
    assert all(len(np.unique(level)) >= 5 for level in codes), (
        "a codec whose codes are all alike tests nothing"
    )


def test_silence_is_encoded_and_has_the_smallest_scale(codec: Codec) -> None:
    codes = codec.encode(
        Waveform(np.zeros((codec.channels, 50_000), np.float32), codec.sample_rate)
    )
    if codec.spec.has_scales:
        assert codes.scales is not None and np.all(codes.scales == np.float32(1e-8))
        assert np.abs(codec.decode(codes).samples).max() < 1e-5
    else:
        assert codes.scales is None


def test_what_it_is_described_as_is_what_it_is(open_codec: Opener, codec: Codec) -> None:
    spec = describe_codec(codec.spec.codec, bandwidth=6.0)
    assert spec == codec.spec
    with pytest.raises(FrozenInstanceError):
        spec.bandwidth = 3.0  # type: ignore[misc]


def test_unknown_bandwidths_are_refused_with_the_choices(open_codec: Opener) -> None:
    with pytest.raises(CodecLoadError, match=r"no bandwidth 5: choose one of .*3, 6, 12, 24"):
        open_codec(5.0)


def test_other_rates_and_channels_are_refused_with_advice(codec: Codec) -> None:
    for wrong in (sound(100, codec.channels, 16_000), sound(100, 5, codec.sample_rate)):
        with pytest.raises(
            ShapeError, match=r"read_audio\(file, codec.sample_rate, codec.channels\)"
        ):
            codec.encode(wrong)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_samples_that_are_no_samples_are_refused(codec: Codec, bad: float) -> None:
    samples = sound(1000, codec.channels, codec.sample_rate).samples.copy()
    samples[0, 500] = bad
    with pytest.raises(RecordingError) as caught:
        codec.encode(Waveform(samples, codec.sample_rate))
    assert caught.value.kind is FailureKind.NON_FINITE and caught.value.stage == "check"


def test_nothing_has_no_codes(codec: Codec) -> None:
    with pytest.raises(RecordingError) as caught:
        codec.encode(Waveform(np.zeros((codec.channels, 0), np.float32), codec.sample_rate))
    assert caught.value.kind is FailureKind.EMPTY


def test_chunks_of_other_shapes_are_refused(codec: Codec) -> None:
    if codec.spec.device == "none":
        pytest.skip("the weight-free codec takes chunks of any length")
    with pytest.raises(ShapeError):
        codec.encode_chunks([np.zeros((codec.channels + 1, 100), np.float32)])
    with pytest.raises(ShapeError):
        codec.encode_chunks([np.zeros((codec.channels, 100), np.float64)])  # type: ignore[list-item]
    if codec.spec.chunk_length is not None:
        with pytest.raises(ShapeError):
            codec.encode_chunks(
                [np.zeros((codec.channels, codec.spec.chunk_length + 1), np.float32)]
            )


def test_codes_of_another_codec_are_refused(codec: Codec) -> None:
    codes = codec.encode(sound(100_000, codec.channels, codec.sample_rate))
    with pytest.raises(ShapeError, match="outside the codebook"):
        codec.decode(
            Codes(
                codes.codes | np.uint16(4096),
                codes.scales,
                codes.chunk_frames,
                codes.num_samples,
                codes.sample_rate,
            )
        )
    with pytest.raises(ShapeError, match="Hz"):
        codec.decode(
            Codes(codes.codes, codes.scales, codes.chunk_frames, codes.num_samples, 32_000)
        )
    with pytest.raises(ShapeError, match="codebooks"):
        codec.decode(
            Codes(
                np.tile(codes.codes, (8, 1)),
                codes.scales,
                codes.chunk_frames,
                codes.num_samples,
                codes.sample_rate,
            )
        )
    with pytest.raises(ShapeError, match="chunks"):
        codec.decode(Codes(codes.codes, codes.scales, codes.chunk_frames, 10, codes.sample_rate))


def test_split_undoes_assemble(codec: Codec) -> None:
    codes = codec.encode(sound(100_000, codec.channels, codec.sample_rate))
    assert assemble(split(codes, codec.spec), codes.num_samples, codec.spec).equals(codes)
    with pytest.raises(ShapeError):
        assemble(split(codes, codec.spec), codes.num_samples + 48_000, codec.spec)


def folder(path: Path, text: str) -> str:
    path.mkdir()
    (path / "config.json").write_text(text)
    return str(path)


def test_what_is_no_codec_is_refused_in_one_line(tmp_path: Path, reduced: Path) -> None:
    (tmp_path / "empty").mkdir()
    cases = {
        str(tmp_path / "missing"): "no such folder",
        "./missing": "no such folder",
        "nonsense": "no such folder",
        str(tmp_path / "empty"): "no config.json",
        folder(
            tmp_path / "bert", '{"model_type": "bert"}'
        ): "the model_type 'bert'; give a checkpoint of .*encodec",
        folder(tmp_path / "list", "[]"): "model_type None",
        folder(tmp_path / "broken", "{"): "cannot be read",
        folder(tmp_path / "bare", (reduced / "config.json").read_text()): "no weights",
    }
    for name, reason in cases.items():
        with pytest.raises(CodecLoadError, match=reason) as caught:
            load_codec(name)
        assert "\n" not in str(caught.value)


def test_a_folder_that_was_moved_or_a_file_of_it_is_told_with_the_cure(
    tmp_path: Path, reduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CodecLoadError, match=r"moved, .*\(--codec NEWFOLDER\)") as caught:
        load_codec(str(tmp_path / "away"))
    assert "small" not in str(caught.value)
    monkeypatch.chdir(reduced.parent)
    for file in ("config.json", "model.safetensors"):
        for name in (str(reduced / file), f"{reduced.name}/{file}", f"./{reduced.name}/{file}"):
            for ask in (load_codec, describe_codec, codec_facts):
                with pytest.raises(
                    CodecLoadError, match=f"a file; give its folder, .*{reduced.name}"
                ):
                    ask(name)


def test_broken_weights_are_refused(tmp_path: Path, reduced: Path) -> None:
    name = folder(tmp_path / "torn", (reduced / "config.json").read_text())
    (tmp_path / "torn" / "model.safetensors").write_bytes(
        (reduced / "model.safetensors").read_bytes()[:1000]
    )
    with pytest.raises(CodecLoadError, match="weights do not load"):
        load_codec(name)


def test_missing_tensors_are_not_made_up(tmp_path: Path, reduced: Path) -> None:
    name = folder(tmp_path / "partial", (reduced / "config.json").read_text())
    tensors = load_file(reduced / "model.safetensors")
    gone = next(key for key in tensors if key.startswith("encoder"))
    save_file(
        {key: value for key, value in tensors.items() if key != gone},
        f"{name}/model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(CodecLoadError, match=f"lack 1 tensors, {gone}"):
        load_codec(name)


def test_a_hub_id_without_network_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*args: object, **kwargs: object) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(CodecLoadError, match="hf download facebook/encodec_48khz"):
        load_codec("facebook/encodec_48khz")


def test_a_hub_checkpoint_is_pinned_to_its_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reduced: Path
) -> None:
    import huggingface_hub

    commit = tmp_path / "snapshots" / "0123abcd"
    commit.parent.mkdir()
    commit.symlink_to(reduced)
    asked: dict[str, object] = {}

    def cached(name: str, **kwargs: object) -> str:
        asked.update(kwargs, name=name)
        return str(commit)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    spec = load_codec("facebook/encodec_48khz", revision="main", device="cpu").spec
    assert asked["revision"] == "main" and asked["name"] == "facebook/encodec_48khz"
    assert (spec.codec, spec.revision) == ("facebook/encodec_48khz", "0123abcd")
    assert spec.weights_sha256 == describe_codec(str(reduced)).weights_sha256


def test_a_folder_has_no_revision(reduced: Path) -> None:
    with pytest.raises(CodecLoadError, match="--revision"):
        load_codec(str(reduced), revision="main")


def test_devices_that_are_not_there_are_refused(reduced: Path) -> None:
    import torch

    with pytest.raises(CodecLoadError, match="tpu"):
        load_codec(str(reduced), device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(CodecLoadError, match="no GPU"):
            load_codec(str(reduced), device="cuda")


def test_the_callers_precision_stays_as_it_was(reduced: Path) -> None:
    import torch

    codec = load_codec(str(reduced), device="cpu")
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        codec.encode(sound(1000))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
