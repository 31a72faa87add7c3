"""The life of a corpus by the command: tokenized, grown twice, tried again after an outage, killed
at every turn; at each step it holds what tokenizing from scratch gives."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from killing import killed_at
from test_growth import as_folder, rows_of, state

from pipelines import CodesDataset
from pipelines.cli.main import main
from pipelines.output.inspect import inspect
from pipelines.output.verify import verify

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = ["--codec", "mulaw", "--workers", "0", "--shard-hours", str(0.2 / 3600)]


def killed_when(command: Sequence[str], there: Callable[[], bool]) -> None:
    """Start a command and kill it as soon as something is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "codecshards", *command], cwd=ROOT, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not there() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=20)
    assert there(), "it ended before there was anything to kill"


def committed(out: Path) -> int:
    return len(list(out.glob("manifest/commits/*.json")))


def test_a_life(tmp_path: Path) -> None:
    home, out, scratch = tmp_path / "corpus", tmp_path / "out", tmp_path / "scratch"
    home.mkdir()
    command = ["tokenize", str(home), str(out), *OPTIONS]

    def check(count: int) -> None:
        fresh = scratch / str(count)
        main(["tokenize", str(home), str(fresh), *OPTIONS, "--quiet"])
        assert rows_of(out) == rows_of(fresh) and len(rows_of(out)) == count
        assert verify(str(out)) == [] and len(CodesDataset(str(out))) == count
        assert inspect(str(out)).complete and not list(out.glob("manifest/staging/*"))

    def names(*words: str) -> dict[str, str]:
        return {f"{word}{number}": f"text {word}" for word in words for number in range(4)}

    as_folder(home, names("a", "b"))
    away = {path.name: path.read_bytes() for path in home.glob("b0*")}
    killed_when(command, lambda: committed(out) >= 1)
    (home / "b0.wav").rename(tmp_path / "b0.wav")  # an outage
    assert main(command) == 3
    first = state(out)

    as_folder(home, names("c"))
    killed_when([*command, "--append"], (out / "manifest/generations/00001.json").exists)
    killed_when([*command, "--append"], lambda: committed(out) >= 5)
    as_folder(home, {"d": "more, while it was unfinished"})
    assert main([*command, "--append"]) == 3
    assert first.items() <= state(out).items()
    assert [one.kind for one in inspect(str(out)).generations] == ["append", "append"]

    (tmp_path / "b0.wav").rename(home / "b0.wav")
    retry = [*command, "--retry-failed", "not_found"]
    killed_when(retry, (out / "manifest/generations/00003.json").exists)
    assert main(retry) == 0
    assert away["b0.wav"] and first.items() <= state(out).items()
    check(13)
    assert main(command) == 0

    digest = hashlib.sha256(away["b0.wav"]).hexdigest()
    (found,) = (
        row
        for path in out.glob("data/*.parquet")
        for row in pq.read_table(path).to_pylist()
        if row["id"] == "b0.wav"
    )
    assert found["source_sha256"] == digest


def test_sixteen_parts_of_which_some_are_killed_give_the_bytes_of_one_run(tmp_path: Path) -> None:
    """All sixteen have shards of their own, two of them two. They come in an order by chance; every
    third is killed before it comes again, each at another of its changes of a file."""
    home, one, out = tmp_path / "corpus", tmp_path / "one", tmp_path / "out"
    home.mkdir()
    as_folder(home, {f"{number:02d}": "text" for number in range(36)})  # 18 shards
    main(["tokenize", str(home), str(one), *OPTIONS, "--quiet"])
    command = ["tokenize", str(home), str(out), *OPTIONS, "--quiet", "--part"]
    order = [*range(1, 17)]
    random.Random(16).shuffle(order)
    killed = [
        killed_at(1 + turn % 4, lambda part=part: main([*command, f"{part}/16"]))
        for turn, part in enumerate(order[::3])
    ]
    assert sum(killed) >= 4 and committed(out) < 18, killed
    for part in reversed(order):
        assert main([*command, f"{part}/16"]) == 0
    files = [
        {path.name: path.read_bytes() for path in (folder / "data").iterdir()}
        for folder in (one, out)
    ]
    assert files[0] == files[1] and len(files[0]) == 18 and verify(str(out)) == []
    assert (one / "README.md").read_bytes() == (out / "README.md").read_bytes()
    assert not list(out.glob("manifest/staging/*"))


def test_parts_at_once_plan_once(tmp_path: Path) -> None:
    home, one, out = tmp_path / "corpus", tmp_path / "one", tmp_path / "out"
    home.mkdir()
    as_folder(home, {f"{number:02d}": "text" for number in range(4)})  # two shards
    main(["tokenize", str(home), str(one), *OPTIONS, "--quiet"])
    command = ["tokenize", str(home), str(out), *OPTIONS, "--part"]
    together = [
        subprocess.Popen(
            [sys.executable, "-m", "codecshards", *command, f"{part}/2"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        for part in (2, 1)
    ]
    for process in together:
        process.communicate(timeout=100)
        assert process.returncode == 0
    assert rows_of(one) == rows_of(out) and verify(str(out)) == []
