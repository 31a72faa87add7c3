"""Is damage noticed? One byte of a shard is changed at random, and a training loop reads an epoch.

    python -m benchmarks.loader_corruption > benchmarks/results/loader_corruption.md

An output of `tokenize` has commit records, and every change must raise an error that names the
shard. A copy of its `data/` alone has only the checksums of pages and members: there, too, no code
may ever be wrong, but a change may go unnoticed that touches no code (a footer's statistics, a
tar's padding, a text).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from benchmarks.codes_data import random_lengths, shard_files, write_data_set
from pipelines import CodesDataset, CodesLoader
from tokenizer.errors import ShardError

FIELDS = ("text", "scales", "meta", "source_uri")
FORMATS = ("parquet", "webdataset")
Rows = dict[str, tuple[bytes, str]]
"""by id: codes, and all else"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--trials",
        type=int,
        default=1000,
        help="over both formats, and again without records (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("# One damaged byte\n\n    python -m benchmarks.loader_corruption", *sys.argv[1:])
    print(
        f"\n{options.trials:,} changes of one byte with commit records and as many without, each "
        "read by a loop over one epoch.\n"
    )
    print(
        "| shards | commit records | changes | error that names the shard | read, all codes and "
        "fields right "
        "| read, a field wrong | read, a code wrong |\n|---|---|---|---|---|---|---|"
    )
    missed = 0
    for form in FORMATS:
        for records in (True, False):
            found = damage_all(form, records, options.trials // 2, options.seed)
            figures = [found[what] for what in ("named", "right", "field", "code")]
            print(
                f"| {form} | {'yes' if records else 'no'} | {found.total()} | "
                f"{' | '.join(map(str, figures))} |",
                flush=True,
            )
            missed += found["code"] + (found.total() - found["named"] if records else 0)
    return 1 if missed else 0


def damage_all(form: str, records: bool, trials: int, seed: int) -> Counter[str]:
    """What became of each change."""
    rng = np.random.default_rng([seed, records, FORMATS.index(form)])
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="corruption-") as folder:
        out = write_data_set(Path(folder, "out"), random_lengths(0.03, 3.0), 4, 2, form)
        if not records:
            shutil.rmtree(out / "manifest")
        clean = read(out)
        shards = list(shard_files(out))
        for trial in range(trials):
            path = shards[trial % len(shards)]
            content = path.read_bytes()
            changed, at = bytearray(content), int(rng.integers(len(content)))
            changed[at] ^= int(rng.integers(1, 256))
            path.write_bytes(changed)
            outcomes[outcome(out, path.name, clean)] += 1
            path.write_bytes(content)
    return outcomes


def outcome(out: Path, damaged: str, clean: Rows) -> str:
    """`named`, or what a loop that noticed nothing got."""
    try:
        found = read(out)
    except ShardError as error:
        if damaged in str(error):
            return "named"
        raise
    if sorted(codes for codes, _ in found.values()) != sorted(codes for codes, _ in clean.values()):
        return "code"
    return "right" if found == clean else "field"


def read(out: Path) -> Rows:
    """An epoch, as a training loop reads it."""
    rows: Rows = {}
    for batch in CodesLoader(CodesDataset(out), 8, epochs=1, fields=FIELDS, threads=0):
        for i, id in enumerate(batch.ids):
            scales = (
                None
                if batch.scales is None
                else [value for value in batch.scales[i].tolist() if value]
            )
            rest = [batch.fields[name][i] for name in FIELDS if name != "scales"]
            rows[id] = (
                batch.codes[i].numpy()[batch.mask[i].numpy()].tobytes(),
                repr((scales, rest)),
            )
    return rows


if __name__ == "__main__":
    sys.exit(main())
