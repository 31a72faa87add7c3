"""`codecshards mushra`: make, serve, analyse."""

from __future__ import annotations

import argparse
import sys

from pipelines.cli import EXIT_OK
from pipelines.cli.flags import add_flags, from_flags
from pipelines.listening.options import AnalyseOptions, MakeOptions, ServeOptions
from pipelines.system.words import many, printable


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    steps = parser.add_subparsers(required=True, metavar="STEP")
    make = steps.add_parser("make", help="a page to send to raters, or to put on any web server")
    make.add_argument("evaluation", metavar="EVAL", help="folder of `codecshards evaluate`")
    make.add_argument("test", metavar="TEST", help="new folder; raters get TEST/page")
    add_flags(make, MakeOptions, "what is heard")
    make.set_defaults(run=_make)
    serve = steps.add_parser("serve", help="the page on this machine; ratings go to TEST/ratings")
    serve.add_argument("test", metavar="TEST", help="folder of `mushra make`")
    add_flags(serve, ServeOptions, "who reaches it")
    serve.set_defaults(run=_serve)
    analyse = steps.add_parser("analyse", help="screen raters; means, intervals, tests, a plot")
    analyse.add_argument("test", metavar="TEST", help="folder of `mushra make`")
    analyse.add_argument(
        "ratings",
        metavar="RATINGS",
        nargs="*",
        help="files that raters sent, or folders of them, beside what TEST/ratings has",
    )
    add_flags(analyse, AnalyseOptions, "how ratings are judged")
    analyse.set_defaults(run=_analyse)


def _make(given: argparse.Namespace) -> int:
    from pipelines.listening.making.make import make

    options = from_flags(MakeOptions, given)
    design = make(given.evaluation, given.test, options)
    facts = design.facts
    signals = max(len(screen.stimuli) for screen in design.screens)
    by_kbps = any(screen.kbps is not None for screen in design.screens)
    print(
        f"{given.test}: {many(len(design.screens), 'screen')} of up to {many(signals, 'signal')}"
        f"{', the systems of one bitrate on each' if by_kbps else ''}; "
        f"{design.per_rater} a rater, {many(options.raters, 'rater')}"
    )
    print(f"levels: {facts['levels']}")
    for line in facts["notes"][:5]:
        print(f"  {printable(line)}")
    if facts["without_audio"]:
        names = ", ".join(facts["without_audio"])
        print(f"with audio of few excerpts or none, and not heard: {names}")
    for domain, count in facts["short_of"].items():
        print(f"{printable(domain)}: {many(count, 'excerpt')} of {options.excerpts}: no more there")
    for name, reason in list(facts["left_out"].items())[:5]:
        print(f"left out: {printable(name)}: {printable(reason)}")
    if len(facts["left_out"]) > 5:
        print(f"left out: {len(facts['left_out']) - 5} more; test.json names them")
    _expect(len(design.screens), design.per_rater, options.raters)
    print(
        f"raters get {given.test}/page: open index.html, put it on any web server, or run\n"
        f"  codecshards mushra serve {given.test}"
    )
    return EXIT_OK


def _expect(screens: int, per_rater: int, raters: int) -> None:
    """Say whether so many raters are enough for ten ratings of every sample."""
    each = screens and raters * per_rater // screens
    if each < 10:
        need = -(-10 * screens // per_rater)
        print(
            f"each sample gets {many(each, 'rating')} from {many(raters, 'rater')}: 10 need "
            f"--raters {need}, or fewer --excerpts, or more --screens"
        )


def _serve(given: argparse.Namespace) -> int:
    from pipelines.listening.serving.server import serve

    serve(given.test, from_flags(ServeOptions, given))
    return EXIT_OK


def _analyse(given: argparse.Namespace) -> int:
    from pipelines.listening.analysing.analyse import analyse

    done = analyse(given.test, given.ratings, from_flags(AnalyseOptions, given))
    print(done.table, end="")
    print(
        f"{given.test}/analysis: table.md, analysis.json, ratings.parquet, index.html",
        file=sys.stderr,
    )
    return EXIT_OK
