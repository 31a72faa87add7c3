"""Does a command end as it says? Every command is started again and again, and its exit codes are
counted: a thread that outlives the interpreter would abort a process now and then (code 134).

    python -m benchmarks.exits > benchmarks/results/exits.md
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.machine import machine

COMMAND = Path(sys.executable).with_name("codecshards")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--times", type=int, default=1000, help="for each command (default: %(default)s)"
    )
    parser.add_argument(
        "--at-once", type=int, default=2, help="processes side by side (default: %(default)s)"
    )
    parser.add_argument("--only", help="commands whose name begins so (default: all)")
    options = parser.parse_args()
    print("# Exit codes\n\n    python -m benchmarks.exits", *sys.argv[1:])
    print(f"\n{machine()}, {options.at_once} processes side by side.\n")
    print("| command | expected | times | others |\n|---|---|---|---|")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="exits-") as folder:
        for name, expected, arguments in commands(Path(folder)):
            if not name.startswith(options.only or ""):
                continue
            found = count(arguments, options.times, options.at_once)
            others = {code: n for code, n in found.items() if code != expected}
            wrong += sum(others.values())
            said = ", ".join(f"{code}: {n}" for code, n in sorted(others.items())) or "none"
            print(f"| {name} | {expected} | {found.total()} | {said} |", flush=True)
    print(f"\nOther exit codes than expected: {wrong}.")
    return 1 if wrong else 0


def commands(folder: Path) -> list[tuple[str, int, list[str]]]:
    """Each command's name, its exit code, and its arguments; none changes what another reads."""
    corpus, rng = folder / "corpus", np.random.default_rng(0)
    corpus.mkdir()
    for number in range(3):
        samples = 0.1 * rng.standard_normal((int(rng.integers(5_000, 60_000)), 2))
        soundfile.write(corpus / f"{number}.wav", samples, 48_000)
    here, out = ["--workers", "0", "--quiet"], str(folder / "out")
    tokenize = ["tokenize", str(corpus), out, "--codec", "mulaw", *here]
    tars = ["tokenize", str(corpus), str(folder / "tars"), "--codec", "mulaw", "--format"]
    damaged = folder / "damaged"
    for arguments in (tokenize, [*tars, "webdataset", *here]):
        run(arguments, 0)
    run(["tokenize", str(corpus), str(damaged), "--codec", "mulaw", *here], 0)
    for shard in (damaged / "data").iterdir():
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    return [
        ("inspect", 0, ["inspect", out]),
        ("inspect --json", 0, ["inspect", out, "--json"]),
        ("verify", 0, ["verify", out]),
        ("verify, tars", 0, ["verify", str(folder / "tars")]),
        ("verify, a damaged shard", 1, ["verify", str(damaged)]),
        ("decode", 0, ["decode", out, "0.wav", "-o", str(folder / "decoded.wav")]),
        ("tokenize, finished before", 0, tokenize),
        ("tokenize, refused: another setting", 2, [*tokenize, "--downmix"]),
        ("tokenize, refused: no such SOURCE", 2, ["tokenize", f"{corpus}/none", out]),
        ("audit", 0, ["audit", out, "--all", "--no-page", *here]),
        ("train-codec, refused", 2, ["train-codec", f"{corpus}/none", str(folder / "run")]),
    ]


def run(arguments: Sequence[str], expected: int) -> None:
    """Once, before anything is counted.

    Raises:
        SystemExit: it ended otherwise, and the counts would be worth nothing.
    """
    ended = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)
    if ended.returncode != expected:
        raise SystemExit(f"{arguments}: {ended.returncode}, {ended.stderr}")


def count(arguments: Sequence[str], times: int, at_once: int) -> Counter[int]:
    """How often which exit code; a signal has minus its number."""

    def once(_: int) -> int:
        command = [COMMAND, *arguments]
        return subprocess.run(command, capture_output=True, check=False).returncode

    with ThreadPoolExecutor(at_once) as pool:
        return Counter(pool.map(once, range(times)))


if __name__ == "__main__":
    sys.exit(main())
