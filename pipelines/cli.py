"""The command line: arguments to configuration, results to exit codes, nothing else.

Exit codes: 0 all fine; 1 `verify` or `audit` found something wrong, or a shard is damaged; 2 what was asked for cannot be done;
3 `tokenize` finished and some recordings failed; 130 interrupted, 143 terminated (both resume by the same command).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from tokenizer.errors import CodecshardsError, RecordingError, ShardError, UsageError

EXIT_OK, EXIT_WRONG, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 3, 130, 143

SOURCE_HELP = (
    "a folder of audio; a manifest (.jsonl, .csv, .parquet with a path column); hf:NAME[:config]:split; "
    "a data set folder written by save_to_disk; WebDataset tars (a folder, or data-{000..012}.tar)"
)


class Terminated(KeyboardInterrupt):
    """SIGTERM: a job scheduler's way to press Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except Terminated:
        return _say("terminated", EXIT_TERMINATED)
    except KeyboardInterrupt:
        return _say("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader has gone, as in `codecshards inspect OUT | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except (ShardError, RecordingError) as error:
        return _say(str(error), EXIT_WRONG)
    except CodecshardsError as error:
        return _say(str(error), EXIT_USAGE)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _say(text: str, code: int) -> int:
    print(f"codecshards: {text}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="codecshards", description="Turn an audio corpus into shards of EnCodec codes, and hear them again."
    )
    parser.add_argument("--version", action="version", version=f"codecshards {version('codecshards')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_tokenize(commands.add_parser("tokenize", help="audio in, shards of codes out; run it again to resume"))
    _add_inspect(commands.add_parser("inspect", help="what is in an output folder"))
    _add_verify(commands.add_parser("verify", help="check every shard against its commit record"))
    _add_decode(commands.add_parser("decode", help="hear one recording again, at its exact length"))
    _add_audit(commands.add_parser("audit", help="decode a sample, measure it against its sources, make a page to listen to"))
    _add_train(commands.add_parser("train-codec", help="train an EnCodec on a corpus, or fine-tune one; run it again to go on"))
    return parser


def _add_tokenize(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_tokenize)
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_HELP)
    parser.add_argument("out", metavar="OUT", help="output folder, local or anything fsspec writes to")
    what = parser.add_argument_group("what is written (fixed at the first run on OUT)")
    what.add_argument(
        "--codec",
        default="facebook/encodec_48khz",
        help="hub id, save_pretrained folder, or a codec that ships with the package (default: %(default)s)",
    )
    what.add_argument("--revision", help="hub commit, tag or branch to pin")
    what.add_argument("--bandwidth", type=float, default=6.0, metavar="KBPS", help="default: %(default)s")
    what.add_argument("--format", default="parquet", help="parquet or webdataset (default: %(default)s)")
    what.add_argument("--shard-hours", type=float, default=2.0, metavar="H", help="audio a shard (default: %(default)s)")
    what.add_argument("--split", default="train", help="split name in the shards' names (default: %(default)s)")
    what.add_argument("--downmix", action="store_true", help="mix more than two channels down instead of failing")
    what.add_argument("--allow-truncated", action="store_true", help="keep what is there of files that end early")
    what.add_argument(
        "--max-chunk-seconds",
        type=float,
        default=300.0,
        metavar="S",
        help="longest recording for codecs without windows, which encode it in one piece (default: %(default)s)",
    )
    how = parser.add_argument_group("how it is run (free to change from run to run)")
    how.add_argument("--workers", type=int, metavar="N", help="CPU cores to use (default: all; 0: no Ray, one process)")
    how.add_argument("--gpus", type=int, metavar="N", help="GPUs to use, one encoder each (default: all)")
    how.add_argument("--address", help="Ray cluster to join: auto or ray://HOST:PORT (default: this machine)")
    how.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    how.add_argument("--max-failures", type=int, metavar="N", help="stop when more than N recordings have failed")
    how.add_argument(
        "--decode-timeout",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds without progress until a decoder is killed (default: %(default)s)",
    )
    how.add_argument(
        "--reference", action="store_true", help="compute with transformers' own modules on CPUs too: the same codes, slower"
    )
    how.add_argument("--quiet", action="store_true", help="print nothing but errors")
    how.add_argument("--audit", type=float, metavar="SHARE", help="afterwards, audit this share of the recordings: 0.01 is 1%%")


def _tokenize(options: argparse.Namespace) -> int:
    from pipelines.config import RunOptions, TokenizeConfig
    from pipelines.run import tokenize_corpus

    if options.audit is not None and not 0 < options.audit <= 1:
        raise UsageError(f"--audit {options.audit}: give a share above 0 and at most 1")
    config = TokenizeConfig(
        source=options.source,
        codec=options.codec,
        revision=options.revision,
        bandwidth=options.bandwidth,
        format=options.format,
        shard_hours=options.shard_hours,
        split=options.split,
        downmix=options.downmix,
        allow_truncated=options.allow_truncated,
        max_chunk_seconds=options.max_chunk_seconds,
    )
    how = RunOptions(
        workers=options.workers,
        gpus=options.gpus,
        address=options.address,
        device=options.device,
        max_failures=options.max_failures,
        decode_timeout=options.decode_timeout,
        quiet=options.quiet,
        reference=options.reference,
    )
    result = tokenize_corpus(config, options.out, how)
    if (
        options.audit is not None
        and result.recordings
        and not _audit_after(options, math.ceil(options.audit * result.recordings))
    ):
        return EXIT_WRONG
    return EXIT_SOME_FAILED if result.failures else EXIT_OK


def _audit_after(options: argparse.Namespace, sample: int) -> bool:
    """Audit a sample of what has just been written; whether it passed."""
    from pipelines.auditing.options import AuditOptions
    from pipelines.auditing.report import render
    from pipelines.auditing.run import audit

    names = ("device", "workers", "gpus", "address", "decode_timeout", "quiet")
    # A pinned revision is stored with the corpus; without one the codec lies where it was just loaded from.
    codec = None if options.revision else options.codec
    asked = AuditOptions(sample=sample, codec=codec, **{name: getattr(options, name) for name in names})
    done = audit(options.out, options=asked)
    if not options.quiet:
        render(done.report)
    return done.passed


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_inspect)
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    parser.add_argument("--failures", action="store_true", help="list every failed recording with its reason")


def _inspect(options: argparse.Namespace) -> int:
    from pipelines.inspect import inspect, render

    summary = inspect(options.out)
    if options.json:
        print(json.dumps(summary.to_json(), indent=2, ensure_ascii=False))
    else:
        render(summary, failures=options.failures)
    return EXIT_OK


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_verify)
    parser.add_argument("out", metavar="OUT")


def _verify(options: argparse.Namespace) -> int:
    from pipelines.verify import verify

    problems = verify(options.out)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{options.out}: every shard is what was committed")
    return EXIT_WRONG if problems else EXIT_OK


def _add_decode(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_decode)
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("id", metavar="ID", help="a recording's id, as `inspect` and the shards have it")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="audio file to write: .wav, .flac, .ogg …")
    parser.add_argument("--codec", help="where the codec lies now, if it has moved (its weights must be the same)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")


def _decode(options: argparse.Namespace) -> int:
    from pipelines.decode import decode_recording

    written = decode_recording(options.out, options.id, options.output, codec=options.codec, device=options.device)
    print(f"{options.output}: {written.seconds:.3f} s, {written.num_samples} samples at {written.sample_rate} Hz")
    return EXIT_OK


LIMITS = {"si-snr": "min", "visqol": "min", "stoi": "min", "level": "max", "convergence": "max", "mel": "max"}
"""measures by the side on which a limit makes sense"""


def _add_audit(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_audit)
    parser.add_argument("out", metavar="OUT", help="output folder of `tokenize`; the audit goes to OUT/audit")
    which = parser.add_argument_group("which recordings")
    which.add_argument("--sample", type=int, default=20, metavar="N", help="default: %(default)s, and N/4 of the worst on top")
    which.add_argument("--seed", type=int, default=0, help="of the sample (default: %(default)s)")
    which.add_argument("--ids", nargs="+", default=[], metavar="ID", help="exactly these")
    which.add_argument("--all", action="store_true", help="all of them")
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--metrics",
        default="si-snr,level,convergence,mel",
        metavar="A,B,…",
        help="of si-snr, level, convergence, mel, visqol (needs visqol-python), stoi (speech) (default: %(default)s)",
    )
    what.add_argument("--reencode", action="store_true", help="encode each source again, compare codes, name what is wrong")
    for metric, side in LIMITS.items():
        what.add_argument(f"--{side}-{metric}", type=float, metavar="X", help=f"exit code 1 when the mean is {_beyond(side)} X")
    how = parser.add_argument_group("how it is run")
    how.add_argument("--no-page", action="store_true", help="figures only: no audio, no images, no page")
    how.add_argument(
        "--clip-seconds", type=float, default=30.0, metavar="S", help="longest stretch to listen to (default: %(default)s)"
    )
    how.add_argument("--codec", help="where the codec lies now, if it has moved (its weights must be the same)")
    how.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    how.add_argument("--workers", type=int, metavar="N", help="CPU cores to use (default: all; 0: no Ray, one process)")
    how.add_argument("--gpus", type=int, metavar="N", help="GPUs to use (default: all)")
    how.add_argument("--address", help="Ray cluster to join: auto or ray://HOST:PORT (default: this machine)")
    how.add_argument("--quiet", action="store_true", help="no progress; the figures are printed all the same")


def _beyond(side: str) -> str:
    return "below" if side == "min" else "above"


def _audit(options: argparse.Namespace) -> int:
    from pipelines.auditing.options import AuditOptions
    from pipelines.auditing.report import render
    from pipelines.auditing.run import audit

    limits = {metric: getattr(options, f"{side}_{metric.replace('-', '_')}") for metric, side in LIMITS.items()}
    asked = AuditOptions(
        sample=options.sample,
        ids=tuple(options.ids),
        all=options.all,
        seed=options.seed,
        metrics=tuple(name.strip() for name in options.metrics.split(",") if name.strip()),
        reencode=options.reencode,
        limits={metric: limit for metric, limit in limits.items() if limit is not None},
        page=not options.no_page,
        clip_seconds=options.clip_seconds,
        codec=options.codec,
        device=options.device,
        workers=options.workers,
        gpus=options.gpus,
        address=options.address,
        quiet=options.quiet,
    )
    done = audit(options.out, options=asked)
    render(done.report)
    return EXIT_OK if done.passed else EXIT_WRONG


def _add_train(parser: argparse.ArgumentParser) -> None:
    from tokenizer.training.command import add_options

    parser.set_defaults(run=_train)
    parser.add_argument("source", metavar="CORPUS", help=SOURCE_HELP)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="local folder; RUN_DIR/checkpoint is the codec")
    data = parser.add_argument_group("what it is trained on (decoded once, into a pack)")
    data.add_argument("--pack", metavar="FOLDER", help="where the decoded corpus lies or goes (default: RUN_DIR/pack)")
    data.add_argument("--music", action="append", metavar="GLOB", help="ids that are music (default: music/*)")
    data.add_argument("--speech", action="append", metavar="GLOB", help="ids that are speech (default: speech/*)")
    data.add_argument("--hold-out", action="append", default=[], metavar="GLOB", help="ids to evaluate on and never train on")
    data.add_argument("--hold-out-share", type=float, default=0.05, metavar="P", help="of the others (default: %(default)s)")
    data.add_argument("--synthetic-minutes", type=float, default=0.0, metavar="M", help="synthesised audio to add")
    data.add_argument("--downmix", action="store_true", help="mix more than two channels down instead of skipping")
    data.add_argument("--pack-only", action="store_true", help="make the pack and stop: it can be trained on elsewhere")
    add_options(parser)


def _train(options: argparse.Namespace) -> int:
    from pipelines.train import PackConfig, prepare_pack
    from tokenizer.training.command import run_training

    config = PackConfig(
        source=options.source,
        music=tuple(options.music or ["music/*"]),
        speech=tuple(options.speech or ["speech/*"]),
        hold_out=tuple(options.hold_out),
        hold_out_share=options.hold_out_share,
        synthetic_minutes=options.synthetic_minutes,
        downmix=options.downmix,
        seed=options.seed,
    )
    run_dir = Path(options.run_dir)
    pack = prepare_pack(config, Path(options.pack) if options.pack else run_dir / "pack", options.init, options.preset)
    if options.pack_only:
        return EXIT_OK
    outcome = run_training(options, pack, run_dir)
    print(f"{outcome.checkpoint}: {outcome.step} steps; use it as --codec {outcome.checkpoint}")
    return {"SIGINT": EXIT_INTERRUPTED, "SIGTERM": EXIT_TERMINATED}.get(outcome.reason, EXIT_OK)
