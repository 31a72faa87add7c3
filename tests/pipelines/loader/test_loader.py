"""The loader: the same stream on any number of ranks and workers, from any step on; batches are
what the data set holds."""

from __future__ import annotations

import itertools
import json
import pickle
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loader_data import make_rows, write_output
from torch.utils.data import DataLoader

from pipelines import (
    Batch,
    Buckets,
    CodesDataset,
    CodesLoader,
    Crop,
    Delay,
    Flatten,
    Mixture,
    Pack,
    PackedBatch,
    mix,
)
from pipelines.output.formats.schema import Row
from tokenizer import ShardError, UsageError
from tokenizer.codecs.mulaw import describe_mulaw

SPEC = describe_mulaw(6.0)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_rows(70, SPEC, longest=6.0)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> CodesDataset:
    return CodesDataset(write_output(tmp_path_factory.mktemp("music"), rows), n_q=2)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> CodesDataset:
    folder = tmp_path_factory.mktemp("speech")
    return CodesDataset(
        write_output(folder, make_rows(23, SPEC, 6.0, first=500), shards=2, form="webdataset"),
        n_q=2,
    )


@pytest.fixture(scope="module")
def both(music: CodesDataset, speech: CodesDataset) -> Mixture:
    return mix({music: 0.7, speech: 0.3})


KINDS: dict[str, dict[str, Any]] = {
    "crops": {
        "batch_size": 8,
        "crop": Crop(chunks=3),
        "pattern": Delay(),
        "fields": ("speaker", "scales"),
    },
    "pack": {"batch_size": 4, "batching": Pack(500), "pattern": Flatten(), "fields": ("text",)},
    "buckets": {"batching": Buckets(4000, window=64, multiple=4), "pattern": Delay()},
}


def loader(data: CodesDataset | Mixture, kind: str, **options: Any) -> CodesLoader:
    return CodesLoader(data, **{"seed": 3, "threads": 0, **KINDS[kind], **options})


def as_rows(batch: Batch | PackedBatch) -> list[tuple[Any, ...]]:
    """One entry a row, comparable, without the batch's own padding to its longest row."""
    codes, mask = batch.codes.numpy(), batch.mask.numpy()
    places = batch.start_seconds.tolist() if isinstance(batch, Batch) else batch.start_seconds
    text = (
        batch.text if "text" in batch.fields else batch.fields.get("speaker", [None] * len(batch))
    )
    return [
        (batch.ids[i], places[i], text[i], codes[i][mask[i]].tobytes(), mask[i].sum().item())
        for i in range(len(batch))
    ]


def together(loaders: list[CodesLoader], steps: int) -> list[list[tuple[Any, ...]]]:
    """Global batches: what all ranks got at each step, in order of ranks."""
    streams: list[Iterator[Batch | PackedBatch]] = [islice(iter(one), steps) for one in loaders]
    return [
        [row for batch in batches for row in as_rows(batch)]
        for batches in zip(*streams, strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_resume_is_exact_at_every_step_on_any_number_of_ranks(both: Mixture, kind: str) -> None:
    steps = 24
    whole = together([loader(both, kind)], steps)
    assert len({str(batch) for batch in whole}) == steps
    for world in (1, 2, 4):
        ranks = [loader(both, kind, rank=rank, world=world) for rank in range(world)]
        assert together(ranks, steps) == whole
    first = loader(both, kind)
    states = [first.state_dict()]
    for _ in islice(first, steps):
        states.append(json.loads(json.dumps(first.state_dict())))
    assert [state["step"] for state in states] == list(range(steps + 1))
    for at, state in enumerate(states[:-2]):
        world = (1, 2, 4)[at % 3]
        resumed = [
            loader(both, kind, rank=rank, world=world, threads=2 * (at % 2))
            for rank in range(world)
        ]
        for one in resumed:
            one.load_state_dict(state)
        assert together(resumed, 2) == whole[at : at + 2], at
        assert all(one.state_dict()["step"] == at + 2 for one in resumed)


@pytest.mark.parametrize("kind", KINDS)
def test_worker_processes_and_threads_change_nothing(both: Mixture, kind: str) -> None:
    whole = together([loader(both, kind, steps=12)], 20)
    assert len(whole) == 12
    for options in ({"threads": 1}, {"threads": 3, "prefetch": 4}, {"workers": 1}, {"workers": 2}):
        one = loader(both, kind, steps=12, **options)
        first = together([one], 5)
        state = one.state_dict()
        assert (state["step"], first) == (5, whole[:5]), options
        other = loader(both, kind, steps=12, workers=1 if "threads" in options else 0)
        other.load_state_dict(state)
        assert together([other], 20) == whole[5:], options


@pytest.mark.parametrize("kind", KINDS)
def test_anybodys_dataloader_gets_the_same_batches(both: Mixture, kind: str) -> None:
    whole = together([loader(both, kind, steps=7)], 10)
    for workers in (0, 2):
        theirs = DataLoader(loader(both, kind, steps=7), batch_size=None, num_workers=workers)
        assert [as_rows(batch) for batch in theirs] == whole


def test_a_workers_own_state_goes_on_in_that_worker(
    both: Mixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As StatefulDataLoader does it: each worker's loader is asked for its state, and given it
    back."""
    whole = together([loader(both, "crops", steps=9)], 10)
    for worker in (0, 1):
        monkeypatch.setattr(
            "pipelines.loader.loader.find_worker", lambda worker=worker: (worker, 2)
        )
        one = loader(both, "crops", steps=9)
        assert together([one], 2) == [whole[worker], whole[worker + 2]]
        other = loader(both, "crops", steps=9)
        other.load_state_dict(one.state_dict())
        assert together([other], 9) == whole[worker + 4 :: 2]
        monkeypatch.setattr(
            "pipelines.loader.loader.find_worker", lambda worker=worker: (worker, 3)
        )
        other.load_state_dict(one.state_dict())
        with pytest.raises(UsageError, match="keep their number"):
            next(iter(other))


def test_states_of_another_stream_are_refused_by_what_changed(
    both: Mixture, music: CodesDataset, tmp_path: Path
) -> None:
    state = loader(both, "crops").state_dict()
    for options, what in (
        ({"batch_size": 16}, "batch_size was 8, is 16"),
        ({"seed": 4}, "seed was 3, is 4"),
        ({"crop": Crop(chunks=4)}, "crop"),
        ({"shuffle": "none"}, "shuffle"),
    ):
        with pytest.raises(UsageError, match=what):
            loader(both, "crops", **options).load_state_dict(state)
    with pytest.raises(UsageError, match="weights"):
        loader(music, "crops").load_state_dict(state)
    three = CodesDataset(music.root, n_q=3)
    with pytest.raises(UsageError, match="n_q was 2, is 3"):
        loader(three, "crops").load_state_dict(loader(music, "crops").state_dict())
    with pytest.raises(UsageError, match="data was"):
        other = CodesDataset(write_output(tmp_path, make_rows(70, SPEC, 6.0, first=1)), n_q=2)
        loader(other, "crops").load_state_dict(loader(music, "crops").state_dict())
    with pytest.raises(UsageError, match="not a state"):
        loader(music, "crops").load_state_dict({"step": 3})


DAMAGED: dict[str, Any] = {
    "nothing": lambda state: None,
    "a list": lambda state: [state],
    "no position": lambda state: {k: v for k, v in state.items() if k != "position"},
    "words": lambda state: {**state, "step": "x"},
    "a fraction": lambda state: {**state, "step": 1.5},
    "below 0": lambda state: {**state, "turn": -1},
    "half a worker": lambda state: {**state, "worker": [1]},
    "a worker of none": lambda state: {**state, "worker": [2, 2]},
    "of nothing": lambda state: {**state, "of": None},
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_state_is_refused_in_a_line(music: CodesDataset, damage: Any) -> None:
    one = loader(music, "crops")
    with pytest.raises(UsageError, match="state of"):
        one.load_state_dict(damage(one.state_dict()))
    assert len(list(islice(one, 2))) == 2


@pytest.mark.parametrize(
    "options",
    [{"batch_size": "3"}, {"batch_size": 2.5}, {"epochs": 1.5}, {"steps": "4"}, {"seed": 1.5}],
    ids=str,
)
def test_numbers_that_are_none_are_refused(music: CodesDataset, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        CodesLoader(music, **{"batch_size": 2, **options})
    for name in ("seconds", "chunks"):
        with pytest.raises(UsageError, match="give"):
            Crop(**{name: "2"})


def test_an_epoch_is_every_recording_once_and_a_loop_goes_on_after_the_end(
    music: CodesDataset, rows: list[Row]
) -> None:
    one = CodesLoader(music, 8, epochs=1, seed=1)
    batches = list(one)
    assert [len(batch) for batch in batches] == [8] * 8 + [6]
    assert Counter(id for batch in batches for id in batch.ids) == Counter(row.id for row in rows)
    after = [batch.ids for batch in one]
    assert sorted(id for ids in after for id in ids) == sorted(row.id for row in rows)
    assert after != [batch.ids for batch in batches]
    two = [id for batch in CodesLoader(music, 8, epochs=2, seed=1) for id in batch.ids]
    assert Counter(two) == Counter({row.id: 2 for row in rows})
    for world in (2, 4):
        shares = [
            list(CodesLoader(music, 8, epochs=1, seed=1, rank=rank, world=world))
            for rank in range(world)
        ]
        assert {len(share) for share in shares} == {9}, "every rank has as many steps"
        assert sum(len(batch) for share in shares for batch in share) == 70
    for workers in (1, 2):
        assert [
            batch.ids for batch in CodesLoader(music, 8, epochs=1, seed=1, workers=workers)
        ] == [b.ids for b in batches]
    in_order = CodesLoader(music, 7, epochs=1, shuffle="none")
    assert [id for batch in in_order for id in batch.ids] == [row.id for row in rows]


ENDING = {
    "fixed": {"batch_size": 8, "epochs": 1},
    "two epochs": {"batch_size": 8, "epochs": 2},
    "crops": {"batch_size": 8, "crop": Crop(chunks=1), "epochs": 1},
    "pack": {"batch_size": 4, "batching": Pack(500), "pattern": Flatten(), "epochs": 1},
    "buckets": {"batching": Buckets(4000, window=16), "epochs": 1},
    "steps": {"batch_size": 8, "steps": 5},
}


@pytest.mark.parametrize("kind", ENDING)
def test_epochs_counted_outside_differ_in_order_and_cuts(
    music: CodesDataset, rows: list[Row], kind: str
) -> None:
    def make(**more: Any) -> CodesLoader:
        return CodesLoader(music, seed=1, **{"threads": 0, **ENDING[kind], **more})  # type: ignore[arg-type]

    def loops(one: Any) -> list[list[Any]]:
        return [[as_rows(batch) for batch in one] for _ in range(3)]

    expected = loops(make())
    assert all(one != other for one, other in itertools.combinations(expected, 2))
    if "epochs" in ENDING[kind] and kind != "pack":
        wanted = Counter({row.id: ENDING[kind]["epochs"] for row in rows})
        assert all(
            Counter(row[0] for batch in loop for row in batch) == wanted for loop in expected
        )
    assert loops(make(threads=2)) == expected
    # Somebody else's DataLoader, whose workers stay.
    assert (
        loops(DataLoader(make(), batch_size=None, num_workers=2, persistent_workers=True))
        == expected
    )
    # In the middle of the second loop, from its state, and by number.
    one, other = make(), make()
    list(one)
    begun = [as_rows(batch) for batch in islice(one, 2)]
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert begun + [as_rows(batch) for batch in other] == expected[1]
    assert [as_rows(batch) for batch in other] == expected[2]
    third = make()
    third.set_epoch(2)
    assert [as_rows(batch) for batch in third] == expected[2]


def test_a_loader_without_ends_has_no_epochs_to_set(music: CodesDataset) -> None:
    with pytest.raises(UsageError, match="give epochs"):
        CodesLoader(music, 8).set_epoch(1)
    with pytest.raises(UsageError, match="0 or more"):
        CodesLoader(music, 8, epochs=1).set_epoch(-1)


def test_rows_are_the_recordings_codes_in_the_pattern(music: CodesDataset, rows: list[Row]) -> None:
    by_id = {row.id: row for row in rows}
    for batch in islice(
        CodesLoader(
            music, 8, crop=Crop(seconds=3), pattern=Delay(), fields=("speaker", "scales", "meta")
        ),
        20,
    ):
        assert isinstance(batch, Batch) and batch.codes.shape == batch.mask.shape == (8, 2, 451)
        assert (batch.codes.dtype, batch.mask.dtype) == (torch.int64, torch.bool)
        for i, id in enumerate(batch.ids):
            row, frames = by_id[id], int(batch.frames[i])
            first = round(float(batch.start_seconds[i]) / 0.99)
            assert float(batch.start_seconds[i]) == pytest.approx(first * 0.99)
            whole = row.codes.codes[:2, 150 * first : 150 * first + frames]
            assert np.array_equal(Delay().invert(batch.codes[i, :, : frames + 1].numpy()), whole)
            assert int(batch.mask[i].sum()) == whole.size and bool(
                (batch.codes[i][~batch.mask[i]] == 1024).all()
            )
            assert batch.fields["speaker"][i] == row.speaker and batch.fields["meta"][i] == row.meta
            assert batch.scales is not None and row.codes.scales is not None
            chunks = min(3, len(row.codes.chunk_frames) - first)
            assert (
                batch.scales[i, :chunks].tolist()
                == row.codes.scales[first : first + chunks].tolist()
            )
            assert not batch.scales[i, chunks:].any()


def test_packed_rows_hold_whole_recordings_end_to_end(music: CodesDataset, rows: list[Row]) -> None:
    """Joined again by document, a packed epoch is every recording's flattened codes, once."""
    by_id = {row.id: Flatten()(row.codes.codes[:2]) for row in rows}
    found: dict[str, list[np.ndarray[Any, Any]]] = {}
    for batch in CodesLoader(music, 4, batching=Pack(700), pattern=Flatten(), epochs=1, threads=0):
        assert isinstance(batch, PackedBatch) and batch.codes.shape[1:] == (700,)
        for i, ids in enumerate(batch.ids):
            assert set(batch.documents[i].tolist()) - {-1} == set(range(len(ids)))
            assert torch.equal(batch.mask[i], batch.documents[i] >= 0)
            for document, id in enumerate(ids):
                here = batch.documents[i] == document
                positions = batch.positions[i][here].tolist()
                assert positions == list(range(positions[0], positions[0] + len(positions)))
                assert positions[0] == sum(map(len, found.get(id, [])))
                found.setdefault(id, []).append(batch.codes[i][here].numpy())
    assert {id: np.concatenate(parts).tolist() for id, parts in found.items()} == {
        id: t.tolist() for id, t in by_id.items()
    }


def test_buckets_keep_to_their_budget_and_drop_nothing(
    music: CodesDataset, rows: list[Row]
) -> None:
    padded = total = 0
    ids: Counter[str] = Counter()
    for batch in CodesLoader(music, batching=Buckets(6000), epochs=1, threads=0):
        assert isinstance(batch, Batch) and batch.codes.shape[0] * batch.codes.shape[2] <= 6000
        padded += batch.mask.numel()
        total += int(batch.mask.sum())
        ids.update(batch.ids)
    assert ids == Counter(row.id for row in rows)
    assert total / padded > 0.75, "recordings of like length share a batch"
    with pytest.raises(UsageError, match="raise the budget"):
        next(iter(CodesLoader(music, batching=Buckets(100), threads=0)))


def test_mixes_hold_their_shares_in_every_batch_of_ten(both: Mixture) -> None:
    for batch in islice(CodesLoader(both, 10, crop=Crop(chunks=1), threads=0), 20):
        assert isinstance(batch, Batch) and batch.source.tolist().count(0) == 7


def test_damage_stops_the_loop_where_the_recording_would_have_come(tmp_path: Path) -> None:
    out = write_output(tmp_path, make_rows(40, SPEC, 3.0), shards=2)
    last = sorted((out / "data").iterdir())[1]
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 4
    last.write_bytes(content)
    for options in ({"threads": 0}, {"threads": 2}):
        ids: list[str] = []
        with pytest.raises(ShardError, match=last.name):
            for batch in CodesLoader(CodesDataset(out), 5, epochs=1, shuffle="none", **options):  # type: ignore[arg-type]
                ids += batch.ids
        assert len(ids) == 20


def test_ranks_are_found_and_wrong_numbers_refused(
    music: CodesDataset, speech: CodesDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = next(iter(CodesLoader(music, 8, threads=0)))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert next(iter(CodesLoader(music, 8, threads=0))).ids == whole.ids[4:]
    with pytest.raises(UsageError, match="multiple of 2"):
        next(iter(CodesLoader(music, 7, threads=0)))
    wide = CodesDataset(
        write_output(
            tmp_path, make_rows(5, describe_mulaw(12.0), 2.0), shards=1, spec=describe_mulaw(12.0)
        )
    )
    for options, what in (
        ({"batch_size": None}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"batching": Buckets(100)}, "leave batch_size out"),
        ({"data": mix({music: 1, speech: 1}), "epochs": 1}, "give steps"),
        ({"data": mix({music: 1, wide: 1})}, "same n_q"),
        ({"pattern": Delay(pad=5)}, "that is a code"),
        ({"fields": "text"}, "tuple"),
        ({"fields": ("words",)}, "no field"),
        ({"fields": ("text",), "crop": Crop(seconds=1)}, "whole recording"),
        ({"shuffle": "some"}, "shuffle"),
        ({"steps": 0}, "steps=0"),
        ({"threads": -1}, "threads"),
        ({"rank": 1}, "both rank and world"),
        ({"rank": 2, "world": 2}, "numbered from 0"),
    ):
        with pytest.raises(UsageError, match=what):
            next(iter(CodesLoader(**{"data": music, "batch_size": 8, "threads": 0, **options})))  # type: ignore[arg-type]


def test_batches_move_between_devices(music: CodesDataset) -> None:
    batch = next(iter(CodesLoader(music, 4, threads=0, fields=("scales",))))
    moved = batch.to("meta")
    assert isinstance(moved, Batch) and moved.codes.device.type == "meta" and moved.ids == batch.ids
    assert moved.scales is not None and moved.scales.device.type == "meta"
    with pytest.raises(UsageError, match="no text"):
        _ = batch.text


def test_the_process_group_says_which_rank_this_is(music: CodesDataset) -> None:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    whole = next(iter(CodesLoader(music, 8, threads=0)))
    torch.distributed.init_process_group("fake", rank=3, world_size=4, store=FakeStore())
    try:
        one = CodesLoader(music, 8, threads=0)
        assert next(iter(one)).ids == whole.ids[6:]
        sent = pickle.dumps(one)
    finally:
        torch.distributed.destroy_process_group()
    assert next(iter(pickle.loads(sent))).ids != whole.ids[6:], "goes on behind the first batch"
    assert len(next(iter(pickle.loads(sent))).ids) == 2, (
        "a process that is started anew keeps its rank"
    )


def test_codecs_without_windows_are_cut_at_frames(tmp_path: Path) -> None:
    spec = replace(describe_mulaw(6.0), chunk_length=None, chunk_stride=None, has_scales=False)
    made = make_rows(20, spec, 4.0)
    by_id = {row.id: row for row in made}
    data = CodesDataset(write_output(tmp_path, made, spec=spec))
    assert all(sample.to_codes().equals(row.codes) for sample, row in zip(data, made, strict=True))
    for batch in islice(
        CodesLoader(data, 4, crop=Crop(seconds=1), threads=0, fields=("scales",)), 20
    ):
        assert (
            isinstance(batch, Batch) and batch.codes.shape == (4, 4, 150) and batch.scales is None
        )
        for i, id in enumerate(batch.ids):
            first, frames = round(float(batch.start_seconds[i]) * 150), int(batch.frames[i])
            assert np.array_equal(
                batch.codes[i, :, :frames].numpy(), by_id[id].codes.codes[:, first : first + frames]
            )
    number = max(range(20), key=data.frames)
    assert data.slice(number, 0.5, 1.5).to_codes().num_samples == 48_000
    with pytest.raises(UsageError, match="no chunks"):
        CodesLoader(data, 4, crop=Crop(chunks=2))
