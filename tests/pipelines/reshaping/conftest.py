"""A small corpus with texts, speakers and languages, tokenized in both formats."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from listed_corpus import write_list

from codecshards import tokenize

COUNT = 24


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_list(tmp_path_factory.mktemp("reshaping") / "corpus", range(COUNT))


@pytest.fixture(scope="session")
def outs(corpus: Path) -> dict[str, Path]:
    """By format; nobody changes them."""
    found = {}
    for form in ("parquet", "webdataset"):
        found[form] = corpus.parent / form
        tokenize(
            str(corpus),
            str(found[form]),
            codec="mulaw",
            format=form,
            shard_hours=0.003,
            quality="peak,silence",
            workers=0,
            quiet=True,
        )
    return found


@pytest.fixture(params=["parquet", "webdataset"])
def out(request: pytest.FixtureRequest, outs: dict[str, Path]) -> Path:
    return outs[request.param]


@pytest.fixture
def own(out: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(out, tmp_path / out.name))
