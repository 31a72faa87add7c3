"""From a corpus to a pack, and `train-codec` as a user meets it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora import write_corpus
from sounds import sound

from pipelines.cli.main import main
from pipelines.corpus.training_pack import PackConfig, prepare_pack
from tokenizer import read_audio
from tokenizer.errors import OutputError, UsageError
from tokenizer.training.data.pack import Pack
from tokenizer.training.logs import read_losses


def quiet(text: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Music, speech, effects, and a file that is cut off."""
    folder = tmp_path_factory.mktemp("train") / "corpus"
    write_corpus(folder, 1)
    for kind, count in (("music", 3), ("speech", 2), ("effects", 2)):
        (folder / kind).mkdir()
        for number in range(count):
            soundfile.write(
                folder / kind / f"{number}.wav", sound(60_000, seed=number).samples.T, 44_100
            )
    return folder


def test_a_corpus_becomes_a_pack_of_the_samples_that_read_audio_gives(
    corpus: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    config = PackConfig(str(corpus), hold_out=("effects/1*",), hold_out_share=0.0)
    pack = prepare_pack(config, tmp_path / "pack", None, "tiny", said.append)
    assert any("broken.wav" in line for line in said) and "1 recordings left out" in said[-1]
    kinds = {recording.id: recording.kind for recording in pack.recordings}
    assert (
        kinds["music/0.wav"] == "music"
        and kinds["speech/1.wav"] == "speech"
        and kinds["effects/0.wav"] == "other"
    )
    assert [recording.id for recording in pack.recordings if recording.held_out] == [
        "effects/1.wav"
    ]
    for recording in pack.recordings:
        samples = read_audio(corpus / recording.id, 48_000, 2).samples
        assert np.abs(pack.read(recording, 0, recording.num_samples) - samples).max() < 1e-4
    again = prepare_pack(config, tmp_path / "pack", None, "tiny", quiet)
    assert again.recordings == pack.recordings
    with pytest.raises(OutputError, match="made from something else"):
        prepare_pack(PackConfig(str(corpus)), tmp_path / "pack", None, "tiny", quiet)


def test_labels_and_the_split_are_functions_of_the_id() -> None:
    config = PackConfig(
        "x",
        music=("*.mid*", "songs/*"),
        speech=("books/*",),
        hold_out=("songs/live/*",),
        hold_out_share=0.2,
    )
    assert [
        config.kind(name) for name in ("songs/a.mp3", "books/b.mp3", "a.midi.wav", "door.wav")
    ] == [
        "music",
        "speech",
        "music",
        "other",
    ]
    assert config.holds_out("songs/live/x.mp3")
    names = [f"books/{number}.mp3" for number in range(3000)]
    held = [name for name in names if config.holds_out(name)]
    assert len(held) / 3000 == pytest.approx(0.2, abs=0.03) and held == [
        name for name in names if config.holds_out(name)
    ]
    nan = float("nan")
    for wrong in (
        {"hold_out_share": 1.0},
        {"synthetic_minutes": -1.0},
        {"synthetic_minutes": nan},
    ):
        with pytest.raises(UsageError):
            PackConfig("x", **wrong)  # type: ignore[arg-type]


def test_synthesised_audio_is_added_and_trained_on(corpus: Path, tmp_path: Path) -> None:
    config = PackConfig(str(corpus / "music"), hold_out_share=0.0, synthetic_minutes=0.5)
    pack = prepare_pack(config, tmp_path / "pack", None, "tiny", quiet)
    made = [recording for recording in pack.recordings if recording.id.startswith("synthetic/")]
    assert [recording.kind for recording in made] == ["music", "other", "music"]
    assert all(
        recording.num_samples == 480_000 and recording.rms > 0.01 and not recording.held_out
        for recording in made
    )


def test_train_codec_packs_trains_resumes_and_the_result_tokenizes(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    options = [
        "--preset",
        "tiny",
        "--batch",
        "1",
        "--steps",
        "4",
        "--device",
        "cpu",
        "--no-tensorboard",
    ]
    assert main(["train-codec", str(corpus), str(run), *options, "--minutes", "0.0001"]) == 0
    assert len(read_losses(run)) == 1 and Pack(run / "pack").seconds(held_out=False) > 5
    assert main(["train-codec", str(corpus), str(run), *options]) == 0
    assert [row["step"] for row in read_losses(run)] == [0, 1, 2, 3]
    codec = str(run / "checkpoint")
    assert f"--codec {codec}" in capsys.readouterr().out
    music, out = str(corpus / "music"), str(tmp_path / "out")
    arguments = [
        "tokenize",
        music,
        out,
        "--codec",
        codec,
        "--bandwidth",
        "1.8",
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    assert main(arguments) == 0
    assert main(["decode", out, "0.wav", "-o", str(tmp_path / "x.wav"), "--device", "cpu"]) == 0
    assert (
        soundfile.info(tmp_path / "x.wav").frames
        == read_audio(corpus / "music" / "0.wav", 48_000, 2).num_samples
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train-codec", "MISSING", "RUN"], "no such folder"),
        (["train-codec", "CORPUS", "RUN", "--preset", "huge"], "preset huge"),
        (["train-codec", "CORPUS", "RUN", "--hold-out-share", "2"], "--hold-out-share 2"),
        (["train-codec", "CORPUS", "RUN", "--init", "./nothing"], "no such folder"),
        (["train-codec", "CORPUS", "s3://bucket/run"], "give a local folder"),
        (["train-codec", "CORPUS", "RUN", "--leave-out", "*"], "no audio to put into it"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    places = {
        "CORPUS": str(corpus),
        "MISSING": str(tmp_path / "missing"),
        "RUN": str(tmp_path / "run"),
    }
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and words in error[0]


@pytest.mark.parametrize(
    "wrong", [["--threads", "0"], ["--precision", "half"], ["--steps", "0"], ["--reverb", "2"]]
)
def test_mistakes_are_told_before_the_corpus_is_decoded(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train-codec", str(corpus), str(run), "--device", "cpu", *wrong]) == 2
    assert wrong[0] in capsys.readouterr().err and not run.exists()


def test_what_is_no_recording_and_what_holds_none_out_is_told(corpus: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(corpus / "music", tmp_path / "music"))
    (folder / "cover.jpg").write_bytes(b"x")
    said: list[str] = []
    config = PackConfig(str(folder), hold_out=("0.*", "music/0.*"), leave_out=("1.*", "nine.*"))
    prepare_pack(config, tmp_path / "pack", None, "tiny", said.append)
    assert any("cover.jpg" in line for line in said), said
    (line,) = [line for line in said if line.startswith("--hold-out")]
    assert "music/0.*: no recording" in line
    assert [line for line in said if line.startswith("--leave-out")] == [
        "--leave-out nine.*: no recording has such an id"
    ]
