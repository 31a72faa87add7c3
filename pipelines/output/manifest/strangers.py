"""Files of an output folder that no plan, record or run knows: copies, leftovers, what somebody
else put there."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping

from pipelines.output.formats import ShardFormat
from pipelines.output.manifest.edits import EDITS, is_edit
from pipelines.output.manifest.leases import RUNS, half_written, is_over, read_lease
from pipelines.output.manifest.names import (
    COMMITS,
    CONFIG,
    DATA,
    MANIFEST,
    PLAN,
    PRECISION,
    STAGING,
    run_of,
)
from pipelines.output.storage import LOCK, TEMPORARY, Storage

_JOURNAL = f"{MANIFEST}/journal"
_LEFT_OVER = "left over by a run that was killed: the next run removes it"
_OF_SYSTEMS = (".DS_Store", ".nfs", ".fuse_hidden", ".gitattributes", ".gitkeep")
"""beginnings of names that file systems and desktops give their own files, which nobody reads"""


def strangers(
    storage: Storage,
    form: ShardFormat,
    planned: Collection[str],
    waiting: Mapping[str, str],
    plans: Collection[str] = (),
) -> Iterator[tuple[str, str]]:
    """Names of strangers, those among the shards relative to `data/`, and what is wrong with each.

    Args:
        storage: of the output folder.
        form: of its shards.
        planned: names of the shards that were planned.
        waiting: shards by the names that commit records give their staged files.
        plans: files of later generations, which are known by them.
    """
    files = {form.file_name(shard) for shard in planned}
    for name in storage.find(DATA):
        if name not in files and not name.startswith(_OF_SYSTEMS):
            yield _shown(name), "no shard of this plan: a file that somebody else put here"
    commits = {f"{shard}.json" for shard in planned}
    dead = set(half_written(storage))
    for name in storage.find(MANIFEST):
        place = f"{MANIFEST}/{name}"
        folder, _, file = place.rpartition("/")
        reason = None
        if place in (CONFIG, PLAN, PRECISION, LOCK, *plans) or file.startswith(_OF_SYSTEMS):
            continue
        if TEMPORARY.fullmatch(file) and run_of(file) is None:
            reason = _LEFT_OVER if place in dead else None
        elif folder == COMMITS:
            reason = (
                None
                if file in commits
                else "no commit record of this plan: nobody reads it; delete it"
            )
        elif folder == STAGING:
            reason = _staged(storage, file, waiting.get(place))
        elif folder == RUNS:
            reason = _lease(storage, file)
        elif folder == EDITS and is_edit(file):
            reason = None
        elif folder != _JOURNAL or file not in planned:
            reason = "no file of a manifest: nobody reads it; delete it"
        if reason is not None:
            yield _shown(place), reason


def _staged(storage: Storage, file: str, shard: str | None) -> str | None:
    if shard is not None:
        return (
            f"{shard} is committed, and its file is still here: run the same command again to "
            "finish it"
        )
    run = run_of(file)
    if run is None:
        return "no staged file of a run; delete it"
    return _LEFT_OVER if is_over(storage, run) else None


def _lease(storage: Storage, file: str) -> str | None:
    try:
        read_lease(storage, file.removesuffix(".json"))
    except ValueError as error:
        return f"says of no run that it is at work ({error}); delete it"
    return None


def _shown(name: str) -> str:
    """A name in one line, whatever is in it."""
    return name if name.isprintable() else json.dumps(name)
