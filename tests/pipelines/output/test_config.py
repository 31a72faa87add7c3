"""What makes two runs agree, and what does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.output.config import (
    RunOptions,
    TokenizeConfig,
    with_device,
)
from pipelines.output.stored_run import PlanFacts, StoredRun
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import UsageError
from tokenizer.sealing import seal, unseal

SPEC = CodecSpec("c", None, "abc", 6.0, 4, 1024, 48000, 2, 320, 48000, 47520, True)
CONFIG = TokenizeConfig(source="/music", split="train")
STORED = StoredRun(CONFIG, SPEC, "1.0")
HERE = Path(__file__).parent


def written(run: StoredRun) -> dict[str, Any]:
    """As it lies in a file."""
    values: dict[str, Any] = json.loads(json.dumps(run.to_json()))
    return values


def test_a_stored_run_survives_json() -> None:
    for run in (STORED, replace(STORED, plan=PlanFacts("0" * 64, "train", 3, 40))):
        assert StoredRun.from_json(written(run)) == run
        assert StoredRun.from_json(written(run)).fingerprint == run.fingerprint
    assert STORED.fingerprint != replace(STORED, plan=PlanFacts("0", "train", 1, 1)).fingerprint


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ({"bandwidth": "6"}, "--bandwidth '6': give kbps above 0"),
        ({"bandwidth": True}, "--bandwidth True: give kbps above 0"),
        ({"n_q": "2"}, "--n-q '2': give a number of codebooks"),
        ({"n_q": 2.0}, "--n-q 2.0: give a number of codebooks"),
    ],
)
def test_an_amount_that_is_no_number_is_refused(amount: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        TokenizeConfig("corpus", **amount)


def test_amounts_of_numpy_are_stored_as_any() -> None:
    config = TokenizeConfig("corpus", n_q=np.int64(4))
    assert config == TokenizeConfig("corpus", n_q=4) and type(config.n_q) is int


def test_a_device_and_a_folder_may_be_of_their_own_class() -> None:
    import torch

    assert RunOptions(workers=0, device=torch.device("cpu")).device == "cpu"  # type: ignore[arg-type]
    for device in (None, 0, torch.device("meta")):
        with pytest.raises(UsageError, match=f"--device {device}: choose one of auto, cpu, cuda"):
            RunOptions(workers=0, device=device)  # type: ignore[arg-type]
    config = TokenizeConfig("corpus", codec=Path("folder"))  # type: ignore[arg-type]
    assert config == TokenizeConfig("corpus", codec="folder")
    with pytest.raises(UsageError, match="codec None: give a name or a folder"):
        TokenizeConfig("corpus", codec=None)  # type: ignore[arg-type]


def test_a_file_of_the_first_version_is_read_and_gone_on_with() -> None:
    content = (HERE / "stored_run.json").read_bytes()
    values = unseal(content)
    config = replace(CONFIG, bandwidth=6.0)
    run = replace(STORED, config=config, plan=PlanFacts("ab" * 32, "train", 2, 7))
    assert StoredRun.from_json(values) == run and run.fingerprint == "fd5b13e923d9e924"
    # However the same codebooks are asked for now, or left to the default.
    for amount in ({"bandwidth": None}, {"bandwidth": None, "n_q": 4}):
        now = replace(run, config=replace(config, **amount))
        assert now.fingerprint == run.fingerprint and not run.differences(now)
    for part in ("config", "codec"):
        now = run.to_json()[part]
        assert {name: now[name] for name in values[part]} == values[part]
    assert seal(values, sort_keys=True) == content


@pytest.mark.parametrize(
    "values",
    [{}, {"config": {}, "codec": {}}, {"config": 3, "codec": None, "version": "1"}],
)
def test_what_is_no_stored_run_is_refused_in_one_line(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="configuration cannot be read"):
        StoredRun.from_json(values)


def test_a_folder_of_a_newer_version_is_read_and_not_gone_on_with() -> None:
    values = written(STORED)
    values["config"]["colour"], values["codec"]["shape"] = "blue", "round"
    run = StoredRun.from_json(values)
    assert run.config == CONFIG and run.codec == SPEC and written(run) == values
    assert run.fingerprint != STORED.fingerprint
    assert run.differences(STORED) == [
        "codec.shape: 'round' there, None now",
        "config.colour: 'blue' there, None now",
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"source": "/speech"}, "source"),
        ({"format": "webdataset"}, "format"),
        ({"shard_hours": 1.0}, "shard_hours"),
        ({"allow_truncated": True}, "allow_truncated"),
        ({"downmix": True}, "downmix"),
    ],
)
def test_a_setting_that_changes_rows_is_a_difference(change: dict[str, Any], named: str) -> None:
    now = StoredRun(replace(CONFIG, **change), SPEC, "1.0")
    (difference,) = STORED.differences(now)
    assert named in difference and STORED.fingerprint != now.fingerprint


def test_other_weights_are_a_difference_and_another_path_to_the_same_is_not() -> None:
    elsewhere = StoredRun(replace(CONFIG, codec="/elsewhere"), replace(SPEC, codec="x"), "2.0")
    assert not STORED.differences(elsewhere)
    assert not STORED.differences(StoredRun(CONFIG, with_device(SPEC, "cuda"), "1.0"))
    (difference,) = STORED.differences(StoredRun(CONFIG, replace(SPEC, weights_sha256="d"), "1"))
    assert "weights" in difference


def test_another_codec_is_said_by_its_name_before_its_hash() -> None:
    other = replace(SPEC, codec="another", weights_sha256="d")
    assert STORED.differences(StoredRun(CONFIG, other, "1")) == [
        f"codec: {SPEC.codec!r} there, 'another' now",
        f"codec.weights_sha256: {SPEC.weights_sha256!r} there, 'd' now",
    ]


def test_fast_and_exact_codes_do_not_mix_and_folders_from_before_there_was_a_choice_are_exact() -> (
    None
):
    fast = StoredRun(replace(CONFIG, precision="fast"), replace(SPEC, precision="fast"), "1.0")
    assert STORED.differences(fast) == ["codec.precision: 'exact' there, 'fast' now"]
    assert fast.differences(STORED) == ["codec.precision: 'fast' there, 'exact' now"]
    assert STORED.fingerprint != fast.fingerprint
    values = written(STORED)
    for name in ("precision", "allow_damaged", "follow_links"):
        del values["config"][name]
    del values["codec"]["precision"]
    old = StoredRun.from_json(values)
    assert not old.differences(STORED) and old.fingerprint == STORED.fingerprint
    assert old.config.precision == "exact" == old.codec.precision


def test_a_weight_free_codec_has_no_device() -> None:
    assert with_device(replace(SPEC, device="none"), "cuda").device == "none"


@pytest.mark.parametrize(
    "values",
    [
        {"format": "csv"},
        {"shard_hours": 0},
        {"bandwidth": -1},
        {"split": "a b"},
        {"split": ""},
        {"precision": "tf32"},
    ],
)
def test_impossible_settings_are_refused_by_name(values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(values)).replace('_', '-')}"):
        TokenizeConfig(source="s", **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values", [{"workers": -1}, {"gpus": -1}, {"device": "tpu"}, {"max_failures": -2}]
)
def test_impossible_run_options_are_refused_by_name(values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(values)).replace('_', '-')}"):
        RunOptions(**values)  # type: ignore[arg-type]


def test_a_configuration_of_another_version_is_refused() -> None:
    with pytest.raises(UsageError, match="another version"):
        TokenizeConfig.from_dict({"source": "s", "colour": "blue"})


def test_whole_numbers_are_the_same_settings() -> None:
    """A call from Python with `bandwidth=24` resumes what the command began."""
    whole = TokenizeConfig("a", bandwidth=24, shard_hours=2, max_chunk_seconds=300)
    assert json.dumps(whole.to_dict()) == json.dumps(TokenizeConfig("a", bandwidth=24.0).to_dict())
