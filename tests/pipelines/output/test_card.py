"""The data set card, held against the library that reads it."""

from __future__ import annotations

import pyarrow as pa
import pytest
from datasets import Features

from pipelines.output.card import features_of
from pipelines.output.formats.schema import arrow_schema
from tokenizer.audio.quality import MEASURES


@pytest.mark.parametrize(
    "schema",
    [
        arrow_schema(()),
        arrow_schema(MEASURES),
        pa.schema(
            [
                ("a", pa.float64()),
                ("b", pa.list_(pa.list_(pa.list_(pa.uint8())))),
                ("c", pa.bool_()),
            ]
        ),
    ],
    ids=["plain", "with quality", "other types"],
)
def test_columns_are_said_as_datasets_says_them(schema: pa.Schema) -> None:
    assert features_of(schema) == Features.from_arrow_schema(schema)._to_yaml_list()
