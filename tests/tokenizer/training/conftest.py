"""A pack that the training tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tokenizer.training.data.pack import PackWriter
from tokenizer.training.data.synthesis import music, noises


@pytest.fixture(scope="session")
def pack_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight synthesised recordings of 4 s: music and effects, two of them held out."""
    folder = tmp_path_factory.mktemp("training") / "pack"
    with PackWriter(folder, 48_000, 2) as writer:
        for number in range(8):
            rng = np.random.default_rng([1, number])
            kind, make = (("music", music), ("other", noises))[number % 2]
            writer.add(f"{kind}/{number}", kind, [make(4.0, 48_000, rng)], held_out=number >= 6)
    return folder
