"""`codecshards verify`."""

from __future__ import annotations

import argparse

from pipelines.cli import EXIT_OK, EXIT_WRONG


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT")


def run(options: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.output.bare.shards import without_manifest
    from pipelines.output.storage import open_storage
    from pipelines.output.verify import verify
    from pipelines.system.words import one_line

    problems = verify(options.out)
    for problem in problems:
        print(one_line(str(problem)))
    if not problems and without_manifest(open_storage(options.out)):
        print(
            f"{options.out}: every shard is whole and every row one of its codec; whether they are "
            "what was committed is not known, as there is no manifest"
        )
    elif not problems:
        print(f"{options.out}: every shard is what was committed")
    return EXIT_WRONG if problems else EXIT_OK
