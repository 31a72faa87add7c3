"""Which chunks share a batch; slots, errors, threads and lack of memory on the way through a
runner."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.codecs.encodec.gpu.batches import (
    FLOOR,
    ROWS,
    Batch,
    Batcher,
    batches,
    rows_that_fit,
    split,
)
from tokenizer.codecs.encodec.gpu.graphs import (
    ALIGNED,
    SLOTS,
    EagerRunner,
    Layout,
    Shape,
    _places,
    _views,
)


@given(
    lengths=st.lists(st.integers(1, 1000), max_size=60),
    rows=st.sampled_from([(1,), (2, 5), (4, 16)]),
)
def test_every_chunk_is_in_one_batch_that_takes_it(
    lengths: list[int], rows: tuple[int, ...]
) -> None:
    seen: list[int] = []
    for shape, indices in batches(lengths, 1000, rows):
        seen += indices
        assert shape.rows in rows and 0 < len(indices) <= shape.rows
        for i in indices:
            assert lengths[i] <= shape.width and shape.masked == (lengths[i] < 1000)
            assert shape.masked or lengths[i] == shape.width
    assert sorted(seen) == list(range(len(lengths)))


def test_the_shapes_are_few() -> None:
    lengths = (1, 480, 750, 751, 5_000, 12_001, 30_000, 47_999, 48_000)
    shapes = {
        shape
        for n in lengths
        for count in (1, 5, 50, 300, 600)
        for shape, _ in batches([n] * count, 48_000, ROWS)
    }
    assert Shape(256, 48_000) in shapes and len(shapes) <= len(ROWS) * 6


def test_a_remainder_is_split_where_that_costs_less() -> None:
    assert split(210, ROWS) == [128, 64, 32] and split(70, ROWS) == [64, 16]
    assert split(255, ROWS) == [256] and split(600, ROWS) == [256, 256, 64, 32]
    assert split(0, ROWS) == [] and split(3, ROWS) == [4]


@given(count=st.integers(0, 1200))
def test_no_split_is_cheaper(count: int) -> None:
    found = split(count, ROWS)
    assert sum(found) >= count and (not found or sum(found) - count < found[-1])
    whole, left = divmod(count, ROWS[-1])
    few = [
        some
        for size in range(4)
        for some in itertools.combinations_with_replacement(ROWS, size)
        if sum(some) >= left
    ]
    cheapest = min(sum(some) + FLOOR * len(some) for some in few)
    assert sum(found) + FLOOR * len(found) <= cheapest + whole * (ROWS[-1] + FLOOR)


def test_few_short_chunks_share_the_widest_batch_that_one_of_them_needs() -> None:
    found = batches([48_000, 20_000, 700, 3_000, 48_000], 48_000, ROWS)
    assert found == [(Shape(4, 48_000), [0, 4]), (Shape(4, 24_000, masked=True), [2, 3, 1])]
    many = batches([700] * 20 + [20_000], 48_000, ROWS)
    assert [shape for shape, _ in many] == [
        Shape(4, 24_000, masked=True),
        Shape(32, 750, masked=True),
    ]


def test_a_smaller_device_has_smaller_batches() -> None:
    assert rows_that_fit(80 << 30, 48_000) == ROWS
    assert rows_that_fit(12 << 30, 48_000) == ROWS[:4]
    assert rows_that_fit(0, 48_000) == ROWS[:1]
    assert rows_that_fit(80 << 30, 480_000, 3072) == ROWS[:2]


def test_tensors_in_a_buffer_are_aligned_and_apart() -> None:
    layout = [((3, 5), torch.float32), ((3,), torch.int64), ((2, 2, 2), torch.int16)]
    places, size = _places(layout)
    buffer = torch.zeros(size, dtype=torch.uint8)
    views = _views(buffer, places)
    for number, view in enumerate(views):
        view.fill_(number + 1)
    assert all(bool((view == number + 1).all()) for number, view in enumerate(views))
    assert [(tuple(view.shape), view.dtype) for view in views] == layout
    assert all(view.data_ptr() % ALIGNED == buffer.data_ptr() % ALIGNED for view in views)


class Doubled:
    """Numbers to twice as much; fails on a 13, and lacks memory for more rows than `fitting`."""

    def __init__(self, fitting: int = 99) -> None:
        self.fitting = fitting
        self.shapes: list[Shape] = []

    def layout(self, shape: Shape) -> Layout:
        if shape.rows > self.fitting:
            raise torch.OutOfMemoryError("too large")
        self.shapes.append(shape)
        return [((shape.rows,), torch.int64)]

    def fill(self, inputs: Sequence[torch.Tensor], items: Sequence[int]) -> None:
        inputs[0].zero_()
        inputs[0][: len(items)] = torch.tensor(items)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if bool((inputs[0] == 13).any()):
            raise ValueError("thirteen")
        return (2 * inputs[0],)


def plan(items: Sequence[int], rows: tuple[int, ...]) -> list[Batch]:
    return batches([10] * len(items), 10, rows)


def batcher(work: Doubled, rows: Sequence[int] = (1, 4)) -> Batcher:
    return Batcher(EagerRunner(work, "exact"), plan, rows)


def doubled(one: Batcher, items: Sequence[int]) -> list[int]:
    results = [0] * len(items)
    for indices, (values,) in one.run(items):
        for row, i in enumerate(indices):
            results[i] = int(values[row])
    return results


def free(one: Batcher) -> int:
    return one._runner._free.qsize()


def test_results_come_back_in_place_and_every_slot_with_them() -> None:
    one = batcher(Doubled())
    items = list(range(20, 47))
    assert doubled(one, items) == [2 * item for item in items] and free(one) == SLOTS
    assert doubled(one, []) == []


@pytest.mark.parametrize("place", [0, 5, 26])
def test_an_error_costs_no_slot(place: int) -> None:
    one = batcher(Doubled())
    items = [1] * 27
    items[place] = 13
    for _ in range(2 * SLOTS):
        with pytest.raises(ValueError, match="thirteen"):
            doubled(one, items)
        assert free(one) == SLOTS


def test_a_caller_that_stops_early_costs_no_slot() -> None:
    one = batcher(Doubled())
    for _ in range(2 * SLOTS):
        running = one.run(range(20, 60))
        next(running)
        running.close()  # type: ignore[attr-defined]
        assert free(one) == SLOTS


def test_too_little_memory_makes_batches_smaller_for_good() -> None:
    work = Doubled(fitting=8)
    one = batcher(work, (1, 4, 8, 16, 32))
    items = list(range(100, 177))
    assert doubled(one, items) == [2 * item for item in items]
    assert one.rows == (1, 4, 8) and free(one) == SLOTS
    assert max(shape.rows for shape in work.shapes) == 8


def test_too_little_memory_for_the_smallest_batch_is_an_error() -> None:
    one = batcher(Doubled(fitting=0))
    with pytest.raises(torch.OutOfMemoryError):
        doubled(one, [1, 2, 3, 4, 5])
    assert free(one) == SLOTS


def test_many_threads_share_few_slots_and_never_wait_for_each_other_for_ever() -> None:
    one = batcher(Doubled(fitting=4), (1, 4, 8))

    def work(start: int) -> Any:
        return [doubled(one, range(start, start + 50)) for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        for start, found in zip(
            range(100, 900, 100), pool.map(work, range(100, 900, 100)), strict=True
        ):
            assert found == [[2 * item for item in range(start, start + 50)]] * 5
    assert free(one) == SLOTS


def test_a_thread_that_waits_for_results_leaves_the_arithmetic_to_others() -> None:
    """What a GPU computes is waited for outside of the lock under which it was started."""
    waiting, through = threading.Event(), threading.Event()

    class Slow(EagerRunner):
        def _finish(self, ticket: Any) -> tuple[np.ndarray, ...]:
            if threading.current_thread().name == "slow":
                waiting.set()
                assert through.wait(30)
            return super()._finish(ticket)

    one = Batcher(Slow(Doubled(), "exact"), plan, (4,))
    found: list[list[int]] = []
    slow = threading.Thread(target=lambda: found.append(doubled(one, [1, 2])), name="slow")
    slow.start()
    assert waiting.wait(30)
    assert doubled(one, [3, 4, 5]) == [6, 8, 10]
    through.set()
    slow.join()
    assert found == [[2, 4]]
