"""A coder's file: the same bytes, and nothing but a coder is taken for one."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from made_coder import made_segments, made_weights

from tokenizer.coding.transformer.predictor import TransformerPredictor
from tokenizer.coding.transformer.shape import Shape, preset_shape
from tokenizer.coding.transformer.weights import loads
from tokenizer.errors import UsageError


def test_bytes_come_back_and_safetensors_reads_them() -> None:
    data = made_weights().dumps()
    assert loads(data).dumps() == data
    tensors = safetensors.numpy.load(data)
    assert tensors["heads.2.entries"].shape == (33, 6) and tensors["start"].dtype == np.int16


def test_a_predictor_is_pickled_as_its_bytes() -> None:
    predictor = TransformerPredictor(made_weights()).at(2)
    again = pickle.loads(pickle.dumps(predictor))
    assert again.fingerprint == predictor.fingerprint and again.sizes == predictor.sizes == (16, 9)
    segments = [one[:2] for one in made_segments(predictor.weights, (4,))]
    assert again.intervals(segments)[0].tolist() == predictor.intervals(segments)[0].tolist()


def changed(data: bytes, change: Any) -> bytes:
    """The file with another header."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    said = json.loads(header["__metadata__"]["coder"])
    change(said)
    header["__metadata__"]["coder"] = json.dumps(said)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said: said.update(version=2), "version 2"),
        (lambda said: said["shape"].update(width=17), "not a coder"),
        (lambda said: said["shape"].update(width=10**9), "not a coder"),
        (lambda said: said["shape"].update(width=16.0), "not a coder"),
        (lambda said: said["shape"].update(heads="2"), "not a coder"),
        (lambda said: said["shape"].update(layers=3), "not a coder"),
        (lambda said: said.update(segment_frames=10**9), "not a coder"),
        (lambda said: said["shape"].update(sizes=[16, 9, 10**12]), "not a coder"),
        (lambda said: said.update(shifts=[0, 1]), "not a coder"),
        (lambda said: said.update(shifts=[0, 1, 60]), "not a coder"),
        (lambda said: said.update(segment_frames=0), "not a coder"),
    ],
)
def test_hostile_files_are_refused(change: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        loads(changed(made_weights().dumps(), change))


def test_files_that_are_cut_off_or_something_else() -> None:
    data = made_weights().dumps()
    for wrong in (b"", data[:100], data[:-1], b"PAR1" * 50, data[:8] + b"{}" + data[10:]):
        with pytest.raises(ValueError, match="not a coder"):
            loads(wrong)


def test_numbers_that_do_not_fit_the_arithmetic_are_refused() -> None:
    weights = made_weights()
    weights.layers[0].expand.factor[:] = 2**31 - 1
    loads(weights.dumps())  # 16 columns fit
    wide = made_weights(Shape((16,), 1, 1, 1024, 8, 4, 8, 8, False))
    wide.layers[0].expand.factor[:] = 2**31 - 1
    wide.layers[0].expand.weight[:] = 127
    with pytest.raises(ValueError, match="do not fit"):
        loads(wide.dumps())


def test_presets_and_what_they_refuse() -> None:
    paper = preset_shape("paper", (1024,) * 4, 150.0, 150)
    assert (paper.layers, paper.heads, paper.width, paper.feed_forward) == (5, 8, 200, 800)
    assert not paper.conditioned and paper.past == 150
    assert preset_shape("paper", (1024,) * 8, 75.0, None).past == 262
    with pytest.raises(UsageError, match="--preset huge"):
        preset_shape("huge", (1024,), 75.0, None)
    with pytest.raises(UsageError, match="static"):
        preset_shape("small", (65_536,), 75.0, None)
