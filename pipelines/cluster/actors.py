"""The actors of a run: those that hold a codec, and those that work on shards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any

import ray

from pipelines.cluster.deaths import Place, last_line, settle_down
from pipelines.cluster.encoder import Feed, RayEncoder
from pipelines.system.arrow import do_without_pandas
from pipelines.system.blame import EXIT_NO_MEMORY, OUT_OF_MEMORY, lacks_memory
from pipelines.system.remote import work_for
from pipelines.tokenizing.encoders import clocked_encode, decode_batch, warm_up
from pipelines.tokenizing.jobs import (
    CodecSettings,
    ShardJob,
    ShardResult,
    WorkSettings,
)
from pipelines.tokenizing.progress import ShardProgress
from pipelines.tokenizing.worker import ShardWorker
from tokenizer.allocator import keep_freed_memory
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import CodecshardsError


class EncodeActor:
    """Holds one codec and encodes batches with it."""

    def __init__(self, settings: CodecSettings) -> None:
        self._words, self._place = settle_down()
        keep_freed_memory()
        self._settings = settings
        self._codec: Any = None
        self._loading = Lock()

    @ray.method(concurrency_group="status")
    def where(self) -> Place:
        return self._place

    def load(self) -> CodecshardsError | None:
        """Load the codec now; an error is returned, since one that is raised loses its type."""
        try:
            self._loaded()
        except CodecshardsError as error:
            return error
        return None

    def encode(self, batch: list[Any]) -> tuple[list[Any], float] | CodecshardsError:
        """Codes, and the seconds that they took."""
        try:
            with self._alive():
                return clocked_encode(self._loaded(), batch)
        except CodecshardsError as error:
            return error

    def precision_report(self) -> PrecisionReport | None:
        report: PrecisionReport | None = self._loaded().precision_report()
        return report

    @ray.method(concurrency_group="status")
    def piece_length(self) -> int | CodecshardsError | None:
        """Of the codec."""
        try:
            length: int | None = self._loaded().piece_length
            return length
        except CodecshardsError as error:
            return error

    def decode(self, coded: list[Any]) -> list[Any] | CodecshardsError:
        try:
            with self._alive():
                return decode_batch(self._loaded(), coded)
        except CodecshardsError as error:
            return error

    def _loaded(self) -> Any:
        with self._loading:
            if self._codec is None:  # a restarted actor has lost it
                codec = self._settings.load(threads=1)
                warm_up(codec)
                self._codec = codec
            return self._codec

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """A GPU that has failed fails for ever in this process: end it, so that Ray starts another
        and tries again. The same where memory was short, which others may be done with by then."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if self._settings.device != "cuda" and lacks_memory(error):
                self._words.say(OUT_OF_MEMORY)
                os._exit(EXIT_NO_MEMORY)
            if self._settings.device == "cuda" and "CUDA" in str(error):
                self._words.say(last_line(error))
                os._exit(1)
            raise


class Runner:
    """Works on one shard at a time; answers `progress` meanwhile on a thread of its own."""

    def __init__(self, settings: WorkSettings, feed: Feed, number: int) -> None:
        self._words, self._place = settle_down()
        keep_freed_memory()
        work_for()
        do_without_pandas()
        self._encoder = RayEncoder(self._place.node, number, feed)
        self._worker = ShardWorker(settings, self._encoder)
        self._worker.decoder.start()

    @ray.method(concurrency_group="status")
    def where(self) -> Place:
        return self._place

    def load(self) -> None:
        """A runner is ready once it is made: what it needs, it has loaded then."""

    @ray.method(concurrency_group="status")
    def refeed(self, feed: Feed) -> None:
        self._encoder.refeed(feed)

    def run(self, job: ShardJob) -> ShardResult | CodecshardsError:
        try:
            return self._worker.run(job)
        except CodecshardsError as error:
            return error

    @ray.method(concurrency_group="status")
    def progress(self) -> ShardProgress:
        return replace(self._worker.progress)
