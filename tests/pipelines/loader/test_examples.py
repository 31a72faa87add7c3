"""The training examples run, a few steps of them, and leave what they promise."""

from __future__ import annotations

import runpy
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tokenizer.codecs.encodec.seeded import write_seeded

ROOT = Path(__file__).resolve().parents[3]


def read_png(path: Path) -> np.ndarray:
    """uint8 `[rows, columns, 3]` of an unfiltered PNG, its checksums compared."""
    content, at, parts = path.read_bytes(), 8, {}
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    while at < len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        parts[kind] = content[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + parts[kind]) == int.from_bytes(
            content[at + 8 + length : at + 12 + length], "big"
        )
        at += 12 + length
    assert list(parts) == [b"IHDR", b"IDAT", b"IEND"] and parts[b"IHDR"][8:10] == b"\x08\x02"
    columns, rows = (int.from_bytes(parts[b"IHDR"][i : i + 4], "big") for i in (0, 4))
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(rows, 1 + 3 * columns)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(rows, columns, 3)


@pytest.mark.parametrize(
    ("name", "sounds", "codec", "expected"),
    [
        ("train_music_lm", ["music"], None, 48_000),
        ("train_tts_lm", ["one_five", "three_two"], None, 48_000),
        ("train_tts_lm", ["one_five", "three_two"], "mono", 24_000),
    ],
)
def test_examples_train_and_sound(
    name: str,
    sounds: list[str],
    codec: str | None,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also with a codec that is mono and has no chunks and no scales."""
    command = [
        sys.executable,
        str(ROOT / "examples" / f"{name}.py"),
        "--out",
        str(tmp_path),
        "--steps",
        "3",
    ]
    if name == "train_music_lm":
        command += ["--seconds", "4"]
    if codec is not None:
        command += ["--codec", str(write_seeded(tmp_path / codec, model="24khz", size="reduced"))]
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    if name == "train_music_lm":
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said = done.stdout
    else:  # in this process, which has everything imported
        monkeypatch.syspath_prepend(str(ROOT / "examples"))
        monkeypatch.setattr(sys, "argv", command[1:])
        with pytest.raises(SystemExit, match=r"^0$"):
            runpy.run_path(command[1], run_name="__main__")
        said = capsys.readouterr().out
    assert "unigram entropy" in said
    colours = {tuple(colour) for colour in read_png(tmp_path / "loss.png").reshape(-1, 3)}
    assert {(255, 255, 255), (0, 0, 255), (255, 0, 0)} <= colours, (
        "the loss and the unigram entropy"
    )
    for sound in sounds:
        samples, rate = soundfile.read(tmp_path / f"{sound}.wav")
        assert rate == expected and 0.5 < len(samples) / rate < 3 and samples.std() > 0
