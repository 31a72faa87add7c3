"""Checkpoints whose config.json says what cannot be, or two things that contradict each other, and
whose weights are not those that it describes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from families import WRITERS
from safetensors.torch import load_file, save_file
from sounds import sound

from tokenizer import CodecLoadError, load_codec
from tokenizer.codecs import describe_codec
from tokenizer.codecs.facts import codec_facts

Broken = Callable[..., str]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    where = tmp_path_factory.mktemp("written")

    @cache
    def folder(family: str) -> Path:
        WRITERS[family](where / family)
        return where / family

    return folder


@pytest.fixture
def broken(written: Callable[[str], Path], tmp_path: Path) -> Broken:
    """The folder of a family's checkpoint with other settings; those of a part are `part.name`."""

    def folder(family: str, **changes: Any) -> str:
        copy = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(written(family), copy)
        config = json.loads((copy / "config.json").read_text())
        for name, value in changes.items():
            part, _, rest = name.rpartition(".")
            (config[part] if part else config)[rest] = value
        (copy / "config.json").write_text(json.dumps(config))
        return str(copy)

    return folder


def refused(name: str, *words: str) -> None:
    for ask in (codec_facts, describe_codec, lambda one: load_codec(one, device="cpu")):
        with pytest.raises(CodecLoadError) as caught:
            ask(name)
        text = str(caught.value)
        assert "\n" not in text and name in text and "config.json" in text
        assert all(word in text for word in words), text


_A = "acoustic_model_config."
CONTRADICTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "hop_length of 640": ("dac", {"hop_length": 640}),
    "hop_length of 7": ("dac", {"hop_length": 7}),
    "upsampling_ratios of 1,024": ("dac", {"upsampling_ratios": [8, 8, 4, 4]}),
    "codebook_dim 8": ("encodec-24khz", {"codebook_dim": 8}),
    "overlap 1.5": ("encodec-48khz", {"overlap": 1.5}),
    "overlap -0.5": ("encodec-48khz", {"overlap": -0.5}),
    "chunk_length_s 0": ("encodec-48khz", {"chunk_length_s": 0}),
    "a multiple of 960": ("mimi", {"sampling_rate": 16_000}),
    "frame_rate 20": ("mimi", {"_frame_rate": 20.0}),
    "upsampling_ratios of 640": ("xcodec", {f"{_A}upsampling_ratios": [8, 5, 4, 4]}),
    "of 25 frames a second, but": (
        "xcodec",
        {f"{_A}{way}_ratios": [8, 5, 4, 4] for way in ("downsampling", "upsampling")},
    ),
    "a semantic model of 50": ("higgs_audio_v2_tokenizer", {"downsample_factor": 640}),
    "downsampling_ratios of 640": ("xcodec2", {"downsampling_ratios": [2, 4, 4, 4, 5]}),
    "downsampling_ratios of 160": ("neucodec", {"downsampling_ratios": [2, 2, 2, 4, 5]}),
    "features are those of 16,000 Hz": ("xcodec2", {"sampling_rate": 24_000}),
    "output_sampling_rate 22051": ("neucodec", {"output_sampling_rate": 22_051}),
}
"""what is told, and by which settings of which family"""


@pytest.mark.parametrize("words", CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_told(broken: Broken, words: str) -> None:
    family, changes = CONTRADICTIONS[words]
    refused(broken(family, **changes), words)


NONSENSE: dict[str, dict[str, tuple[Any, ...]]] = {
    "encodec-24khz": {
        "sampling_rate": (0, -5, 10**9),
        "codebook_size": (0, 1, -5, 10**9),
        "target_bandwidths": ([], [0.0], [1e9], "x"),
        "upsampling_ratios": ([0, 2], [], [10**9], "x"),
        "hidden_size": ("x", 0, None),
        "kernel_size": (0, -5),
        "pad_mode": ("x",),
        "trim_right_ratio": (1.5,),
    },
    "encodec-48khz": {"sampling_rate": (0,), "audio_channels": (0,), "chunk_length_s": ("x",)},
    "mimi": {
        "sampling_rate": (0, -5),
        "codebook_size": (0, -5),
        "num_quantizers": (10**9,),
        "num_hidden_layers": (-5,),
        "upsampling_ratios": ([0, 2], "x"),
        "_frame_rate": (0, -5, "x", []),
    },
    "dac": {
        "sampling_rate": (0, -5, None),
        "codebook_size": (0, 1, -5),
        "n_codebooks": (0, 10**9),
        "downsampling_ratios": ([], [0, 2], "x"),
        "upsampling_ratios": ([], [0, 2], "x", None),
        "hidden_size": ("x", None, []),
        "hop_length": (0, -5, "x", [], 10**9),
    },
    "xcodec": {
        "sample_rate": (0, -5),
        "codebook_size": (0, 1),
        "target_bandwidths": ([], [0], [10**9]),
        "strides": ([], [0, 2]),
        "acoustic_model_config.upsampling_ratios": ([], [0, 2], "x"),
        "acoustic_model_config.n_codebooks": (10**9,),
        "acoustic_model_config": ("x",),
    },
    "higgs_audio_v2_tokenizer": {
        "sample_rate": (0, -5),
        "semantic_sample_rate": (0, -5),
        "downsample_factor": (0,),
        "target_bandwidths": ([],),
    },
    "xcodec2": {
        "sampling_rate": (0, -5),
        "downsampling_ratios": ([], [0, 2], "x"),
        "num_hidden_layers": (-5,),
        "quantization_levels": ([], [0, 2], "x"),
    },
    "neucodec": {"input_sampling_rate": (0,), "output_sampling_rate": (0, -5, None)},
}


@pytest.mark.parametrize("family", NONSENSE)
def test_settings_that_cannot_be_are_told_by_name(broken: Broken, family: str) -> None:
    for name, values in NONSENSE[family].items():
        for value in values:
            told = name.rpartition(".")[2].lstrip("_")
            refused(broken(family, **{name: value}), told)


def test_a_setting_that_only_the_model_trips_over_is_one_line(broken: Broken) -> None:
    name = broken("mimi", hidden_act="x")
    with pytest.raises(CodecLoadError, match=r"MimiModel .* config.json .*'x'") as caught:
        load_codec(name, device="cpu")
    assert "\n" not in str(caught.value)


def test_odd_settings_that_agree_work(broken: Broken) -> None:
    """Ratios in another order are another model of the same weights; hop and rate stay."""
    for family, changes in (
        ("encodec-24khz", {"sampling_rate": 25_000}),
        ("encodec-48khz", {"overlap": 0.0}),
        ("dac", {"sampling_rate": 22_050}),
        ("mimi", {"sampling_rate": 48_000, "_frame_rate": 25.0}),
        ("xcodec", {"sample_rate": 22_050}),
    ):
        codec = load_codec(broken(family, **changes), device="cpu")
        waveform = sound(codec.sample_rate // 3, codec.channels, codec.sample_rate)
        found = codec.decode(codec.encode(waveform))
        assert found.samples.shape == waveform.samples.shape


def test_weights_of_another_shape_are_named_with_both(broken: Broken) -> None:
    name = broken("dac")
    tensors = load_file(f"{name}/model.safetensors")
    key = "decoder.conv1.bias"
    sizes = list(tensors[key].shape)
    tensors[key] = tensors[key][:-1].clone()
    save_file(tensors, f"{name}/model.safetensors", {"format": "pt"})
    with pytest.raises(CodecLoadError) as caught:
        load_codec(name, device="cpu")
    assert f"{key} is [{sizes[0] - 1}], and {sizes}" in str(caught.value)
    for family, changes in (
        ("encodec-24khz", {"hidden_size": 12, "codebook_dim": 12}),
        ("mimi", {"num_filters": 8}),
        ("xcodec", {"codebook_size": 512}),
        ("xcodec2", {"encoder_hidden_size": 8}),
    ):
        with pytest.raises(CodecLoadError, match=r"not those of its config.json: \S+ is \["):
            load_codec(broken(family, **changes), device="cpu")
