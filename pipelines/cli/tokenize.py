"""`codecshards tokenize`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from pipelines.cli import EXIT_OK, EXIT_OUTDATED, EXIT_SOME_FAILED, EXIT_WRONG, SOURCE_HELP
from pipelines.cli.flags import add_flags, from_flags
from pipelines.output.config import RunOptions, TokenizeConfig


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run, words=("source", "out"))
    parser.add_argument("source", metavar="SOURCE", nargs="+", help=SOURCE_HELP)
    parser.add_argument(
        "out", metavar="OUT", help="output folder, local or anything fsspec writes to"
    )
    add_flags(parser, TokenizeConfig, "what is written (fixed at the first run on OUT)")
    add_flags(parser, RunOptions, "how it is run (free to change from run to run)")


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.run import tokenize_corpus

    config = from_flags(TokenizeConfig, given, source=tuple(given.source))
    options = from_flags(RunOptions, given)
    result = tokenize_corpus(config, given.out, options)
    if result.recordings and not _audited_well(given.out, config, options):
        return EXIT_WRONG
    if result.outdated:
        return EXIT_OUTDATED
    return EXIT_SOME_FAILED if result.failures else EXIT_OK


def _audited_well(out: str, config: TokenizeConfig, options: RunOptions) -> bool:
    """Report on what was audited in passing, if anything was; whether nothing is wrong."""
    if options.audit is None:
        return True

    from pipelines.auditing.options import AuditOptions
    from pipelines.auditing.report import render
    from pipelines.auditing.run import audit_share

    # A pinned revision is stored with the corpus; without one the codec lies where it was just
    # loaded from.
    codec = None if config.revision else config.codec
    done = audit_share(
        out,
        options.audit,
        AuditOptions(codec=codec, moved=options.moved, **asdict(options.compute)),
    )
    if not options.quiet:
        render(done.report)
    return done.passed
