"""Fine-tuning that is killed anywhere goes on as if it had not been; a checkpoint that was damaged
meanwhile is told of."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import killed_at
from safetensors.torch import load_file
from test_runs import SITTING, same_run

from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.errors import OutputError
from tokenizer.training import checkpoints
from tokenizer.training.checkpoints import read_state
from tokenizer.training.data.pack import Pack
from tokenizer.training.loop import train
from tokenizer.training.presets import TrainConfig, find_preset
from tokenizer.training.trainer import Trainer

STEPS = 4
CHECKPOINT_STEPS = 2
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def run(pack_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Fine-tune in a folder, all that is said going into a list."""
    changes = {"num_filters": 2, "hidden_size": 8, "num_lstm_layers": 1, "codebook_size": 32}
    changes |= {"upsampling_ratios": [8, 5, 8], "target_bandwidths": [0.75, 1.5]}
    seeded = tmp_path_factory.mktemp("codec") / "seeded"
    source = write_seeded(seeded, size="reduced", changes=changes)
    preset = dataclasses.replace(
        find_preset("finetune").scaled(STEPS),
        batch=1,
        discriminator_filters=1,
        mel_windows=(256,),
        evaluation_seconds=1,
        evaluate_every=2,
    )
    pack, config = Pack(pack_folder), TrainConfig(preset, init=str(source))

    def begin(folder: Path, said: list[str] | None = None) -> Any:
        how = dataclasses.replace(SITTING, checkpoint_steps=CHECKPOINT_STEPS)
        return train(config, pack, folder, how, (said if said is not None else []).append)

    return begin


@pytest.fixture(scope="module")
def undisturbed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    torch.set_num_threads(1)
    assert run(folder).step == STEPS
    return folder


MOMENTS = [(Trainer, "step"), (checkpoints, "save_file"), (Path, "replace")]


def test_fine_tuning_that_is_killed_again_and_again_ends_as_if_it_was_not(
    undisturbed: Path, run: Run, tmp_path: Path
) -> None:
    """Kills lie before its configuration is there, before steps, before a state is there, between
    it and its checkpoint, and between a checkpoint's two renames."""
    folder, reached = tmp_path / "run", []
    for moment in (1, 3, 7, 8, 8, 8, 3):
        assert killed_at(moment, lambda: run(folder), MOMENTS)
        state = read_state(folder)
        reached.append(state.step if state is not None else 0)
    assert reached == [0, 0, 0, 2, 2, 4, 4]
    assert not (folder / "checkpoint").exists()
    assert run(folder).step == STEPS
    same_run(folder, undisturbed)


@pytest.fixture
def folder(undisturbed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(undisturbed, tmp_path / "run"))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.999999])
def test_a_flipped_byte_of_the_state_is_one_line(folder: Path, run: Run, share: float) -> None:
    """Also in its tensors, which nothing else would tell from others."""
    path = folder / "state.safetensors"
    flip(path, int(share * path.stat().st_size))
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"its state\.safetensors is damaged") as caught:
        run(folder)
    assert "\n" not in str(caught.value) and path.read_bytes() == before


def test_every_byte_of_a_state_s_head_counts(folder: Path) -> None:
    """Names, shapes, the step, the balancers: that which is read and that which is not."""
    path = folder / "state.safetensors"
    whole = path.read_bytes()
    state = read_state(folder)
    size = 8 + int.from_bytes(whole[:8], "little")
    for at in [0, 1, 7, 8, 11, 14, *range(20, 700, 31), *range(700, size, size // 9), size - 1]:
        content = bytearray(whole)
        content[at] ^= 1 + at % 64
        path.write_bytes(content)
        try:
            found = read_state(folder)
        except OutputError as error:
            assert "\n" not in str(error)
            continue
        assert found is not None and state is not None, at
        assert (found.step, found.numbers) == (state.step, state.numbers), at
        assert found.tensors.keys() == state.tensors.keys(), at


def test_a_state_that_was_cut_is_one_line(folder: Path, run: Run) -> None:
    path = folder / "state.safetensors"
    content = path.read_bytes()
    for length in (0, 5, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(OutputError, match=r"its state\.safetensors is damaged") as caught:
            run(folder)
        assert "\n" not in str(caught.value)


def test_a_state_from_before_checksums_is_gone_on_with(folder: Path, run: Run) -> None:
    """And a configuration from then."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    path, config = folder / "state.safetensors", folder / "config.json"
    with safe_open(path, "pt") as file:
        metadata = {name: file.metadata()[name] for name in ("step", "numbers")}
    save_file(load_file(path), path, metadata)
    values = json.loads(config.read_text())
    del values["checksum"]
    config.write_text(json.dumps(values))
    assert run(folder).step == STEPS


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"seed": 0', '"seed": 1'),
        lambda text: text.replace("0.99", "0.98", 1),
        lambda text: text[:-200],
        lambda text: "",
        lambda text: text.replace("finetune", "finet\udc80ne"),
        lambda text: "[]",
    ],
)
def test_a_damaged_configuration_is_one_line(
    folder: Path, run: Run, edit: Callable[[str], str]
) -> None:
    path = folder / "config.json"
    changed = edit(path.read_text())
    assert changed != path.read_text()
    path.write_bytes(changed.encode(errors="surrogateescape"))
    with pytest.raises(OutputError, match=r"its config\.json cannot be read") as caught:
        run(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("cut", [False, True], ids=["flipped", "cut"])
def test_a_damaged_model_is_made_again_from_the_state_and_told(
    undisturbed: Path, folder: Path, run: Run, name: str, cut: bool
) -> None:
    path = folder / "checkpoint" / name
    if cut:
        path.write_bytes(path.read_bytes()[:-9])
    else:
        flip(path, path.stat().st_size // 2)
    said: list[str] = []
    run(folder, said)
    (line,) = [line for line in said if "made again" in line]
    assert str(folder / "checkpoint") in line and f"step {STEPS}" in line
    same_run(folder, undisturbed)
    assert path.read_bytes() == (undisturbed / "checkpoint" / name).read_bytes()


@pytest.mark.parametrize("name", ["losses.jsonl", "evaluations.jsonl"])
def test_a_damaged_log_is_told(folder: Path, run: Run, name: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    for content in (
        whole.replace(b"1", b"2", 1),
        whole.replace(b"s", b"\x80", 1),
        whole[: len(whole) // 2],
        b"",
        None,
    ):
        copy = Path(shutil.copytree(folder, folder.with_name("copy")))
        if content is None:
            (copy / name).unlink()
        else:
            (copy / name).write_bytes(content)
        said: list[str] = []
        run(copy, said)
        (line,) = [line for line in said if "is not what it was" in line]
        assert str(copy / name) in line
        shutil.rmtree(copy)
    said = []
    run(folder, said)
    assert not [line for line in said if "not what it was" in line or "made again" in line]
