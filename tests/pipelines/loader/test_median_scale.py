"""The scale that a corpus' chunks commonly have, for what a language model makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from stored_rows import stored_rows

from pipelines.loader.dataset import CodesDataset
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.inspect import inspect
from pipelines.output.verify import verify
from pipelines.reshaping.commands import filter_codes
from pipelines.run import tokenize_corpus
from tokenizer import load_codec
from tokenizer.sealing import seal, unseal


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_it_is_the_median_of_what_is_stored(tmp_path: Path, format: str) -> None:
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for number in range(9):
        samples = 0.02 * (number + 1) * rng.standard_normal((rng.integers(9_000, 200_000), 2))
        soundfile.write(tmp_path / "in" / f"{number}.wav", samples, 48_000, "FLOAT")
    config = TokenizeConfig(str(tmp_path / "in"), codec="mulaw", format=format)
    tokenize_corpus(config, str(tmp_path / "out"), RunOptions(workers=0, quiet=True))
    rows = stored_rows(tmp_path / "out")
    scales = np.concatenate([np.frombuffer(row["scales"][1], "<f4") for row in rows])
    dataset = CodesDataset(tmp_path / "out")
    assert dataset.median_scale == np.sort(scales)[(len(scales) - 1) // 2]
    said = inspect(str(tmp_path / "out")).scales
    assert said is not None and said.median == dataset.median_scale
    assert (said.count, said.low, said.high) == (len(scales), scales.min(), scales.max())
    assert f"| scales | RMS of a chunk: median {said.median:.4g}," in card_of(tmp_path / "out")
    made = load_codec("mulaw").decode_codes(dataset.by_id("3.wav").codes, dataset.median_scale)
    assert made.num_samples > 0 and np.abs(made.samples).max() > 0.01

    kept = [f"{number}.wav" for number in (1, 4, 7)]
    where = f"id in ({', '.join(map(repr, kept))})"
    filter_codes(str(tmp_path / "out"), str(tmp_path / "some"), where=where)
    of_some = np.concatenate(
        [np.frombuffer(row["scales"][1], "<f4") for row in rows if row["id"] in kept]
    )
    assert CodesDataset(tmp_path / "some").median_scale == np.sort(of_some)[(len(of_some) - 1) // 2]
    assert verify(str(tmp_path / "some")) == []

    record = next((tmp_path / "out/manifest/commits").iterdir())
    older = unseal(record.read_bytes())
    other = [*older.pop("scales")[:-1], 9.0]
    record.write_bytes(seal(older | {"scales": other}))
    assert any("scales" in problem.message for problem in verify(str(tmp_path / "out")))
    record.write_bytes(seal(older))  # as records of before were
    assert verify(str(tmp_path / "out")) == [] and inspect(str(tmp_path / "out")).scales is None
    assert CodesDataset(tmp_path / "out").median_scale == np.median(scales)


def card_of(out: Path) -> str:
    return (out / "README.md").read_text()
