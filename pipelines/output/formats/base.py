"""What a shard format is: rows to a file and back. A new one is one subclass and one registry
row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from pipelines.output.formats.schema import Row


class ShardFormat(ABC):
    """Stateless: rows in, bytes out, and back. The same rows give the same bytes."""

    suffix: str
    """of the files' names, with the dot"""

    def file_name(self, shard: str) -> str:
        """What the file of a shard (`train-00000-of-00012`) is called."""
        return f"{shard}{self.suffix}"

    @abstractmethod
    def write(self, path: str, rows: Iterable[Row], footer: Mapping[str, Any]) -> None:
        """Write a shard to a local path, a bounded number of rows in memory at a time."""

    @abstractmethod
    def read(self, file: IO[bytes], name: str) -> Iterator[Row]:
        """Every row, in order.

        Raises:
            ShardError: damage; it names the shard.
        """

    @abstractmethod
    def read_one(self, file: IO[bytes], name: str, id: str) -> Row | None:
        """The row with this id without reading the others' codes; None when it is not in the shard.

        Raises:
            ShardError: damage; it names the shard.
        """

    @abstractmethod
    def footer(self, file: IO[bytes], name: str) -> dict[str, Any]:
        """What the shard says of itself.

        Raises:
            ShardError: damage; it names the shard.
        """
