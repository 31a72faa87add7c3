"""`--precision fast`: recorded, judged, and never mixed with exact codes. What a GPU would load
computes on this machine here."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from corpora import Maker
from rich.console import Console

from pipelines import run
from pipelines.cli.main import main
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.inspect import inspect, render
from pipelines.run import tokenize_corpus
from pipelines.tokenizing.jobs import CodecSettings
from tokenizer import Codec, OutputError, UsageError
from tokenizer.codecs import describe_codec
from tokenizer.codecs.encodec.codec import EncodecCodec
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.sealing import unseal

HERE = RunOptions(workers=0, quiet=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeded(tmp_path_factory.mktemp("codec"), size="reduced")


def test_a_fast_corpus_says_so_everywhere(
    checkpoint: Path, make_corpus: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(settings: CodecSettings, threads: int | None = None) -> Codec:
        assert settings.precision == "fast"
        return EncodecCodec(
            checkpoint, describe_codec(settings.codec, precision=settings.precision), "cpu"
        )

    monkeypatch.setattr(CodecSettings, "load", load)
    monkeypatch.setattr(run, "usable_gpu", lambda: True)
    config = TokenizeConfig(
        str(make_corpus(3, broken=False)),
        codec=str(checkpoint),
        precision="fast",
        shard_hours=0.0004,
    )
    out = tmp_path / "out"
    tokenize_corpus(config, str(out), HERE)
    report = unseal((out / "manifest" / "precision.json").read_bytes())
    summary = inspect(str(out))
    assert (
        report["chunks"] == summary.chunks
        and report["shares"] == [1.0] * 4
        and report["error_ratio"] == 1.0
    )
    first = next(iter(sorted((out / "data").iterdir())))
    footers = [
        json.loads(value)
        for value in pq.read_schema(first).metadata.values()
        if value.startswith(b"{")
    ]
    assert any(footer.get("codec", {}).get("precision") == "fast" for footer in footers)
    assert "fast: TF32" in (out / "README.md").read_text()
    console = Console(record=True, width=200)
    render(summary, console=console)
    assert "fast: equal codes by level 100.00%" in console.export_text()
    assert summary.to_json()["precision"] == report
    with pytest.raises(OutputError, match=r"precision: 'fast' there, 'exact' now"):
        tokenize_corpus(
            TokenizeConfig(config.source, codec=str(checkpoint), shard_hours=0.0004), str(out), HERE
        )
    # A second run adds what it found to what was known.
    next(iter(sorted((out / "manifest" / "commits").iterdir()))).unlink()
    first.unlink()
    tokenize_corpus(config, str(out), HERE)
    again = unseal((out / "manifest" / "precision.json").read_bytes())
    assert again["chunks"] > report["chunks"]


def test_fast_without_a_gpu_is_refused_before_anything_is_written(
    checkpoint: Path,
    make_corpus: Maker,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus, out = make_corpus(2), tmp_path / "out"
    with pytest.raises(UsageError, match="needs GPUs"):
        config = TokenizeConfig(str(corpus), codec=str(checkpoint), precision="fast")
        tokenize_corpus(config, str(out), RunOptions(workers=0, quiet=True, device="cpu"))
    monkeypatch.setattr(run, "usable_gpu", lambda: False)
    with pytest.raises(UsageError, match="needs GPUs"):
        tokenize_corpus(config, str(out), HERE)
    assert not out.exists()
    assert (
        main(["tokenize", str(corpus), str(out), "--codec", "mulaw", "--precision", "quick"]) == 2
    )
    assert "choose one of exact, fast" in capsys.readouterr().err


def test_a_weight_free_codec_is_exact_whatever_is_asked_for(
    make_corpus: Maker, tmp_path: Path
) -> None:
    config = TokenizeConfig(str(make_corpus(2)), codec="mulaw", precision="fast")
    tokenize_corpus(config, str(tmp_path / "out"), HERE)
    assert inspect(str(tmp_path / "out")).stored.codec.precision == "exact"
    assert not (tmp_path / "out" / "manifest" / "precision.json").exists()
