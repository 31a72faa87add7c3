"""Codebooks of as many entries as 16 bits tell apart, from audio to audio; larger ones are
refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sounds import sound
from stored_rows import stored_rows
from transformers import EncodecConfig, EncodecModel

from pipelines import CodesDataset, CodesLoader, Delay
from pipelines.cli.main import main
from tokenizer import read_audio

LARGEST = 1 << 16
CONFIG = EncodecConfig(
    sampling_rate=48_000,
    audio_channels=2,
    target_bandwidths=[9.6],
    normalize=True,
    chunk_length_s=1.0,
    overlap=0.01,
    norm_type="time_group_norm",
    use_causal_conv=False,
    num_filters=2,
    hidden_size=4,
    num_lstm_layers=1,
    upsampling_ratios=[8, 5, 4],
    codebook_size=LARGEST,
)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With most of its codes in the upper half, the last one among them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EncodecModel(CONFIG).eval()
        with torch.inference_mode():
            wave = torch.from_numpy(sound(20_000).samples)[None]
            vectors = model.encoder(wave / wave.square().mean().sqrt())[0].T
        for layer in model.quantizer.layers:
            codes = layer.codebook.embed
            codes.fill_(1e3)  # nobody's choice
            places = torch.linspace(LARGEST - 1, 0, len(vectors)).long()
            codes[places] = vectors + 0.05 * torch.randn_like(vectors)
            vectors = vectors - torch.nn.functional.embedding(
                layer.codebook.quantize(vectors), codes
            )
    folder = tmp_path_factory.mktemp("codec") / "largest"
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_all_16_bits_of_codes_come_through(codec: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / "corpus" / "a.wav", sound(20_000).samples.T, 48_000, "FLOAT")
    out = tmp_path / "out"
    made = ["--codec", str(codec), "--format", form, "--workers", "0", "--quiet"]
    assert main(["tokenize", str(tmp_path / "corpus"), str(out), *made]) == 0
    assert main(["verify", str(out)]) == 0

    model = EncodecModel.from_pretrained(codec).eval()
    samples = read_audio(tmp_path / "corpus" / "a.wav", 48_000, 2).samples
    with torch.inference_mode():
        encoded = model.encode(torch.from_numpy(samples)[None], bandwidth=9.6)
        heard = model.decode(encoded.audio_codes, encoded.audio_scales, last_frame_pad_length=0)
    codes = encoded.audio_codes[0, 0].numpy()
    assert codes.max() == LARGEST - 1 and len(np.unique(codes)) > 50
    (row,) = stored_rows(out)
    assert (
        np.frombuffer(row["codes"][1], np.uint16).reshape(row["codes"][0]).tolist()
        == codes.tolist()
    )

    batch = next(
        iter(CodesLoader(CodesDataset(str(out)), batch_size=1, pattern=Delay(pad=LARGEST)))
    )
    for level, values in enumerate(codes):
        assert batch.codes[0, level, level : level + len(values)].tolist() == values.tolist()
    path = tmp_path / "a.wav"
    assert main(["decode", str(out), "a.wav", "-o", str(path), "--device", "cpu"]) == 0
    found = soundfile.read(path, dtype="float32")[0].T
    assert found.shape == samples.shape
    assert np.allclose(found, heard.audio_values[0, :, : found.shape[1]].numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [LARGEST + 1, 2 * LARGEST])
def test_one_entry_more_is_refused(
    codec: Path, tmp_path: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in codec.iterdir():
        (tmp_path / path.name).symlink_to(path)
    config = {**json.loads((codec / "config.json").read_text()), "codebook_size": size}
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / "corpus" / "a.wav", sound(2_000).samples.T, 48_000)
    command = ["tokenize", str(tmp_path / "corpus"), str(tmp_path / "out"), "--workers", "0"]
    assert main([*command, "--codec", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"codebooks of {size:,} entries; 16 bits hold 65,536" in line
    assert not (tmp_path / "out").exists()
