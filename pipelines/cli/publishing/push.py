"""`codecshards push`."""

from __future__ import annotations

import argparse
import sys

from pipelines.cli import EXIT_OK
from pipelines.system.words import many


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT", help="output folder of `tokenize`, or made of some")
    parser.add_argument("name", metavar="USER/NAME", help="data set on the Hugging Face Hub")
    parser.add_argument(
        "--dry-run", action="store_true", help="send nothing: say what would be sent, and the card"
    )
    parser.add_argument(
        "--private", action="store_true", help="create the data set as private (default: public)"
    )
    parser.add_argument(
        "--license", metavar="ID", help="for the card, as the Hub writes it: cc-by-4.0 …"
    )
    parser.add_argument(
        "--whole-uris",
        action="store_true",
        help="leave paths of this machine in source_uri and meta (default: relative to SOURCE)",
    )
    parser.add_argument(
        "--remove-others",
        action="store_true",
        help="take away shards that are there and are not of OUT",
    )
    parser.add_argument(
        "--revision",
        "--branch",
        metavar="BRANCH",
        help="branch to push to, made where it is not there (default: main)",
    )
    parser.add_argument("--quiet", action="store_true", help="no word of progress")


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.publishing.push import push_codes

    done = push_codes(
        given.out,
        given.name,
        private=given.private,
        license=given.license,
        whole_uris=given.whole_uris,
        remove_others=given.remove_others,
        revision=given.revision,
        dry_run=given.dry_run,
        quiet=given.quiet,
    )
    if not done.shown:
        print(
            f"note: {given.out} is an archive: CodesDataset reads it there, `datasets` and the "
            "Hub's viewer do not; for these push what `codecshards expand` makes of it",
            file=sys.stderr,
        )
    size = f"{done.sent_bytes / 1e6:,.1f} MB"
    if given.dry_run:
        print(f"{done.url}: would send {many(done.sent, 'shard')}, about {size}, and this card:\n")
        print(done.card)
        return EXIT_OK
    if done.left_out:
        names = ", ".join(done.left_out)
        print(f"columns of another program are left out: {names}", file=sys.stderr)
    there = f"; {many(done.there, 'shard')} there already" if done.there else ""
    gone = f"; {many(len(done.removed), 'shard')} removed" if done.removed else ""
    print(f"{done.url}: sent {many(done.sent, 'shard')}, {size}{there}{gone}")
    return EXIT_OK
