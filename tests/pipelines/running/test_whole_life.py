"""What becomes of a corpus after it was tokenized, by the command, killed on its way: corrected,
taken out of, split, merged, resharded, decoded, exported and published. The audio is away all the
while, so that nothing can be encoded again."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import load_from_disk
from hub import TOKEN, stand_in
from test_growth import as_folder, rows_of
from test_life import OPTIONS, ROOT, killed_when

from pipelines import CodesDataset, CodesLoader, codes_from_tokens
from pipelines.cli.main import main
from pipelines.output.verify import verify
from tokenizer.errors import UsageError

NAMES = [f"{word}{number}" for word in "abc" for number in range(4)]


def from_scratch(folder: Path, texts: Mapping[str, str]) -> dict[str, tuple[object, ...]]:
    """The rows of a corpus that was so from the beginning."""
    home, out = folder / "corpus", folder / "out"
    home.mkdir(parents=True)
    as_folder(home, texts)
    assert main(["tokenize", str(home), str(out), *OPTIONS, "--quiet"]) == 0
    return rows_of(out)


def test_a_whole_life(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, out, more = tmp_path / "corpus", tmp_path / "out", tmp_path / "more"
    texts = {name: f"text {name}" for name in NAMES}
    home.mkdir()
    as_folder(home, texts)
    assert main(["tokenize", str(home), str(out), *OPTIONS, "--quiet"]) == 0
    other = from_scratch(tmp_path / "m", {"z0": "text z", "z1": "text z"})
    (tmp_path / "m" / "out").rename(more)
    loader = CodesLoader(CodesDataset(str(out)), batch_size=2, seed=0)
    next(iter(loader))
    before = loader.state_dict()
    home.rename(tmp_path / "away")

    table, ids = tmp_path / "texts.csv", tmp_path / "ids.txt"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "text"), ("a1.wav", "corrected"), ("c3.wav", "too")])
    ids.write_text("b0.wav\nb2.wav\n")
    correct = ["edit", str(out), "--set", str(table)]
    killed_when(correct, (out / "manifest/edits/00001.json").exists)
    assert main(correct) == 0
    drop = ["edit", str(out), "--drop", str(ids), "--reason", "withdrawn"]
    killed_when(drop, (out / "manifest/edits/00002.json").exists)
    assert main(drop) == 0
    texts |= {"a1": "corrected", "c3": "too"}
    kept = {name: text for name, text in texts.items() if name not in ("b0", "b2")}
    expected = from_scratch(tmp_path / "scratch", kept)
    assert rows_of(out) == expected and verify(str(out)) == []
    with pytest.raises(UsageError, match="edited since"):
        CodesLoader(CodesDataset(str(out)), batch_size=2, seed=0).load_state_dict(before)

    made = {name: tmp_path / name for name in ("parts", "both", "tars")}
    steps = [
        ["split", str(out), str(made["parts"]), "--valid", "0.3"],
        ["merge", str(made["parts"]), str(more), str(made["both"])],
        ["reshard", str(made["both"]), str(made["tars"]), "--shuffle", "1"],
    ]
    steps[-1] += ["--format", "webdataset", "--shard-hours", str(0.3 / 3600)]
    for step, new in zip(steps, made.values(), strict=True):
        killed_when(step, (new / "manifest/config.json").exists)
        assert main([*step, "--quiet"]) == 0
        assert verify(str(new)) == []
    assert rows_of(made["parts"]) == expected and rows_of(made["both"]) == expected | other
    splits = {path.name.split("-")[0] for path in (made["tars"] / "data").iterdir()}
    assert splits == {"train", "valid"}
    found = {row.id for split in splits for row in CodesDataset(str(made["tars"]), split=split)}
    assert found == set(expected | other)

    hear = ["decode", str(made["tars"]), "--all", "--to", str(tmp_path / "wavs"), "--workers", "0"]
    hear += ["--format", "wav"]
    killed_when(hear, lambda: any((tmp_path / "wavs").rglob("*.wav")))
    assert main([*hear, "--quiet"]) == 0
    lengths = {
        path.name: soundfile.info(path).frames for path in (tmp_path / "wavs").rglob("*.wav")
    }
    assert lengths == dict.fromkeys(found, 4800)

    for form in ("megatron", "arrow"):
        new = str(tmp_path / form)
        assert main(["export", str(made["both"]), new, "--to", form, "--quiet"]) == 0
    ids_of = next(iter(load_from_disk(str(tmp_path / "arrow"))["train"]))
    codes = codes_from_tokens(ids_of["input_ids"], str(tmp_path / "arrow")).codes
    assert np.array_equal(codes, np.array((expected | other)[ids_of["id"]][0]))

    with stand_in() as hub:
        push = [sys.executable, "-m", "codecshards", "push", str(made["both"]), "me/codes"]
        there = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        environment = {**os.environ, **there, "HF_HOME": str(tmp_path / "hf")}
        first = subprocess.Popen(push, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        wait(lambda: bool(hub.puts) or first.poll() is not None)
        first.kill()
        first.wait()
        ended = subprocess.run(
            push, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        clone = tmp_path / "clone"
        for name, content in hub.files["me/codes"].items():
            path = clone / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    published = rows_of(clone)
    assert published == expected | other
    assert "Traceback" not in capsys.readouterr().err


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
