"""`codecshards plan`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys

from pipelines.cli import EXIT_OK, SOURCE_HELP
from pipelines.cli.flags import add_flags, from_flags
from pipelines.output.config import TokenizeConfig
from tokenizer.errors import SourceError, UsageError


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run, words=("source",))
    parser.add_argument("source", metavar="SOURCE", nargs="+", help=SOURCE_HELP)
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="cores that the time is for (default: all here)"
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="load the codec and encode for 3 s, rather than go by benchmarks",
    )
    parser.add_argument("--quiet", action="store_true", help="no word of progress")
    add_flags(parser, TokenizeConfig, "as `tokenize` would be given them")


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.planning.dry_run import plan

    if given.workers is not None and given.workers < 0:
        raise UsageError(f"--workers {given.workers}: give 0 or more")
    try:
        report = plan(
            from_flags(TokenizeConfig, given, source=tuple(given.source)),
            cores=None if given.workers is None else max(given.workers, 1),
            measure=given.measure,
            quiet=given.quiet,
        )
    except SourceError as error:
        last = f"source {given.source[-1].rstrip('/')}: "
        said = str(error).replace("/: ", ": ", 1)
        if len(given.source) > 1 and said.startswith((f"{last}no such", f"{last}an output")):
            raise SourceError(f"{error}; plan takes no OUT") from error
        raise
    if given.json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
        return EXIT_OK
    width = min(shutil.get_terminal_size().columns, 120) if sys.stdout.isatty() else 80
    plain = not _draws(sys.stdout.encoding)
    for line in report.lines(max(width, 50), ascii_only=plain):
        print(line)
    return EXIT_OK


def _draws(encoding: str | None) -> bool:
    """Whether bars can be written."""
    try:
        "█".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
