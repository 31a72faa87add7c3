"""`codecshards ecdc encode` and `codecshards ecdc decode`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipelines.cli import EXIT_OK
from pipelines.system.devices import DEVICE_HELP, require_device
from pipelines.system.words import many
from tokenizer.errors import UsageError

if TYPE_CHECKING:
    from tokenizer.ecdc.tool import Decoded, Encoded

_LM_HELP = (
    "weights of the original's language model (encodec_lm_24khz-1608e3c0.th): 25 to 40%% smaller, "
    "much slower, and to be read where it was written (docs/ecdc.md)"
)

_FRAMES_BETWEEN = 25
"""two words of progress"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    commands = parser.add_subparsers(required=True, metavar="encode|decode")
    encode = commands.add_parser("encode", help="an audio file to an .ecdc file")
    encode.set_defaults(run=_encode)
    encode.add_argument("source", metavar="AUDIO", help="wav, flac, mp3, ogg …")
    encode.add_argument("target", metavar="ECDC", nargs="?", help="default: beside it, .ecdc")
    encode.add_argument(
        "--codec",
        help="checkpoint of transformers with the shape of facebook/encodec_24khz (the default) or "
        "facebook/encodec_48khz",
    )
    encode.add_argument(
        "-q", "--hq", action="store_true", help="48 kHz stereo: --codec facebook/encodec_48khz"
    )
    encode.add_argument(
        "-b",
        "--bandwidth",
        type=float,
        metavar="KBPS",
        help="1.5 (24 kHz only), 3, 6, 12 or 24 (default: 6)",
    )
    encode.add_argument("--downmix", action="store_true", help="mix more than two channels down")
    decode = commands.add_parser("decode", help="an .ecdc file to .wav or .flac, 16 bits")
    decode.set_defaults(run=_decode)
    decode.add_argument("source", metavar="ECDC")
    decode.add_argument(
        "target", metavar="AUDIO", nargs="?", help="default: beside it, NAME_decompressed.wav"
    )
    decode.add_argument(
        "--codec", help="where the model's weights lie (default: the model that the file names)"
    )
    decode.add_argument(
        "-r", "--rescale", action="store_true", help="quieter instead of clipped, where too loud"
    )
    for command in (encode, decode):
        command.add_argument("-l", "--lm", metavar="FILE", help=_LM_HELP)
        command.add_argument("--device", default="auto", help=DEVICE_HELP)
        command.add_argument(
            "--threads",
            type=int,
            metavar="N",
            help="that torch computes with (default: one a core); a file with a language model is "
            "read with as many as it was written with",
        )
        command.add_argument("-f", "--force", action="store_true", help="overwrite the file")


def _encode(options: argparse.Namespace) -> int:
    require_device(options.device)
    if options.hq and options.codec is not None:
        raise UsageError("ecdc encode: give one of --hq and --codec")
    from tokenizer.ecdc.models import MODELS
    from tokenizer.ecdc.tool import encode_file

    model = MODELS["encodec_48khz" if options.hq else "encodec_24khz"]
    with _Count() as watch:
        done = encode_file(
            options.source,
            options.target,
            codec=options.codec or model.codec,
            bandwidth=options.bandwidth,
            language_model=options.lm,
            device=options.device,
            threads=options.threads,
            downmix=options.downmix,
            force=options.force,
            watch=watch,
        )
    _tell_encoded(done)
    return EXIT_OK


def _decode(options: argparse.Namespace) -> int:
    require_device(options.device)
    from tokenizer.ecdc.tool import decode_file

    with _Count() as watch:
        done = decode_file(
            options.source,
            options.target,
            codec=options.codec,
            language_model=options.lm,
            device=options.device,
            threads=options.threads,
            rescale=options.rescale,
            force=options.force,
            watch=watch,
        )
    _tell_decoded(done, options.rescale)
    return EXIT_OK


def _tell_encoded(done: Encoded) -> None:
    print(
        f"{done.file}: {done.size:,} bytes, {done.codes.seconds:.3f} s of {done.model.name}, "
        f"{many(done.codes.n_q, 'codebook')}, {done.kbps:.2f} kbps"
    )
    if done.codec != done.model.codec:
        _note(f"the file does not say whose weights these are: decode it with --codec {done.codec}")
    if (why := done.model.original_fails(done.codes.num_samples)) is not None:
        _note(f"the original tool cannot decode a file of this length ({why}); codecshards can")


def _tell_decoded(done: Decoded, rescaled: bool) -> None:
    from tokenizer.ecdc.tool import LIMIT

    codes = done.stored.codes
    print(
        f"{done.file}: {codes.seconds:.3f} s, {codes.num_samples} samples at {codes.sample_rate} Hz"
    )
    if done.peak > LIMIT and not rescaled:
        _note(f"clipped at {LIMIT}, the loudest sample was {done.peak:.3f}: --rescale avoids that")


class _Count:
    """Frames that the language model has done, counted up on a terminal."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()

    def __enter__(self) -> Callable[[int], None]:
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._shows:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _tell(self, frames: int) -> None:
        if self._shows and frames % _FRAMES_BETWEEN == 0:
            print(f"\rlanguage model: {frames:,} frames", end="", file=sys.stderr, flush=True)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
