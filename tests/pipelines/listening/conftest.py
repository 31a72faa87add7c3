"""What the tests of listening tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_evaluation import write_evaluation

from pipelines.listening.folder import Design
from pipelines.listening.making.make import make
from pipelines.listening.options import MakeOptions, ServeOptions
from pipelines.listening.serving.server import Server, in_thread, start


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three excerpts of speech and two of music, through three systems."""
    return write_evaluation(tmp_path_factory.mktemp("evaluation"), {"speech": 3, "music": 2})


@pytest.fixture
def made(evaluation: Path, tmp_path: Path) -> tuple[Path, Design]:
    """A test of four screens for six raters."""
    folder = tmp_path / "test"
    options = MakeOptions(excerpts=2, seconds=1.0, raters=6, screens=4, quiet=True)
    return folder, make(str(evaluation), str(folder), options)


@pytest.fixture
def server(made: tuple[Path, Design]) -> Iterator[Server]:
    server = start(str(made[0]), ServeOptions(port=0, quiet=True))
    thread = in_thread(server)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    server.listening.store.close()
