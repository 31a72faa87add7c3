"""Is damage to an output noticed? One byte is flipped, or the end cut off, in every kind of file
that `tokenize` writes.

    python -m benchmarks.fuzz_outputs > benchmarks/results/fuzz_outputs.md

Each time `verify` must find it. So must the loader in what it reads (shards, commit records,
configuration), and a resumed run in what it reads (commit records, which it heals by doing the
shard again; plan and configuration, which it refuses).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import machine
from pipelines import CodesDataset, CodesLoader
from pipelines.output.formats import shard_format
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.names import CONFIG, PLAN
from pipelines.output.storage import open_storage
from pipelines.output.verify import verify
from tokenizer.errors import CodecshardsError

FORMATS = ("parquet", "webdataset")
LOADED = ("shards", "commit records", "configuration")
RESUMED = ("commit records", "plan", "configuration")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--trials",
        type=int,
        default=100,
        help="for each kind of file and format (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("# Damaged outputs\n\n    python -m benchmarks.fuzz_outputs", *sys.argv[1:])
    print(
        f"\n{machine()}. Three changes of four flip bits of one byte, the fourth cuts the end off. "
        '"-": does not read it.\n'
    )
    print(
        "| shards | file | changes | found by `verify` | by the loader | by a resumed run |\n"
        "|---|---|---|---|---|---|"
    )
    missed = 0
    for form in FORMATS:
        for kind, found in fuzz(form, options.trials, options.seed).items():
            readers = {"verify": True, "loader": kind in LOADED, "resume": kind in RESUMED}
            cells = [str(found[name]) if reads else "-" for name, reads in readers.items()]
            print(f"| {form} | {kind} | {found['changes']} | {' | '.join(cells)} |", flush=True)
            missed += sum(
                found["changes"] - found[name] for name, reads in readers.items() if reads
            )
    print(f"\nNot found where it is read: {missed}.")
    return 1 if missed else 0


def fuzz(form: str, trials: int, seed: int) -> dict[str, Counter[str]]:
    """What became of each change, by kind of file."""
    rng = np.random.default_rng([seed, FORMATS.index(form)])
    outcomes: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        out = write_output(Path(folder), form)
        for kind, files in kinds(out).items():
            outcomes[kind] = Counter()
            for trial in range(trials):
                path = files[trial % len(files)]
                content = path.read_bytes()
                path.write_bytes(damaged(content, trial, rng))
                outcomes[kind].update(noticed(out, kind, form))
                path.write_bytes(content)
        if verify(str(out)):
            raise SystemExit("the output was not restored: the counts are worth nothing")
    return outcomes


def write_output(folder: Path, form: str) -> Path:
    """A small output of `tokenize`, with failures and precision's report."""
    import soundfile

    from pipelines.output.config import RunOptions, TokenizeConfig
    from pipelines.run import tokenize_corpus
    from tokenizer.codecs.precision import PrecisionReport

    (folder / "corpus").mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        samples = 0.1 * rng.standard_normal((int(rng.integers(1_000, 60_000)), 2))
        soundfile.write(folder / "corpus" / f"{number}.wav", samples, 48_000)
    (folder / "corpus" / "bad.wav").write_text("no audio")
    out = folder / "out"
    config = TokenizeConfig(str(folder / "corpus"), codec="mulaw", format=form, shard_hours=0.0006)
    tokenize_corpus(config, str(out), RunOptions(workers=0, quiet=True))
    Manifest(open_storage(str(out))).write_precision(
        PrecisionReport(3, 10, (10, 9, 9, 8), 1.0, 1.0)
    )
    return out


def kinds(out: Path) -> dict[str, list[Path]]:
    """Files by kind."""
    return {
        "shards": sorted((out / "data").iterdir()),
        "commit records": sorted((out / "manifest" / "commits").iterdir()),
        "plan": [out / PLAN],
        "configuration": [out / CONFIG],
        "precision": [out / "manifest" / "precision.json"],
    }


def damaged(content: bytes, trial: int, rng: np.random.Generator) -> bytes:
    """A copy with one byte changed, or its end missing."""
    at = int(rng.integers(len(content)))
    if trial % 4 == 3:
        return content[:at]
    changed = bytearray(content)
    changed[at] ^= int(rng.integers(1, 256))
    return bytes(changed)


def noticed(out: Path, kind: str, form: str) -> Counter[str]:
    """Who found the damage."""
    found = Counter({"changes": 1, "verify": int(bool(verify(str(out))))})
    if kind in LOADED:
        found["loader"] = int(raises(lambda: load(out)))
    if kind in RESUMED:
        found["resume"] = int(resume(out, form))
    return found


def load(out: Path) -> None:
    for batch in CodesLoader(
        CodesDataset(out), 8, epochs=1, fields=("text", "scales", "meta"), threads=0
    ):
        batch.codes.sum()


def resume(out: Path, form: str) -> bool:
    """Whether a run that begins here notices: on a copy, since it heals what it can."""
    copy = out.with_name("copy")
    shutil.copytree(out, copy)
    try:
        manifest = Manifest(open_storage(str(copy)))

        def begin() -> list[str]:
            manifest.read_plan()
            return manifest.recover(shard_format(form))

        healed: list[str] = []
        return raises(lambda: healed.extend(begin())) or bool(healed)
    finally:
        shutil.rmtree(copy)


def raises(action: Callable[[], object]) -> bool:
    """Whether it ends in an error of this project's; any other is a fault, and passes on."""
    try:
        action()
    except CodecshardsError as error:
        if "\n" in str(error):
            raise
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
