"""Processes that are ended by SIGKILL at a chosen moment: at a change of a file in an output
folder, or before other calls."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from typing import Any

from pipelines.output.storage import LocalStorage

CHANGES = [(LocalStorage, name) for name in ("write", "create", "move", "remove_if")]


class Killer:
    """Ends its own process for good before its nth call of some functions."""

    def __init__(self, at: int) -> None:
        self.left = at

    def patch(self, moments: Iterable[tuple[Any, str]] = CHANGES) -> None:
        """`moments` are functions, each by what has it and its name there."""
        for owner, name in moments:
            setattr(owner, name, self._before(getattr(owner, name)))

    def _before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def killing(*given: Any, **more: Any) -> Any:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **more)

        return killing


def killed_at(
    moment: int, work: Callable[[], Any], moments: Iterable[tuple[Any, str]] = CHANGES
) -> bool:
    """Whether a process that is killed at its nth moment did not come to its end."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            Killer(moment).patch(moments)
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
