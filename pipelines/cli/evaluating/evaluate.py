"""`codecshards evaluate`."""

from __future__ import annotations

import argparse
import shlex
import sys

from pipelines.cli import EXIT_OK, EXIT_SOME_FAILED, SOURCE_HELP
from pipelines.cli.flags import add_flags, from_flags
from pipelines.evaluating.options import EvaluateOptions
from pipelines.system.words import many, printable


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run, words=("audio",))
    parser.add_argument("audio", metavar="AUDIO", nargs="+", help=SOURCE_HELP)
    add_flags(parser, EvaluateOptions, "how it is run")


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.evaluating.run import evaluate

    options = from_flags(EvaluateOptions, given)
    done = evaluate(given.audio, options=options, command=_command(given, options))
    print(done.table, end="")
    print(
        f"{options.report}: table.md, results.json, results.parquet, index.html, audio/",
        file=sys.stderr,
    )
    if done.failures:
        name, reason = next(iter(done.failures.items()))
        print(
            f"{many(len(done.failures), 'excerpt')} failed, and are tried again by the same "
            f"command; the first: {printable(f'{name}: {reason}')}",
            file=sys.stderr,
        )
        return EXIT_SOME_FAILED
    return EXIT_OK


def _command(given: argparse.Namespace, options: EvaluateOptions) -> str:
    """What gives the same table, with what was asked for beside the defaults."""
    words = ["codecshards", "evaluate", *given.audio]
    plain = EvaluateOptions()
    for codec in options.codec:
        words += ["--codec", codec]
    for name in ("against", "bandwidths", "domains", "speech", "metrics"):
        value = getattr(options, name)
        if value != getattr(plain, name):
            words += [f"--{name}", ",".join(value)]
    for name in ("excerpts", "seconds", "seed", "domain_column", "report"):
        value = getattr(options, name)
        if value != getattr(plain, name):
            words += [f"--{name.replace('_', '-')}", f"{value:g}" if name == "seconds" else value]
    return shlex.join(map(str, words))
