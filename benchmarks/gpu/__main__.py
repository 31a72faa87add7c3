"""The GPU path from correctness to kernels, on a machine with torch, transformers and NumPy; of the
project nothing needs to be installed.

    PYTHONPATH=.:tests python -m benchmarks.gpu [--minutes 8]

Each part is printed as it ends, and stands in `benchmarks/results/gpu.md` by then: a run that is
cut off is of use. `--device cpu --toy` goes the same way on any machine, in a minute; its figures
say nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizer.codecs.devices import repeatable_products

if TYPE_CHECKING:
    from benchmarks.gpu.bench import Bench

RESULTS = Path(__file__).resolve().parents[1] / "results" / "gpu.md"


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    repeatable_products()  # before CUDA's first call
    import torch

    from benchmarks.gpu import repeatable
    from benchmarks.gpu.bench import Bench, Report

    if options.toy:
        torch.set_num_threads(1)  # so small a codec is slower with more
    if options.device == "cuda" and not torch.cuda.is_available():
        print("benchmarks.gpu: torch sees no GPU here; --device cpu --toy tries the script")
        return 2
    with ExitStack() as kept:
        folder = options.checkpoint
        if folder is None:
            folder = Path(kept.enter_context(tempfile.TemporaryDirectory())) / "seeded"
            seeded(folder, "reduced" if options.toy else "full")
        ends = time.monotonic() + 60 * options.minutes
        quiet = options.digest is not None
        report = Report(None if quiet or options.output == "-" else Path(options.output))
        bench = Bench(folder, torch.device(options.device), options.toy, ends, report)
        if quiet:
            print(repeatable.digest(bench, options.digest))
            return 0
        said = [*(arguments if arguments is not None else sys.argv[1:])]
        everything(bench, said, folder, options.only, options.audio)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--minutes", type=float, default=8.0, help="default: %(default)s")
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument("--toy", action="store_true", help="a small codec and little of everything")
    parser.add_argument("--output", default=str(RESULTS), help="- for none (default: %(default)s)")
    parser.add_argument("--audio", type=Path, help="a folder of .wav files, 48 kHz, 16 bit")
    parser.add_argument("--checkpoint", type=Path, help="a folder (default: seeded weights)")
    parser.add_argument(
        "--only", action="append", help="parts whose title has this in it (default: all); again"
    )
    parser.add_argument("--digest", choices=("exact", "fast"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def seeded(folder: Path, size: str) -> None:
    """A checkpoint of the published architecture."""
    from tokenizer.codecs.encodec.seeded import write_seeded

    write_seeded(folder, size=size)


def everything(
    bench: Bench,
    arguments: list[str],
    folder: Path,
    only: list[str] | None = None,
    audio: Path | None = None,
) -> None:
    """All parts, in the order in which they are worth most."""
    import torch
    import transformers

    from benchmarks.gpu import bound, correctness, inside, others, recordings, repeatable, speed

    line = bench.report.line
    line("# On a GPU\n\n    PYTHONPATH=.:tests python -m benchmarks.gpu " + " ".join(arguments))
    line(
        f"\n{bench.card}; torch {torch.__version__}, CUDA {torch.version.cuda}, transformers "
        f"{transformers.__version__}, Python {sys.version.split()[0]}; "
        f"{'a reduced' if bench.toy else 'the full-size'} EnCodec with seeded weights."
    )
    if bench.toy:
        line("\nA toy run: that the script runs is all that it shows.")
    passed = [*arguments, "--checkpoint", str(folder)]
    parts: list[tuple[str, Callable[[], None]]] = [
        ("Correctness", lambda: correctness.run(bench)),
        ("Recordings", lambda: recordings.run(bench, audio)),
        ("Speed", lambda: speed.run(bench)),
        ("Batches and memory", lambda: speed.by_batch(bench)),
        ("Settling", lambda: inside.settling(bench)),
        ("Bounds", lambda: bound.run(bench)),
        ("Kernels", lambda: inside.kernels(bench)),
        ("Kernels of our own", lambda: speed.ways(bench)),
        ("Feeding", lambda: inside.feed(bench)),
        ("Two runs", lambda: repeatable.run(bench, passed)),
        *((name, partial(others.run, bench, name)) for name in others.KINDS),
        ("Tests that need a GPU", lambda: repeatable.tests(bench)),
        ("Compiled", lambda: speed.compiled(bench)),
    ]
    for title, action in parts:
        if only and not any(one.lower() in title.lower() for one in only):
            continue
        if bench.left() < 5:
            line(f"\n## {title}\n\nNot begun: the time was up.")
            continue
        with bench.part(title):
            action()
        bench.forget()


if __name__ == "__main__":
    sys.exit(main())
