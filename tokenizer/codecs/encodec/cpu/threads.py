"""Work on a CPU that is shared by whole items, because each is too small to be shared itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Threads:
    """As many threads as torch has where it is first used, each of which computes alone."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def map(
        self, work: Callable[[Item], Result], items: Sequence[Item], alone: bool = False
    ) -> list[Result]:
        """The result for each item, in order; without threads where there is one of either.

        With `alone`, torch computes with one thread also where there is one item.
        """
        if torch.get_num_threads() < 2 or len(items) < 2 - alone:
            return [work(item) for item in items]
        if self._pool is None:
            # In each of its threads torch computes with that one.
            self._pool = ThreadPoolExecutor(
                torch.get_num_threads(), "codec", lambda: torch.set_num_threads(1)
            )
        return list(self._pool.map(work, items))


class PerThreads(Generic[Result]):
    """An answer that depends on how many threads torch has; found once for each number of them."""

    def __init__(self, find: Callable[[], Result]) -> None:
        self._find, self._found = find, dict[int, Result]()

    def __call__(self) -> Result:
        threads = torch.get_num_threads()
        if threads not in self._found:
            self._found[threads] = self._find()
        return self._found[threads]
