"""`codecshards decode`."""

from __future__ import annotations

import argparse
import sys

from pipelines.cli import EXIT_OK, EXIT_SOME_FAILED
from pipelines.system.devices import DEVICE_HELP
from pipelines.system.words import format_hours, many, printable
from tokenizer.errors import UsageError


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run, words=("ids",))
    parser.add_argument("out", metavar="OUT")
    parser.add_argument(
        "ids", metavar="ID", nargs="*", help="a recording's id, as `inspect` and the shards have it"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="audio file to write: .wav, .flac, .ogg …"
    )
    parser.add_argument(
        "--codec", help="where the codec lies now, if it has moved (its weights must be the same)"
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    some = parser.add_argument_group(
        "many recordings, to a folder; run it again to go on", "give one of the first three"
    )
    some.add_argument("--all", action="store_true", help="every recording")
    some.add_argument("--ids-file", metavar="FILE", help="those whose ids are in FILE, a line each")
    some.add_argument(
        "--where", metavar="EXPR", help="those for which this is true, in SQL's words"
    )
    some.add_argument("--to", metavar="DIR", help="folder for them, table.csv and wav.scp")
    some.add_argument("--format", help="flac, wav or opus (default: flac)")
    some.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one a core, or for a GPU)"
    )
    some.add_argument(
        "--address",
        help="Ray cluster to join: auto or ray://HOST:PORT; its nodes must see DIR (default: "
        "processes of this machine)",
    )
    some.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs to use, by Ray (default: one; of a cluster all)"
    )
    some.add_argument(
        "--partial", action="store_true", help="accept an OUT that lacks some of its shards"
    )
    some.add_argument("--quiet", action="store_true", help="no word of progress")


def run(options: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    chosen = [
        name for name in ("all", "ids_file", "where") if getattr(options, name) not in (None, False)
    ]
    if not options.ids and (chosen or options.to is not None):
        return _many(options, chosen)
    one = len(options.ids) == 1 and options.output is not None
    if not one or chosen or options.to is not None:
        raise UsageError(
            "decode: give ID and -o FILE for one recording, or --all, --ids-file or --where with "
            "--to DIR for many"
        )
    for name in ("format", "workers", "address", "gpus", "partial"):
        if getattr(options, name) not in (None, False):
            raise UsageError(
                f"decode: --{name} is for many recordings, with --to DIR; of one, the ending of "
                "-o says the format"
            )
    from pipelines.output.export_audio import decode_recording

    written = decode_recording(
        options.out, options.ids[0], options.output, codec=options.codec, device=options.device
    )
    print(
        f"{options.output}: {written.seconds:.3f} s, {written.num_samples} samples at "
        f"{written.sample_rate} Hz"
    )
    return EXIT_OK


def _many(options: argparse.Namespace, chosen: list[str]) -> int:
    if len(chosen) != 1 or options.to is None or options.output is not None:
        raise UsageError("decode: give one of --all, --ids-file and --where, and --to DIR")
    from pipelines.decoding.many import decode_many

    done = decode_many(
        options.out,
        options.to,
        format=options.format or "flac",
        ids_file=options.ids_file,
        where=options.where,
        partial=options.partial,
        codec=options.codec,
        device=options.device,
        workers=options.workers,
        gpus=options.gpus,
        address=options.address,
        quiet=options.quiet,
    )
    before = f", {done.already:,} were there already" if done.already else ""
    print(
        f"{options.to}: {many(done.decoded, 'recording')} decoded, {format_hours(done.seconds)}"
        f"{before}; table.csv, wav.scp"
    )
    if done.stale:
        print(
            f"{many(done.stale, 'recording')} of earlier runs not in {options.out} any more: in "
            "no table now, the files are left"
        )
    for id, reason in done.failures[:3]:
        print(f"failed: {printable(f'{id}: {reason}' if id else reason)}", file=sys.stderr)
    if done.failures:
        lost = f", {many(done.lost, 'recording')} in damaged shards" if done.lost else ""
        print(
            f"{many(len(done.failures), 'failure')}{lost}: {options.to}/failures.csv",
            file=sys.stderr,
        )
        return EXIT_SOME_FAILED
    return EXIT_OK
