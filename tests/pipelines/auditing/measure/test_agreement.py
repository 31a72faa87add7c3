"""Real music through the codec that ships: the audit's figures against torchmetrics', computed from
files alone.

`benchmarks/audit_agreement.py` does the same for the whole folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import AuditOptions, AuditReport, audit
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.export_audio import find_row
from pipelines.run import tokenize_corpus
from tokenizer import load_codec, read_audio

PIECES = (
    "librosa/sorohanro*",
    "librosa/456440*",
    "sonic_pi/guit_em9.flac",
    "sonic_pi/loop_amen.flac",
    "sonic_pi/bass_*_c.flac",
)
EVERY, MOST_BYTES = 8, 100_000
"""of the rest, one in so many of the files that are no larger: some 20, of every folder"""


@pytest.fixture(scope="module")
def scene(shared_audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, music = tmp_path_factory.mktemp("agreement"), shared_audio / "music"
    (root / "corpus").mkdir()
    chosen = [
        path
        for path in sorted(music.rglob("*"))
        if path.is_file() and path.stat().st_size <= MOST_BYTES
    ][::EVERY]
    for pattern in PIECES:
        found = sorted(music.glob(pattern))
        assert found, pattern
        chosen += found
    for path in chosen:
        shutil.copy(path, root / "corpus")
    config = TokenizeConfig(str(root / "corpus"), codec="small", bandwidth=24.0)
    tokenize_corpus(config, str(root / "out"), RunOptions(workers=0, quiet=True, device="cpu"))
    return root


@pytest.fixture(scope="module")
def done(scene: Path) -> AuditReport:
    return audit(
        str(scene / "out"),
        options=AuditOptions(all=True, reencode=True, page=False, quiet=True, device="cpu"),
    )


def test_si_snr_of_real_music_is_that_of_torchmetrics(scene: Path, done: AuditReport) -> None:
    measures = pytest.importorskip(
        "torchmetrics.functional.audio", reason="torchmetrics is not installed"
    )
    assert done.passed and len(done.recordings) == len(list((scene / "corpus").iterdir())) >= 20
    codec = load_codec("small", bandwidth=24.0, device="cpu")
    for recording in done.recordings:
        assert set(recording.equal_codes or ()) == {1.0}
        source = read_audio(scene / "corpus" / recording.id, 48_000, 2).samples
        decoded = codec.decode(find_row(str(scene / "out"), recording.id).codes).samples
        loud = source.std(axis=1) > 1e-5  # of silent channels the audit says nothing
        pair = (torch.tensor(samples[loud].astype(np.float64)) for samples in (decoded, source))
        expected = measures.scale_invariant_signal_noise_ratio(*pair).mean()
        assert recording.figures["si-snr"].value == pytest.approx(float(expected), abs=0.01), (
            recording.id
        )


def test_it_can_be_recognised(done: AuditReport) -> None:
    """Tonal pieces come back with far more signal than error."""
    by_name = {recording.id: recording.figures["si-snr"].value for recording in done.recordings}
    assert by_name["guit_em9.flac"] > 6.0
