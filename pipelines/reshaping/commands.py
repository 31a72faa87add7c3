"""`filter`, `split`, `merge` and `reshard`, as Python has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pyarrow as pa

from pipelines.output.where import Where
from pipelines.reshaping.bandwidths import cut_down, require_one_codec
from pipelines.reshaping.derive import Derived, Selected, Task, derive, splits_of
from pipelines.reshaping.merging import Merging
from pipelines.reshaping.parents import Item, Parent, open_parents
from pipelines.reshaping.sizes import ShardSize
from pipelines.reshaping.splitting import META, RECORDING, Splitter
from pipelines.tokenizing.progress import open_display
from tokenizer.errors import UsageError

_AT_ONCE = 512
"""rows that a condition is asked of"""


def filter_codes(
    out: str,
    new: str,
    *,
    where: str,
    shard_hours: float | None = None,
    shard_mb: float | None = None,
    quiet: bool = True,
) -> Derived:
    """Make a new output folder of the rows for which a condition is true; run it again to go on
    after it was stopped.

    Args:
        out: the folder that it is made from, which stays as it is.
        new: the new one.
        where: as in `"seconds between 1 and 30 and language = 'de'"`, SQL's words over the columns
            of a row, and `seconds`.
        shard_hours: audio that a shard holds; None as in `out`.
        shard_mb: megabytes of a shard instead.
        quiet: no word of progress.

    Raises:
        UsageError: no such condition, or no row is left.
        OutputError: `out` is not finished, or `new` holds something else.
        ShardError: `out` is damaged.
    """
    (parent,) = open_parents([out], new)
    condition = Where(where, parent.columns)
    size = ShardSize(shard_hours, shard_mb)

    def select(number: int, split: int, items: Iterator[Item]) -> Selected:
        del number
        while batch := list(islice(items, _AT_ONCE)):
            holds = iter(_answers(condition, [one for one in batch if one.row is not None]))
            yield from ((split, one) for one in batch if one.row is None or next(holds))

    with open_display(quiet) as display:
        return derive(
            Task(
                command="filter",
                arguments={"where": where, **_said(size)},
                parents=[parent],
                new=new,
                config=replace(_sized(parent, size), split=parent.splits[0]),
                spec=parent.stored.codec,
                size=_size(parent, size),
                select=select,
            ),
            display,
        )


def split_codes(
    out: str,
    new: str,
    *,
    valid: float | None = None,
    test: float | None = None,
    by: str = RECORDING,
    seed: int = 0,
    shard_hours: float | None = None,
    shard_mb: float | None = None,
    quiet: bool = True,
) -> Derived:
    """Make a new output folder with several splits: `train-…`, `valid-…`, `test-…` in one `data/`.

    A group is assigned by a hash of its name and the seed alone, so that it is in the same split
    when the corpus has grown. Shares are those of the groups, on average; what came out is said.

    Args:
        out: the folder that it is made from, which stays as it is.
        new: the new one.
        valid: share of the groups, above 0 and below 1.
        test: likewise.
        by: what never lies in two splits: a column (speaker), `meta.KEY`, or "recording". A row
            without a value is a group of its own. Channels of one recording stay together.
        seed: of the hash.
        shard_hours: audio that a shard holds; None as in `out`.
        shard_mb: megabytes of a shard instead.
        quiet: no word of progress.

    Raises:
        UsageError: shares that cannot be, no such column, or too few groups.
        OutputError: `out` is not finished, or `new` holds something else.
        ShardError: `out` is damaged.
    """
    shares = {
        name: share for name, share in (("valid", valid), ("test", test)) if share is not None
    }
    _require_shares(shares)
    (parent,) = open_parents([out], new)
    _require_column(parent, by)
    size = ShardSize(shard_hours, shard_mb)
    splitter = Splitter(["train", *shares], list(shares.values()), by, seed)

    def select(number: int, split: int, items: Iterator[Item]) -> Selected:
        del number, split
        return ((splitter.rank(item), item) for item in items)

    with open_display(quiet) as display:
        splitter.learn(parent)
        for line in splitter.lines():
            display.message(line)
        for name in splitter.forced:
            display.message(
                f"{name} would have been empty: it has the group that is nearest by its hash, "
                "which may be another when the corpus has grown"
            )
        return derive(
            Task(
                command="split",
                arguments={**shares, "by": by, "seed": seed, **_said(size)},
                parents=[parent],
                new=new,
                config=replace(_sized(parent, size), split="train"),
                spec=parent.stored.codec,
                size=_size(parent, size),
                select=select,
                splits=splitter.names,
            ),
            display,
        )


def merge_codes(
    outs: Sequence[str],
    new: str,
    *,
    prefix: bool = False,
    bandwidth: float | None = None,
    n_q: int | None = None,
    shard_hours: float | None = None,
    shard_mb: float | None = None,
    format: str | None = None,
    quiet: bool = True,
) -> Derived:
    """Make one new output folder of several of the same codec, one after the other.

    A recording that was dropped in one of them stays dropped.

    Args:
        outs: two folders or more, which stay as they are.
        new: the new one.
        prefix: put the name of its folder before every id, as `a/ID`; False refuses ids that are
            in two of them.
        bandwidth: cut all down to the first codebooks, in kbps.
        n_q: the same by their number.
        shard_hours: audio that a shard holds; None as in the first.
        shard_mb: megabytes of a shard instead.
        format: of the new folder; None is that of the first.
        quiet: no word of progress.

    Raises:
        UsageError: other codecs, weights, bandwidths or columns, with all differences; or ids that
            clash.
        OutputError: one is not finished, or `new` holds something else.
        ShardError: one is damaged.
    """
    if len(outs) < 2:
        raise UsageError("merge: give two folders or more, and the new one behind them")
    parents = open_parents(list(outs), new)
    specs = [cut_down(parent, bandwidth, n_q) for parent in parents]
    require_one_codec(parents, specs)
    size = ShardSize(shard_hours, shard_mb)
    merging = Merging(parents, prefix)
    said = {"prefix": prefix, "bandwidth": bandwidth, "n_q": n_q, "format": format}
    first = parents[0]
    config = replace(
        _sized(first, size),
        source=merging.sources,
        bandwidth=specs[0].bandwidth,
        n_q=None,
        format=format or first.stored.config.format,
        split=splits_of(parents)[0],
    )
    with open_display(quiet) as display:
        for line in merging.notes():
            display.message(line)
        return derive(
            Task(
                command="merge",
                arguments={**_given(said), **_said(size)},
                parents=parents,
                new=new,
                config=config,
                spec=specs[0],
                size=_size(first, size),
                select=merging.select,
                as_planned=merging.as_planned,
                rename=merging.rename,
                unique=merging.complain,
            ),
            display,
        )


def reshard_codes(
    out: str,
    new: str,
    *,
    shard_hours: float | None = None,
    shard_mb: float | None = None,
    shuffle: int | None = None,
    format: str | None = None,
    bandwidth: float | None = None,
    n_q: int | None = None,
    quiet: bool = True,
) -> Derived:
    """Make a new output folder of the same rows, in other shards.

    Args:
        out: the folder that it is made from, which stays as it is.
        new: the new one.
        shard_hours: audio that a shard holds; None as in `out`.
        shard_mb: megabytes of a shard instead.
        shuffle: seed of an order by chance, in which channels of one recording stay together; the
            same seed gives the same bytes. None keeps the order. Rows wait on disk (TMPDIR).
        format: of the new folder, "parquet" or "webdataset"; None as in `out`.
        bandwidth: keep the first codebooks alone, in kbps.
        n_q: the same by their number.
        quiet: no word of progress.

    Raises:
        UsageError: settings that cannot be.
        OutputError: `out` is not finished, or `new` holds something else.
        ShardError: `out` is damaged.
    """
    (parent,) = open_parents([out], new)
    spec = cut_down(parent, bandwidth, n_q)
    size = ShardSize(shard_hours, shard_mb)
    said = {"shuffle": shuffle, "format": format, "bandwidth": bandwidth, "n_q": n_q}
    config = replace(
        _sized(parent, size),
        bandwidth=spec.bandwidth,
        n_q=None,
        format=format or parent.stored.config.format,
        split=parent.splits[0],
    )
    with open_display(quiet) as display:
        return derive(
            Task(
                command="reshard",
                arguments={**_given(said), **_said(size)},
                parents=[parent],
                new=new,
                config=config,
                spec=spec,
                size=_size(parent, size),
                seed=shuffle,
            ),
            display,
        )


def _answers(condition: Where, items: Sequence[Item]) -> list[bool]:
    try:
        return condition.holds([item.facts for item in items])
    except pa.ArrowException as error:  # a column that says one thing and holds another
        raise UsageError(f"--where {condition.expression!r}: {error}") from error


def _require_shares(shares: dict[str, float]) -> None:
    if not shares:
        raise UsageError("split: give --valid or --test, a share above 0 and below 1")
    for name, share in shares.items():
        if not 0 < share < 1:
            raise UsageError(f"--{name} {share:g}: give a share above 0 and below 1")
    if sum(shares.values()) >= 1:
        raise UsageError("--valid and --test: together they leave nothing to train on")


def _require_column(parent: Parent, by: str) -> None:
    names = parent.columns.names
    if by != RECORDING and not by.startswith(META) and by not in names:
        raise UsageError(
            f"--by {by}: there is no such column; there are {RECORDING}, {', '.join(names)} and "
            f"{META}KEY"
        )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, without what was not."""
    return {name: value for name, value in values.items() if value not in (None, False)}


def _said(size: ShardSize) -> dict[str, Any]:
    return _given({"shard_hours": size.hours, "shard_mb": size.megabytes})


def _size(parent: Parent, asked: ShardSize) -> ShardSize:
    """What was asked for, or as the parent was made."""
    if asked.hours is not None or asked.megabytes is not None:
        return asked
    before = (parent.stored.derived or {}).get("arguments", {})
    if "shard_mb" in before:
        return ShardSize(megabytes=before["shard_mb"])
    return ShardSize(hours=parent.stored.config.shard_hours)


def _sized(parent: Parent, asked: ShardSize) -> Any:
    config = parent.stored.config
    return config if asked.hours is None else replace(config, shard_hours=asked.hours)
