"""`codecshards reshard`."""

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
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT", help=OUT_HELP)
    parser.add_argument("new", metavar="NEW", help=NEW_HELP)
    parser.add_argument(
        "--shuffle",
        type=int,
        metavar="SEED",
        help="rows in an order by chance, the same for the same seed; they wait in TMPDIR "
        "(default: the order that they have)",
    )
    parser.add_argument("--bandwidth", type=float, metavar="KBPS", help=BANDWIDTH_HELP)
    parser.add_argument("--n-q", type=int, metavar="N", help=N_Q_HELP)
    parser.add_argument("--format", metavar="FORMAT", help=FORMAT_HELP)
    add_size(parser)


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.reshaping.commands import reshard_codes

    reshard_codes(
        given.out,
        given.new,
        shuffle=given.shuffle,
        bandwidth=given.bandwidth,
        n_q=given.n_q,
        format=given.format,
        shard_hours=given.shard_hours,
        shard_mb=given.shard_mb,
        quiet=given.quiet,
    )
    return EXIT_OK
