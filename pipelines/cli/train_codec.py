"""`codecshards train-codec`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.cli import EXIT_INTERRUPTED, EXIT_OK, EXIT_TERMINATED, SOURCE_HELP


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser this command's arguments."""
    from tokenizer.training.command import add_options

    parser.set_defaults(run=run, words=("source", "run_dir"))
    parser.add_argument("source", metavar="CORPUS", nargs="+", help=SOURCE_HELP)
    parser.add_argument(
        "run_dir", metavar="RUN_DIR", help="local folder; RUN_DIR/checkpoint is the codec"
    )
    _add_data(parser)
    add_options(parser)


def _add_data(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("what it is trained on (decoded once, into a pack)")
    data.add_argument(
        "--pack",
        metavar="FOLDER",
        help="where the decoded corpus lies or goes (default: RUN_DIR/pack)",
    )
    data.add_argument(
        "--music", action="append", metavar="GLOB", help="ids that are music (default: music/*)"
    )
    data.add_argument(
        "--speech", action="append", metavar="GLOB", help="ids that are speech (default: speech/*)"
    )
    data.add_argument(
        "--hold-out",
        action="append",
        default=[],
        metavar="GLOB",
        help="ids to evaluate on and never train on",
    )
    data.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="GLOB",
        help="ids to leave out altogether",
    )
    data.add_argument(
        "--hold-out-share",
        type=float,
        default=0.05,
        metavar="P",
        help="of the others (default: %(default)s)",
    )
    data.add_argument(
        "--synthetic-minutes", type=float, default=0.0, metavar="M", help="synthesised audio to add"
    )
    data.add_argument(
        "--downmix", action="store_true", help="mix more than two channels down instead of skipping"
    )
    data.add_argument(
        "--pack-only",
        action="store_true",
        help="make the pack and stop: it can be trained on elsewhere",
    )


def run(options: argparse.Namespace) -> int:
    """Do what was asked for; the exit code."""
    from pipelines.corpus.training_pack import PackConfig, prepare_pack
    from pipelines.system.devices import require_device
    from tokenizer.errors import UsageError
    from tokenizer.training.command import run_training, settings_of

    for place in (options.run_dir, options.pack or ""):
        if "://" in place:
            raise UsageError(f"{place}: give a local folder; copy it when it is done")
    config = PackConfig(
        source=options.source[0] if len(options.source) == 1 else tuple(options.source),
        music=tuple(options.music or ["music/*"]),
        speech=tuple(options.speech or ["speech/*"]),
        hold_out=tuple(options.hold_out),
        leave_out=tuple(options.leave_out),
        hold_out_share=options.hold_out_share,
        synthetic_minutes=options.synthetic_minutes,
        downmix=options.downmix,
        seed=options.seed,
    )
    if not options.pack_only:  # asked before hours of decoding, not after
        require_device(options.device)
        settings_of(options)
    run_dir = Path(options.run_dir)
    pack = prepare_pack(
        config,
        Path(options.pack) if options.pack else run_dir / "pack",
        options.init,
        options.preset,
    )
    if options.pack_only:
        return EXIT_OK
    outcome = run_training(options, pack, run_dir)
    print(f"{outcome.checkpoint}: {outcome.step} steps; use it as --codec {outcome.checkpoint}")
    return {"SIGINT": EXIT_INTERRUPTED, "SIGTERM": EXIT_TERMINATED}.get(outcome.reason, EXIT_OK)
