"""MUSDB's `song.stem.mp4`: five streams of sound in a file, compared with what FFmpeg's command
line takes out of each."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored_rows import by_id, codes_of

from pipelines.corpus.sources import open_source
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus
from tokenizer.audio import read_audio

STEMS = ("mixture", "drums", "bass", "other", "vocals")
SONG = "train/Band - Song.stem.mp4"
pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A song in which every stream is another tone."""
    root = tmp_path_factory.mktemp("musdb")
    (root / "train").mkdir()
    tones = [f"-f lavfi -i sine={300 + 200 * n}:r=44100:d=0.5" for n in range(len(STEMS))]
    maps = [f"-map {n}:a" for n in range(len(STEMS))]
    command = f"ffmpeg -v error {' '.join([*tones, *maps])} -ac 2 -c:a aac".split()
    subprocess.run([*command, "-f", "mp4", str(root / SONG)], check=True)
    return root


def heard(path: Path, stream: int) -> np.ndarray:
    """Float32 `[2, n]`."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", f"0:a:{stream}", "-f", "f32le"]
    raw = subprocess.run([*command, "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.float32).reshape(-1, 2).T


def run(source: Path, out: Path, **said: Any) -> dict[str, dict[str, Any]]:
    config = TokenizeConfig(str(source), codec="mulaw", bandwidth=24.0, **said)
    tokenize_corpus(config, str(out), RunOptions(workers=0, quiet=True))
    return by_id(out)


def test_every_stream_is_a_row_with_its_own_sound(corpus: Path, tmp_path: Path) -> None:
    rows = run(corpus, tmp_path / "all")
    assert list(rows) == [f"{SONG}#{stem}" for stem in STEMS]
    codes = {codes_of(row).tobytes() for row in rows.values()}
    assert len(codes) == len(STEMS)
    for number, stem in enumerate(STEMS):
        meta = json.loads(rows[f"{SONG}#{stem}"]["meta"])
        assert (meta["group"], meta["stem"], meta["split"]) == ("train/Band - Song", stem, "train")
        one = run(corpus, tmp_path / f"{number}", stream=number)
        assert list(one) == [f"{SONG}#{stem}"]
        assert one[f"{SONG}#{stem}"]["codes"] == rows[f"{SONG}#{stem}"]["codes"]
        wanted = heard(corpus / SONG, number)
        samples = read_audio(str(corpus / SONG), stream=number).samples
        same = min(samples.shape[1], wanted.shape[1])
        assert same >= 0.49 * 44_100
        np.testing.assert_allclose(samples[:, :same], wanted[:, :same], atol=1e-4)


def test_a_tar_has_them_too_and_a_stream_that_is_not_there_is_a_failure(
    corpus: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "musdb.tar", "w") as tar:
        tar.add(corpus / SONG, SONG)
    found = list(open_source(str(tmp_path / "musdb.tar")).scan())
    assert [(one.locator["stream"], one.meta["stem"]) for one in found] == [*enumerate(STEMS)]
    short = tmp_path / "short" / "a.stem.mp4"
    short.parent.mkdir()
    command = ["ffmpeg", "-v", "error", "-i", str(corpus / SONG), "-map", "0:a:0", "-map", "0:a:1"]
    subprocess.run([*command, "-c", "copy", "-f", "mp4", str(short)], check=True)
    assert list(run(short.parent, tmp_path / "out")) == ["a.stem.mp4#mixture", "a.stem.mp4#drums"]
