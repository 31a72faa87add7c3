"""Channels that are rows of their own, as one sample: the same cut of both, in the order that
recordings have."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loader_data import make_row, make_rows, write_output

from pipelines import (
    Buckets,
    CoarseFirst,
    CodesDataset,
    CodesLoader,
    Crop,
    Delay,
    EachChannel,
    Flatten,
    Interleaved,
    Pack,
    Parallel,
    mix,
)
from pipelines.output.formats.schema import Row
from pipelines.output.plan import make_plan
from tokenizer import Recording, ShapeError, ShardError, UsageError
from tokenizer.codecs.mulaw import describe_mulaw

SPEC = describe_mulaw(6.0)


def split(number: int, channels: int = 2, declared: int | None = None) -> list[Row]:
    """Rows of one recording, with random codes of one length."""
    samples = int(np.random.default_rng(number).integers(1, 6 * SPEC.sample_rate))
    rows = []
    for channel in range(channels):
        row = make_row(1_000 * number + channel, samples, SPEC)
        stem = f"call/{number:03d}.wav"
        meta = {"recording": stem, "channel": channel, "channels": declared or channels}
        rows.append(replace(row, id=f"{stem}#{channel}", meta=meta, speaker=f"{number}-{channel}"))
    return rows


def corpus() -> list[Row]:
    """Pairs; beside them a mono recording, one of three channels, and one that lacks a channel."""
    rows = [row for number in range(24) for row in split(number)]
    lone = make_rows(1, SPEC, 3.0, first=9_000)
    return [*rows[:10], *lone, *rows[10:30], *split(90, 3), *rows[30:], *split(91, 1, declared=2),
            *split(92, 2, declared=3)]  # fmt: skip


@pytest.fixture(scope="module", params=["parquet", "webdataset"])
def out(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    return write_output(folder, corpus(), shards=1, form=request.param)


@pytest.fixture(scope="module")
def pairs(out: Path) -> CodesDataset:
    return CodesDataset(out, n_q=2, channels=2)


def test_a_sample_is_the_rows_of_a_recording(out: Path, pairs: CodesDataset) -> None:
    rows = {row.id: row for row in corpus()}
    assert len(pairs) == 24 and pairs.shard_rows == (24,) and pairs.codebooks == 4
    assert pairs.left_out == 1 + 3 + 1 + 2 and "channels=2" in repr(pairs)
    for number, sample in enumerate(pairs):
        both = [rows[f"{sample.id}#{channel}"] for channel in range(2)]
        assert sample.id == f"call/{number:03d}.wav"
        assert np.array_equal(sample.codes, np.concatenate([row.codes.codes[:2] for row in both]))
        assert sample.scales is not None and sample.scales.shape == (2, len(sample.chunk_frames))
        assert sample.fields["speaker"] == (f"{number}-0", f"{number}-1")
        assert sample.num_samples == both[0].codes.num_samples
        for one, row in zip(sample.channels, both, strict=True):
            assert one.id == row.id and np.array_equal(one.to_codes().codes, row.codes.codes[:2])
        with pytest.raises(UsageError, match=r"\.channels"):
            sample.to_codes()
    assert pairs.by_id("call/007.wav").id == "call/007.wav"
    with pytest.raises(KeyError):
        pairs.by_id("call/007.wav#0")
    assert len(CodesDataset(out, channels=3)) == 1 and len(CodesDataset(out)) == len(corpus())


def test_a_copy_without_records_says_the_same(out: Path, pairs: CodesDataset) -> None:
    copy = CodesDataset(out / "data", n_q=2, channels=2)
    assert [sample.id for sample in copy] == [sample.id for sample in pairs]
    assert all(np.array_equal(one.codes, two.codes) for one, two in zip(copy, pairs, strict=True))


def test_a_cut_is_the_same_of_each_channel(out: Path, pairs: CodesDataset) -> None:
    alone = CodesDataset(out, n_q=2)
    loader = CodesLoader(pairs, 8, crop=Crop(chunks=2), fields=("scales",), seed=5, epochs=2)
    seen = []
    for batch in loader:
        assert batch.codes.shape[1] == 4 and batch.scales.shape[1] == 2
        for row, id in enumerate(batch.ids):
            frames, at = int(batch.frames[row]), float(batch.start_seconds[row])
            for channel in range(2):
                number = next(n for n in range(len(alone)) if alone[n].id == f"{id}#{channel}")
                stride = SPEC.chunk_stride / SPEC.sample_rate
                last = at + stride * len(alone[number].chunk_frames[:2])
                cut = alone.slice(number, at, last, ("scales",))
                codes = batch.codes[row, 2 * channel : 2 * channel + 2, :frames].numpy()
                assert np.array_equal(codes, cut.codes)
                scales = batch.scales[row, channel, : len(cut.scales)].numpy()
                assert np.array_equal(scales, cut.scales)
            seen.append(id)
    assert sorted(seen) == sorted(2 * [sample.id for sample in pairs])


KINDS: dict[str, dict[str, Any]] = {
    "crops": {"batch_size": 4, "crop": Crop(chunks=2), "pattern": Delay(), "fields": ("speaker",)},
    "pack": {"batch_size": 4, "batching": Pack(500), "pattern": Flatten()},
    "buckets": {"batching": Buckets(4000, window=16, multiple=2), "pattern": CoarseFirst()},
}


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_workers_and_resuming_are_as_ever(pairs: CodesDataset, kind: str) -> None:
    def loader(**more: Any) -> CodesLoader:
        return CodesLoader(pairs, seed=3, threads=0, **{**KINDS[kind], **more})

    def told(batches: Any) -> list[Any]:
        return [(batch.ids, batch.codes.tolist()) for batch in batches]

    whole = told(islice(loader(), 9))
    ranks = [told(islice(loader(rank=rank, world=2), 9)) for rank in range(2)]
    halves = [(one[0] + two[0], one[1] + two[1]) for one, two in zip(*ranks, strict=True)]
    if kind == "buckets":  # each rank pads to its own longest row
        assert [ids for ids, _ in halves] == [ids for ids, _ in whole]
    else:
        assert halves == whole
    begun = loader()
    first = told(islice(begun, 4))
    later = loader()
    later.load_state_dict(json.loads(json.dumps(begun.state_dict())))
    assert first + told(islice(later, 5)) == whole
    assert told(islice(pickle.loads(pickle.dumps(begun)), 5)) == whole[4:]
    with pytest.raises(UsageError, match="another stream"):
        CodesLoader(
            CodesDataset(pairs.root, n_q=4), seed=3, threads=0, **KINDS[kind]
        ).load_state_dict(begun.state_dict())


@pytest.mark.parametrize("pattern", [Parallel(), Delay(), Delay(begin=True), CoarseFirst()])
def test_a_pattern_is_of_each_channel_alone(pairs: CodesDataset, pattern: Any) -> None:
    batch = next(iter(CodesLoader(pairs, 3, pattern=pattern, shuffle="none", threads=0)))
    each = EachChannel(pattern, 2)
    for row, sample in enumerate(islice(pairs, 3)):
        tokens = [pattern(one.codes) for one in sample.channels]
        steps = tokens[0].shape[1]
        found = batch.codes[row, :, :steps].numpy()
        assert np.array_equal(found, np.concatenate(tokens))
        assert np.array_equal(each.invert(found), sample.codes)
        assert batch.mask[row, :, steps:].sum() == 0
        assert (batch.codes[row][batch.mask[row]] < 1024).all()


def test_flattened_codes_have_an_offset_for_each_channel(pairs: CodesDataset) -> None:
    batch = next(iter(CodesLoader(pairs, 1, pattern=Flatten(), shuffle="none", threads=0)))
    tokens = batch.codes[0][batch.mask[0]].numpy()
    assert np.array_equal(Flatten().invert(tokens, 4), pairs[0].codes)
    assert np.array_equal(tokens[:4], pairs[0].codes[:, 0] + 1024 * np.arange(4))


@pytest.mark.parametrize("offsets", ["places", "levels", "none"])
def test_interleaved_codes_are_those_of_one_channel_after_the_other(
    pairs: CodesDataset, offsets: str
) -> None:
    pattern = Interleaved((1, 1), 1024, offsets)
    batch = next(iter(CodesLoader(pairs, 1, pattern=pattern, shuffle="none", threads=0)))
    found = batch.codes[0][batch.mask[0]].numpy().reshape(-1, 4)
    sample = pairs[0]
    first = {"places": [0, 1, 2, 3], "levels": [0, 1, 0, 1], "none": [0] * 4}[offsets]
    for place, (channel, level) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        expected = sample.channels[channel].codes[level] + 1024 * first[place]
        assert np.array_equal(found[:, place], expected)
    both = Interleaved((1, 1), 1024, offsets, channels=2)
    assert np.array_equal(both.invert(found.ravel()), sample.codes)


def test_what_does_not_fit_is_told(out: Path, pairs: CodesDataset) -> None:
    with pytest.raises(UsageError, match="channels=1: give 2 or more"):
        CodesDataset(out, channels=1)
    with pytest.raises(UsageError, match=r"no recording with 5 rows.*--channels split"):
        CodesDataset(out, channels=5)
    with pytest.raises(UsageError, match=r"channels=None.*give both the same"):
        CodesLoader(mix({pairs: 1, CodesDataset(out, n_q=2): 1}), 2)
    with pytest.raises(UsageError, match="keeps codebooks apart"):
        EachChannel(Flatten(), 2)
    with pytest.raises(UsageError, match="the data set has channels=2"):
        CodesLoader(pairs, 2, pattern=EachChannel(Delay(), 3))
    with pytest.raises(UsageError, match=r"Interleaved\(repeats=\(1, 2, 4\), channels=2\).*not 4"):
        CodesLoader(pairs, 2, pattern=Interleaved())
    CodesLoader(pairs, 2, pattern=EachChannel(Delay(), 2))
    with pytest.raises(ShapeError, match="2 channels"):
        EachChannel(Delay(), 2).invert(np.zeros((3, 9), np.int64))


def test_channels_of_other_lengths_are_damage(tmp_path: Path) -> None:
    one, two = split(1)
    short = replace(make_row(5, 4_000, SPEC), id=two.id, meta=two.meta)
    out = write_output(tmp_path, [one, short], shards=1)
    with pytest.raises(ShardError, match=r"train-00000.*call/001\.wav#1"):
        CodesDataset(out, channels=2)[0]


def test_the_rows_of_a_recording_lie_in_one_shard() -> None:
    def rows(number: int, channels: int) -> list[Recording]:
        meta = {"recording": f"{number}"}
        return [
            Recording(f"{number}#{c}", "a", seconds=1_000, channel=c, meta=meta)
            for c in range(channels)
        ]

    plan = make_plan(
        [one for number in range(12) for one in rows(number, 2 + number % 2)], shard_hours=1.0
    )
    for shard in plan.shards:
        assert shard.recordings[0].channel == 0
        assert shard.seconds <= 3_600 + 2_000
    assert len(plan.shards) > 5


def test_a_corpus_with_a_field_of_that_name_is_planned_as_ever() -> None:
    """Only channels of a recording stay together: a thousand chapters of one book do not."""
    chapters = [
        Recording(f"{n}", "a", seconds=1_000, meta={"recording": "a book"}) for n in range(12)
    ]
    assert len(make_plan(chapters, shard_hours=1.0).shards) == 4
