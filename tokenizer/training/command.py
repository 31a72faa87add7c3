"""The options of training, shared by `codecshards train-codec` and `python -m
tokenizer.training`."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizer.errors import UsageError

if TYPE_CHECKING:
    from tokenizer.training.data.pack import Pack
    from tokenizer.training.loop import Outcome, Sitting
    from tokenizer.training.presets import TrainConfig


def add_options(parser: argparse.ArgumentParser) -> None:
    """Everything but the places. Imports nothing heavy."""
    what = parser.add_argument_group("what is trained (fixed at the first run on RUN_DIR)")
    what.add_argument(
        "--preset",
        help="paper, small, small-cpu, tiny; or finetune (default: small; with --init finetune)",
    )
    what.add_argument(
        "--init", metavar="CODEC", help="start from a checkpoint: hub id or save_pretrained folder"
    )
    what.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="length of the run; may change later, the last phase follows",
    )
    what.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="examples a step and device (default: the preset's; paper's 64 are of all devices)",
    )
    what.add_argument(
        "--learning-rate", type=float, metavar="X", help="multiplies the preset's (default: 1)"
    )
    what.add_argument(
        "--precision", default="float32", help="float32 or bfloat16 (default: %(default)s)"
    )
    what.add_argument(
        "--reverb",
        type=float,
        default=0.0,
        metavar="P",
        help="probability of a room (default: %(default)s)",
    )
    what.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    _add_sitting(parser)


def _add_sitting(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how it is run (free to change from run to run)")
    how.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="stop after M minutes, with a checkpoint; run again to go on",
    )
    how.add_argument(
        "--checkpoint-minutes", type=float, default=10.0, metavar="M", help="default: %(default)s"
    )
    how.add_argument(
        "--checkpoint-steps", type=int, metavar="N", help="checkpoint every N steps, too"
    )
    how.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")
    how.add_argument("--no-tensorboard", action="store_true", help="write losses.jsonl only")


def run_training(options: argparse.Namespace, pack: Pack, run_dir: Path) -> Outcome:
    """Train as the options say.

    Raises:
        UsageError: they cannot be.
    """
    from tokenizer.training.loop import train

    config, sitting = settings_of(options)
    hours = {
        name: round(pack.seconds(held_out=held) / 3600, 4)
        for name, held in (("hours", False), ("held_out_hours", True))
    }
    config = replace(config, pack={**hours, "recordings": len(pack.recordings)})
    return train(config, pack, run_dir, sitting)


def settings_of(options: argparse.Namespace) -> tuple[TrainConfig, Sitting]:
    """What the options say, before there is a pack.

    Raises:
        UsageError: they cannot be.
    """
    from tokenizer.training.loop import Sitting
    from tokenizer.training.presets import TrainConfig, find_preset

    preset = find_preset(options.preset or ("finetune" if options.init else "small"))
    if options.batch is not None:
        if options.batch < 1:
            raise UsageError(f"--batch {options.batch}: give at least 1")
        preset = replace(preset, batch=options.batch, total_batch=None)
    if options.learning_rate is not None:
        if not 0 < options.learning_rate < math.inf:
            raise UsageError(f"--learning-rate {options.learning_rate}: give a factor above 0")
        phases = tuple(
            replace(phase, learning_rate=phase.learning_rate * options.learning_rate)
            for phase in preset.phases
        )
        preset = replace(preset, phases=phases)
    config = TrainConfig(
        preset=preset,
        init=options.init,
        seed=options.seed,
        precision=options.precision,
        reverb=options.reverb,
    )
    sitting = Sitting(
        device=options.device,
        threads=options.threads,
        minutes=options.minutes,
        checkpoint_minutes=options.checkpoint_minutes,
        checkpoint_steps=options.checkpoint_steps,
        steps=options.steps,
        tensorboard=not options.no_tensorboard,
    )
    return config, sitting
