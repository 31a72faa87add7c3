"""The plan: every recording exactly once, the same plan every time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.output.plan import Plan, make_plan
from tokenizer import OutputError, SourceError
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
        first = make_plan(other.recordings[:1], shard_hours=1000).shards[0].seconds
        assert one.seconds + first > hours * 3600 * 0.9999, (
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


def test_a_damaged_plan_is_refused() -> None:
    with pytest.raises(OutputError, match="plan"):
        Plan.from_bytes(b"PAR1 nonsense")


def test_a_large_corpus_is_planned() -> None:
    plan = make_plan(
        (Recording(f"{i:08d}", f"{i}.wav", seconds=10.0) for i in range(50_000)), shard_hours=2
    )
    assert len(plan.shards) == 70  # 720 recordings of 10 s in 2 h
    assert Plan.from_bytes(plan.to_bytes()).shards[-1] == plan.shards[-1]
