"""The scale that a corpus' chunks commonly have, for what a language model makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from stored_rows import stored_rows

from pipelines.loader.dataset import CodesDataset
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus
from tokenizer import load_codec


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
    assert dataset.median_scale == np.median(scales)
    made = load_codec("mulaw").decode_codes(dataset.by_id("3.wav").codes, dataset.median_scale)
    assert made.num_samples > 0 and np.abs(made.samples).max() > 0.01
