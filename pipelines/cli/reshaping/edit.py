"""`codecshards edit`."""

from __future__ import annotations

import argparse

from pipelines.cli import EXIT_OK
from tokenizer.errors import UsageError


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT", help="output folder that is changed")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--drop",
        metavar="FILE",
        help="take these recordings out: ids, a line each, as `ls --ids` writes them; - reads "
        "standard input",
    )
    what.add_argument(
        "--drop-where",
        metavar="EXPR",
        help="take out the rows for which this is true, in SQL's words",
    )
    what.add_argument(
        "--set",
        metavar="TABLE",
        help="correct text, speaker, language and meta.KEY by a .csv, .tsv, .jsonl or .parquet "
        "with these columns and that of --on; an empty cell of a CSV takes the value away",
    )
    what.add_argument(
        "--finish", action="store_true", help="finish an edit that was cut short, and nothing else"
    )
    parser.add_argument(
        "--reason", metavar="TEXT", help="why recordings are taken out, for the ledger"
    )
    parser.add_argument(
        "--on",
        metavar="COLUMN",
        help="column of --set that finds rows: id, another one, or meta.KEY (default: id)",
    )
    parser.add_argument("--quiet", action="store_true", help="no word of progress")


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.reshaping.edits.editing import correct_codes, drop_codes, finish_edit

    if given.reason is not None and not (given.drop or given.drop_where):
        raise UsageError("--reason: goes with --drop or --drop-where")
    if given.on is not None and given.set is None:
        raise UsageError("--on: goes with --set")
    if given.finish:
        finish_edit(given.out, quiet=given.quiet)
    elif given.set is not None:
        correct_codes(given.out, given.set, on=given.on or "id", quiet=given.quiet)
    else:
        drop_codes(
            given.out,
            given.drop,
            where=given.drop_where,
            reason=given.reason or "",
            quiet=given.quiet,
        )
    return EXIT_OK
