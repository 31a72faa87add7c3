"""A checkpoint small enough to ship: weights rounded to float16, computed in float32.

    python -m tokenizer.training.export RUN_DIR/checkpoint FOLDER

The rounding happens once, here: whoever loads the folder computes in float32 with the same rounded
values, so codes agree everywhere. The codebooks' running averages are only of use to training; they
are stored as the codebooks themselves say (average = code, each used once), which `quantizer` takes
up again when it fine-tunes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from tokenizer.errors import CodecshardsError, OutputError
from tokenizer.training.checkpoints import save_model
from tokenizer.training.networks.model import initial_model


def export(checkpoint: str, folder: Path) -> Path:
    """Write the small form of a checkpoint.

    Raises:
        CodecLoadError: there is no such checkpoint.
        OutputError: the folder exists or cannot be written.
    """
    if folder.exists():
        raise OutputError(f"{folder}: there is something already; give another folder")
    model = initial_model(checkpoint)
    with torch.no_grad():
        for layer in model.quantizer.layers:
            codebook = layer.codebook
            codebook.embed_avg.copy_(codebook.embed)
            codebook.cluster_size.fill_(1.0)
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        save_model(temporary, model.half())
        _compute_in_float32(temporary / "config.json")
        temporary.replace(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    return folder


def _compute_in_float32(path: Path) -> None:
    """Plain `from_pretrained` takes the type to compute in from the configuration."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tokenizer.training.export", description=__doc__.splitlines()[0]
    )
    parser.add_argument("checkpoint")
    parser.add_argument("folder")
    options = parser.parse_args(arguments)
    try:
        folder = export(options.checkpoint, Path(options.folder))
    except CodecshardsError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
