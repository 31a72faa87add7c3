"""ELU with torch's bits beside torch's own: every float32 there is, and time.

    python -m benchmarks.elu > benchmarks/results/elu.md

On one thread. A round runs both in turns over numbers in a core's cache, half of them negative.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from benchmarks.machine import machine
from tokenizer.codecs.encodec.cpu.same_elu import elu_

AT_ONCE = 1 << 22
IN_CACHE, REPEATS, ROUNDS = 1 << 16, 300, 9


def main() -> int:
    torch.set_num_threads(1)
    print("# ELU with torch's bits\n\n    python -m benchmarks.elu\n")
    print(f"{machine()}; torch {torch.__version__}, one thread.\n")
    compared, different = differences()
    print(f"Of {compared:,} float32, all but those that are no numbers, {different:,} differ.\n")
    theirs, own = speed()
    ratio = statistics.median(a / b for a, b in zip(theirs, own, strict=True))
    print("| | ns a number |\n|---|---:|")
    print(f"| torch | {statistics.median(theirs):.2f} |")
    print(f"| ours | {statistics.median(own):.2f} |\n")
    print(f"Median ratio of {ROUNDS} rounds: {ratio:.2f}.")
    return 1 if different else 0


def differences() -> tuple[int, int]:
    """Numbers compared, and how many have other bits."""
    compared = different = 0
    for begin in range(0, 1 << 32, AT_ONCE):
        bits = np.arange(begin, begin + AT_ONCE, dtype=np.uint64).astype(np.uint32)
        x = torch.from_numpy(bits.view(np.float32))
        expected = functional.elu(x)
        there = ~torch.isnan(x)
        elu_(x.numpy())
        compared += int(there.sum())
        other = x.view(torch.int32) != expected.view(torch.int32)
        different += int((other & there).sum())
    return compared, different


def speed() -> tuple[list[float], list[float]]:
    """Nanoseconds a number of each round, by torch and by ours."""
    x = torch.randn(IN_CACHE, generator=torch.Generator().manual_seed(0))
    theirs, own = list[float](), list[float]()
    for _ in range(ROUNDS):
        theirs.append(_time(functional.elu_, x))
        own.append(_time(lambda values: elu_(values.numpy()), x))
    return theirs, own


def _time(function: Callable[[torch.Tensor], object], x: torch.Tensor) -> float:
    values, taken = x.clone(), 0.0
    for _ in range(REPEATS):
        values.copy_(x)  # an ELU's numbers go towards zero
        begin = time.perf_counter()
        function(values)
        taken += time.perf_counter() - begin
    return taken / REPEATS / len(x) * 1e9


if __name__ == "__main__":
    sys.exit(main())
