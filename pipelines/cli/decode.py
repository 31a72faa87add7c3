"""`codecshards decode`."""

from __future__ import annotations

import argparse

from pipelines.cli import EXIT_OK
from pipelines.system.devices import DEVICE_HELP


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="OUT")
    parser.add_argument(
        "id", metavar="ID", help="a recording's id, as `inspect` and the shards have it"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="audio file to write: .wav, .flac, .ogg …",
    )
    parser.add_argument(
        "--codec", help="where the codec lies now, if it has moved (its weights must be the same)"
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)


def run(options: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.output.export_audio import decode_recording

    written = decode_recording(
        options.out, options.id, options.output, codec=options.codec, device=options.device
    )
    print(
        f"{options.output}: {written.seconds:.3f} s, {written.num_samples} samples at "
        f"{written.sample_rate} Hz"
    )
    return EXIT_OK
