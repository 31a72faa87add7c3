"""The command line: arguments to configuration, results to exit codes, nothing else.

The exit codes are in `pipelines.cli`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from pipelines.cli import EXIT_INTERRUPTED, EXIT_USAGE, EXIT_WRONG
from pipelines.system.blame import lacks_memory
from pipelines.system.machine import of_this_machine
from pipelines.system.signals import Stopped, stoppable
from pipelines.system.streams import outlived_readers
from pipelines.system.words import printable
from tokenizer.errors import CodecshardsError, OutputError, RecordingError, ShardError

COMMANDS = {
    "plan": "what a corpus is, and what it would become; writes nothing",
    "tokenize": "audio in, shards of codes out; run it again to resume",
    "inspect": "what is in an output folder",
    "ls": "the recordings of an output folder, a line each",
    "edit": "take recordings out, or correct what rows say, without encoding again",
    "filter": "a new folder of the rows for which a condition is true",
    "split": "a new folder with train, valid and test",
    "merge": "a new folder of several",
    "reshard": "a new folder of the same rows in other shards, shuffled, in another format",
    "compress": "an archive of an output folder, smaller, for storage and transfer",
    "expand": "an output folder of an archive, bit for bit as it was",
    "adopt": "a manifest for shards that have none",
    "verify": "check every shard against its commit record",
    "decode": "hear recordings again, at their exact length",
    "export": "token ids for training language models: Megatron-LM or Arrow",
    "push": "publish the rows as a data set on the Hugging Face Hub",
    "audit": "decode a sample, measure it against its sources, make a page to listen to",
    "evaluate": "quality of codecs over their measured bitrates, beside Opus, MP3 and others",
    "mushra": "a listening test of what `evaluate` made: the page, its ratings, their analysis",
    "ecdc": "files of the original EnCodec tool, written and read",
    "train-codec": "train an EnCodec, or fine-tune one; run it again to go on",
    "train-coder": "train what predicts codes, for smaller archives; run it again to go on",
}
"""each a module of this package, or of one in it: `_FOLDERS`"""
_FOLDERS = {
    **dict.fromkeys(("adopt", "edit", "filter", "split", "merge", "reshard"), "reshaping"),
    **dict.fromkeys(("export", "push"), "publishing"),
    **dict.fromkeys(("compress", "expand", "ecdc", "train-coder"), "archiving"),
    **dict.fromkeys(("evaluate", "mushra"), "evaluating"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _parsed(given)
    if arguments is None:
        from pipelines.system.arrow import do_without_pandas

        do_without_pandas()
    try:
        with outlived_readers():
            return _run(options)
    except OutputError as error:  # as the last of it was written
        return _say(str(error), EXIT_USAGE)


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
    except (MemoryError, OSError, RuntimeError, UnicodeEncodeError) as error:
        if (text := of_this_machine(error)) is not None:
            return _say(text, EXIT_USAGE)
        if not lacks_memory(error):
            raise
        return _say(
            f"memory ran out ({str(error).splitlines()[0] if str(error) else 'an allocation'}): "
            "free some, or take a smaller codec; then run the same command again",
            EXIT_USAGE,
        )


def _say(text: str, code: int) -> int:
    print(f"codecshards: {printable(text)}", file=sys.stderr)
    return code


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for. Of several SOURCEs some may stand behind flags (`A --codec small B OUT`),
    which argparse leaves over: `words` of a command names its arguments by place, first those that
    may be many."""
    parser = _parser(arguments)
    options, left = parser.parse_known_args(arguments)
    words: tuple[str, ...] = getattr(options, "words", ())
    end = left.index("--") if "--" in left else len(left)  # what follows it may begin with a dash
    if left and (not words or any(word.startswith("-") for word in left[:end])):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    left = left[:end] + left[end + 1 :]
    if left:
        many, last = words[0], words[1:]
        given = [*getattr(options, many), *(getattr(options, name) for name in last), *left]
        setattr(options, many, given[: len(given) - len(last)])
        for name, word in zip(last, given[len(given) - len(last) :], strict=True):
            setattr(options, name, word)
    return options


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of the one that `arguments` name: they are
    made from options that cost time to import."""
    parser = argparse.ArgumentParser(
        prog="codecshards",
        description="Turn an audio corpus into shards of EnCodec codes, and hear them again.",
    )
    parser.add_argument(
        "--version", action="version", version=f"codecshards {version('codecshards')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name == wanted:
            folder = f"{_FOLDERS[name]}." if name in _FOLDERS else ""
            import_module(f"pipelines.cli.{folder}{name.replace('-', '_')}").add(command)
    return parser
