"""Flags are made from the options' fields, so that a new one is one field."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

import pytest

from pipelines.auditing.options import AuditOptions
from pipelines.cli.flags import add_flags, from_flags, spelling
from pipelines.cli.main import main
from pipelines.evaluating.options import EvaluateOptions
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.system.compute import Compute
from pipelines.system.settings import flag_of, setting, why_internal
from tokenizer.errors import UsageError

OPTIONS = {
    TokenizeConfig: "tokenize",
    RunOptions: "tokenize",
    AuditOptions: "audit",
    EvaluateOptions: "evaluate",
}
EVERY = [(kind, one) for kind in OPTIONS for one in fields(kind)]


@pytest.mark.parametrize(("kind", "one"), EVERY, ids=lambda value: getattr(value, "name", None))
def test_every_option_has_a_flag_or_says_why_not(
    kind: type, one: Field[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    flag = flag_of(one)
    if flag is None:
        by_place = one.default is MISSING and one.default_factory is MISSING
        assert by_place or why_internal(one)
        return
    with pytest.raises(SystemExit):
        main([OPTIONS[kind], "--help"])
    text = capsys.readouterr().out
    names = (
        [f"--{name}" for name, _ in flag.members().values()] if flag.members else [spelling(one)]
    )
    assert all(name in text for name in names)


@pytest.mark.parametrize("kind", [RunOptions, AuditOptions])
def test_both_have_all_of_the_computing_options(kind: type) -> None:
    types = {one.name: one.type for one in fields(kind)}
    for one in fields(Compute):
        assert types[one.name] == one.type
    made = kind(workers=0, device="cpu", decode_timeout=7.0, quiet=True)
    assert made.compute == Compute(workers=0, device="cpu", decode_timeout=7.0, quiet=True)


@pytest.mark.parametrize("kind", [RunOptions, AuditOptions])
@pytest.mark.parametrize(
    "values",
    [
        {"workers": -1},
        {"gpus": -1},
        {"device": "tpu"},
        {"device": "cuda:"},
        {"device": "cuda:01"},
        {"decode_timeout": 0},
        {"device": "cuda:1", "workers": 2},
        {"device": "cuda:0", "workers": None},
    ],
)
def test_both_refuse_the_same_by_name(kind: type, values: dict[str, Any]) -> None:
    name = next(iter(values))
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} {values[name]}"):
        kind(**values)


def test_what_no_flag_says_is_the_fields_default() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, RunOptions, "how")
    assert from_flags(RunOptions, parser.parse_args([])) == RunOptions()
    parser = argparse.ArgumentParser()
    add_flags(parser, AuditOptions, "how")
    # Audits work in this process for a program, and on all cores for a person.
    assert from_flags(AuditOptions, parser.parse_args([])) == AuditOptions(workers=None)


def test_flags_of_every_kind() -> None:
    @dataclass(frozen=True)
    class Toy:
        seconds: float | None = setting(None, "seconds", metavar="S")
        page: bool = setting(True, "no page")
        links: bool = setting(False, "links")
        ids: tuple[str, ...] = setting((), "ids", group="which")
        names: tuple[str, ...] = setting(("a", "b"), "default: %(default)s", commas=True)
        music: tuple[str, ...] = setting(("music/*",), "music", repeated=True)
        limits: Mapping[str, int] = setting({}, "limits", members=lambda: {"x": ("min-x", "of x")})

    parser = argparse.ArgumentParser()
    add_flags(parser, Toy, "how")
    text = parser.format_help()
    assert text.index("how:") < text.index("which:") and "default: a,b" in text
    assert from_flags(Toy, parser.parse_args([])) == Toy()
    words = "--seconds 3 --no-page --links --ids p q --names c,,d --music m --music n --min-x 4"
    assert from_flags(Toy, parser.parse_args(words.split())) == Toy(
        3.0, False, True, ("p", "q"), ("c", "d"), ("m", "n"), {"x": 4}
    )
