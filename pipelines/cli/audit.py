"""`codecshards audit`."""

from __future__ import annotations

import argparse

from pipelines.auditing.options import AuditOptions
from pipelines.cli import EXIT_OK, EXIT_WRONG
from pipelines.cli.flags import add_flags, from_flags


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument(
        "out", metavar="OUT", help="output folder of `tokenize`; the audit goes to OUT/audit"
    )
    add_flags(parser, AuditOptions, "how it is run")


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.auditing.report import render
    from pipelines.auditing.run import audit

    done = audit(given.out, options=from_flags(AuditOptions, given))
    render(done.report)
    return EXIT_OK if done.passed else EXIT_WRONG
