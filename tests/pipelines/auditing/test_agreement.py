"""Real music through the codec that ships: the audit's figures against torchmetrics', computed from files alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from pipelines import AuditOptions, audit
from pipelines.config import RunOptions, TokenizeConfig
from pipelines.decode import decode_recording
from pipelines.run import tokenize_corpus
from tokenizer import read_audio

PIECES = ("librosa/sorohanro*", "librosa/456440*", "sonic_pi/guit_em9.flac", "sonic_pi/loop_amen.flac", "sonic_pi/bass_*_c.flac")
OPTIONS = AuditOptions(all=True, reencode=True, page=False, quiet=True, device="cpu")


@pytest.fixture(scope="module")
def scene(shared_audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("agreement")
    (root / "corpus").mkdir()
    for pattern in PIECES:
        found = sorted((shared_audio / "music").glob(pattern))
        assert found, pattern
        for path in found:
            shutil.copy(path, root / "corpus")
    config = TokenizeConfig(str(root / "corpus"), codec="small", bandwidth=24.0)
    tokenize_corpus(config, str(root / "out"), RunOptions(workers=0, quiet=True, device="cpu"))
    return root


def test_si_snr_of_real_music_is_that_of_torchmetrics(scene: Path) -> None:
    measures = pytest.importorskip("torchmetrics.functional.audio", reason="torchmetrics is not installed")
    done = audit(str(scene / "out"), options=OPTIONS)
    assert done.passed and len(done.recordings) == len(list((scene / "corpus").iterdir())) >= 5
    for recording in done.recordings:
        decode_recording(str(scene / "out"), recording.id, str(scene / "decoded.wav"), device="cpu")
        source, decoded = (
            read_audio(path, 48_000, 2).samples for path in (scene / "corpus" / recording.id, scene / "decoded.wav")
        )
        expected = measures.scale_invariant_signal_noise_ratio(torch.tensor(decoded), torch.tensor(source)).mean()
        assert recording.figures["si-snr"].value == pytest.approx(float(expected), abs=0.01), recording.id
        assert set(recording.equal_codes or ()) == {1.0}


def test_it_can_be_recognised(scene: Path) -> None:
    """Tonal pieces come back with far more signal than error."""
    by_name = {
        recording.id: recording.figures["si-snr"].value for recording in audit(str(scene / "out"), options=OPTIONS).recordings
    }
    assert by_name["guit_em9.flac"] > 6.0
