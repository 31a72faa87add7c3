"""One iterator, shared by threads that each know which of its items is theirs."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")


class InTurn(Generic[Item]):
    """The items of an iterator by number, each handed out once, made in order by whichever thread
    comes first.

    That thread is one which reads: a thread that only plans would compete with those that read for
    the interpreter, and each time one gives way to the other costs more than a plan.
    """

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._made: dict[int, Item | BaseException | None] = {}
        self._count = 0
        self._lock = Lock()

    def item(self, number: int) -> Item | None:
        """An item, or None behind the last one.

        Raises:
            BaseException: what the iterator raised in place of this item.
        """
        with self._lock:
            while self._count <= number:
                try:
                    made: Item | BaseException | None = next(self._items, None)
                except BaseException as error:  # raised where its item is asked for
                    made = error
                self._made[self._count] = made
                self._count += 1
            item = self._made.pop(number)
        if isinstance(item, BaseException):
            raise item
        return item
