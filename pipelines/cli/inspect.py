"""`codecshards inspect`."""

from __future__ import annotations

import argparse
import json

from pipelines.cli import EXIT_OK


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    parser.add_argument(
        "--failures", action="store_true", help="list every failed recording with its reason"
    )


def run(options: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.output.inspect import inspect, render

    summary = inspect(options.out)
    if options.json:
        print(json.dumps(summary.to_json(), indent=2, ensure_ascii=False))
    else:
        render(summary, failures=options.failures)
    return EXIT_OK
