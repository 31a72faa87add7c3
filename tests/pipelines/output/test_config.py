"""What makes two runs agree, and what does not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pipelines.output.config import (
    RunOptions,
    TokenizeConfig,
    differences,
    fingerprint,
    spec_from_dict,
    stored_form,
    with_device,
)
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import UsageError

SPEC = CodecSpec("c", None, "abc", 6.0, 4, 1024, 48000, 2, 320, 48000, 47520, True)
CONFIG = TokenizeConfig(source="/music")


def test_the_stored_form_survives_json() -> None:
    stored = json.loads(json.dumps(stored_form(CONFIG, SPEC, "1.0")))
    assert TokenizeConfig.from_dict(stored["config"]) == CONFIG
    assert spec_from_dict(stored["codec"]) == SPEC
    assert fingerprint(stored) == fingerprint(stored_form(CONFIG, SPEC, "1.0"))


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
def test_a_setting_that_changes_rows_is_a_difference(change: dict[str, object], named: str) -> None:
    now = stored_form(replace(CONFIG, **change), SPEC, "1.0")
    before = stored_form(CONFIG, SPEC, "1.0")
    assert len(differences(before, now)) == 1 and named in differences(before, now)[0]
    assert fingerprint(before) != fingerprint(now)


def test_other_weights_are_a_difference_and_another_path_to_the_same_is_not() -> None:
    before = stored_form(CONFIG, SPEC, "1.0")
    assert not differences(
        before, stored_form(replace(CONFIG, codec="/elsewhere"), replace(SPEC, codec="x"), "2.0")
    )
    assert not differences(before, stored_form(CONFIG, with_device(SPEC, "cuda"), "1.0"))
    assert (
        "weights"
        in differences(before, stored_form(CONFIG, replace(SPEC, weights_sha256="d"), "1.0"))[0]
    )


def test_fast_and_exact_codes_do_not_mix_and_folders_from_before_there_was_a_choice_are_exact() -> (
    None
):
    exact = stored_form(CONFIG, SPEC, "1.0")
    fast = stored_form(replace(CONFIG, precision="fast"), replace(SPEC, precision="fast"), "1.0")
    assert differences(exact, fast) == ["codec.precision: 'exact' there, 'fast' now"]
    assert differences(fast, exact) == ["codec.precision: 'fast' there, 'exact' now"]
    assert fingerprint(exact) != fingerprint(fast)
    old = json.loads(json.dumps(exact))
    del old["config"]["precision"], old["codec"]["precision"]
    assert not differences(old, exact) and fingerprint(old) == fingerprint(exact)
    assert (
        TokenizeConfig.from_dict(old["config"]).precision
        == "exact"
        == spec_from_dict(old["codec"]).precision
    )


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
