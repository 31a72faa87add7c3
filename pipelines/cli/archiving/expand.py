"""`codecshards expand`."""

from __future__ import annotations

import argparse
import sys

from pipelines.cli import EXIT_OK, EXIT_WRONG
from pipelines.system.words import many


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("archive", metavar="ARCHIVE", help="folder of compress, which stays")
    parser.add_argument("out", metavar="OUT", help="folder or URL; run the command again to go on")
    parser.add_argument(
        "--allow-damaged",
        action="store_true",
        help="keep recordings without their damaged chunks (silence stands there, and meta says "
        "where), and read what is whole of files that are cut off or have no index",
    )
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
        allow_damaged=given.allow_damaged,
        format=given.format,
        workers=given.workers,
        shard_hours=given.shard_hours,
        shard_mb=given.shard_mb,
        quiet=given.quiet,
    )
    if found.partial:
        print(
            f"codecshards: {many(found.partial, 'recording')} of {given.out} "
            f"{'lack' if found.partial > 1 else 'lacks'} codes that are damaged: flag codes_lost, "
            "and lost_codes and gaps in meta",
            file=sys.stderr,
        )
    if not found.lost:
        return EXIT_OK
    hint = "" if given.allow_damaged else "; --allow-damaged keeps what is whole of them"
    print(
        f"codecshards: {many(found.lost, 'recording')} of {given.archive} "
        f"{'are' if found.lost > 1 else 'is'} damaged and left out: "
        f"`codecshards inspect {given.out} --failures` names recordings and chunks{hint}",
        file=sys.stderr,
    )
    return EXIT_WRONG
