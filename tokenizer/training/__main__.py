"""Training from a pack alone: `python -m tokenizer.training PACK RUN_DIR --preset small`.

Needs torch, transformers, NumPy and safetensors; accelerate for several devices, TensorBoard for
curves.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tokenizer.errors import CodecshardsError
from tokenizer.training.command import add_options, run_training
from tokenizer.training.data.pack import Pack


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit codes as `codecshards train-codec`."""
    parser = argparse.ArgumentParser(
        prog="python -m tokenizer.training", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "pack",
        metavar="PACK",
        help="folder with a pack (codecshards train-codec makes one in RUN_DIR/pack)",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR")
    add_options(parser)
    options = parser.parse_args(arguments)
    try:
        outcome = run_training(options, Pack(options.pack), Path(options.run_dir))
    except (CodecshardsError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    if outcome.reason in ("SIGINT", "SIGTERM"):
        return 128 + int(signal.Signals[outcome.reason])
    return 0


if __name__ == "__main__":
    sys.exit(main())
