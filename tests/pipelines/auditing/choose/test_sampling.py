"""Who is sampled: the same for the same seed, in proportion, and the odd ones on top."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.auditing.choose import entries
from pipelines.auditing.choose.entries import Spooled
from pipelines.auditing.choose.sampling import by_suspicion, choose, strata, stratified
from pipelines.auditing.choose.survey import Entries, Entry, levels_of
from pipelines.auditing.judge.among_others import duplicates
from pipelines.auditing.report import hours_by_rate
from tokenizer import Recording, UsageError


def corpus(count: int) -> list[Entry]:
    return [
        Entry(
            Recording(f"{i:04d}", "x"),
            f"train-{i % 4}",
            1000 + 37 * (i % 11),
            -30.0 + i % 7,
            0.1,
            0.0,
            str(i),
            48_000,
            (),
        )
        for i in range(count)
    ]


def random_corpus(shards: int, rows: int) -> list[Entry]:
    rng = random.Random(shards)
    return [
        replace(
            one,
            shard=f"train-{i // rows}",
            num_samples=rng.randrange(10**6),
            level=rng.uniform(-60, 0),
        )
        for i, one in enumerate(corpus(1) * (shards * rows))
    ]


@given(count=st.integers(1, 200), sample=st.integers(1, 250), seed=st.integers(0, 9))
def test_a_sample_has_its_size_no_doubles_and_the_corpus_order(
    count: int, sample: int, seed: int
) -> None:
    entries = corpus(count)
    chosen = choose(entries, sample=sample, seed=seed)
    ids = [one.entry.recording.id for one in chosen]
    assert ids == sorted(set(ids))
    assert sum(one.why == "sample" for one in chosen) == min(sample, count)
    assert [one.entry.recording.id for one in choose(entries, sample=sample, seed=seed)] == ids


def test_another_seed_draws_others() -> None:
    entries = corpus(200)
    assert choose(entries, sample=20, seed=0) != choose(entries, sample=20, seed=1)


@pytest.mark.parametrize(
    ("shards", "rows", "sample"),
    [(1, 500, 20), (4, 100, 20), (4, 100, 100), (100, 36, 20), (100, 36, 90), (1000, 5, 20)],
)
@pytest.mark.parametrize("seed", range(5))
def test_shards_lengths_and_levels_each_get_their_share(
    shards: int, rows: int, sample: int, seed: int
) -> None:
    keys = strata(random_corpus(shards, rows))
    drawn = [keys[i] for i in stratified(keys, sample, seed)]
    assert len(drawn) == sample
    by_shard = Counter(shard for shard, _, _ in drawn)
    if sample <= shards:
        # A taken shard comes again only where an interval holds no other, which small shards may
        # force.
        assert len(by_shard) >= 0.9 * sample
    else:
        assert all(
            abs(by_shard[f"train-{shard}"] - sample / shards) <= 2 for shard in range(shards)
        )
    assert all(
        abs(count - sample / 3) < 2 for count in Counter(length for _, length, _ in drawn).values()
    )
    assert all(
        abs(count - sample / 3) <= 4 for count in Counter(level for _, _, level in drawn).values()
    )


def test_every_recording_has_about_the_same_chance_whatever_its_shards_size() -> None:
    entries = [
        replace(one, shard="small" if i < 20 else f"large-{i % 3}")
        for i, one in enumerate(random_corpus(1, 200))
    ]
    keys = strata(entries)
    drawn = Counter(i < 20 for seed in range(400) for i in stratified(keys, 10, seed))
    assert 0.7 < drawn[True] / (400 * 10 * 20 / 200) < 1.3


def test_equal_lengths_and_unknown_levels_are_one_class_and_not_thirds_of_the_corpus() -> None:
    entries = [replace(one, num_samples=480_000, level=None) for one in corpus(90)]
    assert {key[1:] for key in strata(entries)} == {(1, 1)}


def test_the_odd_ones_come_on_top_the_oddest_first() -> None:
    entries = corpus(100)
    entries[50] = replace(entries[50], stuck=0.5)
    entries[70] = replace(entries[70], loudest=40.0)
    entries[90] = replace(entries[90], flags=("clipped",))
    assert by_suspicion(entries)[:3] == [50, 70, 90]
    chosen = {one.entry.recording.id: one.why for one in choose(entries, sample=8)}
    assert {"0050", "0070"} <= set(chosen)


def test_many_that_are_odd_in_one_way_do_not_hide_the_others() -> None:
    entries = [
        replace(one, level=None, flags=("silent",)) if i % 2 else one
        for i, one in enumerate(corpus(100))
    ]
    entries[50] = replace(entries[50], level=-50.0)
    entries[60] = replace(entries[60], stuck=0.05)
    assert by_suspicion(entries)[:3] == [50, 1, 60]


def test_an_ordinary_corpus_has_no_odd_ones() -> None:
    assert by_suspicion(corpus(100)) == []


def test_ids_and_all() -> None:
    entries = corpus(10)
    assert [
        one.entry.recording.id for one in choose(entries, sample=1, ids=["0007", "0002", "0007"])
    ] == ["0007", "0002"]
    assert len(choose(entries, sample=1, all=True)) == 10
    with pytest.raises(UsageError, match="no committed row '9999'"):
        choose(entries, sample=1, ids=["9999"])
    with pytest.raises(UsageError, match="no recording to audit"):
        choose([], sample=1)


def test_a_survey_on_disk_is_the_list_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "BLOCK", 64)
    given = corpus(2 * 64 + 5)
    given[70] = replace(given[70], level=None, flags=("silent",))
    spooled = Entries()
    assert list(spooled) == [] and not spooled
    for one in given:
        spooled.append(one)
    assert len(spooled) == len(given) and list(spooled) == given and spooled[-3:] == given[-3:]
    for place in (0, 63, 64, 128, -1, 7):
        assert spooled[place] == given[place]
    with pytest.raises(IndexError):
        spooled[len(given)]
    assert choose(spooled, sample=9, seed=3) == choose(given, sample=9, seed=3)
    assert strata(spooled) == strata(given) and by_suspicion(spooled) == by_suspicion(given)
    same = [*given, replace(given[5], recording=Recording("copy", "x"))]
    assert duplicates(spooled) == {} and duplicates(same) == {"copy": given[5].recording.id}
    spooled.append(same[-1])
    assert duplicates(spooled) == duplicates(same)
    assert hours_by_rate(spooled, 48_000) == pytest.approx(hours_by_rate(same, 48_000))
    loaded = []
    monkeypatch.setattr(entries.pickle, "load", lambda file: loaded.append(file))
    assert strata(spooled) == strata(same) and levels_of(spooled).size == len(same) - 1
    assert not loaded  # what is looked at again and again is in memory


def test_memory_of_a_survey_does_not_go_with_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "BLOCK", 64)
    peaks = []
    for count in (1_920, 192, 1_920):  # at first, what is made once is counted too
        tracemalloc.start()
        spooled: Spooled[Entry] = Spooled()
        for number in range(count):
            spooled.append(replace(ONE, recording=Recording(f"{number}", f"{number:02000}")))
        assert sum(1 for _ in spooled) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.3 * peaks[1]


ONE = corpus(1)[0]
