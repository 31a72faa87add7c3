"""The command for a machine with a GPU, at toy size on a CPU: it runs, and says what is wrong."""

from __future__ import annotations

import time
import wave
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import correctness, wheels
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.bench import Bench, Report, music

PARTS = [
    "Correctness",
    "Recordings",
    "Speed",
    "Batches and memory",
    "Settling",
    "Bounds",
    "Kernels",
    "Kernels of our own",
    "Feeding",
    "Two runs",
    "EnCodec 24 kHz",
    "EnCodec 32 kHz",
    "Mimi",
    "DAC 44.1 kHz",
    "X-Codec",
    "Higgs Audio v2",
    "X-Codec2",
    "NeuCodec",
    "Tests that need a GPU",
    "Compiled",
]


def test_every_part_runs_and_is_written_down(reduced: Path, tmp_path: Path) -> None:
    output = tmp_path / "gpu.md"
    arguments = ["--device", "cpu", "--toy", "--minutes", "9", "--output", str(output)]
    with wave.open(str(tmp_path / "one.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes((music(50_000, seed=1)[0] * 20_000).astype("<i2").tobytes())
    arguments += ["--audio", str(tmp_path)]
    assert main([*arguments, "--checkpoint", str(reduced)]) == 0
    said = output.read_text()
    assert "| shorter | 1 | 24 |" in said
    assert [line[3:] for line in said.splitlines() if line.startswith("## ")] == PARTS
    assert "**" not in said, said  # what differs or breaks is said in bold
    assert "| yes |" in said and "0 of " in said


def test_codes_that_differ_are_said_and_a_part_that_breaks_costs_that_part(
    reduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, output = correctness.upstream, tmp_path / "gpu.md"
    monkeypatch.setattr(correctness, "upstream", lambda m, chunk, b: real(m, chunk * 0.5 + 0.1, b))
    monkeypatch.setattr(correctness, "kinds", lambda bench: {"clicks": [music(700, seed=1)]})
    bench = Bench(reduced, torch.device("cpu"), True, time.monotonic() + 99, Report(output))
    with bench.part("Correctness"):
        correctness.run(bench)
    with bench.part("Speed"):
        raise RuntimeError("no such sound")
    said = output.read_text()
    assert "differ** |" in said and "**RuntimeError**: no such sound" in said


def test_what_there_is_no_time_for_says_so(reduced: Path, tmp_path: Path) -> None:
    output = tmp_path / "gpu.md"
    arguments = ["--device", "cpu", "--toy", "--minutes", "0", "--output", str(output)]
    assert main([*arguments, "--checkpoint", str(reduced)]) == 0
    assert output.read_text().count("Not begun: the time was up.") == len(PARTS)


def test_without_a_gpu_it_is_refused_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert main(["--output", "-"]) == 2
    assert "--device cpu --toy" in capsys.readouterr().out


def test_what_a_machine_lacks_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, complete = wheels.check()
    assert complete and any(line.startswith("torch") for line in lines)
    monkeypatch.setitem(wheels.THERE, "torch", "999.1")
    lines, complete = wheels.check()
    assert not complete and any("999.1 needed" in line for line in lines)
