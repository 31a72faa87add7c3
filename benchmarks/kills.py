"""What SIGKILLs cost a run on Ray, as an OOM killer sends them: to encoders, runners and decoders,
in mixtures.

    python -m benchmarks.kills --codec reduced --codec mulaw > benchmarks/results/kills.md

`codecshards tokenize` does a corpus of small files with two workers on a Ray of its own, and
processes of the mixture's kinds are killed until there were as many kills as asked for; where the
run ends before, another one begins on a folder of its own. Each run's shards must equal, byte for
byte, those of a run in one process that nobody disturbed, `verify` must find nothing, and no
recording may have failed. With `fatal` one of the recordings aborts every decoder that opens it: it
alone must be named.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.machine import machine
from tokenizer.codecs.encodec.seeded import write_seeded

COMMAND = Path(sys.executable).with_name("codecshards")
FATAL = "017.flac"
HOOK = f"""
import os, sys

def look(event, given):
    if event == "open" and str(given[0]).endswith("/{FATAL}"):
        if any("reader_process" in word for word in sys.orig_argv):
            os.abort()

sys.addaudithook(look)
"""
"""what Python does first in every process: it aborts a decoder that opens the fatal recording"""
ALL = ("decoder", "runner", "encoder")


@dataclass(frozen=True, slots=True)
class Mixture:
    """Which processes are killed, and when."""

    kinds: tuple[str, ...] = ALL
    pause: tuple[float, float] = (0.3, 1.5)
    """seconds between two kills, at least and at most"""
    volley: bool = False
    """every process of these kinds at one moment"""
    newborn: bool = False
    """those that have begun last, not any of them"""
    fatal: bool = False


MIXTURES = {
    "decoders": Mixture(("decoder",)),
    "decoders at birth": Mixture(("decoder",), (0.0, 0.1), newborn=True),
    "runners": Mixture(("runner",)),
    "encoders": Mixture(("encoder",)),
    "encoders and decoders": Mixture(("encoder", "decoder")),
    "runners and encoders": Mixture(("runner", "encoder")),
    "all": Mixture(),
    "all, hastily": Mixture(pause=(0.0, 0.3)),
    "all at one moment": Mixture(pause=(4.0, 9.0), volley=True),
    "all, and a fatal recording": Mixture(fatal=True),
}


@dataclass(slots=True)
class Count:
    """What came of a mixture."""

    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    blamed: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--codec", action="append", help="reduced (EnCodec 48 kHz), mulaw")
    parser.add_argument("--kills", type=int, default=30, help="a mixture (default: %(default)s)")
    parser.add_argument("--mixture", action="append", choices=MIXTURES, help="default: each")
    parser.add_argument("--files", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=30.0, help="the longest; %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    asked = parser.parse_args()
    print(
        "# Processes that are killed from outside\n\n    python -m benchmarks.kills", *sys.argv[1:]
    )
    print(f"\n{machine()}; {asked.files} files of up to {asked.seconds:g} s.\n")
    print("| codec | mixture | kills | of them | runs | blamed | wrong |")
    print("|---|---|---|---|---|---|---|")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        for name in asked.codec or ["reduced", "mulaw"]:
            scene = Scene(Path(folder), name, asked.files, asked.seconds)
            for number, (title, mixture) in enumerate(MIXTURES.items()):
                if asked.mixture and title not in asked.mixture:
                    continue
                chance = random.Random(f"{asked.seed} {name} {number}")
                count = scene.disturb(mixture, asked.kills, chance)
                wrong += len(count.faults)
                told = ", ".join(f"{kind} {n}" for kind, n in sorted(count.kills.items()))
                blamed, faults = (
                    ", ".join(sorted(set(x))) or "none" for x in (count.blamed, count.faults)
                )
                print(
                    f"| {name} | {title} | {count.kills.total()} | {told} | {count.runs} "
                    f"| {blamed} | {faults} |",
                    flush=True,
                )
    return 1 if wrong else 0


class Scene:
    """A corpus, a codec, and what an undisturbed run makes of them."""

    def __init__(self, folder: Path, codec: str, files: int, seconds: float) -> None:
        self.folder = folder / codec
        self.corpus = write_corpus(self.folder / "corpus", files, seconds)
        self.codec = codec
        if codec == "reduced":
            self.codec = str(write_seeded(self.folder / "codec", size="reduced"))
        self.hours = f"{files * seconds / 2 / 3600 / 8:.5f}"
        hook = self.folder / "hook" / "sitecustomize.py"
        hook.parent.mkdir()
        hook.write_text(HOOK)
        self.hook = hook.parent
        self.expected = {}
        for fatal in (False, True):
            out = self.folder / f"expected-{fatal}"
            log = self.folder / "log"
            if self.start(out, log, fatal, "--workers", "0").wait() != (3 if fatal else 0):
                raise SystemExit(log.read_text())
            self.expected[fatal] = shards(out)

    def start(self, out: Path, log: Path, fatal: bool, *more: str) -> subprocess.Popen[bytes]:
        command = [COMMAND, "tokenize", self.corpus, out, "--codec", self.codec, "--quiet"]
        paths = [str(self.hook)] * fatal + os.environ.get("PYTHONPATH", "").split(os.pathsep)
        with log.open("wb") as said:
            return subprocess.Popen(
                [*map(str, command), "--shard-hours", self.hours, "--device", "cpu", *more],
                stdout=said,
                stderr=said,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            )

    def disturb(self, mixture: Mixture, kills: int, chance: random.Random) -> Count:
        """Runs until there were so many kills."""
        count = Count()
        while count.kills.total() < kills:
            count.runs += 1
            with tempfile.TemporaryDirectory(dir=self.folder) as place:
                out, log = Path(place, "out"), Path(place, "log")
                process = self.start(out, log, mixture.fatal, "--workers", "2")
                self._kill(process, mixture, count, kills, chance)
                self._judge(process.wait(), out, mixture, count, log.read_text("utf-8", "replace"))
        return count

    def _kill(
        self,
        process: subprocess.Popen[bytes],
        mixture: Mixture,
        count: Count,
        kills: int,
        chance: random.Random,
    ) -> None:
        turn = 0
        while process.poll() is None and count.kills.total() < kills:
            time.sleep(0.02)
            below = list(family(process.pid))
            if not any(kind == "runner" for kind, _, _ in below):
                continue
            kind = mixture.kinds[turn % len(mixture.kinds)]
            chosen = [one for one in below if one[0] == kind or (mixture.volley and one[0] in ALL)]
            if not chosen:
                continue
            if mixture.newborn:
                chosen = [max(chosen, key=lambda one: one[2])]
            turn += 1
            for what, pid, _ in chosen if mixture.volley else [chance.choice(chosen)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    count.kills[what] += 1
            time.sleep(chance.uniform(*mixture.pause))

    def _judge(self, code: int, out: Path, mixture: Mixture, count: Count, error: str) -> None:
        failures = blamed(out)
        count.blamed += failures
        wanted = [FATAL] if mixture.fatal else []
        faults = []
        if code != (3 if mixture.fatal else 0):
            faults.append(f"exit code {code}")
        if failures != wanted:
            faults.append("other recordings are blamed than should be")
        if out.exists() and shards(out) != self.expected[mixture.fatal]:
            faults.append("shards differ")
        checked = subprocess.run(
            [COMMAND, "verify", str(out)], capture_output=True, text=True, check=False
        )
        if checked.returncode:
            faults.append("verify finds something")
        for words in ("Traceback", "(raylet)"):
            if words in error:
                faults.append(f"it says {words}")
        if faults:
            print(error, checked.stdout, checked.stderr, file=sys.stderr, flush=True)
        count.faults += faults


def write_corpus(folder: Path, files: int, seconds: float) -> Path:
    """FLAC files of noise under slow envelopes, of many lengths and three rates."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(files):
        rate = (48_000, 44_100, 16_000)[number % 3]
        length = int(rng.uniform(0.05, 1.0) * seconds * rate)
        envelope = np.interp(np.arange(length), np.linspace(0, length, 9), rng.uniform(0, 0.3, 9))
        samples = rng.standard_normal((length, 1 + number % 2)) * envelope[:, None]
        soundfile.write(folder / f"{number:03d}.flac", samples.clip(-1, 1), rate)
    return folder


def shards(out: Path) -> dict[str, bytes]:
    """Contents by name."""
    return {path.name: path.read_bytes() for path in sorted((out / "data").glob("*"))}


def blamed(out: Path) -> list[str]:
    """Recordings that failed, as the commit records say."""
    return [
        failure["id"]
        for path in sorted(out.glob("manifest/commits/*.json"))
        for failure in json.loads(path.read_bytes())["failures"]
    ]


def family(root: int) -> Iterator[tuple[str, int, int]]:
    """Kind, process id and time of birth of what runs below a process."""
    parents, names, born = {}, {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                pid = int(entry.name)
                fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                parents[pid], born[pid] = int(fields[1]), int(fields[19])
                names[pid] = (entry / "cmdline").read_bytes()
    for pid, name in names.items():
        above = pid
        while above not in (0, 1, root):
            above = parents.get(above, 0)
        if above != root:
            continue
        if b"pipelines.corpus.reader_process" in name:
            yield "decoder", pid, born[pid]
        elif name.startswith(b"ray::Runner"):
            yield "runner", pid, born[pid]
        elif name.startswith(b"ray::EncodeActor"):
            yield "encoder", pid, born[pid]


if __name__ == "__main__":
    sys.exit(main())
