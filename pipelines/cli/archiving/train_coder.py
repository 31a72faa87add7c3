"""`codecshards train-coder`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.cli import EXIT_INTERRUPTED, EXIT_OK, EXIT_TERMINATED


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    parser.set_defaults(run=run, words=("out", "run_dir"))
    parser.add_argument(
        "out", metavar="OUT", nargs="+", help="folders of codes, all of one codec: several are one"
    )
    parser.add_argument(
        "run_dir", metavar="RUN", help="local folder; `compress --coder RUN` takes what is in it"
    )
    _add_data(parser)
    _add_training(parser)
    _add_sitting(parser)


def _add_data(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("what it is trained on (fixed at the first run on RUN)")
    data.add_argument("--n-q", type=int, metavar="N", help="the first N levels (default: all)")
    data.add_argument(
        "--hours",
        type=float,
        default=20.0,
        metavar="H",
        help="audio of at most so many hours, held in memory: a sample of a larger corpus "
        "(default: %(default)s)",
    )
    data.add_argument(
        "--hold-out",
        action="append",
        default=[],
        metavar="GLOB",
        help="ids to judge by and never train on",
    )
    data.add_argument(
        "--hold-out-share",
        type=float,
        default=0.05,
        metavar="P",
        help="of the others, by a hash of their ids (default: %(default)s)",
    )
    data.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="GLOB",
        help="ids to leave out altogether",
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what is trained (fixed at the first run on RUN)")
    what.add_argument("--preset", default="small", help="small or paper (default: %(default)s)")
    what.add_argument(
        "--steps",
        type=int,
        default=4000,
        metavar="N",
        help="length of the run; may change later (default: %(default)s)",
    )
    what.add_argument(
        "--batch", type=int, default=16, metavar="N", help="segments a step (default: %(default)s)"
    )
    what.add_argument(
        "--learning-rate", type=float, default=2e-3, metavar="X", help="default: %(default)s"
    )
    what.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    what.add_argument(
        "--no-codebooks",
        action="store_true",
        help="begin at random also where the codec's own codebooks are at hand",
    )


def _add_sitting(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how it is run (free to change from run to run)")
    how.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="stop after M minutes, with a checkpoint; run again to go on",
    )
    how.add_argument(
        "--checkpoint-minutes", type=float, default=5.0, metavar="M", help="default: %(default)s"
    )
    how.add_argument(
        "--evaluate-every", type=int, default=500, metavar="N", help="default: %(default)s steps"
    )
    how.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")


def run(options: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    import torch

    from pipelines.cli.archiving.training_codes import Wanted, read_codes
    from pipelines.system.devices import require_device
    from tokenizer.codecs.devices import resolve_device
    from tokenizer.coding.training.loop import Sitting, train
    from tokenizer.coding.training.presets import CoderConfig
    from tokenizer.errors import UsageError

    if "://" in options.run_dir:
        raise UsageError(f"{options.run_dir}: RUN is a local folder; copy it when it is done")
    require_device(options.device)
    if options.threads is not None:
        if options.threads < 1:
            raise UsageError(f"--threads {options.threads}: give at least 1")
        torch.set_num_threads(options.threads)
    sitting = Sitting(
        device=resolve_device(options.device),
        minutes=options.minutes,
        checkpoint_minutes=options.checkpoint_minutes,
        evaluate_every=options.evaluate_every,
    )
    wanted = Wanted(
        preset=options.preset,
        n_q=options.n_q,
        hours=options.hours,
        hold_out=tuple(options.hold_out),
        hold_out_share=options.hold_out_share,
        leave_out=tuple(options.leave_out),
        codebooks=not options.no_codebooks,
    )
    read = read_codes(options.out, wanted)
    for pattern in read.unmatched:
        print(f"{pattern}: none of the recordings that were read has such an id", flush=True)
    config = CoderConfig(
        shape=read.shape,
        segment_frames=read.segment_frames,
        preset=options.preset,
        corpus=read.train.identity(),
        steps=options.steps,
        batch=options.batch,
        learning_rate=options.learning_rate,
        seed=options.seed,
        codebooks=read.codebooks is not None,
    )
    outcome = train(
        config, read.train, read.held_out, Path(options.run_dir), sitting, read.codebooks
    )
    print(f"{outcome.coder}: {outcome.step} steps; use it as --coder {options.run_dir}")
    return {"SIGINT": EXIT_INTERRUPTED, "SIGTERM": EXIT_TERMINATED}.get(outcome.reason, EXIT_OK)
