"""The command line: arguments to configuration, results to exit codes, nothing else.

The exit codes are in `pipelines.commands`.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from types import FrameType

from pipelines.commands import (
    EXIT_HUNG_UP,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    EXIT_USAGE,
    EXIT_WRONG,
    audit,
    decode,
    inspect,
    tokenize,
    train_codec,
    verify,
)
from pipelines.streams import outlived_readers
from tokenizer.errors import CodecshardsError, RecordingError, ShardError


class Terminated(KeyboardInterrupt):
    """SIGTERM: a job scheduler's way to press Ctrl-C."""


class HungUp(KeyboardInterrupt):
    """SIGHUP: the terminal has gone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        signal.signal(signal.SIGHUP, _hang_up)
    with outlived_readers():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        code: int = options.run(options)
        return code
    except Terminated:
        return _say("terminated", EXIT_TERMINATED)
    except HungUp:
        return _say("the terminal has gone", EXIT_HUNG_UP)
    except KeyboardInterrupt:
        return _say("interrupted", EXIT_INTERRUPTED)
    except (ShardError, RecordingError) as error:
        return _say(str(error), EXIT_WRONG)
    except CodecshardsError as error:
        return _say(str(error), EXIT_USAGE)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _hang_up(number: int, frame: FrameType | None) -> None:
    raise HungUp


def _say(text: str, code: int) -> int:
    print(f"codecshards: {text}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="codecshards", description="Turn an audio corpus into shards of EnCodec codes, and hear them again."
    )
    parser.add_argument("--version", action="version", version=f"codecshards {version('codecshards')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    tokenize.add(commands.add_parser("tokenize", help="audio in, shards of codes out; run it again to resume"))
    inspect.add(commands.add_parser("inspect", help="what is in an output folder"))
    verify.add(commands.add_parser("verify", help="check every shard against its commit record"))
    decode.add(commands.add_parser("decode", help="hear one recording again, at its exact length"))
    audit.add(commands.add_parser("audit", help="decode a sample, measure it against its sources, make a page to listen to"))
    train_codec.add(commands.add_parser("train-codec", help="train an EnCodec, or fine-tune one; run it again to go on"))
    return parser
