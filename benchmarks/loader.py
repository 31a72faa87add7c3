"""The loader against the ways people load codes today: random 10 s crops in batches of 32, from
local disk, one process each.

    python -m benchmarks.loader > benchmarks/results/loader.md

Every peer reads the same random codes in its own format, written from the same Parquet shards. The
peers live in an environment of their own (`benchmarks/peers/requirements.txt`), which is made once
in `--env`. Each measurement is a process of its own with one torch thread; peers take turns, round
by round. Files are in the page cache, as they have just been written.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.codes_data import bytes_of, random_lengths, repeat_shards, write_data_set
from benchmarks.machine import machine
from benchmarks.peers.run import PEERS
from pipelines import CodesDataset

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(
    os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "codecshards", "loader-peers"
)
OURS, AHEAD = "codecshards", "codecshards, reading ahead"
READS_OURS = (OURS, AHEAD, "datasets, streaming")
Figures = dict[str, list[dict[str, float]]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--env",
        type=Path,
        default=CACHE,
        help="environment of the peers (default: in the user's cache)",
    )
    parser.add_argument(
        "--hours", type=float, default=12.0, help="of audio in each data set (default: %(default)s)"
    )
    parser.add_argument(
        "--mean", type=float, default=30.0, help="seconds of a recording (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds",
        type=float,
        default=3.0,
        help="of CPU time that each measurement lasts (default: %(default)s)",
    )
    parser.add_argument(
        "--shards",
        type=int,
        default=1000,
        help="of the data set for the first batch (default: %(default)s)",
    )
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    options = parser.parse_args()
    make_environment(options.env)
    peers = Peers(options)
    with tempfile.TemporaryDirectory(prefix="loader-") as folder:
        lengths = random_lengths(options.hours, options.mean)
        sets = {
            n_q: write_data_set(Path(folder, str(n_q)), lengths, n_q, shards=6) for n_q in (4, 16)
        }
        about = {peer: peers.write(peer, list(sets.values())) for peer in options.peers}
        for peer in options.peers:
            for out in sets.values():
                peers.run(peer, "check", out)
        head(options, about)
        for n_q, out in sets.items():
            table(n_q, out, peers, options)
        crops(sets)
        first_batch(Path(folder), peers, options)
    return 0


def make_environment(folder: Path) -> None:
    """The peers' environment, made when it is not there: torch first, so that a local CPU build is
    kept."""
    wanted = (ROOT / "benchmarks" / "peers" / "requirements.txt").read_text()
    done = folder / "requirements.txt"
    if done.exists() and done.read_text() == wanted:
        return
    print(f"making the peers' environment in {folder}", file=sys.stderr)
    venv.create(folder, with_pip=True, clear=folder.exists() and (folder / "pyvenv.cfg").exists())
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    torch = next(line for line in wanted.splitlines() if line.startswith("torch=="))
    for what in ([torch], ["-r", str(ROOT / "benchmarks" / "peers" / "requirements.txt")]):
        if subprocess.run([*pip, *what], stdout=sys.stderr, check=False).returncode:
            sys.exit(f"the peers cannot be installed into {folder}: the lines above say why")
    done.write_text(wanted)


class Peers:
    """Runs peers, each in a process of its own, in its own environment."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._theirs = str(options.env / "bin" / "python")
        self._seconds = str(options.seconds)

    def folder(self, peer: str, out: Path) -> Path:
        return out.parent / f"{out.name}-{PEERS[peer]}"

    def write(self, peer: str, sets: list[Path]) -> dict[str, Any]:
        """Every data set in the peer's own format; its version and settings."""
        *_, about = [self.run(peer, "write", out) for out in sets]
        return about

    def run(self, peer: str, what: str, out: Path, seed: int = 0) -> dict[str, Any]:
        """What `benchmarks.peers.run` prints."""
        python = sys.executable if peer in (OURS, AHEAD) else self._theirs
        folder = self.folder(peer, out)
        folder.mkdir(exist_ok=True)
        command = [
            python,
            "-m",
            "benchmarks.peers.run",
            peer,
            what,
            "--source",
            str(out / "data"),
            "--folder",
            str(folder),
        ]
        more = ["--seconds", self._seconds, "--seed", str(seed)]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        done = subprocess.run(
            [*command, *more],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{peer}, {what}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return values


def head(options: argparse.Namespace, about: dict[str, dict[str, Any]]) -> None:
    print("# Loading random crops\n")
    print(f"    {shlex.join(['python', '-m', 'benchmarks.loader', *sys.argv[1:]])}\n")
    print(f"{machine()}, Python {platform.python_version()}; {options.hours:g} h of random codes")
    print(
        f"in recordings of {options.mean / 2:g} to {options.mean * 1.5:g} s; crops of 10 chunks "
        "(1,500 frames), batches of 32;"
    )
    print(f"median of {options.rounds} rounds of {options.seconds:g} CPU seconds each.\n")
    for peer, one in about.items():
        print(f"- {peer} {one['version']}: {one['settings']}")


def table(n_q: int, out: Path, peers: Peers, options: argparse.Namespace) -> None:
    """All peers on one data set, in turns."""
    found: Figures = {peer: [] for peer in options.peers}
    for number in range(options.rounds):
        for peer in options.peers:
            found[peer].append(peers.run(peer, "measure", out, number))
            print(f"n_q {n_q}, round {number}, {peer}: {found[peer][-1]}", file=sys.stderr)
    print(f"\n## {n_q} codebooks\n")
    columns = [
        "",
        "million tokens per CPU second",
        "ours: times as fast",
        "million tokens per second",
        "first batch, s",
    ]
    columns += ["peak memory, MiB", "MB on disk", "ours: times the bytes"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    own = bytes_of(out / "data")
    for peer, rounds in found.items():
        size = own if peer in READS_OURS else bytes_of(peers.folder(peer, out))
        ratio = "-"
        if OURS in found and peer != OURS:
            pairs = zip(found[OURS], rounds, strict=True)
            ratios = [a["tokens_per_cpu"] / b["tokens_per_cpu"] for a, b in pairs]
            ratio = f"{statistics.median(ratios):.2f}"
        print(
            f"| {peer} | {middle(rounds, 'tokens_per_cpu') / 1e6:.1f} | {ratio} | "
            f"{middle(rounds, 'tokens_per_wall') / 1e6:.1f} "
            f"| {middle(rounds, 'first_seconds'):.2f} | {middle(rounds, 'peak_bytes') / 2**20:.0f} "
            f"| {size / 1e6:.1f} | {own / size:.2f} |",
            flush=True,
        )


def middle(rounds: list[dict[str, float]], name: str) -> float:
    return statistics.median(one[name] for one in rounds)


def crops(sets: dict[int, Path], count: int = 1000) -> None:
    """`dataset.slice` of 10 s at random: 11 or 12 chunks, as a stretch hardly ever begins where a
    chunk does."""
    print("\n## One random stretch of 10 s, `dataset.slice`\n")
    print(
        "| codebooks | pages in the cache | median, ms | 99th percentile, ms |\n|---|---|---|---|"
    )
    for n_q, out in sets.items():
        for cache_mb in (0, 256):
            dataset = CodesDataset(out, cache_mb=cache_mb)
            rng = np.random.default_rng(0)
            long = [number for number in range(len(dataset)) if dataset.units(number) > 11]
            places = [
                (int(i), float(at))
                for i, at in zip(rng.choice(long, count), rng.uniform(size=count), strict=True)
            ]
            for _ in range(
                1 if cache_mb == 0 else 2
            ):  # the second pass finds in the cache what the first has left there
                times = [timed_slice(dataset, i, at) for i, at in places]
            cached = f"up to {cache_mb} MB" if cache_mb else "none"
            print(
                f"| {n_q} | {cached} | {1e3 * statistics.median(times):.2f} | "
                f"{1e3 * float(np.quantile(times, 0.99)):.2f} |"
            )


def timed_slice(dataset: CodesDataset, number: int, at: float) -> float:
    """Seconds that one stretch takes, `at` being a share of the places where it fits."""
    start = at * ((dataset.units(number) - 1) * 0.99 - 10.0)
    began = time.perf_counter()
    dataset.slice(number, start, start + 10.0, ())
    return time.perf_counter() - began


def first_batch(folder: Path, peers: Peers, options: argparse.Namespace) -> None:
    """From the construction of the data set to the first batch, on many shards of 2 h each."""
    few = write_data_set(folder / "few", random_lengths(8.0, options.mean, seed=1), 4, 4)
    many = repeat_shards(few, folder / "many", options.shards)
    seconds = [
        peers.run(AHEAD, "measure", many, number)["first_seconds"]
        for number in range(options.rounds)
    ]
    print(f"\n## The first batch on {options.shards:,} shards of 2 h, 4 codebooks\n")
    print(
        f"{statistics.median(seconds):.2f} s: records listed, the shards of 32 recordings compared "
        "with their SHA-256, read."
    )


if __name__ == "__main__":
    sys.exit(main())
