"""Bytes and operations of the GPU path, counted on the meta device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.roofline import CARDS, DESIGNS, Counted, count, count_rows
from tokenizer.codecs.encodec.checkpoint import load_encodec
from tokenizer.codecs.encodec.gpu.graphs import Shape
from tokenizer.codecs.encodec.gpu.pieces import EncodeRows

WIDTH, ROWS = 4_800, 4


@pytest.fixture(scope="module")
def counted(reduced: Path) -> dict[str, Counted]:
    model = load_encodec(str(reduced), torch.device("cpu")).to("meta")
    shape = Shape(ROWS, WIDTH)
    return {design: count(model, shape, 0.4, design) for design in DESIGNS}


def test_operations_of_convolutions_are_those_of_their_shapes(
    reduced: Path, counted: dict[str, Counted]
) -> None:
    """Two for every weight and position, by transformers' own modules."""
    expected = 0.0
    model = load_encodec(str(reduced), torch.device("cpu"))
    hooks = []
    for module in model.encoder.modules():
        if isinstance(module, torch.nn.Conv1d):

            def add(module: torch.nn.Conv1d, given: object, out: torch.Tensor) -> None:
                nonlocal expected
                expected += 2.0 * module.weight.numel() * out.shape[2]

            hooks.append(module.register_forward_hook(add))
    with torch.inference_mode():
        model.encoder(torch.zeros(1, 2, WIDTH))
    assert hooks and expected
    found = counted["as it is"].steps["convolutions"].operations
    assert found == pytest.approx(ROWS * expected, rel=1e-6)


def test_each_design_moves_less_than_the_one_before(counted: dict[str, Counted]) -> None:
    traffic = [counted[design].megabytes() for design in DESIGNS]
    assert traffic[0] > traffic[1] > traffic[2] > 0
    for card in CARDS:
        ceilings = [counted[design].times_real(card, tensor_cores=False) for design in DESIGNS]
        assert ceilings == sorted(ceilings)


def test_an_lstms_operations_are_those_of_its_weights(mono: Path) -> None:
    """Of a codec without chunks, in masked rows: two for every weight and frame."""
    model = load_encodec(str(mono), torch.device("cpu")).to("meta")
    found = count_rows(EncodeRows(model, 2), Shape(3, 3_200, masked=True), 0.4)
    (lstm,) = (one.lstm for one in model.encoder.layers if type(one).__name__ == "EncodecLSTM")
    weights = sum(one.numel() for one in lstm.parameters() if one.dim() == 2)
    assert found.steps["LSTM"].operations == 2.0 * weights * 3 * 10
