"""The training examples run, a few steps of them, and leave what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("name", "sounds"), [("train_music_lm", ["music"]), ("train_tts_lm", ["one_five", "three_two"])])
def test_examples_train_and_sound(name: str, sounds: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), "--out", str(tmp_path), "--steps", "3"]
    if name == "train_music_lm":
        command += ["--seconds", "4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "unigram entropy" in done.stdout
    with Image.open(tmp_path / "loss.png") as curve:
        colours = {colour for _, colour in curve.getcolors(1 << 20) or []}
        assert curve.format == "PNG" and {(0, 0, 255), (255, 0, 0)} <= colours, "the loss and the unigram entropy"
    for sound in sounds:
        samples, rate = soundfile.read(tmp_path / f"{sound}.wav")
        assert rate == 48_000 and 0.5 < len(samples) / rate < 3 and samples.std() > 0
