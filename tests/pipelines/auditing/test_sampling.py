"""Who is sampled: the same for the same seed, in proportion, and the odd ones on top."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.auditing.sampling import by_suspicion, choose, strata, stratified
from pipelines.auditing.survey import Entry
from tokenizer import Recording, UsageError


def corpus(count: int) -> list[Entry]:
    return [
        Entry(Recording(f"{i:04d}", "x"), f"train-{i % 4}", 1000 + 37 * (i % 11), -30.0 + i % 7, 0.1, 0.0, str(i), 48_000, ())
        for i in range(count)
    ]


@given(count=st.integers(1, 200), sample=st.integers(1, 250), seed=st.integers(0, 9))
def test_a_sample_has_its_size_no_doubles_and_the_corpus_order(count: int, sample: int, seed: int) -> None:
    entries = corpus(count)
    chosen = choose(entries, sample=sample, seed=seed)
    ids = [one.entry.recording.id for one in chosen]
    assert ids == sorted(set(ids))
    assert sum(one.why == "sample" for one in chosen) == min(sample, count)
    assert [one.entry.recording.id for one in choose(entries, sample=sample, seed=seed)] == ids


def test_another_seed_draws_others() -> None:
    entries = corpus(200)
    assert choose(entries, sample=20, seed=0) != choose(entries, sample=20, seed=1)


@given(seed=st.integers(0, 50))
def test_every_stratum_gets_its_share_to_within_one(seed: int) -> None:
    keys = strata(corpus(400))
    drawn = Counter(keys[i] for i in stratified(keys, 100, seed))
    for key, size in Counter(keys).items():
        assert abs(drawn[key] - size / 4) < 1 + 1e-9


def test_the_odd_ones_come_on_top_the_oddest_first() -> None:
    entries = corpus(100)
    entries[50] = replace(entries[50], stuck=0.5)
    entries[70] = replace(entries[70], loudest=40.0)
    entries[90] = replace(entries[90], flags=("clipped",))
    assert by_suspicion(entries)[:3] == [50, 70, 90]
    chosen = {one.entry.recording.id: one.why for one in choose(entries, sample=8)}
    assert {"0050", "0070"} <= set(chosen)


def test_an_ordinary_corpus_has_no_odd_ones() -> None:
    assert by_suspicion(corpus(100)) == []


def test_ids_and_all() -> None:
    entries = corpus(10)
    assert [one.entry.recording.id for one in choose(entries, sample=1, ids=["0007", "0002", "0007"])] == ["0007", "0002"]
    assert len(choose(entries, sample=1, all=True)) == 10
    with pytest.raises(UsageError, match="no committed row '9999'"):
        choose(entries, sample=1, ids=["9999"])
    with pytest.raises(UsageError, match="no recording to audit"):
        choose([], sample=1)
