"""`codecshards adopt`."""

from __future__ import annotations

import argparse

from pipelines.cli import EXIT_OK


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument(
        "out", metavar="OUT", help="folder of Parquet files, tars or archives of codes"
    )
    parser.add_argument(
        "--codec", metavar="CODEC", help="what the codes are of, where no footer says so"
    )
    parser.add_argument(
        "--bandwidth",
        type=float,
        metavar="KBPS",
        help="of --codec (default: 6 where it offers that, else all of its codebooks)",
    )
    parser.add_argument("--n-q", type=int, metavar="N", help="codebooks of --codec, instead")
    parser.add_argument("--revision", metavar="NAME", help="hub commit, tag or branch of --codec")
    parser.add_argument(
        "--like", metavar="FOLDER", help="another output folder of the same codec, instead"
    )
    parser.add_argument("--quiet", action="store_true", help="no word of progress")


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.reshaping.adopting import adopt_codes

    adopt_codes(
        given.out,
        codec=given.codec,
        bandwidth=given.bandwidth,
        n_q=given.n_q,
        revision=given.revision,
        like=given.like,
        quiet=given.quiet,
    )
    return EXIT_OK
