"""Is resuming exact? Every step of a run, from every number of ranks and workers to every other.

    python -m benchmarks.loader_resume > benchmarks/results/loader_resume.md

Two facts are checked, which together are every direction of change. First, every layout of ranks
and worker processes walks the whole run: its global batches and its states after every step are
those of one process. Second, every layout goes on from every step's state: its next batches and the
state behind them are those of the undisturbed run, so that it stands where that one stood. Batches
are compared to the last bit: codes, masks, ids, cuts, texts and scales.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.codes_data import random_lengths, write_data_set
from pipelines import Buckets, CodesDataset, CodesLoader, Crop, Delay, Flatten, Mixture, Pack, mix

KINDS: dict[str, dict[str, Any]] = {
    "crops of a mix": {
        "batch_size": 8,
        "crop": Crop(chunks=2),
        "pattern": Delay(),
        "fields": ("speaker", "scales"),
    },
    "packed": {"batch_size": 4, "batching": Pack(600), "pattern": Flatten(), "fields": ("text",)},
    "buckets": {
        "batching": Buckets(8000, window=64, multiple=4),
        "pattern": Delay(),
        "fields": ("text", "scales"),
    },
}
RANKS, WORKERS = (1, 2, 4), (0, 1, 2)
LAYOUTS = [(world, workers) for world in RANKS for workers in WORKERS]
AFTER = 2
"""batches that are compared after each resume"""
Walk = list[tuple[list[str], dict[str, Any]]]
"""each step's rows over all ranks, as digests, and the state behind it"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument(
        "--every",
        type=int,
        default=10,
        help="steps between resumes into workers of packed and bucketed batches",
    )
    parser.add_argument("--workers", nargs="+", type=int, choices=WORKERS, default=list(WORKERS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    layouts = [layout for layout in LAYOUTS if layout[1] in options.workers]
    print("# Resuming\n\n    python -m benchmarks.loader_resume", *sys.argv[1:])
    print(
        f"\nRuns of {options.steps} steps on {RANKS} ranks and {tuple(options.workers)} worker "
        "processes, resumed from every such"
    )
    print(
        "layout into every other at every step (packed and bucketed batches into workers: every "
        f"{options.every} steps);"
    )
    print(f"{AFTER} batches and states compared after each.\n")
    print(
        "| batches | layouts | directions of change | resumes, each for all directions into a "
        "layout | not exact |"
    )
    print("|---|---|---|---|---|", flush=True)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="resume-") as folder:
        data = data_sets(Path(folder))
        for kind in options.kinds:
            wrong += check_kind(data, kind, layouts, options)
    return 1 if wrong else 0


def data_sets(folder: Path) -> Mixture:
    """Parquet and WebDataset in one mix, in recordings of 2 to 6 s."""
    music = write_data_set(folder / "music", random_lengths(0.1, 4.0), 4, 3)
    speech = write_data_set(
        folder / "speech", random_lengths(0.05, 4.0, seed=1), 4, 2, form="webdataset", seed=1
    )
    return mix({CodesDataset(music, n_q=2): 0.7, CodesDataset(speech, n_q=2): 0.3})


def check_kind(
    data: Mixture, kind: str, layouts: list[tuple[int, int]], options: argparse.Namespace
) -> int:
    """One row of the table; how many resumes were not exact."""
    began, resumes, steps = time.monotonic(), 0, options.steps
    total = steps + AFTER
    first = loaders(data, kind, (1, 0))
    begin = json.loads(json.dumps(first[0].state_dict()))
    whole = list(walk(first, total))
    states = [begin, *(state for _, state in whole)]
    wrong = sum(list(walk(loaders(data, kind, layout), total)) != whole for layout in layouts)
    for layout in layouts:
        every = options.every if layout[1] and kind != "crops of a mix" else 1
        for at in range(0, steps, every):
            resumes += 1
            resumed = loaders(data, kind, layout)
            for one in resumed:
                one.load_state_dict(states[at])
            wrong += list(walk(resumed, AFTER)) != whole[at : at + AFTER]
        print(
            f"{kind}, {layout}: {time.monotonic() - began:.0f} s, {wrong} wrong",
            file=sys.stderr,
            flush=True,
        )
    print(f"| {kind} | {len(layouts)} | {len(layouts) ** 2} | {resumes:,} | {wrong} |", flush=True)
    return wrong


def loaders(data: Mixture, kind: str, layout: tuple[int, int]) -> list[CodesLoader]:
    world, workers = layout
    return [
        CodesLoader(data, seed=3, threads=0, rank=rank, world=world, workers=workers, **KINDS[kind])
        for rank in range(world)
    ]


def walk(ranks: list[CodesLoader], steps: int) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Steps of all ranks together."""
    streams = [islice(iter(one), steps) for one in ranks]
    for batches in zip(*streams, strict=True):
        states = [json.loads(json.dumps(one.state_dict())) for one in ranks]
        if any(state != states[0] for state in states):
            raise SystemExit("ranks disagree about where they are")
        yield [row for batch in batches for row in digests(batch)], states[0]


def digests(batch: Any) -> list[str]:
    """One a row, of all that it holds; a rank pads to its own longest row, so padding is left
    out."""
    rows = []
    for i in range(len(batch)):
        mask = batch.mask[i].numpy()
        scales = getattr(batch, "scales", None)
        kept = None if scales is None else [value for value in scales[i].tolist() if value]
        texts = (
            str(batch.ids[i]),
            str(batch.text[i]),
            repr(batch.start_seconds[i]),
            repr(kept),
            str(mask.sum()),
        )
        numbers = [batch.codes[i].numpy()[mask].tobytes()]
        if hasattr(batch, "documents"):
            numbers += [batch.documents[i].numpy().tobytes(), batch.positions[i].numpy().tobytes()]
        rows.append(hashlib.sha256("\0".join(texts).encode() + b"\0".join(numbers)).hexdigest())
    return rows


if __name__ == "__main__":
    sys.exit(main())
