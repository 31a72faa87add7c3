"""Sequences that share an LSTM's weights have the bits that torch gives each of them alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.encodec.streams.same_lstm import SameLstm
from tokenizer.codecs.encodec.streams.trace import Trace


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Torch takes other kernels where it might be asked for gradients."""
    with torch.inference_mode():
        yield


class Module(torch.nn.Module):
    """As transformers' `EncodecLSTM` holds one."""

    def __init__(self, *sizes: int, **how: Any) -> None:
        super().__init__()
        torch.manual_seed(sum(sizes))
        self.lstm = torch.nn.LSTM(*sizes, **how).eval()
        for weights in self.lstm.parameters():
            weights.requires_grad = False
            weights *= 3.0  # gates that open and close


def proven(size: int, layers: int = 2) -> SameLstm:
    same = SameLstm(Module(size, size, layers))
    if not same.proven:
        pytest.skip("this machine's LSTM is rounded in another way")
    return same


def alone(same: SameLstm, sequence: torch.Tensor, state: Trace) -> tuple[Any, Any, Any]:
    """By torch."""
    begin = tuple(torch.from_numpy(one[:, -1:].copy()) for one in (state.outputs, state.cells))
    outputs, (output, cell) = same._alone._lstm(sequence[:, None], begin)
    return outputs[:, 0] + sequence, output.numpy(), cell.numpy()


def states(count: int, layers: int, size: int) -> list[Trace]:
    rng = np.random.default_rng(count)
    many = rng.uniform(-1, 1, (count, 2, layers, 1, size)).astype(np.float32)
    return [Trace(one[0], one[1]) for one in many]


@pytest.mark.parametrize(("size", "layers"), [(16, 2), (48, 1), (64, 3), (512, 2)])
def test_bits_are_torchs(size: int, layers: int, threads: int) -> None:
    same = proven(size, layers)
    lengths = [90, 2, 33, 64, 33, 47, 31, 5, 32, 96, 4, 17, 18]
    sequences = [torch.randn(length, size) for length in lengths]
    begin = states(len(lengths), layers, size)
    outputs, ends = same(sequences, begin)
    for sequence, state, output, end in zip(sequences, begin, outputs, ends, strict=True):
        expected, last, cell = alone(same, sequence, state)
        assert torch.equal(output, expected)
        assert np.array_equal(end.outputs, last) and np.array_equal(end.cells, cell)


def test_a_single_frame_is_rounded_as_one_of_many(threads: int) -> None:
    """Torch takes a sequence of one in another order."""
    same, sequence = proven(512), torch.randn(40, 512)
    (begin,) = states(1, 2, 512)
    expected, last, cell = alone(same, sequence, begin)
    state, found = begin, []
    for at, end in ((0, 1), (1, 20), (20, 21), (21, 39), (39, 40)):
        (part,), (state,) = same([sequence[at:end]], [state])
        found.append(part)
    assert torch.equal(torch.cat(found), expected)
    assert np.array_equal(state.outputs, last) and np.array_equal(state.cells, cell)


def test_more_sequences_than_share_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenizer.codecs.encodec.streams.same_lstm.ROWS", 4)
    same = proven(16)
    sequences = [torch.randn(3 + i % 5, 16) for i in range(23)]
    begin = states(23, 2, 16)
    for sequence, state, found in zip(sequences, begin, same(sequences, begin)[0], strict=True):
        assert torch.equal(found, alone(same, sequence, state)[0])


def test_where_it_is_rounded_otherwise_torch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SameLstm, "_prove", lambda self: False)
    monkeypatch.setattr(SameLstm, "_together", lambda *_: pytest.fail("was not proven"))
    same = SameLstm(Module(16, 16, 2))
    sequences, begin = [torch.randn(9, 16)] * 30, states(30, 2, 16)
    for state, found in zip(begin, same(sequences, begin)[0], strict=True):
        assert torch.equal(found, alone(same, sequences[0], state)[0])
    (one,), _ = same([sequences[0][:1]], begin[:1])
    assert torch.equal(one, alone(same, sequences[0], begin[0])[0][:1])


@pytest.mark.parametrize(
    ("sizes", "how"),
    [
        ((16, 32), {}),
        ((20, 20), {}),
        ((16, 16), {"bidirectional": True}),
        ((16, 16), {"bias": False}),
    ],
)
def test_other_kinds_are_refused(sizes: tuple[int, int], how: dict[str, Any]) -> None:
    with pytest.raises(UnknownLayer):
        SameLstm(Module(*sizes, **how))
