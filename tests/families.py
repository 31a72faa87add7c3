"""Small seeded checkpoints of every family that codecs are registered in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tokenizer.codecs.dac.seeded import write_seeded_dac
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.codecs.mimi.seeded import write_seeded_mimi
from tokenizer.codecs.semantic.seeded import REDUCED, write_seeded_semantic

WRITERS: dict[str, Callable[[Path], object]] = {
    "encodec-48khz": lambda folder: write_seeded(folder, model="48khz", size="reduced"),
    "encodec-24khz": lambda folder: write_seeded(folder, model="24khz", size="reduced"),
    "encodec-32khz": lambda folder: write_seeded(folder, model="32khz", size="reduced"),
    "dac": write_seeded_dac,
    "mimi": write_seeded_mimi,
    **{
        kind: lambda folder, kind=kind: write_seeded_semantic(folder, model_type=kind)  # type: ignore[misc]
        for kind in REDUCED
    },
}
"""by the `model_type` that they write, and which of its models"""
