"""`codecshards export`."""

from __future__ import annotations

import argparse

from pipelines.cli import EXIT_OK
from pipelines.system.words import many


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT", help="output folder of `tokenize`")
    parser.add_argument("new", metavar="NEW", help="folder to make")
    parser.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="megatron (SPLIT.bin and SPLIT.idx) or arrow (datasets.load_from_disk)",
    )
    parser.add_argument(
        "--pattern",
        default="delay",
        metavar="NAME",
        help="delay, flatten, coarse-first or interleaved (default: %(default)s)",
    )
    parser.add_argument(
        "--text-tokenizer",
        metavar="NAME",
        help="Hugging Face tokenizer, by hub name or folder: texts go before the audio (default: "
        "no text)",
    )
    parser.add_argument(
        "--n-q", type=int, metavar="N", help="codebooks to take, from the first (default: all)"
    )
    parser.add_argument(
        "--where", metavar="EXPR", help="rows for which this is true, in SQL's words"
    )
    parser.add_argument(
        "--partial", action="store_true", help="accept an OUT that lacks some of its shards"
    )
    parser.add_argument("--quiet", action="store_true", help="no word of progress")


def run(given: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.exporting.export import export_codes

    done = export_codes(
        given.out,
        given.new,
        to=given.to,
        pattern=given.pattern,
        text_tokenizer=given.text_tokenizer,
        n_q=given.n_q,
        where=given.where,
        partial=given.partial,
        quiet=given.quiet,
    )
    splits = ", ".join(f"{split} {count:,}" for split, count in done.documents.items())
    print(
        f"{given.new}: {many(sum(done.documents.values()), 'document')} ({splits}), "
        f"{done.tokens:,} tokens of a vocabulary of {done.vocabulary:,}, {done.dtype}"
    )
    if done.without_text:
        print(f"{many(done.without_text, 'document')} without text")
    return EXIT_OK
