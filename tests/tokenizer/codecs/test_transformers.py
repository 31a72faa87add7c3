"""Which transformers checkpoints are read with, and what is said where there is another one."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest

from tokenizer import CodecLoadError, load_codec
from tokenizer.codecs import describe_codec
from tokenizer.codecs.lookup import OLDEST_TRANSFORMERS, require_transformers

ROOT = Path(__file__).resolve().parents[3]


def test_the_package_asks_for_the_oldest_that_works() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"transformers>={OLDEST_TRANSFORMERS}" in project["dependencies"]


@pytest.mark.parametrize("version", ["5.17.0", "5.17.0.dev0", "5.100.1", "6.0"])
def test_newer_ones_are_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.__version__", version)
    require_transformers("small")


@pytest.mark.parametrize("version", ["4.57.6", "5.2.0", "5.16.1"])
def test_an_older_one_is_one_line_that_says_what_to_do(
    version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("transformers.__version__", version)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "neucodec"}))
    for ask in (load_codec, describe_codec):
        for name in ("small", tmp_path):
            with pytest.raises(CodecLoadError, match=r"pip install -U 'transformers>=5") as caught:
                ask(name)
            assert f"codec {name}: transformers {version} is" in str(caught.value)
            assert "\n" not in str(caught.value)
    load_codec("mulaw")  # needs none


def test_one_that_other_packages_do_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CodecLoadError, match="codec small: transformers cannot be imported"):
        load_codec("small")
