"""Conditions on rows."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest

from pipelines.output.where import Where
from tokenizer.errors import UsageError

SCHEMA = pa.schema([("seconds", pa.float64()), ("language", pa.string())])
ROWS = [
    {"seconds": 0.5, "language": "de"},
    {"seconds": 2.0, "language": "de"},
    {"seconds": 2.0, "language": None},
    {"seconds": None, "language": "en"},
]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("seconds between 1 and 30 and language = 'de'", [False, True, False, False]),
        ("language is null or seconds < 1", [True, False, True, False]),
        ("true", [True, True, True, True]),
        ("seconds < 1 -- the short ones", [True, False, False, False]),
    ],
)
def test_rows_are_judged_in_their_order(expression: str, expected: list[bool]) -> None:
    where = pickle.loads(pickle.dumps(Where(expression, SCHEMA)))
    assert where.holds(ROWS) == expected
    assert where.holds([]) == []


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("second > 1", "there is no second; there are seconds, language"),
        ("seconds >", "--keep 'seconds >': "),
        (" ", "--keep ' ': give a condition"),
        ("seconds > 1; drop table rows", "--keep"),
        ("language = (select content from read_text('/etc/hostname'))", "--keep"),
        ("language", ""),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(expression: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        Where(expression, SCHEMA, "--keep").holds(ROWS)
    assert said in str(refused.value) and "\n" not in str(refused.value)
