"""What a machine may lack: tests skip with the reason, or fail where a variable says that it should
be there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacking(what: str, variable: str) -> NoReturn:
    """Skip; fail when the environment's `variable` is set."""
    if os.environ.get(variable):
        pytest.fail(f"{what}, and {variable} says that it should be there")
    pytest.skip(what)
