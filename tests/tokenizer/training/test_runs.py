"""Whole runs: they learn, resume to the same losses, and leave checkpoints that plain transformers
loads."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tokenizer import load_codec
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.errors import CodecshardsError, OutputError, UsageError
from tokenizer.training.checkpoints import read_state
from tokenizer.training.data.draws import DataOptions, Mixer
from tokenizer.training.data.pack import Pack
from tokenizer.training.evaluate import evaluate, held_out_seconds, perplexity
from tokenizer.training.export import export
from tokenizer.training.logs import read_evaluations, read_losses
from tokenizer.training.loop import Sitting, train
from tokenizer.training.networks.model import initial_model, new_model
from tokenizer.training.presets import PAPER, TrainConfig, differences, find_preset
from tokenizer.training.trainer import Trainer
from tokenizer.training.workers import Workers

ROOT = Path(__file__).resolve().parents[3]
QUICK = dataclasses.replace(
    find_preset("tiny").scaled(10),
    batch=2,
    evaluate_every=5,
    evaluation_seconds=2,
    kmeans_seconds=4.0,
    discriminator_probability=1.0,
)
"""ten steps, through every phase"""
BRIEF = dataclasses.replace(QUICK.scaled(4), evaluation_seconds=0, kmeans_seconds=1.0)
"""a step or two of each phase, and no figures"""
SITTING = Sitting(device="cpu", tensorboard=False)


def quiet(text: str) -> None:
    """Nobody listens."""


def run(pack: Path, run_dir: Path, config: TrainConfig | None = None, **sitting: Any) -> Any:
    how = dataclasses.replace(SITTING, **sitting)
    return train(config or TrainConfig(QUICK), Pack(pack), run_dir, how, quiet)


@pytest.fixture(scope="module")
def undisturbed(pack_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    outcome = run(pack_folder, folder, tensorboard=True)
    assert (outcome.reason, outcome.step) == ("done", 10)
    return folder


def same_run(one: Path, other: Path) -> None:
    """Losses, evaluations, weights, optimiser and balancers, to the last bit."""
    assert read_losses(one) == read_losses(other)
    assert read_evaluations(one) == read_evaluations(other)
    ours, theirs = read_state(one), read_state(other)
    assert ours is not None and theirs is not None and ours.tensors.keys() == theirs.tensors.keys()
    assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in ours.tensors)
    assert ours.numbers["balancers"] == theirs.numbers["balancers"]
    model, again = (
        load_file(folder / "checkpoint" / "model.safetensors") for folder in (one, other)
    )
    assert all(torch.equal(model[name], again[name]) for name in model)


def test_every_phase_ran_and_everything_was_logged(undisturbed: Path) -> None:
    losses = read_losses(undisturbed)
    assert [row["step"] for row in losses] == list(range(10))
    assert "complex_stft" in losses[0] and "commitment" not in losses[0]
    assert "commitment" in losses[5] and "mel" in losses[6] and "adversarial" not in losses[7]
    assert "adversarial" in losses[9] and any("discriminator" in row for row in losses)
    assert {row["bandwidth"] for row in losses} == {0.9, 1.8}
    rows = read_evaluations(undisturbed)
    assert [(row["step"], row["bandwidth"]) for row in rows[-2:]] == [(9, 0.9), (9, 1.8)]
    assert len(rows[-1]["perplexity"]) == 2 and list((undisturbed / "tensorboard").iterdir())


def test_stopping_at_every_step_changes_nothing(
    undisturbed: Path, pack_folder: Path, tmp_path: Path
) -> None:
    """Each sitting is given so little time that it does a single step."""
    folder = tmp_path / "run"
    for step in range(10):
        outcome = run(pack_folder, folder, minutes=1e-9)
        assert outcome.step == step + 1
    same_run(folder, undisturbed)


def test_a_killed_run_resumes_to_the_same_losses(
    undisturbed: Path, pack_folder: Path, tmp_path: Path
) -> None:
    """SIGKILL between checkpoints of every third step, with lines in the logs that no checkpoint
    covers."""
    folder = tmp_path / "run"
    code = (
        "import sys; sys.path.insert(0, 'tests/tokenizer/training'); from pathlib import Path; "
        "import os, test_runs as t, torch\n"
        "torch.set_num_threads(1)\n"
        "inner = t.Trainer.step\n"
        "def step(self, number, batch):\n"
        "    result = inner(self, number, batch)\n"
        "    if number == 7:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return result\n"
        "t.Trainer.step = step\n"
        f"t.run(Path({str(pack_folder)!r}), Path({str(folder)!r}), checkpoint_steps=3)\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=_environment(),
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    state = read_state(folder)
    assert state is not None and state.step == 6
    with (folder / "losses.jsonl").open("a") as file:
        file.write(
            '{"step": 6, "time": 1.0}\n{"step": 7, "ti'
        )  # what a flush before the kill would have left
    shutil.rmtree(folder / "checkpoint")  # a kill between the two renames
    run(pack_folder, folder)
    same_run(folder, undisturbed)


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "OMP_NUM_THREADS": "1",
    }


def test_sigterm_ends_between_two_steps_with_a_checkpoint(
    pack_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "tokenizer.training",
        str(pack_folder),
        str(folder),
        "--preset",
        "tiny",
    ]
    options = [
        "--device",
        "cpu",
        "--threads",
        "1",
        "--batch",
        "2",
        "--no-tensorboard",
        "--checkpoint-steps",
        "1",
    ]
    process = subprocess.Popen(
        [*command, *options], cwd=ROOT, env=_environment(), stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (folder / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    state = read_state(folder)
    assert state is not None and len(read_losses(folder)) == state.step > 0
    assert not list(folder.glob("*.tmp"))


def test_losses_fall_and_codebooks_fill(pack_folder: Path, tmp_path: Path) -> None:
    waveform = dataclasses.replace(find_preset("tiny").phases[0], steps=80, ease=(0.4, 0.5))
    preset = dataclasses.replace(find_preset("tiny"), phases=(waveform,), evaluation_seconds=0)
    run(pack_folder, tmp_path / "run", TrainConfig(preset))
    losses = read_losses(tmp_path / "run")

    def mean(name: str, rows: list[dict[str, Any]]) -> float:
        return float(np.mean([row[name] for row in rows]))

    assert mean("relative_error", losses[-15:]) < mean("relative_error", losses[:15]) - 0.05
    assert mean("complex_stft", losses[-15:]) < 0.8 * mean("complex_stft", losses[:15])
    # On examples like those that it learnt from, and that it has not seen: 1,800 frames over 64
    # codes.
    examples = Mixer(Pack(pack_folder), DataOptions(12, seed=1)).batch(0)
    for row in evaluate(
        initial_model(str(tmp_path / "run" / "checkpoint")), examples, torch.device("cpu")
    ):
        assert min(row.used) > 0.7 and min(row.perplexity) > 16


def test_the_checkpoint_loads_in_plain_transformers_with_identical_codes(
    undisturbed: Path, tmp_path: Path
) -> None:
    from transformers import EncodecModel

    small = export(str(undisturbed / "checkpoint"), tmp_path / "small")
    audio = torch.randn(1, 2, 48_000, generator=torch.Generator().manual_seed(0)) * 0.1
    for folder in (undisturbed / "checkpoint", small):
        model, report = EncodecModel.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"] and model.dtype == torch.float32
        with torch.inference_mode():
            codes = model.encode(audio, bandwidth=1.8).audio_codes[0, 0]
        ours = load_codec(str(folder), bandwidth=1.8, device="cpu").encode_chunks(
            [audio[0].numpy()]
        )[0]
        assert np.array_equal(codes.numpy(), ours.codes)
    sizes = [
        (folder / "model.safetensors").stat().st_size
        for folder in (undisturbed / "checkpoint", small)
    ]
    assert (
        sizes[1] < 0.6 * sizes[0]
        and json.loads((small / "config.json").read_text())["dtype"] == "float32"
    )
    with pytest.raises(OutputError, match="something already"):
        export(str(undisturbed / "checkpoint"), small)


def test_evaluation_is_what_the_shipped_codec_does(undisturbed: Path, pack_folder: Path) -> None:
    excerpts = held_out_seconds(Pack(pack_folder), 2)
    assert excerpts.shape == (2, 2, 48_000) and np.array_equal(
        excerpts, held_out_seconds(Pack(pack_folder), 2)
    )
    model = new_model(QUICK, 0)
    model.load_state_dict(
        {**model.state_dict(), **load_file(undisturbed / "checkpoint" / "model.safetensors")}
    )
    row = evaluate(model, excerpts, torch.device("cpu"))[1]
    codec = load_codec(str(undisturbed / "checkpoint"), bandwidth=1.8, device="cpu")
    encoded = codec.encode_chunks(list(excerpts))
    ratios = []
    for excerpt, decoded in zip(
        excerpts.astype(np.float64), codec.decode_chunks(encoded), strict=True
    ):
        x, y = excerpt.ravel() - excerpt.mean(), decoded.ravel() - decoded.mean(dtype=np.float64)
        target = x * (x @ y) / (x @ x)
        ratios.append(10 * np.log10((target @ target) / ((y - target) @ (y - target))))
    assert row.si_snr_mean == pytest.approx(np.mean(ratios), abs=0.01)
    shares = np.bincount(np.concatenate([code.codes[1] for code in encoded]), minlength=64) / 300
    assert row.used[1] == pytest.approx((shares > 0).mean(), abs=1e-3)


def test_perplexity_by_hand() -> None:
    counts = torch.tensor(
        [[1.0, 1.0, 1.0, 1.0], [4.0, 0.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0]]
    ).double()
    assert perplexity(counts).tolist() == pytest.approx([4.0, 1.0, 2.0])


def test_fine_tuning_starts_from_the_checkpoint(pack_folder: Path, tmp_path: Path) -> None:
    source = write_seeded(tmp_path / "seeded", size="reduced")
    preset = dataclasses.replace(
        find_preset("finetune").scaled(2),
        batch=1,
        discriminator_filters=2,
        mel_windows=(1024,),
        evaluation_seconds=1,
    )
    run(pack_folder, tmp_path / "run", TrainConfig(preset, init=str(source)))
    before = load_file(source / "model.safetensors")
    after = load_file(tmp_path / "run" / "checkpoint" / "model.safetensors")
    assert before.keys() == after.keys()
    name = "decoder.layers.0.conv.weight"
    change = (after[name] - before[name]).abs().max()
    # Two steps of Adam with a learning rate that is still rising: at most a learning rate each.
    assert 0 < change <= 2 * 5e-5
    codebook = "quantizer.layers.0.codebook.embed"
    assert (after[codebook] - before[codebook]).norm() < before[codebook].norm()


def test_another_configuration_is_refused_and_more_steps_are_not(
    undisturbed: Path, pack_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    with pytest.raises(OutputError, match=r"batch: 2 there, 3 now"):
        run(pack_folder, folder, TrainConfig(dataclasses.replace(QUICK, batch=3)))
    with pytest.raises(OutputError, match=r"seed: 0 there, 1 now"):
        run(pack_folder, folder, TrainConfig(QUICK, seed=1))
    with pytest.raises(UsageError, match="phase adversarial begins at step 8"):
        run(pack_folder, folder, steps=5)
    assert run(pack_folder, folder, steps=11).step == 11
    assert read_losses(folder)[:10] == read_losses(undisturbed)


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step() -> None:
    trainer = Trainer(new_model(QUICK, 0), TrainConfig(QUICK), Workers("cpu"))
    with pytest.raises(CodecshardsError, match="step 0: a loss is not finite"):
        trainer.step(0, np.full((1, 2, 48_000), np.nan, np.float32))


def test_bandwidths_and_judges_are_drawn_at_random_for_every_step() -> None:
    trainer = Trainer(
        new_model(QUICK, 0),
        TrainConfig(dataclasses.replace(QUICK, discriminator_probability=0.5)),
        Workers("cpu"),
    )
    drawn = [trainer.choices(step) for step in range(1000)]
    assert np.mean([bandwidth == 0.9 for bandwidth, _ in drawn]) == pytest.approx(0.5, abs=0.06)
    assert np.mean([learns for _, learns in drawn]) == pytest.approx(0.5, abs=0.06)
    assert drawn == [trainer.choices(step) for step in range(1000)]


def test_bfloat16_keeps_weights_quantizer_and_losses_in_float32() -> None:
    config = TrainConfig(QUICK, precision="bfloat16")
    trainer = Trainer(new_model(QUICK, 0), config, Workers("cpu"))
    batch = np.random.default_rng(0).normal(0, 0.1, (2, 2, 48_000)).astype(np.float32)
    trainer.initialise_codebooks(0, [batch])
    report = trainer.step(9, batch)
    assert report["adversarial"] > 0 and report["commitment"] >= 0
    assert {tensor.dtype for tensor in trainer.model.state_dict().values()} == {torch.float32}


def test_the_papers_batch_is_shared_by_all_devices_and_their_number_is_kept(
    undisturbed: Path, pack_folder: Path, tmp_path: Path
) -> None:
    assert [PAPER.on(world).batch for world in (1, 2, 8, 64)] == [64, 32, 8, 1]
    assert find_preset("small").on(3).batch == 8
    with pytest.raises(UsageError, match="3 devices cannot share"):
        PAPER.on(3)
    assert differences(TrainConfig(PAPER, world=1), TrainConfig(PAPER, world=2)) == [
        "world: 1 there, 2 now"
    ]
    assert json.loads((undisturbed / "config.json").read_text())["world"] == 1


TWO = """
import os, sys, torch, test_runs as t
from pathlib import Path
from safetensors.torch import save_file
pack, out, places, port = sys.argv[1:]
torch.set_num_threads(1)
inner = t.Trainer.step
def step(self, number, batch):
    report = inner(self, number, batch)
    if number == 3:
        state = {name: tensor.clone() for name, tensor in self.state(4, 0.0, {}).tensors.items()}
        save_file(state, f"{places}/rank{self.workers.rank}.safetensors")
    return report
t.Trainer.step = step
children = []
for rank in "01":  # what torchrun tells its processes; here they share the time that imports take
    children.append(os.fork())
    if not children[-1]:
        os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        t.run(Path(pack), Path(out), t.TrainConfig(t.BRIEF))
        sys.stdout.flush()
        os._exit(0)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def test_two_devices_move_together(pack_folder: Path, tmp_path: Path) -> None:
    """Two processes on the CPU: every weight, code and average is the same on both, and one of them
    writes."""
    pytest.importorskip("accelerate")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = [str(pack_folder), str(tmp_path / "run"), str(tmp_path), str(port)]
    environment = _environment()
    environment["PYTHONPATH"] += os.pathsep + str(Path(__file__).parent)
    ended = subprocess.run(
        [sys.executable, "-c", TWO, *places],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    one, other = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert [row["step"] for row in read_losses(tmp_path / "run")] == list(range(4))
