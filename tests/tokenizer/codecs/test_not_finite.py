"""Networks that give what is no number: an error of that recording, and no codes or samples."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from families import WRITERS
from safetensors.torch import load_file, save_file
from sounds import sound

from tokenizer import Codec, FailureKind, RecordingError, load_codec
from tokenizer.codecs.semantic.seeded import REDUCED, write_seeded_semantic

SECONDS = 0.5


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folders of checkpoints whose numbers are all NaN."""
    where: Path = tmp_path_factory.mktemp("not-finite")

    @cache
    def folder(name: str) -> str:
        WRITERS[name](where / name)
        (weights,) = (where / name).glob("*.safetensors")
        tensors = {
            key: torch.full_like(one, torch.nan) if one.is_floating_point() else one
            for key, one in load_file(weights).items()
        }
        save_file(tensors, weights, metadata={"format": "pt"})
        return str(where / name)

    yield folder
    shutil.rmtree(where)


def raises_encoder() -> pytest.RaisesExc[RecordingError]:
    return pytest.RaisesExc(
        RecordingError, check=lambda error: error.kind is FailureKind.ENCODER, match="finite"
    )


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_no_codes_are_made_of_what_is_no_number(
    name: str, reference: bool, broken: Callable[[str], str]
) -> None:
    codec = load_codec(broken(name), device="cpu", reference=reference)
    recording = sound(int(SECONDS * codec.sample_rate), codec.channels, codec.sample_rate)
    with raises_encoder():
        codec.encode(recording)
    with raises_encoder():
        codec.encode_batch([recording, recording])
    stream = codec.stream()
    with raises_encoder():
        stream.push(recording.samples)
        stream.finish()


@pytest.mark.parametrize("name", REDUCED)
def test_what_a_bound_makes_a_number_is_none(name: str, tmp_path: Path) -> None:
    """An infinity before the quantizer, whose `tanh` is 1."""
    write_seeded_semantic(tmp_path, model_type=name)
    (weights,) = tmp_path.glob("*.safetensors")
    tensors = load_file(weights)
    (last,) = {"fc.bias", "fc_encoder.bias"} & set(tensors)
    tensors[last][0] = torch.inf
    save_file(tensors, weights, metadata={"format": "pt"})
    codec = load_codec(str(tmp_path), device="cpu")
    with raises_encoder():
        codec.encode(sound(8_000, codec.channels, codec.sample_rate))


@pytest.mark.parametrize("name", WRITERS)
def test_no_sound_either(name: str, broken: Callable[[str], str]) -> None:
    codec: Codec = load_codec(broken(name), device="cpu")
    with raises_encoder():
        codec.decode_codes(np.zeros((codec.spec.n_q, 20), np.int64), 0.1)
