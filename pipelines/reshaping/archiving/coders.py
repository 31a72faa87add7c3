"""Which coder an archive is written with: by name, from a folder of training, or counted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from pipelines.output.manifest.records import unpack_counts
from pipelines.reshaping.parents import Parent
from tokenizer.coding.base import Predictor
from tokenizer.coding.registry import SHIPPED, load_predictor, shipped, shipped_for
from tokenizer.coding.static import StaticPredictor
from tokenizer.errors import CodecshardsError, UsageError

STATIC = "static"
_ROWS = 64
"""of each shard that are counted where no commit record says how often codes occur"""
FILE = "coder.safetensors"
"""that training writes into its folder"""


@dataclass(frozen=True, slots=True)
class Coder:
    """A coder, and how it is told of."""

    predictor: Predictor
    shipped: str | None
    """its name, where it ships with codecshards"""

    @property
    def said(self) -> str:
        """What a folder's configuration says of it."""
        return self.shipped or self.predictor.kind


def choose_coder(parent: Parent, asked: str | None) -> Coder:
    """The coder of a folder's codes.

    Args:
        parent: the folder.
        asked: "static", the name of one that ships with codecshards, a folder of `train-coder`, or
            a file; None is one that ships with codecshards and was trained on this codec's codes,
            or else "static".

    Raises:
        UsageError: no such coder, or one of other codes.
    """
    spec = parent.stored.codec
    if asked is None:
        asked = shipped_for(spec.weights_sha256) or STATIC
    if asked == STATIC:
        return Coder(counted(parent), None)
    found = shipped(asked) if asked in SHIPPED else _from_file(asked)
    if spec.level_repeats is not None or spec.sizes != found.sizes[: spec.n_q]:
        raise UsageError(
            f"--coder {asked}: it is of {len(found.sizes)} codebooks of "
            f"{_listed(found.sizes)} entries, {parent.out} has {spec.describe()}: give "
            f"--coder {STATIC}, which every codec's codes fit"
        )
    return Coder(found.at(spec.n_q), asked if asked in SHIPPED else None)


def counted(parent: Parent) -> StaticPredictor:
    """How often each code occurs in a folder, as its commit records say."""
    spec = parent.stored.codec
    counts = np.zeros((spec.n_q, spec.codebook_size), np.int64)
    for record in parent.manifest.records():
        if record.codebook_counts is not None:
            found = unpack_counts(record.codebook_counts)
            if found.shape == counts.shape:
                counts += found
    if not counts.any():  # records of another program
        for number in range(len(parent.names)):
            for row in islice(parent.rows(number), _ROWS):
                for level, codes in enumerate(row.codes.codes):
                    counts[level] += np.bincount(codes, minlength=spec.codebook_size)
    return StaticPredictor.of_counts(counts, spec.sizes)


def _from_file(asked: str) -> Predictor:
    path = Path(asked)
    file = path / FILE if path.is_dir() else path
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        names = ", ".join([STATIC, *SHIPPED])
        raise UsageError(
            f"--coder {asked}: there is no {file}: give {names}, a folder of `codecshards "
            "train-coder`, or a file from one"
        ) from error
    except OSError as error:
        raise UsageError(f"--coder {asked}: cannot be read: {error.strerror}") from error
    try:
        return load_predictor("transformer", content)
    except (ValueError, CodecshardsError, ImportError) as error:
        raise UsageError(f"--coder {asked}: {file} is no coder: {error}") from error


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(f"{size:,}" for size in sorted(set(sizes)))
