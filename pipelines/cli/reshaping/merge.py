"""`codecshards merge`."""

from __future__ import annotations

import argparse

from pipelines.cli import EXIT_OK
from pipelines.cli.reshaping.shared import (
    BANDWIDTH_HELP,
    FORMAT_HELP,
    N_Q_HELP,
    NEW_HELP,
    OUT_HELP,
    add_size,
)


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run, words=("outs", "new"))
    parser.add_argument("outs", metavar="OUT", nargs="+", help=f"{OUT_HELP}; two or more")
    parser.add_argument("new", metavar="NEW", help=NEW_HELP)
    parser.add_argument(
        "--prefix",
        action="store_true",
        help="put the name of its folder before every id: for ids that are in several",
    )
    parser.add_argument("--bandwidth", type=float, metavar="KBPS", help=BANDWIDTH_HELP)
    parser.add_argument("--n-q", type=int, metavar="N", help=N_Q_HELP)
    parser.add_argument("--format", metavar="FORMAT", help=FORMAT_HELP)
    add_size(parser)


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.reshaping.commands import merge_codes

    merge_codes(
        given.outs,
        given.new,
        prefix=given.prefix,
        bandwidth=given.bandwidth,
        n_q=given.n_q,
        format=given.format,
        shard_hours=given.shard_hours,
        shard_mb=given.shard_mb,
        quiet=given.quiet,
    )
    return EXIT_OK
