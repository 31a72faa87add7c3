"""Corpora and a browser that the tests of `pipelines` share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import decoders
import pytest
from browsers import headless_chromium
from corpora import Maker, write_corpus


@pytest.fixture(autouse=True, scope="module")
def forked_decoders(request: pytest.FixtureRequest) -> Iterator[None]:
    """Decoders that start at once; `REAL_DECODERS` in a test module has those of the program."""
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "REAL_DECODERS", False):
            patch.setattr("pipelines.corpus.child.subprocess", decoders.SUBPROCESS)
        yield


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
