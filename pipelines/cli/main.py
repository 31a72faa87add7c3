"""The command line: arguments to configuration, results to exit codes, nothing else.

The exit codes are in `pipelines.cli`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from pipelines.cli import (
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    EXIT_WRONG,
    audit,
    decode,
    inspect,
    tokenize,
    train_codec,
    verify,
)
from pipelines.system.signals import Stopped, stoppable
from pipelines.system.streams import outlived_readers
from pipelines.system.words import printable
from tokenizer.errors import CodecshardsError, RecordingError, ShardError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    with outlived_readers():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        with stoppable():
            code: int = options.run(options)
            return code
    except Stopped as stop:
        return _say(str(stop), stop.exit_code)
    except KeyboardInterrupt:
        return _say("interrupted", EXIT_INTERRUPTED)
    except (ShardError, RecordingError) as error:
        return _say(str(error), EXIT_WRONG)
    except CodecshardsError as error:
        return _say(str(error), EXIT_USAGE)


def _say(text: str, code: int) -> int:
    print(f"codecshards: {printable(text)}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="codecshards",
        description="Turn an audio corpus into shards of EnCodec codes, and hear them again.",
    )
    parser.add_argument(
        "--version", action="version", version=f"codecshards {version('codecshards')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    tokenize.add(
        commands.add_parser(
            "tokenize", help="audio in, shards of codes out; run it again to resume"
        )
    )
    inspect.add(commands.add_parser("inspect", help="what is in an output folder"))
    verify.add(commands.add_parser("verify", help="check every shard against its commit record"))
    decode.add(commands.add_parser("decode", help="hear one recording again, at its exact length"))
    audit.add(
        commands.add_parser(
            "audit",
            help="decode a sample, measure it against its sources, make a page to listen to",
        )
    )
    train_codec.add(
        commands.add_parser(
            "train-codec", help="train an EnCodec, or fine-tune one; run it again to go on"
        )
    )
    return parser
