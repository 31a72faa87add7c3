"""Hugging Face data sets: `hf:NAME[:config]:split`, or a folder written by `save_to_disk`. Audio as bytes, decoded here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.sources.base import Source
from pipelines.sources.parquet import audio_column, audio_value
from pipelines.sources.table import describe_row
from tokenizer.errors import FailureKind, RecordingError, SourceError
from tokenizer.types import Recording

PREFIX = "hf:"


class HubSource(Source):
    """One split. The id is a column's, or `SPLIT-ROW`."""

    def __init__(self, spec: str) -> None:
        parts = spec.removeprefix(PREFIX).split(":")
        self._name, self._config, self._split = _parse(spec, parts)
        if Path(self._name).is_dir():
            self._name = str(Path(self._name).resolve())
        self.spec = PREFIX + ":".join(part for part in (self._name, self._config, self._split) if part)
        self._loaded: tuple[Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def scan(self) -> Iterator[Recording]:
        data, column = self._load()
        others = data.remove_columns([column])
        for number in range(len(data)):
            row = others[number] if others.column_names else {}
            yield Recording(uri=self.spec, locator={"row": number}, **describe_row(row, f"{self._split or 'row'}-{number:08d}"))

    def open(self, recording: Recording) -> str | BinaryIO:
        data, column = self._load()
        number = int(recording.locator["row"])
        if number >= len(data):
            message = f"{self.spec}: has no row {number} (it has {len(data)})"
            raise RecordingError(FailureKind.NOT_FOUND, message, "open")
        return audio_value(data[number][column], f"{self.spec} row {number}")

    def _load(self) -> tuple[Any, str]:
        if self._loaded is None:
            data = self._from_disk() if Path(self._name).is_dir() else self._from_hub()
            column = audio_column(data.features.arrow_schema)
            if column is None:
                raise SourceError(f"{self.spec}: no audio column among {', '.join(data.column_names)}")
            self._loaded = (_undecoded(data, column), column)
        return self._loaded

    def _from_disk(self) -> Any:
        import datasets

        try:
            data = datasets.load_from_disk(self._name)
        except (OSError, ValueError) as error:
            raise SourceError(f"{self._name}: not a folder written by save_to_disk: {_first_line(error)}") from error
        if not isinstance(data, datasets.DatasetDict):
            return data
        if self._split in data:
            return data[self._split]
        raise SourceError(f"{self._name} has splits {', '.join(data)}: choose one with hf:{self._name}:SPLIT")

    def _from_hub(self) -> Any:
        import datasets

        try:
            return datasets.load_dataset(self._name, self._config or None, split=self._split)
        except Exception as error:  # the hub client and the data set's own reader raise what they like
            raise SourceError(
                f"{self.spec}: cannot be loaded: {_first_line(error)} (without a network: fetch it elsewhere, "
                "save it with save_to_disk, and give the folder)"
            ) from error


def _parse(spec: str, parts: list[str]) -> tuple[str, str, str]:
    """Name, config, split; a local folder needs no split."""
    if len(parts) == 3 and all(parts):
        return parts[0], parts[1], parts[2]
    if len(parts) == 2 and all(parts):
        return parts[0], "", parts[1]
    if len(parts) == 1 and Path(parts[0]).is_dir():
        return parts[0], "", ""
    raise SourceError(f"{spec}: expected hf:NAME:split or hf:NAME:config:split")


def _undecoded(data: Any, column: str) -> Any:
    import datasets

    return data.cast_column(column, datasets.Audio(decode=False))


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
