"""Chunks in doubt, side by side and alone, against transformers' codes of each alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cards import CPU, FakeGraph, graph_runner, pretend
from numpy.typing import NDArray
from sounds import sound, structured
from transformers import EncodecModel

from tokenizer import load_codec
from tokenizer.chunking import frames_of
from tokenizer.codecs.encodec.arithmetic import arithmetic
from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.gpu import batched, graphs, settling
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.gpu.batches import Rows, by_length
from tokenizer.codecs.encodec.gpu.beside import RowsEncoder, Together
from tokenizer.codecs.encodec.gpu.direct.usable import usable
from tokenizer.codecs.encodec.gpu.graphs import Shape, fill
from tokenizer.codecs.encodec.gpu.settling import Rest, full_ones, split
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.scales import normalise
from tokenizer.codecs.encodec.seeded import write_seeded

FULL = 48_000
SHORTER = [1, 2, 3, 160, 319, 320, 321, 480, 700, 4_001, 12_000, 24_001, 47_680, 47_681, 47_999]
Chunk = NDArray[np.float32]


def chunks_of(lengths: list[int], first: int = 0) -> list[Chunk]:
    return [sound(n, seed=first + i).samples for i, n in enumerate(lengths)]


def made(folder: Path, n_q: int = 16) -> BatchedNetwork:
    model = load_model(folder, CPU)
    return BatchedNetwork(model, ReferenceModules(model, static=True), n_q, beside=True)


@pytest.fixture(scope="module")
def network(reduced: Path) -> BatchedNetwork:
    return made(reduced)


@pytest.fixture(scope="module")
def coarse(reduced: Path) -> BatchedNetwork:
    """Of four codebooks, with which near ties are so few that none is met here."""
    return made(reduced, 4)


@pytest.fixture(scope="module")
def upstream(reduced: Path) -> Any:
    return EncodecModel.from_pretrained(reduced).eval()


def doubt(monkeypatch: pytest.MonkeyPatch, first: bool, still: bool) -> None:
    """Whether every chunk is in doubt after the batches, and still after side by side."""
    for module, value in ((batched, first), (settling, still)):
        monkeypatch.setattr(module, "in_doubt", said(value))


def said(value: bool) -> Callable[..., torch.Tensor]:
    """Of every row, whatever its certainty."""
    return lambda sure, rows, own: torch.full((rows,), value, device=sure.device)


def check(network: BatchedNetwork, upstream: Any, chunks: list[Chunk]) -> None:
    """Codes and scales are transformers' for each alone, bit for bit."""
    with torch.inference_mode(), arithmetic("exact"):
        found = network.encode(chunks)
        for chunk, one in zip(chunks, found, strict=True):
            bandwidth = 1.5 * network._n_q
            codes, scale = upstream._encode_frame(torch.from_numpy(chunk)[None], bandwidth)
            assert np.array_equal(one.codes, codes[0].numpy()) and one.scale == float(scale)


def everything() -> list[Chunk]:
    silence = [np.zeros((2, n), np.float32) for n in (FULL, 500)]
    return [*chunks_of([FULL] * 9 + SHORTER), *silence]


@pytest.mark.parametrize("still", [False, True], ids=["side by side", "alone"])
def test_each_way_gives_bit_for_bit_what_upstream_does(
    coarse: BatchedNetwork, upstream: Any, monkeypatch: pytest.MonkeyPatch, still: bool
) -> None:
    doubt(monkeypatch, True, still)
    chunks = everything()
    before = coarse.repeated, coarse.settled_alone
    check(coarse, upstream, chunks)
    assert coarse.repeated - before[0] == len(chunks)
    assert coarse.settled_alone - before[1] == (len(chunks) if still else 0)


def test_what_is_still_in_doubt_is_encoded_alone(
    network: BatchedNetwork, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batched, "in_doubt", said(True))
    before = network.settled_alone
    check(network, upstream, everything())
    assert network.settled_alone - before < len(everything()) / 2


def test_structured_signals_are_settled_to_upstreams_codes(
    network: BatchedNetwork, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the tighter bound leaves in doubt encoded alone."""
    monkeypatch.setattr(batched, "in_doubt", said(True))
    chunks = [one.samples for n in (FULL, 7_000) for one in structured(n, seed=3).values()]
    check(network, upstream, chunks)


CHANGES: dict[str, dict[str, Any]] = {
    "constant": {"pad_mode": "constant", "last_kernel_size": 1},
    "dilated": {"num_residual_layers": 3, "dilation_growth_rate": 4},
    "identity": {"use_conv_shortcut": False},
    "causal": {"use_causal_conv": True, "trim_right_ratio": 0.5},
    "weight norm": {"norm_type": "weight_norm"},
    "few samples": {"chunk_length_s": 0.011, "overlap": 0.6},
    "no levels": {"normalize": False, "num_residual_layers": 0, "compress": 4},
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_odd_checkpoints_are_settled_to_upstreams_codes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenizer.codecs.encodec.seeded._SECONDS", 2)
    small = {"codebook_size": 64, "target_bandwidths": [0.9, 3.6]}
    folder = write_seeded(tmp_path / "codec", size="reduced", changes={**small, **CHANGES[name]})
    oracle: Any = EncodecModel.from_pretrained(folder).eval()
    network = made(folder, 4)
    monkeypatch.setattr(batched, "in_doubt", said(True))
    chunk = oracle.config.chunk_length
    chunks = chunks_of([chunk] * 4 + [chunk - 1, chunk // 2, 1, 5, 321 % chunk])
    with torch.inference_mode(), arithmetic("exact"):
        for sound_of_it, one in zip(chunks, network.encode(chunks), strict=True):
            there = torch.from_numpy(sound_of_it)[None]
            codes, scale = oracle._encode_frame(there, 3.6)
            assert np.array_equal(one.codes, codes[0].numpy()[:4])
            assert one.scale == (None if scale is None else float(scale))
    assert network.settled_alone < len(chunks) / 2


def fails(*arguments: Any) -> Any:
    raise AssertionError("not to be used")


def test_alone_begins_at_the_lstm_where_side_by_side_ended(
    network: BatchedNetwork, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt(monkeypatch, True, True)
    monkeypatch.setattr(settling.SettleWork, "__call__", fails)
    before = network.settled_alone
    check(network, upstream, everything())
    assert network.settled_alone == before + len(everything())


@pytest.mark.parametrize(("fit", "left"), [(0, 6), (4, 4)])
def test_without_memory_for_the_rest_alone_all_of_a_chunk_is(
    network: BatchedNetwork, upstream: Any, monkeypatch: pytest.MonkeyPatch, fit: int, left: int
) -> None:
    """Of those that are left: two were looked at, and two were under way."""
    doubt(monkeypatch, True, True)
    calls = {settling.RestAlone: 0, settling.SettleWork: 0}
    rest, whole = settling.RestAlone.__call__, settling.SettleWork.__call__

    def hungry(self: Any, *inputs: torch.Tensor) -> Any:
        calls[settling.RestAlone] += 1
        if calls[settling.RestAlone] > fit:
            raise torch.OutOfMemoryError("too large")
        return rest(self, *inputs)

    def counting(self: Any, *inputs: torch.Tensor) -> Any:
        calls[settling.SettleWork] += 1
        return whole(self, *inputs)

    monkeypatch.setattr(settling.RestAlone, "__call__", hungry)
    monkeypatch.setattr(settling.SettleWork, "__call__", counting)
    before = network.settled_alone
    check(network, upstream, chunks_of([FULL] * 3 + [700] * 3))
    assert network.settled_alone == before + 6
    assert calls[settling.SettleWork] == left


def test_few_chunks_go_alone_at_once(
    network: BatchedNetwork, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt(monkeypatch, True, False)
    monkeypatch.setattr(settling.RestAlone, "__call__", fails)
    before = network.settled_alone
    check(network, upstream, chunks_of([FULL, 700, FULL, 300]))
    assert network.settled_alone == before + 4


def test_what_is_in_no_doubt_is_not_settled(
    network: BatchedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt(monkeypatch, False, True)
    before = network.repeated
    network.encode(chunks_of([FULL, 700]))
    assert network.repeated == before


def test_what_goes_into_the_lstm_is_bit_for_bit_upstreams(
    reduced: Path, network: BatchedNetwork, upstream: Any
) -> None:
    front, _ = split(upstream.encoder)
    full, shorter = network._settling.full, network._settling.shorter
    chunks = chunks_of([FULL] * 5)
    samples = torch.empty(8, 2, FULL)
    full.fill([samples], chunks)
    tails = [torch.from_numpy(chunk)[None] for chunk in chunks_of(SHORTER)]
    with torch.inference_mode(), arithmetic("exact"):
        for trial in (False, True, False):
            hidden, scales = full.front(samples, trial)
            for row, chunk in enumerate(chunks):
                expected, scale = before_the_lstm(front, torch.from_numpy(chunk)[None])
                assert torch.equal(hidden[row : row + 1], expected)
                assert torch.equal(scales[row : row + 1], scale)
                assert expected.stride() == torch.empty(expected.shape).stride()
        hidden, owns, scales = shorter.hidden(tails)
        for row, chunk in enumerate(tails):
            expected, scale = before_the_lstm(front, chunk)
            own = owns[row]
            assert own == expected.shape[2] == frames_of(chunk.shape[2], 320)
            # What `RestAlone` is given is laid out so too.
            assert expected.stride() == torch.empty(expected.shape).stride()
            assert torch.equal(hidden[row : row + 1, :, :own], expected)
            assert not hidden[row, :, own:].any() and scales[row] == scale


def before_the_lstm(front: list[Any], chunk: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """By transformers' own modules."""
    x, scale = normalise(chunk)
    for layer in front:
        x = layer(x)
    return x, scale


def test_only_what_a_trial_has_shown_runs_in_one_call() -> None:
    calls: list[int] = []

    def step(x: torch.Tensor) -> torch.Tensor:
        calls.append(x.shape[0])
        return x * 2

    def mixes(x: torch.Tensor) -> torch.Tensor:
        calls.append(x.shape[0])
        return x * (1 + x.shape[0] * 2.0**-23)

    x = torch.randn(3, 2, 5)
    for function, afterwards in ((step, [3]), (mixes, [1, 1, 1])):
        together = Together(function)
        calls.clear()
        expected = together(x)
        assert calls == [1, 1, 1]
        assert torch.equal(together(x, trial=True), expected)
        calls.clear()
        assert torch.equal(together(x), expected) and calls == afterwards
        calls.clear()
        together(x[:2])  # another shape had no trial
        assert calls == [1, 1]


@pytest.mark.parametrize("passes", [False, True])
def test_every_outcome_of_the_trials_gives_the_same(
    reduced: Path, upstream: Any, monkeypatch: pytest.MonkeyPatch, passes: bool
) -> None:
    """On this machine: where one call would round otherwise, that is not forced."""
    if not passes:
        monkeypatch.setattr(torch, "equal", lambda one, other: False)
    network = made(reduced, 4)
    doubt(monkeypatch, True, False)
    with torch.inference_mode():
        network.encode(chunks_of([FULL] * 4))  # with the trial
        steps = counted(monkeypatch)
        network.encode(chunks_of([FULL] * 4))
    monkeypatch.undo()
    doubt(monkeypatch, True, False)
    assert sum(steps.values()) > 0 and (passes or steps["together"] == 0)
    check(network, upstream, chunks_of([FULL] * 4))


def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often steps run in one call and row by row, from now on."""
    counts = {"together": 0, "by row": 0}
    call, by_row = Together.__call__, Together._by_row

    def counting_call(self: Together, x: torch.Tensor, trial: bool = False) -> torch.Tensor:
        counts["together"] += not trial and tuple(x.shape) in self._proven
        return call(self, x, trial)

    def counting_rows(self: Together, x: torch.Tensor) -> torch.Tensor:
        counts["by row"] += 1
        return by_row(self, x)

    monkeypatch.setattr(Together, "__call__", counting_call)
    monkeypatch.setattr(Together, "_by_row", counting_rows)
    return counts


def test_chunks_wait_until_batches_are_full(
    network: BatchedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle: Any = network._settling
    monkeypatch.setattr(settling, "ROWS", (2, 3))
    assert settle.enough([FULL, 5, FULL, 6, 7, 8, FULL, FULL]) == [0, 2, 6, 1, 3, 4]
    assert settle.enough([FULL, FULL, 5, 6]) == []


def test_no_chunk_is_lost_or_settled_twice(
    network: BatchedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever waits for others."""
    doubt(monkeypatch, True, False)
    monkeypatch.setattr(settling, "ROWS", (2, 3))
    asked: list[int] = []

    def settle(chunks: list[Chunk]) -> tuple[list[Any], int]:
        asked.extend(round(float(chunk[0, 0]) * 100) for chunk in chunks)
        frames = [-(-chunk.shape[1] // 320) for chunk in chunks]
        return [(np.full((16, n), 7, np.int16), 2.0) for n in frames], 0

    monkeypatch.setattr(network._settling, "settle", settle)
    monkeypatch.setattr(network._encoder(), "rows", (1, 2))
    chunks = [np.full((2, 320 * (1 + i % 3)), i / 100, np.float32) for i in range(20)]
    found = network.encode(chunks)
    assert sorted(asked) == list(range(20))
    assert all((one.codes == 7).all() and one.scale == 2.0 for one in found)


def test_plans() -> None:
    full = [np.zeros((2, 20), np.float32)] * 43
    for count, expected in ((8, [(8, 8)]), (9, [(32, 9)]), (43, [(32, 32), (32, 11)])):
        plans = full_ones(full[:count], (8, 32))
        assert [(shape.rows, len(some)) for shape, some in plans] == expected
    shorter = [np.zeros((2, n), np.float32) for n in (9, 3, 7, 1, 5)]
    assert by_length(shorter, (1, 2)) == [
        (Rows(2, 3, lengths=(1, 3)), [3, 1]),
        (Rows(2, 7, lengths=(5, 7)), [4, 2]),
        (Rows(1, 9, lengths=(9,)), [0]),
    ]


def test_without_memory_side_by_side_all_go_alone(
    network: BatchedNetwork, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt(monkeypatch, True, False)

    def hungry(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(settling.Rest, "__call__", hungry)
    before = network.settled_alone
    check(network, upstream, chunks_of([FULL] * 3 + [700] * 3))
    assert network.settled_alone == before + 6


def test_without_memory_for_a_trial_steps_go_row_by_row(
    reduced: Path, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = made(reduced, 4)
    doubt(monkeypatch, True, False)

    def hungry(x: torch.Tensor, trial: bool) -> torch.Tensor:
        if trial:
            raise torch.OutOfMemoryError("too large")
        return step(x, trial)

    steps = network._settling.full.front._steps
    step, steps[3] = steps[3], hungry
    check(network, upstream, chunks_of([FULL] * 3))


@pytest.mark.parametrize("trial", [False, True])
def test_what_follows_the_lstm_is_bit_for_bit_upstreams(
    reduced: Path, upstream: Any, trial: bool
) -> None:
    """Of what comes out of it."""
    rest = made(reduced)._settling.rest
    rest._lstm = torch.nn.Identity()
    _, (_, elu, last) = split(upstream.encoder)
    hidden = torch.randn(3, last.conv.in_channels, 150)
    own = [150, 1, 38]
    with torch.inference_mode(), arithmetic("exact"):
        rest.embed(hidden, trial=trial)
        together, conditions = rest.embed(hidden)
        apart, _ = rest.embed(hidden, own)
        for row, n in enumerate(own):
            assert torch.equal(together[row : row + 1], last(elu(hidden[row : row + 1])))
            expected = last(elu(hidden[row : row + 1, :, :n].contiguous()))
            assert torch.equal(apart[row : row + 1, :, :n], expected)
            assert not apart[row, :, n:].any()
    assert conditions.shape == (3,) and bool((conditions >= 1).all())


def test_layers_that_are_unknown_are_refused(upstream: Any) -> None:
    with pytest.raises(UnknownLayer, match="Tanh"):
        RowsEncoder([torch.nn.Tanh()], True)
    with pytest.raises(UnknownLayer, match="without an LSTM"):
        split(SimpleNamespace(layers=list(upstream.encoder.layers)[:3]))
    with pytest.raises(UnknownLayer, match="ends with"):
        Rest(upstream, [torch.nn.ELU()], 4)


@pytest.mark.parametrize("still", [False, True], ids=["side by side", "alone"])
def test_replayed_graphs_settle_as_upstream_does(
    reduced: Path, upstream: Any, monkeypatch: pytest.MonkeyPatch, still: bool
) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(batched, "open_runner", graph_runner)
    monkeypatch.setattr(BatchedNetwork, "_rows", lambda self: (1, 2, 4))
    monkeypatch.setattr(settling, "ROWS", (2, 4))
    monkeypatch.setattr(settling, "LANES", 2)
    network = made(reduced, 4)
    doubt(monkeypatch, True, still)
    monkeypatch.setattr(settling.SettleWork, "__call__", fails)
    for seed in range(2):
        # Of each kind four fill a batch, and three are left, which are not few.
        lengths = [FULL] * 7 + [700, 5, 4_001, 700, 333, 1, 9_000]
        check(network, upstream, chunks_of(lengths, 20 * seed))
    assert network.settled_alone == (2 * len(lengths) if still else 0)
    assert FakeGraph.replayed > FakeGraph.made > 0


def test_what_must_round_as_alone_does_so_with_modest_memory(
    reduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever libraries choose by, they choose it in there: in warming up, capturing, and what is
    not captured."""
    pretend(monkeypatch)
    monkeypatch.setattr(batched, "open_runner", graph_runner)
    monkeypatch.setattr(BatchedNetwork, "_rows", lambda self: (1, 2, 4))
    monkeypatch.setattr(settling, "ROWS", (2, 4))
    doubt(monkeypatch, True, True)
    inside: list[bool] = []
    seen: dict[str, set[bool]] = {}

    @contextmanager
    def modest(device: torch.device) -> Iterator[None]:
        inside.append(True)
        yield
        inside.pop()

    def watched(kind: type) -> Callable[..., Any]:
        real = kind.__call__

        def call(self: Any, *inputs: torch.Tensor) -> Any:
            seen.setdefault(type(self).__name__, set()).add(bool(inside))
            return real(self, *inputs)

        return call

    monkeypatch.setattr(graphs, "modest_memory", modest)
    works = (settling.FullWork, settling.ShorterWork, settling.RestAlone, settling.SettleWork)
    for kind in (*works, batched.EncodeWork, batched.DecodeWork):
        monkeypatch.setattr(kind, "__call__", watched(kind))
    network = made(reduced, 4)
    found = network.encode(chunks_of([FULL] * 3 + [700] * 3))
    network.encode(chunks_of([FULL, 700]))  # so few that they go alone
    network.decode(found[:2])
    expected = {kind.__name__: {True} for kind in works}
    assert seen == {**expected, "EncodeWork": {True}, "DecodeWork": {False}}


def test_threads_share_what_settles(
    reduced: Path, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all three stages."""
    pretend(monkeypatch)
    monkeypatch.setattr(batched, "open_runner", graph_runner)
    monkeypatch.setattr(BatchedNetwork, "_rows", lambda self: (1, 2, 4))
    monkeypatch.setattr(settling, "ROWS", (2, 4))
    monkeypatch.setattr(batched, "in_doubt", said(True))
    network = made(reduced)
    calls = [chunks_of([FULL, 700, 333, FULL, 5, FULL], 9 * seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(network.encode, calls))
    assert network.repeated == sum(map(len, calls))
    for chunks, coded in zip(calls, found, strict=True):
        for chunk, one in zip(chunks, coded, strict=True):
            with torch.inference_mode(), arithmetic("exact"):
                codes, _ = upstream._encode_frame(torch.from_numpy(chunk)[None], 24.0)
            assert np.array_equal(one.codes, codes[0].numpy())


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")


@gpu
def test_graphs_on_a_gpu_settle_side_by_side_to_upstreams_bits(full: Path) -> None:
    """What goes into the LSTM, by replayed graphs, and by rows of any lengths."""
    device = torch.device("cuda")
    model = load_model(full, device)
    network = BatchedNetwork(model, ReferenceModules(model, static=True), n_q=16, beside=True)
    front, _ = split(model.encoder)
    work = network._settling.full
    chunks = chunks_of([FULL] * 8)
    samples = torch.empty(8, 2, FULL)
    fill(samples, torch.empty(8, dtype=torch.int64), chunks)
    there = samples.to(device)
    tails = [torch.from_numpy(chunk)[None].to(device) for chunk in chunks_of(SHORTER)]
    with torch.inference_mode(), arithmetic("exact"):
        work.try_out([Shape(8, FULL)])
        hidden, scales = work.front(there)
        for row in range(8):
            expected, scale = before_the_lstm(front, there[row : row + 1].clone())
            assert torch.equal(hidden[row : row + 1], expected)
            assert torch.equal(scales[row : row + 1], scale)
        hidden, *_ = network._settling.shorter.hidden(tails)
        for row, chunk in enumerate(tails):
            expected, _ = before_the_lstm(front, chunk)
            assert torch.equal(hidden[row : row + 1, :, : expected.shape[2]], expected)


@gpu
@pytest.mark.parametrize(
    ("beside", "still"),
    [(False, False), (True, False), (True, True)],
    ids=["alone", "by the bound", "alone from the LSTM's input on"],
)
def test_a_gpu_settles_to_the_references_codes(
    full: Path, monkeypatch: pytest.MonkeyPatch, beside: bool, still: bool
) -> None:
    if still:
        doubt(monkeypatch, True, True)
        monkeypatch.setattr(settling.SettleWork, "__call__", fails)
    monkeypatch.setattr(batched, "in_doubt", said(True))
    chunks = chunks_of([FULL] * 41 + SHORTER * 3)
    device = torch.device("cuda")
    model = load_model(full, device)
    direct = usable(device)
    network = BatchedNetwork(
        model, ReferenceModules(model, static=True), 16, direct=direct, beside=beside
    )
    expected = load_codec(str(full), bandwidth=24.0, device="cuda", reference=True)
    for _ in range(2):
        for one, other in zip(network.encode(chunks), expected.encode_chunks(chunks), strict=True):
            assert np.array_equal(one.codes, other.codes) and one.scale == other.scale
