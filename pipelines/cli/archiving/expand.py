"""`codecshards expand`."""

from __future__ import annotations

import argparse
import sys

from pipelines.cli import EXIT_OK, EXIT_WRONG


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("archive", metavar="ARCHIVE", help="folder of compress, which stays")
    parser.add_argument("out", metavar="OUT", help="folder or URL; run the command again to go on")
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        help="parquet or webdataset (default: what the archive was made from)",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one a core; 0: none)"
    )
    parser.add_argument(
        "--shard-hours", type=float, metavar="H", help="audio a shard (default: as before compress)"
    )
    parser.add_argument("--shard-mb", type=float, metavar="MB", help="megabytes a shard instead")
    parser.add_argument("--quiet", action="store_true", help="no word of progress")


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code: 1 where recordings were lost to damage."""
    from pipelines.reshaping.archiving.commands import expand_codes

    found = expand_codes(
        given.archive,
        given.out,
        format=given.format,
        workers=given.workers,
        shard_hours=given.shard_hours,
        shard_mb=given.shard_mb,
        quiet=given.quiet,
    )
    if not found.lost:
        return EXIT_OK
    print(
        f"codecshards: {found.lost} recordings of {given.archive} are damaged and were left out: "
        f"`codecshards inspect {given.out} --failures` names recordings and chunks",
        file=sys.stderr,
    )
    return EXIT_WRONG
