"""The arithmetic of chunks and frames, against values worked out by hand and against plain
slicing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.chunking import (
    ChunkCutter,
    OverlapAdd,
    chunk_spans,
    frames_of,
    in_even_groups,
    in_groups,
)
from tokenizer.errors import ShapeError

LENGTH, STRIDE = 48_000, 47_520


@pytest.mark.parametrize(
    ("samples", "frames"),
    [(1, 1), (320, 1), (321, 2), (480, 2), (48_000, 150), (47_840, 150), (47_680, 149)],
)
def test_frames_by_hand(samples: int, frames: int) -> None:
    assert frames_of(samples, 320) == frames


@pytest.mark.parametrize(
    ("samples", "spans"),
    [
        (1, [(0, 1)]),
        (47_520, [(0, 47_520)]),
        (47_521, [(0, 47_521), (47_520, 47_521)]),
        (
            48_000,
            [(0, 48_000), (47_520, 48_000)],
        ),  # exactly one second has two chunks, the second of 480 samples
        (48_001, [(0, 48_000), (47_520, 48_001)]),
        # A tail of up to 480 samples makes the chunk before the last partial too.
        (95_140, [(0, 48_000), (47_520, 95_140), (95_040, 95_140)]),
        (95_520, [(0, 48_000), (47_520, 95_520), (95_040, 95_520)]),
        (95_521, [(0, 48_000), (47_520, 95_520), (95_040, 95_521)]),
    ],
)
def test_spans_by_hand(samples: int, spans: list[tuple[int, int]]) -> None:
    assert chunk_spans(samples, LENGTH, STRIDE) == spans


def test_ten_seconds_have_eleven_chunks() -> None:
    assert len(chunk_spans(480_000, LENGTH, STRIDE)) == 11


def test_without_windows_there_is_one_chunk() -> None:
    assert chunk_spans(123_456_789, None, None) == [(0, 123_456_789)]


def test_no_samples_have_no_chunks() -> None:
    with pytest.raises(ShapeError):
        chunk_spans(0, LENGTH, STRIDE)
    assert ChunkCutter(1, LENGTH, STRIDE).finish() == []


@settings(deadline=None, max_examples=200)
@given(
    blocks=st.lists(st.integers(0, 60), max_size=30),
    length=st.integers(2, 40),
    overlap=st.integers(0, 10),
)
def test_a_stream_is_cut_as_the_whole_would_be(
    blocks: list[int], length: int, overlap: int
) -> None:
    stride = max(1, length - overlap)
    total = sum(blocks)
    whole = np.arange(2 * total, dtype=np.float32).reshape(2, total)
    cutter = ChunkCutter(2, length, stride)
    chunks, at = [], 0
    for size in blocks:
        chunks += cutter.push(whole[:, at : at + size])
        at += size
    chunks += cutter.finish()
    expected = [whole[:, a:b] for a, b in chunk_spans(total, length, stride)] if total else []
    assert len(chunks) == len(expected)
    assert all(
        np.array_equal(one, other) and one.flags.c_contiguous
        for one, other in zip(chunks, expected, strict=True)
    )
    assert cutter.num_samples == total


def test_the_cutter_holds_no_more_than_a_chunk() -> None:
    cutter = ChunkCutter(1, LENGTH, STRIDE)
    for _ in range(100):
        cutter.push(np.zeros((1, 10_000), np.float32))
        assert cutter._held < LENGTH


def test_the_cutter_refuses_other_shapes() -> None:
    with pytest.raises(ShapeError):
        ChunkCutter(2, LENGTH, STRIDE).push(np.zeros((1, 10), np.float32))
    with pytest.raises(ShapeError):
        ChunkCutter(1, LENGTH, STRIDE).push(np.zeros((1, 10), np.float64))


def reference_overlap_add(chunks: list[np.ndarray], stride: int, length: int) -> np.ndarray:
    """The formula written out sample by sample, in float64."""
    total = max(i * stride + chunk.shape[1] for i, chunk in enumerate(chunks))
    out, weights = np.zeros((chunks[0].shape[0], total)), np.zeros(total)
    for i, chunk in enumerate(chunks):
        for n in range(chunk.shape[1]):
            weight = 0.5 - abs((n + 1) / (length + 1) - 0.5)
            out[:, i * stride + n] += weight * chunk[:, n]
            weights[i * stride + n] += weight
    return out / weights


@settings(deadline=None, max_examples=60)
@given(
    total=st.integers(1, 300),
    length=st.integers(4, 50),
    overlap=st.integers(0, 3),
    seed=st.integers(0, 9),
)
def test_overlap_add_is_the_formula_in_any_slices(
    total: int, length: int, overlap: int, seed: int
) -> None:
    stride = length - overlap
    rng = np.random.default_rng(seed)
    spans = chunk_spans(total, length, stride)
    # Decoded chunks are whole frames long: a partial one may reach beyond the end of the recording.
    sizes = [min((b - a + 3) // 4 * 4, length) for a, b in spans]
    chunks = [rng.standard_normal((2, size)).astype(np.float32) for size in sizes]
    joined = OverlapAdd(2, total, stride, length)
    blocks = [joined.push(chunk) for chunk in chunks]
    out = np.concatenate([*blocks, joined.finish()], axis=1)
    assert out.shape == (2, total)
    expected = reference_overlap_add(
        [chunk[:, : b - a] for chunk, (a, b) in zip(chunks, spans, strict=True)], stride, length
    )
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_overlap_add_of_equal_parts_is_the_whole() -> None:
    whole = np.sin(np.arange(130_000, dtype=np.float32))[None]
    joined = OverlapAdd(1, 130_000, STRIDE)
    blocks = [joined.push(whole[:, a:b]) for a, b in chunk_spans(130_000, LENGTH, STRIDE)]
    np.testing.assert_allclose(np.concatenate([*blocks, joined.finish()], axis=1), whole, atol=1e-6)


@given(count=st.integers(0, 50), size=st.integers(1, 9))
def test_groups_cover_everything_once(count: int, size: int) -> None:
    groups = [list(range(count))[group] for group in in_groups(count, size)]
    assert [i for group in groups for i in group] == list(range(count))
    assert all(1 <= len(group) <= size for group in groups)


@pytest.mark.parametrize(("count", "size"), [(0, 3), (1, 3), (3, 3), (4, 3), (24, 16), (25, 8)])
def test_even_groups_are_as_few_and_of_one_size(count: int, size: int) -> None:
    groups = [list(range(count))[group] for group in in_even_groups(count, size)]
    assert [i for group in groups for i in group] == list(range(count))
    assert len(groups) == len(list(in_groups(count, size)))
    lengths = {len(group) for group in groups}
    assert not lengths or (max(lengths) <= size and max(lengths) - min(lengths) <= 1)
