"""What people read: numbers, the card, and mistakes that are told before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpora import Maker

from pipelines import audit
from pipelines.cli.main import main
from pipelines.output.card import make_card
from pipelines.output.inspect import CodebookUse, counted_use
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.records import Totals
from pipelines.output.storage import open_storage
from pipelines.system.devices import gpus_to_ask_for, require_device
from pipelines.system.words import fixed, many, printable
from tokenizer.errors import UsageError


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from corpora import write_corpus

    root = tmp_path_factory.mktemp("words")
    corpus = str(write_corpus(root / "corpus", 3, broken=False))
    assert (
        main(
            ["tokenize", corpus, str(root / "out"), "--codec", "mulaw", "--workers", "0", "--quiet"]
        )
        == 0
    )
    return root / "out"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (-0.0, 2, "0.00"),
        (-0.004, 2, "0.00"),
        (-0.006, 2, "-0.01"),
        (0.0, 0, "0"),
        (-0.4, 0, "0"),
        (-1.5, 1, "-1.5"),
    ],
)
def test_no_zero_has_a_minus(value: float, digits: int, text: str) -> None:
    assert fixed(value, digits) == text


def test_signs_and_plurals() -> None:
    assert [fixed(value, 1, sign=True) for value in (3.0, -0.01, 0.01, -3.0)] == [
        "+3.0",
        "0.0",
        "0.0",
        "-3.0",
    ]
    assert [many(count, "recording") for count in (0, 1, 2)] == [
        "0 recordings",
        "1 recording",
        "2 recordings",
    ]


def test_names_do_not_command_a_terminal() -> None:
    assert printable("a\x1b[2J\rb\u202e\ud800") == "a\\x1b[2J\\rb\\u202e\\ud800"
    for name in (
        "caf\u00e9 \u0645\u0631\u062d\u0628\u0627",
        "two\nlines",
        "\u3000\u00a0",
        "\u06cc\u200c\u0647",
    ):
        assert printable(name) == name


def test_a_codebook_of_which_one_code_is_used_has_no_entropy() -> None:
    import numpy as np

    (use,) = counted_use(np.array([[7, 0, 0, 0]]))
    assert use == CodebookUse(0, 1.0, 0.25, 0.0) and str(use.entropy_bits) == "0.0"


def test_the_card_and_inspect_say_nothing_of_failures_where_there_are_none(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = (out / "README.md").read_text()
    assert "could not" not in card and "0 recordings" not in card and "| | |" not in card
    assert "3 recordings, 0." in card
    main(["inspect", str(out)])
    assert "0 failed" not in capsys.readouterr().out


def test_the_card_says_how_many_failed(out: Path) -> None:
    manifest = Manifest(open_storage(str(out)))
    stored, records = manifest.require_config(), list(manifest.committed().values())
    from dataclasses import replace

    from pipelines.output.manifest.commits import Failure

    failed = [
        replace(records[0], failures=(Failure("x", "x.wav", "empty", "no samples", "decode"),)),
        *records[1:],
    ]
    assert "1 recording of the source could not be tokenized" in make_card(
        stored, Totals.over(failed)
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("smal", "small"),
        ("Small", "small"),
        ("mu-law", "mulaw"),
        ("encodec_48khz", "facebook/encodec_48khz"),
        ("encodec-24khz", "facebook/encodec_24khz"),
    ],
)
def test_a_codec_that_is_misspelt_is_guessed(
    make_corpus: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, meant: str
) -> None:
    assert (
        main(["tokenize", str(make_corpus(count=1)), str(tmp_path / "out"), "--codec", name]) == 2
    )
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"did you mean {meant}?" in line and "with the package come small and mulaw" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [[], ["--workers", "0"]])
@pytest.mark.parametrize("device", [["--device", "cuda"], ["--gpus", "2"]])
def test_a_gpu_that_is_not_there_is_told_before_out_is_written(
    make_corpus: Maker,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    workers: list[str],
    device: list[str],
) -> None:
    monkeypatch.setattr("pipelines.system.devices.usable_gpu", lambda: False)
    command = [
        "tokenize",
        str(make_corpus(count=1)),
        str(tmp_path / "out"),
        "--codec",
        "mulaw",
        *device,
        *workers,
    ]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert " ".join(device) in line and "no GPU" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("device", "words"), [("cuda", "no GPU"), ("tpu", "choose one of auto, cpu, cuda")]
)
@pytest.mark.parametrize("command", ["audit", "decode"])
def test_no_command_computes_elsewhere_than_it_was_told(
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    device: str,
    words: str,
) -> None:
    monkeypatch.setattr("pipelines.system.devices.usable_gpu", lambda: False)
    what = [command, str(out)] + (
        ["000.wav", "-o", str(tmp_path / "x.wav")] if command == "decode" else []
    )
    for workers in ([], ["--workers", "0"]) if command == "audit" else ([],):
        assert main([*what, "--device", device, *workers]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert words in line and not list(tmp_path.glob("x.wav")) and not (out / "audit").exists()


def test_a_cluster_is_asked_for_its_gpus_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.system.devices.usable_gpu", lambda: False)
    require_device("cuda", address="auto")
    assert gpus_to_ask_for("auto", None, None) == 0, "a card that torch cannot use"
    assert (
        gpus_to_ask_for("auto", "auto", None) is None and gpus_to_ask_for("cpu", "auto", None) == 0
    )
    with pytest.raises(UsageError, match="give one of them"):
        require_device("cuda", gpus=0)


def test_audit_takes_its_options_by_name(out: Path) -> None:
    done = audit(str(out), workers=0, sample=2, page=False, quiet=True, metrics="mel, level")
    assert len(done.recordings) >= 2 and set(done.recordings[0].figures) == {"mel", "level"}
    assert len(audit(str(out), ids="000.wav", page=False, quiet=True).recordings) == 1
    with pytest.raises(UsageError, match=r"no option 'worker': choose from sample, seed, ids"):
        audit(str(out), worker=0)
    report: Any = json.loads((out / "audit" / "report.json").read_text())
    assert report["options"]["workers"] == 0


def test_the_audits_figures_have_no_minus_zero(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(out), "--workers", "0", "--quiet", "--no-page"]) == 0
    main(["inspect", str(out)])
    assert "-0.00" not in capsys.readouterr().out
    assert "-0.0," not in (out / "audit" / "report.json").read_text()


def test_one_card_is_that_very_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.system.devices.usable_gpu", lambda: True)
    monkeypatch.setattr("pipelines.system.devices.gpu_count", lambda: 2)
    require_device("cuda:1")
    with pytest.raises(UsageError, match="--device cuda:2: torch sees 2 GPUs here"):
        require_device("cuda:2")
    monkeypatch.setattr("pipelines.system.devices.usable_gpu", lambda: False)
    with pytest.raises(UsageError, match="--device cuda:1: torch can use no GPU"):
        require_device("cuda:1")


@pytest.mark.parametrize("workers", [[], ["--workers", "2"], ["--address", "auto"]])
@pytest.mark.parametrize("command", ["tokenize", "audit"])
def test_ray_gives_out_cards_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, workers: list[str]
) -> None:
    places = [str(tmp_path / "in"), str(tmp_path / "out")][-2 if command == "tokenize" else -1 :]
    assert main([command, *places, "--device", "cuda:1", *workers]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--device cuda:1: Ray" in line and "--workers 0" in line


def test_training_asks_for_the_gpu_before_it_decodes(
    make_corpus: Maker,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.system.devices.usable_gpu", lambda: False)
    corpus, run_dir = str(make_corpus(count=1)), tmp_path / "run"
    for device in ("cuda", "cuda:1"):
        command = ["train-codec", corpus, str(run_dir), "--device", device]
        assert main(command) == 2 and not run_dir.exists()
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"--device {device}" in line and "no GPU" in line
