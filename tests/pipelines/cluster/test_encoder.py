"""Where runners send their batches, without a cluster."""

from __future__ import annotations

from pipelines.cluster.deaths import Place
from pipelines.cluster.encoder import Feed


def feed(nearby: bool) -> Feed:
    places = tuple(Place(node, "") for node in ("one", "one", "two", "two"))
    return Feed(("a", "b", "c", "d"), places, nearby, 16, 4)


def test_runners_near_gpus_send_to_those_and_take_turns_at_the_first() -> None:
    assert [feed(True).seen_from("two", number) for number in range(3)] == [
        ("c", "d"),
        ("d", "c"),
        ("c", "d"),
    ]
    assert feed(True).seen_from("three", 1) == ("b", "c", "d", "a"), (
        "a node without GPUs sends to all"
    )


def test_runners_on_cpus_send_everywhere() -> None:
    assert feed(False).seen_from("two", 2) == ("c", "d", "a", "b")
