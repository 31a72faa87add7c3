"""`codecshards inspect`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from pipelines.cli import EXIT_OK
from tokenizer.errors import UsageError


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT", nargs="?")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    parser.add_argument(
        "--failures", action="store_true", help="list every failed recording with its reason"
    )
    parser.add_argument(
        "--entropy",
        action="store_true",
        help="bits a code, by level: order 0, order 1 and by a coder, of a sample",
    )
    parser.add_argument(
        "--coder", metavar="CODER", help="of --entropy, as compress has it (default: as there)"
    )
    parser.add_argument(
        "--registry",
        action="store_true",
        help="list codecs, sources, formats and quality measures, those of other packages too",
    )


def run(options: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.output.bare.shards import without_manifest
    from pipelines.output.inspect import inspect, render
    from pipelines.output.storage import open_storage

    if options.registry:
        return _registry(options.json)
    if options.out is None:
        raise UsageError("inspect: give OUT, or --registry")
    if options.coder is not None and not options.entropy:
        raise UsageError("--coder: goes with --entropy")
    if options.entropy:
        return _entropy(options.out, options.coder, options.json)
    if without_manifest(open_storage(options.out)):
        return _bare(options.out, options.json, options.failures)
    summary = inspect(options.out)
    if options.json:
        print(json.dumps(summary.to_json(), indent=2, ensure_ascii=False))
    else:
        render(summary, failures=options.failures)
    return EXIT_OK


def _bare(out: str, as_json: bool, failures: bool) -> int:
    from pipelines.output.bare.summary import inspect_bare, render_bare
    from pipelines.output.rows import Rows
    from pipelines.output.storage import open_storage

    if failures:
        Rows(out).require_failures()
    summary = inspect_bare(open_storage(out), out)
    if as_json:
        print(json.dumps(summary.to_json(), indent=2, ensure_ascii=False))
    else:
        render_bare(summary)
    return EXIT_OK


def _entropy(out: str, coder: str | None, as_json: bool) -> int:
    from pipelines.reshaping.archiving.entropy import measure_entropy, render_entropy

    found = measure_entropy(out, coder)
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        render_entropy(found)
    return EXIT_OK


def _registry(as_json: bool) -> int:
    from pipelines.cli import registry

    if as_json:
        found = [asdict(entry) for entry in registry.entries()]
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        registry.render()
    return EXIT_OK
