"""Generations: what was planned for an output folder after its first run.

    manifest/plan.parquet              the first plan, which config.json names
    manifest/generations/00001.json    an append, or a retry of what had failed: its plan's hash,
                                       and how many shards it has; first writer wins
    manifest/plans/00001.parquet       that plan: staged before under the name that the file above
                                       gives, and moved here afterwards, by whoever comes first

So a generation is there with its plan, or it is not. The next begins once every shard of those
before is committed. Shards of a split are numbered through: after twelve come
`train-00012-of-00015` and so on, and readers of shards need not know of it. A commit record bears
the fingerprint of the configuration with its own generation's plan.

A retry plans recordings that are in an earlier plan and failed there. From then on their earlier
failures count for nothing: the last verdict does (`Generation.retried`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.output.manifest.names import plan_name, staged_plan_name
from pipelines.output.plan import Plan, shard_names
from pipelines.output.stored_run import PlanFacts, StoredRun
from tokenizer.cuts import CUT_FROM
from tokenizer.errors import ManifestError
from tokenizer.sealing import seal

_FILE, _NUMBER = re.compile(r"\d{5}\.json"), re.compile(r"\d{5}")
FIRST, APPEND, RETRY = "first", "append", "retry"
_RECORDING = "recording"
"""key of `meta`: the recording that a row is one channel of"""


@dataclass(frozen=True, slots=True)
class Generation:
    """What was planned at one time."""

    number: int
    """from 0, which is the first run"""
    kind: str
    """`FIRST`, `APPEND` or `RETRY`"""
    plan: PlanFacts
    before: Mapping[str, int]
    """shards of each split that were planned earlier"""
    fingerprint: str
    """of the configuration with its plan"""
    staged: str | None = None
    """where its plan waits until it has its final name"""
    retried: int = 0
    """recordings of earlier plans that failed, and of which it gives the verdict"""

    @property
    def names(self) -> list[str]:
        """Of its shards, in order."""
        return shard_names(self.plan.named_splits, self.before)

    @property
    def waiting(self) -> str:
        """Where its plan lies until it has its place."""
        return self.staged or staged_plan_name(self.plan.sha256)

    @property
    def place(self) -> str:
        """Where its plan lies."""
        return plan_name(self.number)

    def to_json(self, of: str) -> bytes:
        """The file that begins it; `of` is the fingerprint of what is stored."""
        return seal(
            {
                "number": self.number,
                "kind": self.kind,
                "of": of,
                "plan": self.plan.to_json(),
                "staged": self.staged,
                "retried": self.retried,
            }
        )


def first_of(stored: StoredRun) -> Generation:
    """The generation that the configuration itself is about.

    Raises:
        ManifestError: it says nothing of a plan.
    """
    if stored.plan is None:
        raise ManifestError("names no plan: choose another OUT")
    return Generation(0, FIRST, stored.plan, {}, stored.fingerprint)


def following(before: Generation, kind: str, plan: PlanFacts, stored: StoredRun) -> Generation:
    """The generation that comes after another."""
    return Generation(
        before.number + 1,
        kind,
        plan,
        Counter(before.before) + Counter(dict(before.plan.named_splits)),
        replace(stored, plan=plan).fingerprint,
    )


def listed(files: Collection[str]) -> list[str]:
    """The files of generations among those that lie in their folder, in order. A copy of one that
    is there (`00001 (copy).json`) is none; of one that has gone it stands for it, to be missed."""
    found = []
    for file in sorted(files):
        if not file.endswith(".json"):
            continue
        number = _NUMBER.search(file)
        if _FILE.fullmatch(file) or (number and f"{number.group()}.json" not in files):
            found.append(file)
    return found


def parsed(values: Mapping[str, Any], before: Generation, stored: StoredRun) -> Generation:
    """The generation that comes after another, as its file has it.

    Raises:
        ValueError: not such a file, or another folder's.
    """
    try:
        found = following(before, values["kind"], PlanFacts.from_json(values["plan"]), stored)
        number, of, staged = values["number"], values["of"], values["staged"]
        retried = int(values["retried"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks something: {error!r}") from error
    if (number, of) != (found.number, stored.fingerprint):
        raise ValueError("it is that of another folder, or of another generation")
    return replace(found, staged=staged, retried=retried)


def retried_ids(plan: Plan) -> frozenset[str]:
    """Ids whose earlier failures a retry's plan makes void: its own, and those of recordings of
    which it plans the channels or segments."""
    found: set[str] = set()
    for table in plan.columns("id", "meta", "channel"):
        ids, metas, channels = (table[name].to_pylist() for name in ("id", "meta", "channel"))
        found.update(ids)
        for id, meta, channel in zip(ids, metas, channels, strict=True):
            if meta is None:
                continue
            if channel is not None:
                whole = json.loads(meta).get(_RECORDING)
                if id == f"{whole}#{channel}":
                    found.add(whole)
            if f'"{CUT_FROM}"' in meta:
                found.add(json.loads(meta)[CUT_FROM])
    return frozenset(found)
