"""Recordings that go through a run in pieces: what is stored is what the codec makes of the whole
file, which libsndfile reads here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lag_codec import HOP, LAG, RATE, LagCodec, as_plugin
from stored_rows import by_id, codes_of

from pipelines.cli.main import main
from pipelines.loader.dataset import CodesDataset
from pipelines.loader.in_order import InOrder
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus
from tokenizer.codecs import registry
from tokenizer.codecs.base import ChunkCodes

ROOT = Path(__file__).resolve().parents[3]
SECONDS = {"a": 0.01, "b": 3.0, "c": 0.5, "d": 700.0, "e": 12.34, "f": 1.0, "g": 2.0}
"""d has 70,000 frames, more than an entry of chunk_frames holds"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("long"), np.random.default_rng(0)
    for name, seconds in SECONDS.items():
        samples = 0.3 * np.cumsum(rng.standard_normal(round(seconds * RATE)))
        soundfile.write(folder / f"{name}.wav", np.sin(samples / 20) / 2, RATE, "PCM_16")
    return folder


@pytest.fixture
def lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.CODECS, "lag", LAG)


def truth(corpus: Path) -> dict[str, np.ndarray]:
    codec, found = LagCodec(), {}
    for name in SECONDS:
        samples, _ = soundfile.read(corpus / f"{name}.wav", dtype="float32")
        found[f"{name}.wav"] = codec.encode_chunks([samples[None]])[0].codes
    return found


def check(corpus: Path, out: Path) -> None:
    rows, expected = by_id(out), truth(corpus)
    assert set(rows) == set(expected)
    for id, codes in expected.items():
        assert np.array_equal(codes_of(rows[id]), codes), id
        assert rows[id]["num_samples"] == round(SECONDS[id[0]] * RATE)


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
@pytest.mark.parametrize("keep", [None, "seconds > 0"])
def test_codes_are_those_of_the_whole(
    corpus: Path, tmp_path: Path, lag: None, format: str, keep: str | None
) -> None:
    config = TokenizeConfig(
        str(corpus), codec="lag", format=format, keep=keep, max_chunk_seconds=1.0
    )
    options = RunOptions(workers=0, quiet=True)
    tokenize_corpus(config, str(tmp_path / "out"), options)
    check(corpus, tmp_path / "out")
    frames = by_id(tmp_path / "out")["d.wav"]["chunk_frames"]
    assert np.frombuffer(frames[1], "<u2").tolist() == [65_535, 70_000 - 65_535]
    dataset, codes = CodesDataset(tmp_path / "out"), truth(corpus)["d.wav"]
    sample = dataset.by_id("d.wav")
    assert np.array_equal(sample.to_codes().codes, codes) and sample.to_codes().units == 70_000
    piece = dataset.slice(3, 1.0, 690.0).to_codes()
    assert np.array_equal(piece.codes, codes[:, 100:69_000])
    assert LagCodec().decode(piece).num_samples == 689 * RATE
    (row,) = (row for _, row in InOrder(str(tmp_path / "out")) if row.id == "d.wav")
    assert np.array_equal(row.codes[65_000:66_000].codes, codes[:, 65_000:66_000])


def test_what_keep_refuses_leaves_no_row(corpus: Path, tmp_path: Path, lag: None) -> None:
    config = TokenizeConfig(str(corpus), codec="lag", keep="seconds < 100")
    tokenize_corpus(config, str(tmp_path / "out"), RunOptions(workers=0, quiet=True))
    assert set(by_id(tmp_path / "out")) == {f"{name}.wav" for name in SECONDS} - {"d.wav"}


def test_the_whole_way_of_long_recordings(corpus: Path, tmp_path: Path, lag: None) -> None:
    """Over Ray's processes, with the bytes that one process writes; tokenize, audit in passing and
    again, verify, decode."""
    path, out = as_plugin(tmp_path / "site"), tmp_path / "out"
    command = [sys.executable, "-m", "codecshards", "tokenize", str(corpus), str(out)]
    ended = subprocess.run(
        [*command, "--codec", "lag", "--workers", "1", "--audit", "1.0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    check(corpus, out)
    options = RunOptions(workers=0, quiet=True)
    tokenize_corpus(TokenizeConfig(str(corpus), codec="lag"), str(tmp_path / "here"), options)
    for file in (out / "data").iterdir():
        assert file.read_bytes() == (tmp_path / "here" / "data" / file.name).read_bytes()
    passing = json.loads((out / "audit" / "report.json").read_text())
    assert main(["verify", str(out)]) == 0
    audit = ["audit", str(out), "--all", "--reencode", "--metrics", "si-snr", "--workers", "0"]
    assert main(audit) == 0
    report = json.loads((out / "audit" / "report.json").read_text())
    assert report["passed"] is True and passing["passed"] is True
    codec, expected = LagCodec(), truth(corpus)
    to = str(tmp_path / "all")
    assert main(["decode", str(out), "--all", "--to", to, "--workers", "0"]) == 0
    for id, codes in expected.items():
        (want,) = codec.decode_chunks([ChunkCodes(codes, None)])
        (file,) = (tmp_path / "all").glob(f"{id[0]}*")
        found, rate = soundfile.read(file, dtype="float32")
        assert rate == RATE and np.abs(found - want[0, : len(found)]).max() < 1e-4
        assert len(found) == round(SECONDS[id[0]] * RATE)


def test_hop_is_what_the_seconds_assume() -> None:
    assert round(SECONDS["d"] * RATE) // HOP == 70_000
