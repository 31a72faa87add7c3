"""`codecshards compress`."""

from __future__ import annotations

import argparse

from pipelines.cli import EXIT_OK


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT", help="output folder, which stays as it is")
    parser.add_argument(
        "archive", metavar="ARCHIVE", help="folder or URL of the archive; run it again to go on"
    )
    parser.add_argument(
        "--coder",
        metavar="CODER",
        help="static (how often each code occurs), small, a folder of train-coder, or its file "
        "(default: one that ships and was trained on this codec's codes, or else static)",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one a core; 0: none)"
    )
    parser.add_argument(
        "--shard-hours",
        type=float,
        metavar="H",
        help="audio a shard (default: 24, or 240 with weights of train-coder, which each has)",
    )
    parser.add_argument("--shard-mb", type=float, metavar="MB", help="megabytes a shard instead")
    parser.add_argument("--quiet", action="store_true", help="no word of progress")


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.reshaping.archiving.commands import compress_codes

    compress_codes(
        given.out,
        given.archive,
        coder=given.coder,
        workers=given.workers,
        shard_hours=given.shard_hours,
        shard_mb=given.shard_mb,
        quiet=given.quiet,
    )
    return EXIT_OK
