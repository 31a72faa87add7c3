"""`compress` and `expand`, as Python has them."""

from __future__ import annotations

from dataclasses import replace

from pipelines.output.formats import shard_format
from pipelines.output.formats.coded.pool import Pool
from pipelines.output.formats.coded.writer import CodedFormat
from pipelines.reshaping.archiving.coders import Coder, choose_coder
from pipelines.reshaping.derive import Derived, Task, derive
from pipelines.reshaping.moves import NothingLeftError
from pipelines.reshaping.parents import Parent, open_parents
from pipelines.reshaping.sizes import ShardSize
from pipelines.system.machine import usable_cores
from pipelines.tokenizing.progress import open_display
from tokenizer.errors import ShardError, UsageError

CODED = "coded"
SHARD_HOURS, SHARD_HOURS_WITH_WEIGHTS = 24.0, 240.0
"""of an archive, where nothing else is asked for: a network's weights are in every shard"""
_WEIGHTS = 100_000
"""bytes: what is more are a network's"""


def compress_codes(
    out: str,
    archive: str,
    *,
    coder: str | None = None,
    workers: int | None = None,
    shard_hours: float | None = None,
    shard_mb: float | None = None,
    quiet: bool = True,
) -> Derived:
    """Make an archive of an output folder, or finish one: the same rows, their codes through an
    arithmetic coder. It is an output folder as others are, in the format "coded".

    Args:
        out: the folder that it is made from, which stays as it is.
        archive: the new one.
        coder: "static" (how often each code occurs), the name of one that ships with codecshards, a
            folder of `train-coder`, or a file from one; None is one that ships and was trained on
            this codec's codes, or else "static".
        workers: processes that code; None is one a core, 0 does all in this one.
        shard_hours: audio that a shard holds; None is 24, or 240 with a network that does not
            ship: its weights are in every shard.
        shard_mb: megabytes of a shard instead, estimated.
        quiet: no word of progress.

    Raises:
        UsageError: no such coder, or one of other codes.
        OutputError: `out` is not finished, or `archive` holds something else.
        ShardError: `out` is damaged.
    """
    (parent,) = open_parents([out], archive)
    if parent.stored.config.format == CODED:
        raise UsageError(f"{out} is an archive: `codecshards reshard` makes other shards of it")
    chosen = choose_coder(parent, coder)
    size = ShardSize(shard_hours, shard_mb)
    if size.hours is None and size.megabytes is None:
        heavy = chosen.shipped is None and len(chosen.predictor.dumps()) > _WEIGHTS
        size = ShardSize(SHARD_HOURS_WITH_WEIGHTS if heavy else SHARD_HOURS)
    with open_display(quiet) as display, Pool(_processes(workers)) as pool:
        return derive(
            Task(
                command="compress",
                arguments=_asked(size) | {"coder": _told(chosen)},
                was=_was(parent),
                parents=[parent],
                new=archive,
                config=replace(parent.stored.config, format=CODED, split=parent.splits[0]),
                spec=parent.stored.codec,
                size=size,
                form=CodedFormat(chosen.predictor, chosen.shipped, pool),
            ),
            display,
        )


def expand_codes(
    archive: str,
    out: str,
    *,
    allow_damaged: bool = False,
    format: str | None = None,
    workers: int | None = None,
    shard_hours: float | None = None,
    shard_mb: float | None = None,
    quiet: bool = True,
) -> Derived:
    """Make of an archive what it was made from, or go on with that: every code, scale, id and text
    as it was. A recording with a damaged chunk becomes a failure (`damaged`) that names the chunk,
    and all others are written; `Derived.lost` counts them. With `allow_damaged` it is kept, but for
    such chunks: code 0 and the scale of silence stand in their place, `meta` says where
    (`lost_codes`, and `gaps` in seconds) and has the flags `damaged` and `codes_lost`;
    `Derived.partial` counts these rows.

    Args:
        archive: a folder of `compress_codes`, which stays as it is.
        out: the new one.
        allow_damaged: keep recordings without their damaged chunks, find the blocks of a file whose
            end or index is damaged or missing, and make failures of the recordings of a file that
            cannot be read at all.
        format: "parquet" or "webdataset"; None is what the archive was made from.
        workers: processes that decode; None is one a core, 0 does all in this one.
        shard_hours: audio that a shard holds; None is as before `compress`.
        shard_mb: megabytes of a shard instead.
        quiet: no word of progress.

    Raises:
        UsageError: no archive.
        OutputError: `archive` is not finished, or `out` holds something else.
        ShardError: a file of the archive is damaged in what all of its rows need, and that is not
            allowed; or it is whole, and another one than was committed.
    """
    (parent,) = open_parents([archive], out, salvage=True, allow_damaged=allow_damaged)
    if parent.stored.config.format != CODED:
        raise UsageError(f"{archive} is no archive, but {parent.stored.config.format}: it is whole")
    before = (parent.stored.derived or {}).get("was", {})
    form = format or before.get("format", "parquet")
    if form == CODED:
        raise UsageError(f"--format {form}: give parquet or webdataset")
    shard_format(form)
    size = ShardSize(shard_hours, shard_mb)
    if size.hours is None and size.megabytes is None:
        megabytes = before.get("shard_mb")
        hours = None if megabytes else parent.stored.config.shard_hours
        size = ShardSize(hours, megabytes)
    config = replace(parent.stored.config, format=form, split=parent.splits[0])
    if size.hours is not None:
        config = replace(config, shard_hours=size.hours)
    with open_display(quiet) as display, Pool(_processes(workers)) as pool:
        parent.form = CodedFormat(pool=pool, partial=allow_damaged)
        task = Task(
            command="expand",
            arguments=_asked(size)
            | {"format": form}
            | ({"allow_damaged": True} if allow_damaged else {}),
            parents=[parent],
            new=out,
            config=config,
            spec=parent.stored.codec,
            size=size,
        )
        try:
            made = derive(task, display)
        except NothingLeftError as error:
            why = next(iter(parent.flaws.values()), f"`codecshards verify {archive}` says why")
            raise ShardError(f"{archive}: no recording can be read: {why}") from error
        for flaw in parent.flaws.values():
            display.message(flaw)
        return made


def _processes(workers: int | None) -> int:
    """
    Raises:
        UsageError: fewer than none.
    """
    if workers is not None and workers < 0:
        raise UsageError(f"--workers {workers}: give 0 or more")
    return usable_cores() if workers is None else workers


def _asked(size: ShardSize) -> dict[str, object]:
    if size.megabytes is not None:
        return {"shard_mb": size.megabytes}
    return {"shard_hours": size.hours}


def _told(chosen: Coder) -> str:
    """A coder's name, and which one it is: another one of this name writes other files."""
    return f"{chosen.said} {chosen.predictor.fingerprint[:12]}"


def _was(parent: Parent) -> dict[str, object]:
    """What `expand` needs to know of the folder as it was."""
    before = (parent.stored.derived or {}).get("arguments", {})
    size = {"shard_mb": before["shard_mb"]} if "shard_mb" in before else {}
    return {"format": parent.stored.config.format} | size
