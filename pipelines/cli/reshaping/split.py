"""`codecshards split`."""

from __future__ import annotations

import argparse

from pipelines.cli import EXIT_OK
from pipelines.cli.reshaping.shared import NEW_HELP, OUT_HELP, add_size


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT", help=OUT_HELP)
    parser.add_argument("new", metavar="NEW", help=NEW_HELP)
    for name in ("valid", "test"):
        parser.add_argument(
            f"--{name}", type=float, metavar="SHARE", help=f"share of the groups for {name}-…"
        )
    parser.add_argument(
        "--by",
        default="recording",
        metavar="COLUMN",
        help="what never lies in two splits: a column (speaker), meta.KEY or recording (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the hash that assigns a group, the same however the corpus grows (default: "
        "%(default)s)",
    )
    add_size(parser)


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.reshaping.commands import split_codes

    split_codes(
        given.out,
        given.new,
        valid=given.valid,
        test=given.test,
        by=given.by,
        seed=given.seed,
        shard_hours=given.shard_hours,
        shard_mb=given.shard_mb,
        quiet=given.quiet,
    )
    return EXIT_OK
