"""Codecs and audio for the tests of `tokenizer`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenizer.codecs.encodec.seeded import write_seeded


@pytest.fixture(scope="session")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reduced 48 kHz checkpoint."""
    return write_seeded(tmp_path_factory.mktemp("codec") / "reduced", model="48khz", size="reduced")


@pytest.fixture(scope="session")
def mono(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reduced 24 kHz checkpoint, without windows or scales."""
    return write_seeded(tmp_path_factory.mktemp("codec") / "mono", model="24khz", size="reduced")


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published 48 kHz architecture at full size."""
    return write_seeded(tmp_path_factory.mktemp("codec") / "full", model="48khz", size="full")
