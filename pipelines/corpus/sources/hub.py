"""Hugging Face data sets: `hf:NAME[@revision][:config]:split`, or a folder written by
`save_to_disk`; of a split also parts, as `datasets` has them (`train[:1%]`, `train[10:20]+test`).
Audio as bytes, decoded here."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.corpus.sources.base import Source, refuse_rejected, rejected
from pipelines.corpus.sources.identity import (
    FILE,
    VERSION,
    changed,
    file_version,
    require_same,
    row_version,
)
from pipelines.corpus.sources.parquet import audio_column, audio_value
from pipelines.corpus.tables.audio_cells import holds_bytes, lengths_of_cells
from pipelines.corpus.tables.columns import SECONDS_COLUMNS, UniqueColumn, describe_row, pick
from tokenizer.errors import FailureKind, RecordingError, SourceError
from tokenizer.types import Recording

PREFIX = "hf:"
_BATCH = 1000
_COLON = re.compile(r":(?![^\[]*\])")
"""those that are not of a slice"""


class HubSource(Source):
    """One split. The id is a column's, or `SPLIT-ROW`."""

    def __init__(self, spec: str) -> None:
        parts = _COLON.split(spec.removeprefix(PREFIX))
        self._name, self._config, self._split = _parse(spec, parts)
        if Path(self._name).is_dir():
            self._name = str(Path(self._name).resolve())
        self.spec = PREFIX + ":".join(
            part for part in (self._name, self._config, self._split) if part
        )
        self._asked = ""
        if not Path(self._name).is_dir():
            self._name, _, self._asked = self._name.partition("@")
        self._pieces: list[tuple[str, int, int]] = []
        """of parts of splits: a split, its first row there is, and how many"""
        self._loaded: tuple[Any, str] | None = None
        self._files: str | None = None
        self._revision: str | None = None
        """commit of the Hub that is loaded; None for a folder, and where there is no network to
        ask"""

    @staticmethod
    def fits(spec: str) -> bool:
        # A pattern of tars may be longer than a name can be, which is an error to `Path`.
        return any(
            os.path.isfile(f"{spec}/{name}")  # noqa: PTH113
            for name in ("state.json", "dataset_dict.json")
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None, "_files": None}

    def scan(self) -> Iterator[Recording]:
        data, column = self._load()
        self.notes = ()
        schema = data.features.arrow_schema
        left_out = [
            field.name for field in schema if field.name != column and holds_bytes(field.type)
        ]
        others = [name for name in data.column_names if name != column and name not in left_out]
        if left_out:
            self.note(f"not kept, columns of bytes beside the audio: {', '.join(sorted(left_out))}")
        if not len(data):
            raise SourceError(f"{self.spec}: the split is empty")
        unique = UniqueColumn(others)
        for name in unique.columns:
            for values in _batches(data, [name]):
                for value in values[name].to_pylist():
                    unique.add(name, value)
        identity, note = unique.choose()
        if note:
            self.note(note)
        number, lengths = 0, _lengths(data, column, others)
        for batch in _batches(data, others) if others else iter(()):
            for row in batch.to_pylist():
                yield _long(self._recording(number, row, identity), lengths)
                number += 1
        for left in range(number, len(data)):  # nothing but audio
            yield _long(self._recording(left, {}, identity), lengths)

    def open(self, recording: Recording) -> str | BinaryIO:
        refuse_rejected(recording)
        try:
            data, column = self._load(recording.locator.get("revision"))
        except SourceError as error:
            raise RecordingError(FailureKind.UNREADABLE, str(error), "open") from error
        number = int(recording.locator["row"])
        if number >= len(data):
            message = f"{self.spec}: has no row {number} (it has {len(data)})"
            raise RecordingError(FailureKind.NOT_FOUND, message, "open")
        kept = [
            field.name
            for field in data.features.arrow_schema
            if field.name == column or not holds_bytes(field.type)
        ]
        row = data.with_format("arrow").select_columns(kept)[number : number + 1].to_pylist()[0]
        cell, name = row.pop(column), f"{self.spec} row {number}"
        planned = recording.locator.get(VERSION)
        if self.check_versions and planned and self._version(data, row) != planned:
            raise changed(name, "another row is there")
        if self.check_versions:
            require_same(name, recording.locator.get(FILE), self._of_files(data))
        return audio_value(
            cell, name, self._name if Path(self._name).is_dir() else None, self.follow_links
        )

    def _recording(self, number: int, row: dict[str, Any], identity: str | None) -> Recording:
        data, _ = self._load()
        fallback = self._called(number)
        try:
            told = describe_row(row, fallback, identity)
        except ValueError as error:
            return rejected(
                fallback, self.spec, FailureKind.BAD_ROW, f"{self.spec} row {number}: {error}"
            )
        locator = {"row": number, VERSION: self._version(data, row)}
        if self._revision is not None:
            locator["revision"] = self._revision
        elif (version := self._of_files(data)) is not None:
            locator[FILE] = version
        return Recording(uri=self.spec, locator=locator, **told)

    @staticmethod
    def _version(data: Any, row: dict[str, Any]) -> str:
        """What tells a row from others: its values; the data set's fingerprint where it has
        none."""
        known = any(value is not None for value in row.values())
        return row_version(row) if known else f"{len(data)}-{data._fingerprint}"

    def files(self) -> Mapping[str, str | None] | None:
        if Path(self._name).is_dir():
            return {self.spec: self._of_files(self._load()[0])}
        commit = _commit(self._name)
        return None if commit is None else {self.spec: commit}

    def _of_files(self, data: Any) -> str | None:
        """Version of the files of a folder; what the Hub has is told by its revision, and its
        files are a cache."""
        if not Path(self._name).is_dir():
            return None
        if self._files is None:
            found = [file_version(one["filename"]) for one in data.cache_files]
            self._files = f"{len(found)}-{zlib.crc32(repr(found).encode()):08x}"
        return self._files

    def _load(self, revision: str | None = None) -> tuple[Any, str]:
        if self._loaded is None or (revision is not None and revision != self._revision):
            data = self._from_disk() if Path(self._name).is_dir() else self._from_hub(revision)
            column = audio_column(data.features.arrow_schema)
            if column is None:
                raise SourceError(
                    f"{self.spec}: no audio column (one with bytes is expected) among "
                    f"{', '.join(data.column_names)}; a column of paths becomes one by "
                    "data.cast_column(NAME, datasets.Audio()), before save_to_disk"
                )
            self._loaded, self._files = (_undecoded(data, column), column), None
        return self._loaded

    def _from_disk(self) -> Any:
        splits = _saved_splits(self._name)
        if splits is None:
            data = _load_saved(self._name)
            return self._parts(lambda split: data) if _is_part(self._split) else data
        if self._split in splits:
            return _load_saved(f"{self._name}/{self._split}")
        if _is_part(self._split):
            return self._parts(lambda split: _load_saved(f"{self._name}/{splits[split]}"))
        raise SourceError(
            f"{self._name} has splits {', '.join(splits)}: choose one with hf:{self._name}:SPLIT"
        )

    def _parts(self, load: Callable[[str], Any]) -> Any:
        """The parts of splits that are asked for, one after the other. Splits are loaded whole, so
        that a row is called the same in every part.

        Raises:
            SourceError: what is asked for is no part of a split.
        """
        import datasets

        try:
            asked = self._split.replace(" ", "")
            names = {re.split(r"[\[(]", each)[0] for each in asked.split("+")}
            whole = {name: load(name) for name in sorted(names)}
            sizes = {name: len(data) for name, data in whole.items()}
            parts = datasets.ReadInstruction.from_spec(asked).to_absolute(sizes)
        except (ValueError, AssertionError, KeyError) as error:
            raise SourceError(
                f"{self.spec}: no such part of a split ({_first_line(error)}): train, train[:1%], "
                "train[10:20] and sums of these with + are meant"
            ) from error
        self._pieces = [
            (part.splitname, part.from_ or 0, rows)
            for part in parts
            if (rows := (sizes[part.splitname] if part.to is None else part.to) - (part.from_ or 0))
            > 0
        ]
        selected = [
            whole[name].select(range(first, first + rows)) for name, first, rows in self._pieces
        ]
        if not selected:
            raise SourceError(f"{self.spec}: that part is empty")
        return selected[0] if len(selected) == 1 else datasets.concatenate_datasets(selected)

    def _called(self, number: int) -> str:
        """A row without a name of its own: by its split, and its place there."""
        for name, first, rows in self._pieces:
            if number < rows:
                return f"{name}-{first + number:08d}"
            number -= rows
        return f"{self._split or 'row'}-{number:08d}"

    def _from_hub(self, revision: str | None) -> Any:
        import datasets

        try:
            # The commit is asked for first and then loaded, so that a push in between changes
            # nothing.
            asked = [self._asked] if self._asked else []
            self._revision = revision or _commit(self._name, *asked) or self._asked or None

            def load(split: str) -> Any:
                return datasets.load_dataset(
                    self._name, self._config or None, split=split, revision=self._revision
                )

            return self._parts(load) if _is_part(self._split) else load(self._split)
        except SourceError:
            raise
        except (
            Exception
        ) as error:  # the hub client and the data set's own reader raise what they like
            raise SourceError(
                f"{self.spec}: cannot be loaded: {_first_line(error)} (without a network: fetch it "
                "elsewhere, "
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


def _saved_splits(folder: str) -> dict[str, str] | None:
    """The names of its splits, each by itself; None where it is no folder of splits.

    Raises:
        SourceError: its list of splits is damaged.
    """
    path = Path(folder) / "dataset_dict.json"
    if not path.is_file():
        return None
    try:
        names = json.loads(path.read_text("utf-8"))["splits"]
        return {str(name): str(name) for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path}: no list of splits as save_to_disk writes it") from error


def _load_saved(folder: str) -> Any:
    """One data set, or one split of several.

    Raises:
        SourceError: there is nothing in it, or it cannot be read.
    """
    import datasets

    try:
        state = json.loads((Path(folder) / "state.json").read_text("utf-8"))
        empty = isinstance(state, dict) and state.get("_data_files") == []
    except (OSError, ValueError):
        empty = False  # the library says what is wrong
    if empty:
        raise SourceError(f"{folder}: the data set is empty")
    try:
        return datasets.load_from_disk(folder)
    except Exception as error:  # a missing file is what Arrow makes of it
        raise SourceError(
            f"{folder}: not a data set written by save_to_disk, or damaged: {_first_line(error)}"
        ) from error


def _is_part(split: str) -> bool:
    """Whether it is more or less than one split."""
    return "[" in split or "+" in split


def _undecoded(data: Any, column: str) -> Any:
    import datasets

    return data.cast_column(column, datasets.Audio(decode=False))


def _batches(data: Any, columns: list[str]) -> Iterator[Any]:
    """Columns as Arrow tables, so that nothing is decoded."""
    table = data.with_format("arrow").select_columns(columns)
    for begin in range(0, len(data), _BATCH):
        yield table[begin : begin + _BATCH]


def _lengths(data: Any, column: str, others: list[str]) -> Iterator[float | None]:
    """Of each row, by the header of its audio, which is mapped: little of it is read."""
    if pick(others, SECONDS_COLUMNS) is None:
        for batch in _batches(data, [column]):
            for chunk in batch[column].chunks:
                yield from lengths_of_cells(chunk)


def _long(recording: Recording, lengths: Iterator[float | None]) -> Recording:
    """A row's recording, with the length whose turn it is where no column says it."""
    seconds = next(lengths, None)
    return recording if recording.seconds is not None else replace(recording, seconds=seconds)


def _commit(name: str, revision: str | None = None) -> str | None:
    """The commit that a revision of a data set is at, or its main branch."""
    from huggingface_hub import HfApi

    try:
        commit: str | None = HfApi().dataset_info(name, revision=revision).sha
    except Exception:  # no network: what is in the cache is loaded
        return None
    return commit


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
