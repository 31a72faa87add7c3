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
    from pipelines.output.verify import verify

    problems = verify(options.out)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{options.out}: every shard is what was committed")
    return EXIT_WRONG if problems else EXIT_OK
