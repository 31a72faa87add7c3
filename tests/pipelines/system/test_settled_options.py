"""Options as callers in Python give them: what means the same is taken, and the rest told in a
line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.auditing.options import AuditOptions
from pipelines.evaluating.options import EvaluateOptions
from pipelines.listening.options import AnalyseOptions, MakeOptions
from pipelines.output.config import RunOptions
from pipelines.system.places import places_named
from tokenizer.errors import UsageError


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("sample", np.int64(3), 3),
        ("sample", torch.tensor(3), 3),
        ("sample", None, 20),
        ("all", np.True_, True),
        ("ids", "a,b.wav", ("a,b.wav",)),
        ("ids", np.array(["a", "b"]), ("a", "b")),
        ("ids", (name for name in "ab"), ("a", "b")),
        ("ids", None, ()),
        ("metrics", "si-snr, mel", ("si-snr", "mel")),
        ("metrics", ["mel"], ("mel",)),
        ("limits", None, {}),
        ("clip_seconds", np.float32(2), 2.0),
        ("codec", Path("run/checkpoint"), "run/checkpoint"),
        ("device", torch.device("cpu"), "cpu"),
        ("device", None, "auto"),
        ("workers", None, None),
    ],
)
def test_what_means_the_same_is_taken(name: str, given: Any, meant: Any) -> None:
    found = getattr(AuditOptions(**{name: given}), name)
    assert found == meant and type(found) is type(meant)


@pytest.mark.parametrize(
    ("options", "name", "given", "words"),
    [
        (AuditOptions, "sample", "3", "--sample '3': give a whole number"),
        (AuditOptions, "sample", 1.5, "--sample 1.5: give a whole number"),
        (AuditOptions, "sample", True, "--sample True"),
        (AuditOptions, "all", "yes", "--all 'yes': give True or False"),
        (AuditOptions, "ids", 5, "--ids 5: give a list"),
        (AuditOptions, "limits", {"mel": "5"}, "--limits {'mel': '5'}: 'mel' is no number"),
        (AuditOptions, "limits", ["mel"], "--limits ['mel']: give a dict"),
        (AuditOptions, "limits", {"mel": float("nan")}, "--max-mel nan"),
        (AuditOptions, "limits", {"si-snr": float("inf")}, "--min-si-snr inf"),
        (AuditOptions, "clip_seconds", float("inf"), "--clip-seconds inf"),
        (AuditOptions, "clip_seconds", float("nan"), "--clip-seconds nan"),
        (AuditOptions, "codec", 5, "--codec 5: give a text"),
        (AuditOptions, "workers", "2", "--workers '2'"),
        (RunOptions, "workers", 1.5, "--workers 1.5"),
        (EvaluateOptions, "excerpts", 1.5, "--excerpts 1.5"),
        (EvaluateOptions, "seconds", "3", "--seconds '3'"),
        (MakeOptions, "raters", "many", "--raters 'many'"),
        (AnalyseOptions, "reference_below", float("nan"), "--reference-below nan"),
    ],
)
def test_what_means_nothing_is_told(options: Any, name: str, given: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        options(**{name: given})
    assert str(caught.value).startswith(words)


def test_names_of_systems_and_bandwidths() -> None:
    found = EvaluateOptions(bandwidths=(6, 1.5), codec="small", against="", report=Path("eval"))
    assert (found.kbps, found.codec, found.against) == ((1.5, 6.0), ("small",), ())
    assert found.report == "eval"


def test_sources_are_paths_or_urls_one_or_several() -> None:
    assert places_named(Path("a")) == places_named("a") == ("a",)
    assert places_named([Path("a"), "s3://b"]) == ("a", "s3://b")
    for wrong in (None, 5, [5]):
        with pytest.raises(UsageError, match="give a path or URL"):
            places_named(wrong)
