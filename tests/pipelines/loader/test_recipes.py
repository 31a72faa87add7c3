"""Those who stay with `datasets` or `webdataset` get the same codes with a few lines: the very text
of `examples/recipes.md`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loader_data import make_rows, write_output

from pipelines import Delay
from tokenizer.codecs.mulaw import describe_mulaw

PAGE = Path(__file__).resolve().parents[3] / "examples" / "recipes.md"
ROWS = make_rows(12, describe_mulaw(6.0), longest=14.0)
RECIPES = {
    "`datasets`, Parquet": "parquet",
    "`datasets`, WebDataset": "webdataset",
    "`webdataset`": "webdataset",
}


def code_below(heading: str) -> str:
    """The first block of Python below a heading of the page."""
    found = re.search(
        rf"^#+ {re.escape(heading)}$.*?```python\n(.*?)```",
        PAGE.read_text(encoding="utf-8"),
        re.M | re.S,
    )
    assert found, heading
    return found.group(1)


def places_of(tokens: np.ndarray[Any, Any]) -> list[int]:
    """The recordings that delayed tokens may be a crop of."""
    frames = int((tokens[0] < 1024).sum())
    codes = Delay().invert(tokens[:, : frames + 3])
    return [
        number
        for number, row in enumerate(ROWS)
        for first in range(max(1, len(row.codes.chunk_frames) - 9))
        if np.array_equal(row.codes.codes[:, 150 * first : 150 * first + 1500], codes)
    ]


@pytest.mark.parametrize("heading", RECIPES)
def test_every_batch_of_a_recipe_is_crops_of_the_recordings(
    heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_output(tmp_path / "out", ROWS, form=RECIPES[heading])
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code_below("Without this package's loader") + code_below(heading), names)
    batches = names["batches"]
    assert [batch.shape for batch in batches] == [(4, 4, 1503)] * 3 and batches[
        0
    ].dtype == torch.int64
    found = [places_of(tokens) for batch in batches for tokens in batch.numpy()]
    assert sorted(number for places in found for number in places) == list(range(12)), (
        "each recording once, cut at a chunk"
    )
