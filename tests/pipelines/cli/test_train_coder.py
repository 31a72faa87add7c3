"""`train-coder` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from loader_data import make_rows, write_output

from pipelines.cli.archiving.training_codes import Wanted, read_codes
from pipelines.cli.main import main
from tokenizer.codecs.mulaw import describe_mulaw
from tokenizer.coding.training.corpus import share_of
from tokenizer.coding.transformer.predictor import TransformerPredictor
from tokenizer.training.logs import read_losses

SPEC = describe_mulaw(6.0)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_output(tmp_path_factory.mktemp("codes") / "out", make_rows(12, SPEC, 3.0))


def test_it_trains_resumes_and_writes_a_coder(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    options = ["--steps", "3", "--batch", "1", "--device", "cpu", "--hold-out-share", "0.3"]
    assert main(["train-coder", str(out), str(run), *options, "--minutes", "1e-9"]) == 0
    assert len(read_losses(run)) == 1
    assert main(["train-coder", str(out), str(run), *options]) == 0
    assert [row["step"] for row in read_losses(run)] == [0, 1, 2]
    assert f"use it as --coder {run}" in capsys.readouterr().out
    coder = TransformerPredictor.loads((run / "coder.safetensors").read_bytes())
    assert coder.sizes == SPEC.sizes
    codes = np.zeros((SPEC.n_q, 3), np.uint16)
    assert coder.intervals([codes])[0].shape == (2, SPEC.n_q, 3)
    assert main(["train-coder", str(out), str(run), *options, "--seed", "1"]) == 2
    assert "another configuration (seed: 0 there, 1 now)" in capsys.readouterr().err


def test_what_is_held_out_and_left_out(out: Path) -> None:
    rows = make_rows(12, SPEC, 3.0)
    wanted = Wanted(hold_out=("*/00001.*",), leave_out=("*/00002.*",), hold_out_share=0.3)
    read = read_codes([str(out)], wanted)
    held = {row.id for row in rows if share_of(row.id) < 0.3 or "00001" in row.id}
    held -= {row.id for row in rows if "00002" in row.id}
    assert (read.held_out.recordings, read.train.recordings) == (len(held), 11 - len(held))
    assert read.held_out.frames == sum(row.codes.frames for row in rows if row.id in held)
    twice = read_codes([str(out), str(out)], wanted)
    assert twice.train.frames == 2 * read.train.frames
    short = read_codes([str(out)], Wanted(hours=1 / 3600))
    assert 0 < short.train.recordings + short.held_out.recordings < 12


def test_patterns_that_no_id_has_are_told(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    globs = ["--hold-out", "*/00001.*", "--hold-out", "*/1.wav", "--leave-out", "Music/*"]
    steps = ["--steps", "1", "--batch", "1", "--device", "cpu"]
    assert main(["train-coder", str(out), str(tmp_path / "run"), *steps, *globs]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("--")]
    assert [line.split(": none of the recordings")[0] for line in said] == [
        "--hold-out */1.wav",
        "--leave-out Music/*",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["MISSING", "RUN"], "MISSING"),
        (["OUT", "RUN", "--preset", "huge"], "--preset huge: choose from small, paper"),
        (["OUT", "RUN", "--hours", "0"], "--hours 0"),
        (["OUT", "RUN", "--hold-out-share", "1"], "--hold-out-share 1"),
        (["OUT", "RUN", "--steps", "0"], "--steps"),
        (["OUT", "RUN", "--threads", "0"], "--threads 0"),
        (["OUT", "RUN", "--evaluate-every", "0"], "--evaluate-every 0"),
        (["OUT", "RUN", "--n-q", "99"], "n_q=99"),
        (["OUT", "s3://bucket/run"], "RUN is a local folder"),
        (["OUT", "RUN", "--device", "gpu"], "--device gpu"),
        (["OUT", "RUN", "--leave-out", "*"], "no codes to train on"),
    ],
)
def test_mistakes_are_said_in_a_line(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    places = {"OUT": str(out), "RUN": str(tmp_path / "run"), "MISSING": str(tmp_path / "MISSING")}
    assert main(["train-coder", *(places.get(word, word) for word in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "run").exists() or json.loads(
        (tmp_path / "run" / "config.json").read_text()
    )
