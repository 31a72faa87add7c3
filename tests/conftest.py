"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts in the background without Ctrl-C, and so would be the programs that these tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small models on many threads spend their time waiting for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The optional folder of real recordings beside the checkout; CI says that it expects it."""
    folder = ROOT.parent / "shared" / "audio"
    if folder.is_dir():
        return folder
    if os.environ.get("CODECSHARDS_EXPECT_AUDIO"):
        pytest.fail(f"{folder} is missing, and CODECSHARDS_EXPECT_AUDIO says that it should be there")
    pytest.skip("the optional folder of real recordings, ../shared/audio, is not beside this checkout")
