"""What one client may ask for: so many requests a minute, so many connections, so much time."""

from __future__ import annotations

import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

_MOST_KEYS = 10_000


class Rates:
    """A token bucket a key: `burst` at once, and `per_minute` over time."""

    def __init__(
        self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = per_minute / 60, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def allows(self, key: str) -> bool:
        """Whether one more is within the limit; it is counted if so."""
        with self._lock:
            now = self._clock()
            left, since = self._left.pop(key, (float(self._burst), now))
            left = min(float(self._burst), left + (now - since) * self._rate)
            fine = left >= 1
            self._left[key] = (left - 1 if fine else left, now)
            while len(self._left) > _MOST_KEYS:  # the one that was quiet for longest
                self._left.popitem(last=False)
            return fine


class Connections:
    """Those that are open. Beyond so many, in all and of one address, new ones are refused, and
    those that have had their time are cut off, so that slow clients hold nobody up."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._open: dict[socket.socket, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def enter(self, connection: socket.socket, address: str, seconds: float) -> bool:
        """Whether a new connection may stay; it has so much time."""
        with self._lock:
            own = sum(1 for other, _ in self._open.values() if other == address)
            if len(self._open) >= self._most or own >= self._most_of_one:
                return False
            self._open[connection] = (address, time.monotonic() + seconds)
            return True

    def extend(self, connection: socket.socket, seconds: float) -> None:
        """Give a connection that makes progress more time."""
        with self._lock:
            if connection in self._open:
                address, _ = self._open[connection]
                self._open[connection] = (address, time.monotonic() + seconds)

    def leave(self, connection: socket.socket) -> None:
        """It is closed."""
        with self._lock:
            self._open.pop(connection, None)

    def cut_overdue(self) -> None:
        """Shut those whose time is over; their threads see the end of what they read."""
        now = time.monotonic()
        with self._lock:
            overdue = [one for one, (_, until) in self._open.items() if until < now]
        for connection in overdue:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
