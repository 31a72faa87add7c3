"""Files against the original's, which made those in `golden`; and damaged ones."""

from __future__ import annotations

import json
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ecdc_golden import FOLDER, PLAIN, codes_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.codecs import describe_codec
from tokenizer.ecdc.files import read_ecdc, write_ecdc
from tokenizer.ecdc.models import MODELS, Model, model_of
from tokenizer.errors import (
    CodecLoadError,
    CodecshardsError,
    FailureKind,
    RecordingError,
    ShapeError,
    UsageError,
)
from tokenizer.types import Codes


def file_of(tmp_path: Path, held: bytes) -> Path:
    file = tmp_path / "x.ecdc"
    file.write_bytes(held)
    return file


def header(said: object, body: bytes = b"") -> bytes:
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    return struct.pack("!4sBI", b"ECDC", 0, len(text)) + text + body


@pytest.mark.parametrize(("name", "samples", "n_q"), PLAIN)
def test_files_are_the_originals(name: str, samples: int, n_q: int) -> None:
    golden, codes = FOLDER / f"{name}-{n_q}.ecdc", codes_of(name, samples, n_q)
    assert b"".join(write_ecdc(codes, MODELS[name])) == golden.read_bytes()
    stored = read_ecdc(golden)
    assert stored.codes == codes and stored.header.model.name == name


@settings(deadline=None, max_examples=60)
@given(
    model=st.sampled_from(list(MODELS.values())),
    samples=st.integers(1, 200_000),
    n_q=st.integers(1, 16),
    seed=st.integers(0, 9),
)
def test_any_codes_come_back(
    tmp_path_factory: pytest.TempPathFactory, model: Model, samples: int, n_q: int, seed: int
) -> None:
    frames = list(model.chunk_frames(samples))
    draw = np.random.default_rng(seed)
    codes = Codes(
        draw.integers(0, 1024, (n_q, sum(frames))).astype(np.uint16),
        draw.random(len(frames), np.float32) + np.float32(1e-8) if model.has_scales else None,
        np.array(frames, np.uint16),
        samples,
        model.sample_rate,
        model.layout,
    )
    file = tmp_path_factory.getbasetemp() / "any.ecdc"
    file.write_bytes(b"".join(write_ecdc(codes, model)))
    assert read_ecdc(file).codes == codes


def test_more_than_65535_frames_come_back(tmp_path: Path) -> None:
    codes = codes_of("encodec_24khz", 24_000_001, 1)
    assert len(codes.chunk_frames) == 2
    file = file_of(tmp_path, b"".join(write_ecdc(codes, MODELS["encodec_24khz"])))
    assert read_ecdc(file).codes == codes


def test_where_the_original_fails() -> None:
    """Each was seen in the original: see benchmarks/results/ecdc.md."""
    mono, stereo = MODELS["encodec_24khz"], MODELS["encodec_48khz"]
    assert [n for n in range(1, 50_000) if mono.original_fails(n)] == [
        6_720, 13_440, 16_320, 26_880, 32_640, 36_800, 49_600,
    ]  # fmt: skip
    tails = [n for n in range(1, 47_521) if stereo.original_fails(47_520 + n)]
    assert tails == [*range(161, 321), 6_720, 13_440, 16_320, 26_880, 32_640, 36_800]
    assert "overlap-add" in (stereo.original_fails(47_520 + 200) or "")


DAMAGED = [
    (b"", FailureKind.NOT_AUDIO, "not an .ecdc file"),
    (b"RIFF" + bytes(40), FailureKind.NOT_AUDIO, "not an .ecdc file"),
    (b"ECDC\0\0", FailureKind.TRUNCATED, "header ends after 6 bytes"),
    (b"ECDC\1" + bytes(9), FailureKind.BAD_HEADER, "version 1"),
    (b"ECDC\0\xff\xff\xff\xff", FailureKind.BAD_HEADER, "4,294,967,295 bytes of JSON"),
    (header(b"{}")[:-1], FailureKind.TRUNCATED, "1 of 2 bytes"),
    (header(b"\xff\xfe"), FailureKind.BAD_HEADER, "no JSON"),
    (header(b"[" * 60_000), FailureKind.BAD_HEADER, "no JSON"),
    (header(b'{"al": ' + b"9" * 5_000 + b"}"), FailureKind.BAD_HEADER, "no JSON"),
    (header([1]), FailureKind.BAD_HEADER, "no JSON object"),
    (header({"m": "encodec_24khz"}), FailureKind.BAD_HEADER, "without al, nc, lm"),
]
SAID = {"m": "encodec_24khz", "al": 320, "nc": 8, "lm": False}
DAMAGED += [
    (header(SAID | change), FailureKind.BAD_HEADER, words)
    for change, words in (
        ({"m": "my_encodec"}, "model 'my_encodec'; known are encodec_24khz, encodec_48khz"),
        ({"m": ["x"]}, "model"),
        ({"al": 0}, "says al 0"),
        ({"al": -5}, "says al -5"),
        ({"al": 1e300}, "says al"),
        ({"al": 10**300}, "says al"),
        ({"al": True}, "says al True"),
        ({"al": "320"}, "says al 320"),
        ({"nc": 0}, "says nc 0"),
        ({"nc": 33}, "within 1 to 32"),
        ({"nc": None}, "says nc None"),
        ({"m": "encodec_48khz", "nc": 17}, "within 1 to 16"),
        ({"lm": 0}, "lm '0'"),
    )
]
DAMAGED += [
    (header(SAID, bytes(9)), FailureKind.TRUNCATED, "9 bytes of codes are too few for the 320"),
    (header(SAID, bytes(11)), FailureKind.DAMAGED, "1 bytes more"),
    (header(SAID | {"al": 2**62}, bytes(10)), FailureKind.TRUNCATED, "too few"),
    (header(SAID | {"m": "encodec_48khz", "al": 2**62}), FailureKind.TRUNCATED, "too few"),
    (header(SAID | {"al": 2**62, "lm": True}, bytes(10)), FailureKind.TRUNCATED, "too few"),
    (
        header(SAID | {"nc": 1}, b"\0\xff"),
        FailureKind.DAMAGED,
        "chunk 0 is damaged: bits behind its last code are not zero",
    ),
    *(
        (
            header(SAID | {"m": "encodec_48khz"}, struct.pack("!f", scale) + bytes(10)),
            FailureKind.DAMAGED,
            "chunk 0 is damaged: its scale is",
        )
        for scale in (float("nan"), float("inf"), 0.0, -1.0)
    ),
]


@pytest.mark.parametrize(("held", "kind", "words"), DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_files_say_so_in_little_memory(
    tmp_path: Path, held: bytes, kind: FailureKind, words: str
) -> None:
    file = file_of(tmp_path, held)
    tracemalloc.start()
    with pytest.raises(RecordingError) as raised:
        read_ecdc(file, lambda model: pytest.fail("not needed"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert raised.value.kind is kind and words in str(raised.value)
    assert str(raised.value).startswith(f"{file}: ") and "\n" not in str(raised.value)
    assert peak < 2_000_000


def test_any_cut_and_any_flipped_bit_is_an_error_of_ours_or_other_codes(tmp_path: Path) -> None:
    whole = (FOLDER / "encodec_48khz-2.ecdc").read_bytes()
    codes = codes_of("encodec_48khz", 48_961, 2)
    start = whole.index(b"}") + 5
    for end in [*range(start), *range(start, len(whole), 29), len(whole) - 1]:
        with pytest.raises(RecordingError):
            read_ecdc(file_of(tmp_path, whole[:end]))
    for bit in [*range(start * 8), *range(start * 8, len(whole) * 8, 61)]:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert read_ecdc(file_of(tmp_path, bytes(changed))).codes != codes
        except CodecshardsError as error:
            assert "x.ecdc" in str(error)


def test_more_keys_are_passed_over(tmp_path: Path) -> None:
    held = header(SAID | {"artist": "ann"}, bytes(10))
    assert not read_ecdc(file_of(tmp_path, held)).codes.codes.any()


def test_what_is_no_file(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none", "no such file"), (tmp_path, "not a file")):
        with pytest.raises(UsageError, match=words):
            read_ecdc(path)


def test_codes_of_another_codec_are_refused() -> None:
    codes = codes_of("encodec_24khz", 24_001, 2)
    with pytest.raises(ShapeError, match="not those of a recording by encodec_48khz"):
        b"".join(write_ecdc(codes, MODELS["encodec_48khz"]))


def test_codecs_of_another_shape_are_refused() -> None:
    spec = describe_codec("small")
    assert model_of(spec).name == "encodec_48khz"
    with pytest.raises(CodecLoadError, match=r"has no \.ecdc files: give .*encodec_24khz"):
        model_of(replace(spec, sample_rate=32_000))
