"""Reduced checkpoints of the codecs with a semantic branch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tokenizer.codecs.semantic.seeded import write_seeded_semantic


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The folder of a seeded checkpoint by its model type."""
    where: Path = tmp_path_factory.mktemp("semantic")

    @cache
    def folder(model_type: str) -> str:
        return str(write_seeded_semantic(where / model_type, model_type=model_type))

    return folder
