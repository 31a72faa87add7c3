"""What tests of publishing push, and where to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from corpora import write_corpus
from hub import TOKEN, Hub
from huggingface_hub import HfFileSystem

from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus


@contextmanager
def instead_of_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[None]:
    """`huggingface_hub` speaks to a stand-in."""
    for name, value in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_CACHE": str(cache),
    }.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    HfFileSystem.clear_instance_cache()
    yield
    HfFileSystem.clear_instance_cache()


def in_both_formats(root: Path, corpus: str, broken: bool) -> dict[str, Path]:
    """One output in each format, of six recordings, three of which have texts."""
    source = write_corpus(root / corpus, 6, broken=broken, longest=60_000)
    for number, path in enumerate(sorted(source.rglob("*.wav"))[:3]):
        path.with_suffix(".txt").write_text(f"Text {number}.")
    found = {form: root / form for form in ("parquet", "webdataset")}
    for form, out in found.items():
        config = TokenizeConfig(
            str(source), codec="mulaw", bandwidth=24.0, shard_hours=0.0004, format=form
        )
        tokenize_corpus(config, str(out), RunOptions(workers=0, quiet=True))
    return found
