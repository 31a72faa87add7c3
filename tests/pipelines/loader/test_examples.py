"""The training examples run, a few steps of them, and leave what they promise."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from loader_data import make_row, write_output

from pipelines import CodesDataset, CodesLoader
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.codecs.mulaw import describe_mulaw

ROOT = Path(__file__).resolve().parents[3]
PLUGGED = """
from dataclasses import replace

import level_codec
from tokenizer.codecs.mulaw import MuLawCodec, describe_mulaw
from tokenizer.codecs.registry import Builtin

level_codec.SIZES = (64, 16, 16, 4, 4, 4, 4)
LEVELS = level_codec.LEVELS


def describe(bandwidth):
    return replace(describe_mulaw(bandwidth), codec="earlier")


def load(bandwidth, device):
    codec = MuLawCodec(bandwidth)
    codec.spec = describe(bandwidth)
    return codec


EARLIER = Builtin(describe, load)
"""
"""two codecs: of levels of several rows and codebooks of different sizes, and one of a package for
earlier versions, which is loaded by a bandwidth alone"""


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


def write_plugged(site: Path) -> None:
    """The codecs as an installed package."""
    info = site / "plugged-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "plugged.py").write_text(PLUGGED)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[codecshards.codecs]\nlevels = plugged:LEVELS\nearlier = plugged:EARLIER\n"
    )


@pytest.mark.parametrize(
    ("name", "sounds", "codec", "expected"),
    [
        ("train_music_lm", ["music"], "levels", 16_000),
        ("train_tts_lm", ["one_five", "three_two"], "levels", 16_000),
        ("train_tts_lm", ["one_five", "three_two"], "earlier", 48_000),
    ],
)
def test_examples_run_with_codecs_of_other_packages(
    name: str,
    sounds: list[str],
    codec: str,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_plugged(tmp_path / "site")
    places = (tmp_path / "site", ROOT / "tests", ROOT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, places)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), "--steps", "2"]
    command += ["--out", str(tmp_path / "out"), "--codec", codec]
    command += ["--seconds", "3"] if name == "train_music_lm" else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for sound in sounds:
        samples, rate = soundfile.read(tmp_path / "out" / f"{sound}.wav")
        assert rate == expected and 0.5 < len(samples) / rate < 3 and samples.std() > 0


def test_a_curve_of_codes_that_are_all_the_same_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their entropy is nothing, and has no sign."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import curve
    import small_lm

    spec = describe_mulaw(6.0)
    rows = [make_row(number, 8_000, spec) for number in range(2)]
    same = [replace(row, codes=replace(row.codes, codes=row.codes.codes * 0)) for row in rows]
    loader = CodesLoader(CodesDataset(write_output(tmp_path, same, shards=1)), 2, epochs=1)
    floor = small_lm.unigram_entropy(loader, spec.codebook_size)
    assert str(floor) == "0.0"
    for losses in ([1.0, 0.5], [0.0]):
        curve.draw_curve(tmp_path / "loss.png", losses, floor)
        assert read_png(tmp_path / "loss.png").any()


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


@pytest.mark.parametrize("name", ["make_demo_corpus", "train_music_lm", "train_tts_lm"])
def test_help_says_what_an_example_does_in_a_whole_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    about = capsys.readouterr().out.split("\n\n")[1]
    assert about.endswith(".") and about.count("`") == 2
