"""What cannot be trained, or not so, is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.errors import CodecLoadError, UsageError
from tokenizer.training.__main__ import main
from tokenizer.training.networks.model import initial_model
from tokenizer.training.workers import open_workers


def test_a_checkpoint_without_some_weights_is_not_trained_on(tmp_path: Path) -> None:
    folder = write_seeded(tmp_path / "seeded", size="reduced")
    weights = load_file(folder / "model.safetensors")
    weights.pop("encoder.layers.0.conv.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CodecLoadError, match="lack 1 tensor"):
        initial_model(str(folder))


def test_a_card_of_its_own_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="each takes a card of its own"):
        open_workers("cuda:1")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--preset", "huge"], "preset huge: choose one of"),
        (["--steps", "0"], "--steps 0"),
        (["--batch", "0"], "--batch 0"),
        (["--precision", "float16"], "--precision float16"),
        (["--minutes", "0"], "--minutes 0"),
        (["--device", "tpu"], "device tpu"),
        (["--device", "cuda:99"], "device cuda:99"),
        (["--init", "./missing"], "no such folder"),
        (["--learning-rate", "-1"], "--learning-rate"),
        (["--learning-rate", "inf"], "--learning-rate inf"),
        (["--threads", "0"], "--threads 0"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    pack_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    assert main([str(pack_folder), str(tmp_path / "run"), *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and words in error[0]
