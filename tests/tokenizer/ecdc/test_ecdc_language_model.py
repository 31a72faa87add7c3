"""Files that were coded with the original's language model. Its last bits are the machine's: where
they are others than when the golden files were made, those can not be read, and say so."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from ecdc_golden import CODED, FOLDER, coder_weights, codes_of

from tokenizer.ecdc.files import read_ecdc, write_ecdc
from tokenizer.ecdc.language_model import LanguageModel, _Network, load_language_model
from tokenizer.ecdc.models import MODELS
from tokenizer.errors import CodecLoadError, FailureKind, RecordingError, UsageError
from tokenizer.types import Codes

MONO = MODELS["encodec_24khz"]


@pytest.fixture(scope="module")
def coders() -> dict[str, LanguageModel]:
    return {name: LanguageModel(coder_weights(model), model) for name, model in MODELS.items()}


@pytest.fixture(scope="module")
def mono(coders: dict[str, LanguageModel]) -> LanguageModel:
    return coders[MONO.name]


def second_frame(name: str, n_q: int) -> np.ndarray:
    """Its probabilities, `[1024, n_q]`, after a frame of known codes."""
    model = MODELS[name]
    network = _Network(coder_weights(model), model.codebooks, 10)
    first = torch.zeros(1, n_q, 1, dtype=torch.long)
    codes = torch.from_numpy(codes_of(name, 1, n_q).codes.astype(np.int64))[None]
    with torch.inference_mode():
        _, past = network(first, None, 0)
        found, _ = network(codes + 1, past, 1)
    probabilities: np.ndarray = found[0, :, :, 0].numpy()
    return probabilities


@pytest.mark.parametrize(("name", "samples", "n_q"), CODED)
def test_the_originals_files(
    coders: dict[str, LanguageModel], name: str, samples: int, n_q: int
) -> None:
    golden = FOLDER / f"{name}-{n_q}-lm.ecdc"
    expected, found = np.load(golden.with_suffix(".npy")), second_frame(name, n_q)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    if not np.array_equal(found, expected):
        with pytest.raises(RecordingError, match="rounds otherwise"):
            read_ecdc(golden, lambda model: coders[model.name])
        pytest.skip("torch rounds otherwise here than where the file was written")
    codes = codes_of(name, samples, n_q)
    assert b"".join(write_ecdc(codes, MODELS[name], coders[name])) == golden.read_bytes()
    assert read_ecdc(golden, lambda model: coders[model.name]).codes == codes


def coded(
    tmp_path: Path, codes: Codes, coder: LanguageModel, told: list[int] | None = None
) -> Path:
    file = tmp_path / "x.ecdc"
    watch = None if told is None else told.append
    file.write_bytes(b"".join(write_ecdc(codes, coder.model, coder, watch)))
    return file


@pytest.mark.parametrize("samples", [1, 320, 321, 320 * 270])
def test_what_was_written_here_is_read_here(
    tmp_path: Path, mono: LanguageModel, samples: int
) -> None:
    codes = codes_of(MONO.name, samples, 2)
    assert read_ecdc(coded(tmp_path, codes, mono), lambda _: mono).codes == codes


def test_chunks_follow_each_other(tmp_path: Path, coders: dict[str, LanguageModel]) -> None:
    coder = coders["encodec_48khz"]
    codes = codes_of(coder.model.name, 2 * 47_520 + 5, 1)
    assert len(codes.chunk_frames) == 3
    told: list[int] = []
    file = coded(tmp_path, codes, coder, told)
    assert read_ecdc(file, lambda _: coder, told.append).codes == codes
    assert told == 2 * list(range(1, codes.frames + 1))


def test_damage_and_other_weights_are_known_by_the_end(tmp_path: Path, mono: LanguageModel) -> None:
    file = coded(tmp_path, codes_of(MONO.name, 3_200, 2), mono)
    whole = file.read_bytes()
    start = whole.index(b"}") + 1
    changed = [whole[:-1], whole + b"\0", whole[:-1] + bytes([whole[-1] ^ 128])]
    for place in range(start, len(whole)):
        changed.append(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
    for held in changed:
        file.write_bytes(held)
        with pytest.raises(RecordingError, match=r"x\.ecdc: chunk 0 .* of --threads") as raised:
            read_ecdc(file, lambda _: mono)
        assert raised.value.kind is FailureKind.DAMAGED
    file.write_bytes(whole)
    weights = coder_weights(MONO)
    weights["linears.0.bias"][5] += 1e-3
    with pytest.raises(RecordingError, match="other weights"):
        read_ecdc(file, lambda _: LanguageModel(weights, MONO))


def test_a_long_length_ends_with_the_bits(tmp_path: Path, mono: LanguageModel) -> None:
    file = coded(tmp_path, codes_of(MONO.name, 3_200, 2), mono)
    file.write_bytes(file.read_bytes().replace(b'"al": 3200', b'"al": 9600'))
    with pytest.raises(RecordingError, match="ends too soon"):
        read_ecdc(file, lambda _: mono)


def test_a_file_that_needs_weights_says_which(tmp_path: Path, mono: LanguageModel) -> None:
    file = coded(tmp_path, codes_of(MONO.name, 320, 2), mono)
    with pytest.raises(UsageError, match=r"--lm FILE.*encodec_lm_24khz-1608e3c0\.th"):
        read_ecdc(file)


def test_weights_are_loaded_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "coder.th"
    weights = coder_weights(MONO)
    torch.save(weights, file)
    loaded = load_language_model(file, MONO).begin(3).ends()
    np.testing.assert_array_equal(loaded, LanguageModel(weights, MONO).begin(3).ends())
    named = tmp_path / f"encodec_lm_24khz-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.th"
    file.rename(named)
    load_language_model(named, MONO)


def test_files_that_are_no_such_weights(tmp_path: Path) -> None:
    def error(name: str, held: object) -> str:
        file = tmp_path / name
        if isinstance(held, bytes):
            file.write_bytes(held)
        elif held is not None:
            torch.save(held, file)
        with pytest.raises(CodecLoadError) as raised:
            load_language_model(file, MONO)
        text = str(raised.value)
        assert text.startswith(str(file)) and MONO.language_model_url in text and "\n" not in text
        return text

    weights = coder_weights(MONO)
    assert "no such file" in error("none.th", None)
    assert "no weights" in error("empty.th", b"")
    assert "no weights" in error("text.th", b"hello")
    assert "weights_only" not in error("code.th", b"ECDC\0"), (
        "how to run a file's code is no advice"
    )
    assert "state dictionary" in error("list.th", [1, 2])
    assert "state dictionary" in error("model.th", {"model": 1})
    assert "0 codebooks" in error("other.th", {"x": torch.zeros(1)})
    stereo = coder_weights(MODELS["encodec_48khz"])
    assert "16 codebooks, encodec_24khz has 32" in error("stereo.th", stereo)
    assert "no weights" in error("less.th", {k: v for k, v in weights.items() if "norm1" not in k})
    assert "numbers" in error("nan.th", weights | {"linears.3.bias": torch.full((1024,), np.nan)})
    assert "download is damaged" in error("encodec_lm_24khz-1608e3c0.th", weights)
