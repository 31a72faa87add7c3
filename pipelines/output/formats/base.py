"""What a shard format is: rows to a file and back, and a reader at random for the loader. A new one
is one subclass and one registry row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from pipelines.output.formats.schema import SCALARS, Row

if TYPE_CHECKING:
    from pipelines.output.formats.reading.base import ShardReader


@dataclass(frozen=True, slots=True)
class Lost:
    """A row that cannot be read, while others of its shard can."""

    id: str | None
    """None where nothing says it"""
    message: str
    """what is wrong, and where"""


@dataclass(frozen=True, slots=True)
class Partial:
    """A row some of whose codes cannot be read: others stand in their place, and its `meta` says
    where."""

    row: Row
    message: str
    """what is wrong, and where"""


class ShardFormat(ABC):
    """Stateless: rows in, bytes out, and back. The same rows give the same bytes."""

    suffix: str
    """of the files' names, with the dot"""
    has_settings: ClassVar[bool] = False
    """whether its files are written in ways of which `like` finds one again"""
    for_the_hub: ClassVar[bool] = True
    """whether the Hugging Face Hub shows its files, and `datasets` reads them"""

    @property
    @abstractmethod
    def reader(self) -> type[ShardReader]:
        """How the loader reads it: any row, any frames."""

    def file_name(self, shard: str) -> str:
        """What the file of a shard (`train-00000-of-00012`) is called."""
        return f"{shard}{self.suffix}"

    def usage(self, split: str) -> str:
        """Python that reads all shards of a split from within OUT, for the data set card."""
        return f"from codecshards import CodesDataset\n\ncodes = CodesDataset('.', split={split!r})"

    @abstractmethod
    def write(self, path: str, rows: Iterable[Row], footer: Mapping[str, Any]) -> None:
        """Write a shard to a local path, a bounded number of rows in memory at a time."""

    @abstractmethod
    def read(self, file: IO[bytes], name: str) -> Iterator[Row]:
        """Every row, in order.

        Raises:
            ShardError: damage; it names the shard.
        """

    def salvage(self, file: IO[bytes], name: str) -> Iterator[Row | Lost | Partial]:
        """Every row, in order, and what is wrong with those that are damaged: the others go on,
        where the format allows it. `Partial` comes from formats that were asked for it alone.

        Raises:
            ShardError: damage that is not of single rows; it names the shard.
        """
        yield from self.read(file, name)

    def like(self, file: IO[bytes], name: str) -> ShardFormat:
        """The format with the settings that a file was written with.

        Raises:
            ShardError: damage; it names the shard.
        """
        del file, name
        return self

    @abstractmethod
    def read_one(self, file: IO[bytes], name: str, id: str) -> Row | None:
        """The row with this id without reading the others' codes; None when it is not in the shard.

        Raises:
            ShardError: damage; it names the shard.
        """

    def columns(self, file: IO[bytes], name: str) -> pa.Schema:
        """The columns of a shard that hold one value a row, as the shard itself has them.

        Raises:
            ShardError: damage; it names the shard.
        """
        del file, name
        return SCALARS

    def read_columns(
        self, file: IO[bytes], name: str, columns: Sequence[str]
    ) -> Iterator[Mapping[str, Any]]:
        """Some of `columns` of every row, in order; nothing else is read where the format allows
        it.

        Raises:
            ShardError: damage; it names the shard.
        """
        for row in self.read(file, name):
            facts = row.facts()
            yield {column: facts.get(column) for column in columns}

    def salvage_columns(
        self, file: IO[bytes], name: str, columns: Sequence[str]
    ) -> Iterator[Mapping[str, Any] | Lost]:
        """The same, with what is wrong in the place of rows whose columns are damaged."""
        yield from self.read_columns(file, name, columns)

    def flaws(self, file: IO[bytes], name: str) -> list[str]:
        """What is damaged in a file beside its rows, and what of it was gone around."""
        del file, name
        return []

    @abstractmethod
    def footer(self, file: IO[bytes], name: str) -> dict[str, Any]:
        """What the shard says of itself.

        Raises:
            ShardError: damage; it names the shard.
        """
