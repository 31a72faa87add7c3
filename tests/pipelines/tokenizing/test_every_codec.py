"""A small corpus through every family of codecs by the command, from tokenizing to hearing it."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from families import WRITERS
from sounds import sound

from pipelines import CodesDataset, CodesLoader, Crop, Delay
from pipelines.cli.main import main
from tokenizer import load_codec, read_audio

LENGTHS = {"short": 0.05, "middle": 0.4, "long": 1.3}
"""seconds"""
IN_PROCESSES = ("mimi",)
"""that are decoded in processes of their own; it is one way for all, and each starts anew"""
FAMILIES = [name for name in WRITERS if name != "encodec-48khz"]
"""without the one that all other tests go through"""
FORMATS = dict(zip(FAMILIES, cycle(("parquet", "webdataset"))))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for seed, (name, seconds) in enumerate(LENGTHS.items()):
        samples = sound(int(seconds * 22_050), 2, 22_050, seed=seed).samples
        soundfile.write(folder / f"{name}.wav", samples.T, 22_050)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_a_corpus_from_audio_to_audio(
    name: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    WRITERS[name](tmp_path / "codec")
    codec, out = load_codec(str(tmp_path / "codec"), device="cpu"), tmp_path / "out"
    made = ["--codec", str(tmp_path / "codec"), "--format", FORMATS[name], "--workers", "0"]
    assert main(["tokenize", str(corpus), str(out), *made, "--quiet"]) == 0
    assert main(["verify", str(out)]) == 0

    dataset = CodesDataset(str(out))
    found = {sample.id.removesuffix(".wav"): sample for sample in dataset}
    assert set(found) == set(LENGTHS)
    for id, sample in found.items():
        waveform = read_audio(corpus / f"{id}.wav", codec.sample_rate, codec.channels)
        assert np.array_equal(sample.codes, codec.encode(waveform).codes)
    batch = next(
        iter(
            CodesLoader(
                CodesDataset(str(out)), batch_size=3, pattern=Delay(pad=codec.spec.codebook_size)
            )
        )
    )
    assert batch.codes.shape[:2] == (3, codec.spec.n_q)
    cut = next(iter(CodesLoader(CodesDataset(str(out)), batch_size=1, crop=Crop(seconds=0.2))))
    assert cut.codes.shape[1] == codec.spec.n_q

    report = [
        "audit",
        str(out),
        "--all",
        "--device",
        "cpu",
        "--workers",
        "0",
        "--reencode",
        "--no-page",
    ]
    assert main([*report, "--quiet"]) == 0, capsys.readouterr()
    heard = ["decode", str(out), "--all", "--to", str(tmp_path / "audio"), "--quiet"]
    assert main(heard if name in IN_PROCESSES else [*heard, "--workers", "0"]) == 0
    for id, seconds in LENGTHS.items():
        (path,) = (tmp_path / "audio").rglob(f"{id}*.*")
        info = soundfile.info(path)
        assert info.frames == found[id].num_samples
        assert info.frames / info.samplerate == pytest.approx(seconds, abs=1e-3)
