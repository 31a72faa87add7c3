"""`codecshards filter`."""

from __future__ import annotations

import argparse

from pipelines.cli import EXIT_OK
from pipelines.cli.reshaping.shared import NEW_HELP, OUT_HELP, add_size


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT", help=OUT_HELP)
    parser.add_argument("new", metavar="NEW", help=NEW_HELP)
    parser.add_argument(
        "--where",
        required=True,
        metavar="EXPR",
        help="keep the rows for which this is true, in SQL's words: \"seconds between 1 and 30 and "
        "language = 'de'\"",
    )
    add_size(parser)


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.reshaping.commands import filter_codes

    filter_codes(
        given.out,
        given.new,
        where=given.where,
        shard_hours=given.shard_hours,
        shard_mb=given.shard_mb,
        quiet=given.quiet,
    )
    return EXIT_OK
