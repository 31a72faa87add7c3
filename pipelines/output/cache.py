"""A cache with a limit in bytes, shared by threads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Keeps what was used last, up to a number of bytes, and the very last in any case."""

    def __init__(self, limit: int, size_of: Callable[[Value], int]) -> None:
        self._limit = limit
        self.ample = False
        """whether everything that will ever be asked for fits in its quickest form, as far as the
        owner knows"""
        self._size_of = size_of
        self._held: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = Lock()
        self.bytes = 0
        """what is held"""

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made when it is not held. Two threads may make the same value; one of
        them is kept."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        value = make()
        with self._lock:
            if key not in self._held:
                self._held[key] = value
                self.bytes += self._size_of(value)
                while self.bytes > self._limit and len(self._held) > 1:
                    _, old = self._held.popitem(last=False)
                    self.bytes -= self._size_of(old)
        return value

    def expect(self, total: int) -> None:
        """Say how large all values together are in their quickest form."""
        self.ample = total <= self._limit

    def has_room(self, more: int) -> bool:
        """Whether so many bytes fit without giving anything up."""
        return self.bytes + more <= self._limit

    def swap(self, key: Hashable, value: Value) -> None:
        """Hold another form of what is held, if that costs nothing else its place."""
        with self._lock:
            if key in self._held:
                more = self._size_of(value) - self._size_of(self._held[key])
                if self.has_room(more):
                    self._held[key] = value
                    self.bytes += more
