"""A codec that is nothing like EnCodec, from the corpus to documents and back: levels at different
rates, codebooks of different sizes up to 65,536, mono, no bandwidth, no scales, no chunks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from level_codec import LEVELS, SIZES, LevelCodec

import codecshards as cs
from pipelines.cli.main import main
from pipelines.output.manifest.records import unpack_counts
from tokenizer.codecs import registry
from tokenizer.errors import ShapeError, UsageError

RATE = 16_000


@pytest.fixture(autouse=True)
def levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.CODECS, "levels", LEVELS)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, samples in enumerate((20_000, 1, 1280, 33_333)):
        noise = rng.uniform(-1, 1, (samples, 2))
        soundfile.write(folder / f"{number}.wav", noise, RATE, "FLOAT")
    return folder


def expected(path: Path, n_q: int = 7) -> np.ndarray:
    """What the codec makes of the mean of both channels, read by libsndfile."""
    samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
    mixed = samples.mean(axis=1, dtype=np.float32)[None]
    return LevelCodec(n_q).encode_chunks([mixed])[0].codes


def tokenize(corpus: Path, out: Path, **more: Any) -> cs.RunResult:
    return cs.tokenize(str(corpus), str(out), codec="levels", workers=0, **more)


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_stereo_is_mixed_said_stored_verified_and_loaded(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    out = tmp_path / "out"
    assert tokenize(corpus, out, format=form).recordings == 4
    said = capsys.readouterr().err
    assert said.count("levels is mono: the two channels of stereo recordings are mixed") == 1
    assert main(["verify", str(out)]) == 0
    data = cs.CodesDataset(str(out))
    for number in range(4):
        sample = data.read(number)
        assert np.array_equal(sample.codes, expected(corpus / sample.id))
    loader = cs.CodesLoader(data, 2, pattern=cs.Interleaved(codebook_size=65_536), epochs=1)
    for batch in loader:
        for tokens, id in zip(batch.codes.numpy(), batch.ids, strict=True):
            codes = expected(corpus / id)
            back = cs.Interleaved(codebook_size=65_536).invert(tokens[: codes.size])
            assert np.array_equal(back, codes)
    for batch in cs.CodesLoader(data, 2, crop=cs.Crop(seconds=0.4), epochs=1, shuffle="none"):
        assert batch.codes.shape[1:] == (7, 5)  # at any frame: 0.4 s are five
        for tokens, mask, id in zip(batch.codes, batch.mask, batch.ids, strict=True):
            cut, whole = tokens[:, mask[0]].numpy(), expected(corpus / id)
            assert any(
                np.array_equal(cut, whole[:, start : start + cut.shape[1]])
                for start in range(whole.shape[1])
            )
    with pytest.raises(UsageError, match="codebook 0 has 65536 codes"):
        cs.CodesLoader(data, 2, pattern=cs.Flatten((4096, *SIZES[1:])))
    cs.CodesLoader(data, 2, pattern=cs.Flatten(SIZES))


def test_what_is_said_of_it(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["plan", str(corpus), "--codec", "levels", "--quiet"]) == 0
    plan = capsys.readouterr().out
    assert "7 codebooks of 65,536, 4,096, 4,096, 100, 100, 100, 100" in " ".join(plan.split())
    assert "levels is mono" in plan
    tokenize(corpus, out, quiet=True)
    assert main(["inspect", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "(3 levels, 1:2:4 codes a frame)" in shown
    record = json.loads(next((out / "manifest" / "commits").iterdir()).read_text())
    counts = unpack_counts(record["codebook_counts"])
    wanted = [expected(path) for path in sorted(corpus.iterdir())]
    for level, row in enumerate(counts):
        together = np.concatenate([one[level] for one in wanted])
        assert np.array_equal(row, np.bincount(together, minlength=65_536))


def test_a_number_of_codebooks_is_a_setting_and_the_default_is_all(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    how = ["tokenize", str(corpus), str(out), "--codec", "levels", "--workers", "0"]
    assert main([*how, "--n-q", "3"]) == 0
    assert main([*how, "--n-q", "3"]) in (0, 4)
    capsys.readouterr()
    assert main(how) == 2
    assert "codec.n_q: 3 there, 7 now" in capsys.readouterr().err
    for wrong, words in (
        (["--n-q", "2"], "give n_q, one of [1, 3, 7]"),
        (["--n-q", "0"], "--n-q 0: give a number"),
        (["--n-q", "3", "--bandwidth", "2"], "--bandwidth 2, --n-q 3: both say"),
    ):
        assert main([*how, *wrong]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert words in line
    (path,) = (out / "data").iterdir()
    for row in pq.read_table(path).to_pylist():
        assert np.array_equal(row["codes"], expected(corpus / row["id"], 3))


def test_the_first_codebooks_are_cut_merged_and_exported(corpus: Path, tmp_path: Path) -> None:
    out, small, less = (str(tmp_path / name) for name in ("out", "small", "less"))
    tokenize(corpus, Path(out), quiet=True)
    tokenize(corpus, Path(small), n_q=3, quiet=True)
    cs.reshard_codes(out, less, n_q=3)
    assert main(["verify", less]) == 0
    data, direct = cs.CodesDataset(less), cs.CodesDataset(small)
    assert data.spec == direct.spec
    for number in range(4):
        assert np.array_equal(data.read(number).codes, direct.read(number).codes)
    with pytest.raises(UsageError, match="--n-q 3 cuts all down"):
        cs.merge_codes([out, small], str(tmp_path / "new"), prefix=True)
    cs.merge_codes([out, small], str(tmp_path / "new"), prefix=True, n_q=3)
    assert main(["verify", str(tmp_path / "new")]) == 0
    for wrong, words in ((2, "give one of 1, 3, 7"), (8, "has 7 codebooks"), (0, "1 or more")):
        with pytest.raises(UsageError, match=words):
            cs.reshard_codes(out, str(tmp_path / "no"), n_q=wrong)
    for pattern in ("delay", "flatten", "coarse-first", "interleaved"):
        folder = str(tmp_path / pattern)
        cs.export_codes(out, folder, to="arrow", pattern=pattern, quiet=True)
        import datasets

        for row in datasets.load_from_disk(folder)["train"]:
            found = cs.codes_from_tokens(row["input_ids"], folder)
            assert np.array_equal(found.codes, expected(corpus / row["id"]))


def test_whole_levels_are_decoded_and_half_ones_are_not(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, few, audio = tmp_path / "out", tmp_path / "few", tmp_path / "audio"
    tokenize(corpus, out, quiet=True)
    cs.reshard_codes(str(out), str(few), n_q=3)
    decode = ["decode", str(few), "--all", "--to", str(audio), "--workers", "0", "--quiet"]
    assert main(decode) == 0
    assert len([*audio.rglob("*.flac"), *audio.rglob("*.wav")]) == 4
    audit = ["audit", str(few), "--all", "--workers", "0", "--reencode", "--metrics", "si-snr"]
    assert main([*audit, "--quiet"]) == 0, capsys.readouterr()

    codec = LevelCodec()
    codes = cs.CodesDataset(str(out)).read(0).codes
    encoded = codec.encode(corpus / "0.wav")
    for rows in (1, 3):
        assert codec.decode_codes(codes[:rows]).samples.any()
    for rows in (2, 4, 6):
        words = f"codes have {rows} codebooks: .*so give one of 1, 3, 7"
        with pytest.raises(ShapeError, match=words):
            codec.decode_codes(codes[:rows])
        with pytest.raises(ShapeError, match=words):
            codec.decode(replace(encoded, codes=encoded.codes[:rows]))


def test_half_a_level_is_read_by_nobody(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other, new = (str(tmp_path / name) for name in ("out", "other", "new"))
    for folder in (out, other):
        tokenize(corpus, Path(folder), quiet=True)
    for rows in (1, 3, 7):
        assert cs.CodesDataset(out, n_q=rows)[0].codes.shape[0] == rows
    asked = [
        *(["export", out, new, "--to", to] for to in ("arrow", "megatron")),
        *(["export", out, new, "--to", "arrow", "--pattern", to] for to in ("flatten", "delay")),
        *(["reshard", out, new], ["merge", out, other, new, "--prefix"]),
        ["train-coder", out, new],
    ]
    for rows in (2, 5):
        words = rf"n.q.{rows}: the levels of levels have \(1, 2, 4\) rows, so give one of 1, 3, 7"
        for root in (out, f"{out}/data"):
            with pytest.raises(UsageError, match=f"{root}: {words}"):
                cs.CodesDataset(root, n_q=rows)
        for how in asked:
            assert main([*how, "--n-q", str(rows)]) == 2
            line = capsys.readouterr().err.strip().splitlines()[-1]
            assert re.search(words, line), line
    assert not Path(new).exists()


def test_bandwidths_that_are_offered_are_of_whole_levels(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a codec that is not here: by what is stored."""
    out, spec = str(tmp_path / "out"), LevelCodec().spec
    tokenize(corpus, Path(out), quiet=True)
    monkeypatch.delitem(registry.CODECS, "levels")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    one, two, three = (f"{spec.bandwidth_of(rows):.4g}" for rows in (1, 2, 3))
    for wrong in (float(two), 0.001):
        with pytest.raises(UsageError, match=f"--bandwidth {wrong:g}: .* to {one}, {three} kbps"):
            cs.reshard_codes(out, str(tmp_path / "no"), bandwidth=wrong)
    cs.reshard_codes(out, str(tmp_path / "few"), bandwidth=float(three))
    assert cs.CodesDataset(str(tmp_path / "few")).spec.n_q == 3


@pytest.mark.parametrize("rows", [1, 3])
def test_the_first_levels_of_many_are_mixed_with_a_folder_of_few(
    corpus: Path, tmp_path: Path, rows: int
) -> None:
    out, few = str(tmp_path / "out"), str(tmp_path / "few")
    tokenize(corpus, Path(out), quiet=True)
    cs.reshard_codes(out, few, n_q=rows)
    mixed = cs.mix({cs.CodesDataset(out, n_q=rows): 1, cs.CodesDataset(few): 1})
    for batch in cs.CodesLoader(mixed, 2, steps=8):
        for codes, mask, id in zip(batch.codes, batch.mask, batch.ids, strict=True):
            assert np.array_equal(codes[:, mask[0]].numpy(), expected(corpus / id, rows))
    with pytest.raises(UsageError, match=f"n_q={rows}"):
        cs.CodesLoader(cs.mix({cs.CodesDataset(out): 1, cs.CodesDataset(few): 1}), 2)
