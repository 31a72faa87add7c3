"""The plan: every recording exactly once, the same plan every time."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peaks import peak_of

from pipelines.output.plan import Plan, make_plan, write_plan
from pipelines.output.plans import distinct
from pipelines.output.plans.placing import Placing, estimated, place_in_shards
from pipelines.output.plans.rows import GROUP, SCHEMA
from tokenizer import OutputError, SourceError
from tokenizer.errors import ManifestError
from tokenizer.types import Recording

recordings = st.lists(
    st.builds(
        Recording,
        id=st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable()),
        uri=st.sampled_from(["a.wav", "s3://b/c.flac"]),
        locator=st.sampled_from([{}, {"offset": 512, "size": 3}]),
        start=st.none() | st.floats(0, 10),
        seconds=st.none() | st.floats(0, 5000),
        text=st.none() | st.sampled_from(["ä", "x" * 50]),
        meta=st.sampled_from([{}, {"k": [1, None, "v"]}]),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda recording: recording.id,
)


@settings(deadline=None)
@given(corpus=recordings, hours=st.floats(0.05, 3))
def test_every_recording_is_planned_once_in_order_and_shards_are_full(
    corpus: list[Recording], hours: float
) -> None:
    plan = make_plan(corpus, shard_hours=hours)
    assert list(plan.recordings) == corpus
    for number, shard in enumerate(plan.shards):
        assert shard.recordings
        assert shard.name == f"train-{number:05d}-of-{len(plan.shards):05d}"
        assert shard.seconds <= hours * 3600 * 1.0001 or len(shard.recordings) == 1
    for one, other in zip(plan.shards, plan.shards[1:], strict=False):
        assert one.seconds + estimated(other.recordings[0]) > hours * 3600 * 0.9999, (
            "a shard ends only when the next recording does not fit"
        )


@settings(deadline=None)
@given(corpus=recordings)
def test_a_plan_survives_storage_and_always_has_the_same_bytes(corpus: list[Recording]) -> None:
    plan = make_plan(corpus, shard_hours=1.0, split="test")
    content = plan.to_bytes()
    assert make_plan(corpus, shard_hours=1.0, split="test").to_bytes() == content
    assert Plan.from_bytes(content) == plan


def test_duplicates_are_refused_with_both_places() -> None:
    with pytest.raises(SourceError, match=r"'x'.*a\.wav and b\.wav"):
        make_plan([Recording("x", "a.wav"), Recording("x", "b.wav")], shard_hours=1)


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(SourceError, match="no recordings"):
        make_plan([], shard_hours=1)


def test_ids_that_share_a_hash_are_different_and_the_same_id_is_found_far_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched, distinct.DistinctIds() as ids:
        patched.setattr(distinct, "hash_of", lambda id: 7)
        for number in range(3):
            ids.add(f"a{number}", "u")
            ids.check()
        with pytest.raises(SourceError, match="'a1': u and v"):
            for number in (3, 1):
                ids.add(f"a{number}", "v")
            ids.check()
    many = (Recording(f"{n % (3 * distinct.BLOCK)}", f"{n}.wav") for n in range(4 * distinct.BLOCK))
    with pytest.raises(SourceError, match=rf"'0': 0\.wav and {3 * distinct.BLOCK}\.wav"):
        collections.deque(place_in_shards(many, Placing(1)), maxlen=0)


def corpus(count: int, seconds: float | None = 10.0) -> Iterator[Recording]:
    return (
        Recording(f"{n:08d}", f"{n % 7}.wav", {"version": f"{n}"}, seconds=seconds, meta={"n": n})
        for n in range(count)
    )


@pytest.mark.parametrize("hours", [0.001, 1.0, 1000.0])
def test_what_is_read_of_a_plan_is_what_another_reader_reads(hours: float, tmp_path: Path) -> None:
    count = 2 * GROUP + 17
    plan = make_plan(corpus(count), shard_hours=hours)
    plan.save(str(tmp_path / "plan.parquet"))
    table = pq.read_table(tmp_path / "plan.parquet")
    assert table["id"].to_pylist() == [f"{n:08d}" for n in range(count)] == list(plan.ids())
    assert json.loads(table["meta"][9].as_py()) == {"n": 9}
    by_shard = collections.Counter(table["shard"].to_pylist())
    assert [len(shard.rows) for shard in plan.shards] == [by_shard[n] for n in sorted(by_shard)]
    for number in {0, len(plan.shards) // 2, len(plan.shards) - 1}:
        shard = plan.shards[number]
        mine = table.filter(pc.equal(table["shard"], number))
        assert [one.id for one in shard.recordings] == mine["id"].to_pylist()
        assert shard.seconds == 10.0 * len(mine)
        assert plan.holding([mine["id"][-1].as_py(), "nobody", "\udc80"]) == {number}
    assert plan.holding([]) == plan.holding(["99999999", ""]) == set()


def test_a_plan_from_before_is_read(tmp_path: Path) -> None:
    old = SCHEMA.remove(SCHEMA.get_field_index("channel")).with_metadata({"split": "dev"})
    rows = [
        {"shard": n // 2, "id": f"r{n}", "uri": "u", "end": 4.0, "meta": '{"k": 1}'}
        for n in range(5)
    ]
    pq.write_table(pa.Table.from_pylist(rows, old), tmp_path / "p", compression="zstd")
    plan = Plan.from_bytes((tmp_path / "p").read_bytes())
    assert (plan.split, plan.notes, plan.count) == ("dev", (), 5)
    assert [shard.name for shard in plan.shards] == [f"dev-0000{n}-of-00003" for n in range(3)]
    assert plan.shards[2].recordings == (Recording("r4", "u", end=4.0, meta={"k": 1}),)
    assert plan.shards[1].seconds == 8.0 and plan.holding(["r3"]) == {1}


def test_shards_out_of_order_are_refused() -> None:
    one = Recording("a", "u")
    plan = write_plan([(0, one), (2, one)], "train")
    with pytest.raises(ManifestError, match="out of order"):
        list(plan.shards)


def test_a_large_corpus_is_planned_read_and_found_in_little_memory(tmp_path: Path) -> None:
    used = peak_of(
        """
        from pipelines.output.plan import Plan, make_plan
        from tokenizer.types import Recording

        def work(count):
            words = "x" * 200
            rows = (Recording(f"{n}", "u", seconds=9.0, text=f"{words}{n}") for n in range(count))
            plan = make_plan(rows, shard_hours=2)
            assert sum(len(shard.recordings) for shard in plan.shards) == count
            assert plan.holding([f"{count - 1}"]) == {len(plan.shards) - 1}

        work(10_000)
        before = peak()
        work(100_000)
        print(peak() - before)
        """
    )
    assert used < 30, "MiB; 90,000 more recordings with their texts are 80"


def test_a_damaged_plan_is_refused() -> None:
    with pytest.raises(OutputError, match="plan"):
        Plan.from_bytes(b"PAR1 nonsense")


def test_a_large_corpus_is_planned() -> None:
    plan = make_plan(
        (Recording(f"{i:08d}", f"{i}.wav", seconds=10.0) for i in range(50_000)), shard_hours=2
    )
    assert len(plan.shards) == 70  # 720 recordings of 10 s in 2 h
    assert Plan.from_bytes(plan.to_bytes()).shards[-1] == plan.shards[-1]
