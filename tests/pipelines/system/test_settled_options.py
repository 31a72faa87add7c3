"""Options as callers in Python give them: what means the same is taken, and the rest told in a
line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.auditing.options import AuditOptions
from pipelines.evaluating.options import EvaluateOptions
from pipelines.listening.options import AnalyseOptions, MakeOptions
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.storage import open_storage
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
        (RunOptions, "audit", "0.5", "--audit '0.5': give a number"),
        (RunOptions, "max_failures", "3", "--max-failures '3': give a whole number"),
        (RunOptions, "part", 5, "--part 5: give a text"),
        (RunOptions, "retry_failed", "lost", "--retry-failed lost: choose of"),
        (RunOptions, "retry_failed", True, "--retry-failed True: give a list"),
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


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"shard_hours": "2"}, "--shard-hours '2': give a number"),
        ({"stream": "0"}, "--stream '0': give a whole number"),
        ({"cut_max": "4"}, "--cut-max '4': give a number"),
        ({"cut": "fixed", "cut_min": "1"}, "--cut-min '1': give a number"),
        ({"max_chunk_seconds": None, "tags": 1}, "--tags 1: give True or False"),
        ({"quality": ["basic"]}, "--quality ['basic']: give a text"),
        ({"map": {"text": "said"}}, "--map {'text': 'said'}: give a text"),
        ({"split": 5}, "--split 5: give a text"),
    ],
)
def test_so_is_what_means_nothing_of_a_corpus(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        TokenizeConfig("corpus", **given)
    assert str(caught.value).startswith(words)


def test_settings_of_a_corpus_are_stored_as_plain_values() -> None:
    given: Any = {"shard_hours": np.float32(2), "stream": np.int64(1), "tags": np.True_}
    found = TokenizeConfig("corpus", **given, audio_root=Path("a"), keep=None, quality=None)  # type: ignore[arg-type]
    wanted = TokenizeConfig("corpus", shard_hours=2.0, stream=1, tags=True, audio_root="a")
    assert json.dumps(found.to_dict()) == json.dumps(wanted.to_dict())
    assert RunOptions(retry_failed=["crashed"]).retry_failed == ("crashed",)  # type: ignore[arg-type]


@pytest.mark.parametrize("out", [5, b"out"])
def test_an_output_folder_is_a_path_or_url(out: Any) -> None:
    with pytest.raises(UsageError, match="give a path or URL"):
        open_storage(out)


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
