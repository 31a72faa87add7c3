"""`CodesLoader`: batches in an order that is a function of (seed, step)."""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from numbers import Integral
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from pipelines.loader.batch import Batch, Collator, PackedBatch, of_channels
from pipelines.loader.batching import (
    BucketPlanner,
    Buckets,
    Cursor,
    FixedPlanner,
    Pack,
    PackPlanner,
)
from pipelines.loader.crop import Crop
from pipelines.loader.dataset import CodesDataset
from pipelines.loader.history import STATE_VERSION, history_of, read_state, said_since
from pipelines.loader.patterns import Parallel, Pattern
from pipelines.loader.ranks import find_rank, find_worker
from pipelines.loader.sample import check_fields
from pipelines.loader.sequence.mixing import Mixture, mix
from pipelines.loader.sequence.stream import Stream
from pipelines.loader.sequence.turns import InTurn
from tokenizer.errors import UsageError

Step = tuple[Batch | PackedBatch, Cursor, Cursor]
"""a batch, the cursor behind it, and that of the next one that the same process reads"""


class CodesLoader(IterableDataset[Batch | PackedBatch]):
    """Batches of codes for training; iterate it, or give it to a `DataLoader(loader,
    batch_size=None, num_workers=…)`.

    Iterating goes on where it stopped, whether the last loop was left early or a state was loaded.
    After the end the next loop goes on with the epochs (or steps) that follow, in another order and
    with other cuts, so that epochs may as well be counted outside; validation that must see the
    same each time gives `shuffle="none"` and no random crop, or loads its first state. In worker
    processes that somebody else's DataLoader starts anew for every loop, nothing remembers the
    last: call `set_epoch`.

    Args:
        data: a data set, or a `mix` of several.
        batch_size: recordings (rows, for `Pack`) of a **global** batch, over all ranks: each rank
            gets its share of it, and the order is the same on any number of ranks. Not for
            `Buckets`.
        crop: how much of each recording; None is all of it.
        pattern: `Parallel()`, `Delay()`, `Flatten()` or `CoarseFirst()`.
        batching: None, `Pack(tokens)` or `Buckets(tokens)`.
        fields: what to give beside the codes: text, language, speaker, source_uri, meta, scales,
            alignment, quality, or a column of quality by its name. A text is that of a whole
            recording, and not to be had with a crop; an alignment is cut along.
        seed: of order, cuts and buckets.
        epochs: end a loop after every recording has come this often, the last batch being what is
            left; None is endless.
        steps: end a loop after this many batches.
        shuffle: "full" is a permutation of all recordings; "blocks" shuffles within a few shards at
            a time; "auto" is "full" for local data and "blocks" for remote; "none" is the order of
            the shards.
        rank, world: this process among those that train; None finds out (process group, torchrun).
        threads: that read ahead; 0 reads when a batch is asked for, which costs the least
            computing; None is 1 for local data and 2 for remote.
        prefetch: batches that each thread reads ahead.
        workers: processes to read in, for work that threads cannot share; batches are copied
            between processes.
        pin_memory: None pins when there is a GPU.

    Raises:
        UsageError: arguments that do not fit each other or the data.
        ShardError: while iterating: damage; it names the shard.
    """

    def __init__(
        self,
        data: CodesDataset | Mixture,
        batch_size: int | None = None,
        *,
        crop: Crop | None = None,
        pattern: Pattern | None = None,
        batching: Pack | Buckets | None = None,
        fields: Sequence[str] = (),
        seed: int = 0,
        epochs: int | None = None,
        steps: int | None = None,
        shuffle: str = "auto",
        rank: int | None = None,
        world: int | None = None,
        threads: int | None = None,
        prefetch: int = 2,
        workers: int = 0,
        pin_memory: bool | None = None,
    ) -> None:
        _check_numbers(seed, epochs=epochs, steps=steps, batch_size=batch_size)
        _check_text(fields, crop)
        mixture = data if isinstance(data, Mixture) else mix({data: 1})
        if threads is None:
            threads = 2 if any(dataset.remote for dataset in mixture.datasets) else 1
        if min(threads, workers) < 0 or prefetch < 1:
            raise UsageError(
                f"threads={threads}, workers={workers}, prefetch={prefetch}: give 0, 0 and 1 or "
                "more"
            )
        self._stream = stream = Stream(mixture, crop, seed, shuffle, epochs)
        if pattern is None:  # padding is no code, however large the codebook
            pattern = Parallel(max(Parallel().pad, *stream.sizes))
        given = pattern
        if stream.channels is not None:
            pattern = of_channels(pattern, stream.channels)
        pattern.check_sizes(stream.sizes)
        self._planner = _planner(stream, batch_size, batching, pattern, seed)
        width = batching.tokens if isinstance(batching, Pack) else None
        if crop is not None and batching is None:
            width = pattern.steps(stream.n_q, crop.max_frames(stream.spec))
        names = check_fields(fields, stream.measures)
        self._collator = Collator(stream, pattern, names, width)
        self._arguments: dict[str, Any] = {
            "data": mixture, "batch_size": batch_size, "crop": crop, "pattern": given,
            "batching": batching, "fields": tuple(fields), "seed": seed, "epochs": epochs,
            "steps": steps, "shuffle": shuffle, "threads": threads, "prefetch": prefetch,
            "workers": workers, "pin_memory": pin_memory,
        }  # fmt: skip
        self._identity = {
            **stream.identity(),
            "batch_size": str(batch_size),
            "batching": "None" if batching is None else f"{batching} of {pattern}",
        }
        self._steps = steps
        self._turn = 0
        """loops that have come to their end, or that `set_epoch` says have"""
        self._given_rank = (rank, world)
        self._batch_size = batch_size
        self._threads, self._prefetch, self._workers = threads, prefetch, workers
        self._pin = torch.cuda.is_available() if pin_memory is None else pin_memory
        self._cursor = Cursor()
        self._worker_state: tuple[int, int] | None = None
        self._ended = False
        self._process = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        rank, world = find_rank(
            *self._given_rank
        )  # a process that is started anew knows no process group
        return _rebuild, (
            {**self._arguments, "rank": rank, "world": world},
            self.state_dict(),
            self._ended,
        )

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, behind the last batch that it handed out: a few integers, and what
        they belong to."""
        at = self._cursor
        state: dict[str, Any] = {
            "version": STATE_VERSION,
            "step": at.step,
            "position": at.position,
            "offset": at.offset,
        }
        state["turn"] = self._turn
        if (
            self._worker_state is not None
        ):  # in a worker of somebody else's DataLoader, which asks each worker for its own
            state["worker"] = list(self._worker_state)
        history = history_of(self._stream.datasets)
        return {**state, "of": dict(self._identity), "history": history}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next batch is the one that would have come, on any number of
        ranks and workers.

        Raises:
            UsageError: the state belongs to other data, n_q, batch size, seed or cuts; the message
                says which.
        """
        cursor, turn, worker = read_state(state)
        before, now = state["of"], self._identity
        changed = [
            f"{name} was {before.get(name)}, is {now.get(name)}"
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise UsageError(
                f"the state belongs to another stream of batches: {'; '.join(changed)}"
                f"{said_since(state, self._stream.datasets)}"
            )
        self._cursor, self._worker_state = cursor, worker
        self._start_turn(turn)
        self._ended = False

    def set_epoch(self, epoch: int) -> None:
        """The next loop is the one that follows `epoch` whole ones, from its beginning: what
        samplers of torch call so.

        Raises:
            UsageError: a negative number, or a loader that neither epochs nor, with batches of one
                size, steps end.
        """
        if epoch < 0:
            raise UsageError(f"set_epoch({epoch}): give 0 or more")
        begin = Cursor()
        if epoch:
            begin = self._beginning(epoch)
        self._start_turn(epoch)
        self._cursor, self._worker_state, self._ended = begin, None, False

    def _beginning(self, turn: int) -> Cursor:
        """Of a turn that may be any."""
        fixed, whole = isinstance(self._planner, FixedPlanner), self._stream.turn
        if self._steps is not None and whole is None and fixed:
            return self._planner.skip(Cursor(), turn * self._steps)
        if whole is None or self._steps is not None:
            raise UsageError(
                "set_epoch: this loader's loops do not end at whole epochs: give epochs, and not "
                "steps"
            )
        # The number of batches is for logs; which they are is decided by the position.
        return Cursor(turn * -(-whole // (self._batch_size or 1)) if fixed else 0, turn * whole)

    def _start_turn(self, turn: int) -> None:
        self._turn = turn
        if self._stream.turn is not None:
            self._stream.end = (turn + 1) * self._stream.turn

    def __iter__(self) -> Iterator[Batch | PackedBatch]:
        return (batch for batch, _ in self.steps())

    def steps(self) -> Iterator[tuple[Batch | PackedBatch, Cursor]]:
        """Batches, each with the cursor behind it."""
        worker, workers = find_worker()
        if (
            os.getpid() != self._process
        ):  # a forked worker: locks may have been held, so everything is opened anew
            self.__dict__.update(pickle.loads(pickle.dumps(self)).__dict__)
        if self._ended:
            self._start_turn(self._turn + 1)
            self._worker_state, self._ended = None, False
        rank, world = self._rank()
        own = self._workers and torch.utils.data.get_worker_info() is None
        source = self._from_processes() if own else self._from_here(worker, workers, rank, world)
        for batch, behind, following in source:
            self._cursor = behind if workers == 1 else following
            yield (
                batch.pin_memory()
                if self._pin and torch.utils.data.get_worker_info() is None
                else batch,
                behind,
            )
        self._ended = True

    def _from_here(self, worker: int, workers: int, rank: int, world: int) -> Iterator[Step]:
        if self._worker_state is None:
            self._cursor = self._ahead(self._cursor, worker)
        elif self._worker_state != (worker, workers):
            raise UsageError(
                f"the state is of worker {self._worker_state}, this is {(worker, workers)}: keep "
                "their number"
            )
        self._worker_state = (worker, workers) if workers > 1 else None
        plans = self._plans(self._cursor, rank, world, workers)
        return self._read_ahead(plans) if self._threads else self._read(plans)

    def _plans(
        self, cursor: Cursor, rank: int, world: int, workers: int
    ) -> Iterator[tuple[Any, Cursor, Cursor]]:
        """Every `workers`-th plan from the cursor on, with the cursors of a step."""
        while self._left(cursor):
            rows, behind = self._planner.plan(cursor, rank, world)
            cursor = self._ahead(behind, workers - 1)
            yield rows, behind, cursor

    def _read(self, plans: Iterator[tuple[Any, Cursor, Cursor]]) -> Iterator[Step]:
        return ((self._collate(rows), behind, following) for rows, behind, following in plans)

    def _read_ahead(self, plans: Iterator[tuple[Any, Cursor, Cursor]]) -> Iterator[Step]:
        """The same by threads, some batches ahead. An error comes out where its batch would
        have."""
        pool = ThreadPoolExecutor(self._threads, "codes-loader")
        shared, ahead = InTurn(plans), deque[Future[Step | None]]()
        try:
            for number in count():
                ahead.append(pool.submit(self._step, shared, number))
                if len(ahead) >= self._threads * self._prefetch:
                    step = ahead.popleft().result()
                    if step is None:
                        return
                    yield step
        finally:
            for one in ahead:
                one.cancel()
            pool.shutdown(wait=False)

    def _step(self, plans: InTurn[tuple[Any, Cursor, Cursor]], number: int) -> Step | None:
        plan = plans.item(number)
        return None if plan is None else (self._collate(plan[0]), plan[1], plan[2])

    def _from_processes(self) -> Iterator[Step]:
        steps = _Steps(self)
        for batch, at in DataLoader(
            steps, batch_size=None, num_workers=self._workers, prefetch_factor=self._prefetch
        ):
            cursor = Cursor(*at)
            yield batch, cursor, cursor

    def _collate(self, rows: Any) -> Batch | PackedBatch:
        return (
            self._collator.packed(rows)
            if isinstance(self._planner, PackPlanner)
            else self._collator.batch(rows)
        )

    def _left(self, cursor: Cursor) -> bool:
        return (self._steps is None or cursor.step < self._last_step) and self._planner.left(cursor)

    @property
    def _last_step(self) -> int:
        """At which the present turn ends, where steps end it."""
        return (self._turn + 1) * (self._steps or 0)

    def _ahead(self, cursor: Cursor, batches: int) -> Cursor:
        """Some batches later, but no further than the turn's end, where all workers meet."""
        if self._steps is not None:
            batches = max(0, min(batches, self._last_step - cursor.step))
        return self._planner.skip(cursor, batches) if batches else cursor

    def _rank(self) -> tuple[int, int]:
        rank, world = find_rank(*self._given_rank)
        if self._batch_size is not None and self._batch_size % world:
            raise UsageError(
                f"batch_size={self._batch_size} is that of all {world} ranks together: give a "
                f"multiple of {world}"
            )
        return rank, world


class _Steps(IterableDataset[tuple[Batch | PackedBatch, tuple[int, int, int]]]):
    """A loader's batches with their cursors, for its own worker processes."""

    def __init__(self, loader: CodesLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[tuple[Batch | PackedBatch, tuple[int, int, int]]]:
        return ((batch, (at.step, at.position, at.offset)) for batch, at in self._loader.steps())


def _rebuild(arguments: dict[str, Any], state: dict[str, Any], ended: bool) -> CodesLoader:
    loader = CodesLoader(**arguments)
    loader.load_state_dict(state)
    loader._ended = ended
    return loader


def _planner(
    stream: Stream,
    batch_size: int | None,
    batching: Pack | Buckets | None,
    pattern: Pattern,
    seed: int,
) -> FixedPlanner | PackPlanner | BucketPlanner:
    if isinstance(batching, Buckets):
        if batch_size is not None:
            raise UsageError("Buckets decide how many recordings a batch has: leave batch_size out")
        return BucketPlanner(stream, batching, pattern, seed)
    if batch_size is None or batch_size < 1:
        raise UsageError(f"batch_size={batch_size}: give 1 or more (of all ranks together)")
    if isinstance(batching, Pack):
        return PackPlanner(stream, batch_size, batching.tokens, pattern)
    return FixedPlanner(stream, batch_size)


def _check_text(fields: Sequence[str], crop: Crop | None) -> None:
    if crop is not None and "text" in fields:
        raise UsageError(
            f'fields=("text",) with {crop}: a text is of a whole recording, a crop gives a part of '
            "its codes: leave crop out "
            '(Buckets and Pack batch by length), or ask for "alignment", which is cut along'
        )


def _check_numbers(seed: Any, **numbers: Any) -> None:
    if not isinstance(seed, Integral):
        raise UsageError(f"seed={seed!r}: give a whole number")
    for name, value in numbers.items():
        if value is not None and (not isinstance(value, Integral) or value < 1):
            raise UsageError(f"{name}={value!r}: give 1 or more, or None")
