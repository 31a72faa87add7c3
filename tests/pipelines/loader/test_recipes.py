"""Those who stay with `datasets` or `webdataset` get the same codes with a few lines; the README shows these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from loader_data import make_rows, write_output

from pipelines import CodesDataset, Delay
from tokenizer.codecs.mulaw import describe_mulaw

ROWS = make_rows(12, describe_mulaw(6.0), longest=4.0)


def test_datasets(tmp_path: Path) -> None:
    out = write_output(tmp_path, ROWS)
    from datasets import load_dataset

    def to_tokens(row: dict[str, Any]) -> dict[str, Any]:
        codes = np.array(row["codes"], np.uint16)[:2, : sum(row["chunk_frames"][:2])]  # 2 codebooks of the first 2 chunks
        return {"tokens": Delay()(codes)}

    data = load_dataset("parquet", data_files=f"{out}/data/*.parquet", split="train", streaming=True).map(to_tokens)
    dataset = CodesDataset(out, n_q=2)
    for row, sample in zip(data, dataset, strict=True):
        assert np.array_equal(row["tokens"], Delay()(sample.codes[:, : int(sample.chunk_frames[:2].sum())]))


def test_webdataset(tmp_path: Path) -> None:
    out = write_output(tmp_path, ROWS, form="webdataset")
    import webdataset

    tars = sorted(str(path) for path in (out / "data").iterdir())
    data = webdataset.WebDataset(tars, shardshuffle=False).decode().map(lambda row: Delay()(row["codes.npy"][:2]))
    for tokens, sample in zip(data, CodesDataset(out, n_q=2), strict=True):
        assert np.array_equal(tokens, Delay()(sample.codes))
