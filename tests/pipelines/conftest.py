"""Corpora and a browser that the tests of `pipelines` share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import headless_chromium
from corpora import Maker, write_corpus
from warm_decoders import WarmDecoders


@pytest.fixture(scope="session", autouse=True)
def warm_decoders() -> Iterator[None]:
    """Decoders that tests start in this process take milliseconds to start."""
    from pipelines.corpus import child

    warm = WarmDecoders()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "subprocess", warm)
        yield
    warm.close()


@pytest.fixture
def make_corpus(tmp_path: Path) -> Maker:
    """Writes a folder of short recordings, a broken one among them."""

    def make(
        count: int = 12, name: str = "corpus", broken: bool = True, longest: int = 130_000
    ) -> Path:
        folder = tmp_path / name
        write_corpus(folder, count, broken, longest)
        return folder

    return make


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    yield from headless_chromium()
