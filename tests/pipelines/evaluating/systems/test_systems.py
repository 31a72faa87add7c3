"""Rates and delays of what codecs are compared with, held against FFmpeg's own programs and plain
NumPy."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needs import lacking
from numpy.typing import NDArray

from pipelines.evaluating.systems import codec
from pipelines.evaluating.systems.base import NotReached, System
from pipelines.evaluating.systems.binary import g192_bits
from pipelines.evaluating.systems.codec import CodecSystem
from pipelines.evaluating.systems.registry import open_systems
from pipelines.evaluating.wrapping import packets
from tokenizer import load_codec
from tokenizer.codecs import describe_codec
from tokenizer.coding.static import StaticPredictor
from tokenizer.errors import CodecLoadError, UsageError
from tokenizer.types import Waveform

RATE = 48_000


def bursts(channels: int, seconds: float = 2.0, rate: int = RATE) -> Waveform:
    """Noise that falls with frequency, in bursts: whatever keeps a waveform keeps its place."""
    n = round(seconds * rate)
    rng = np.random.default_rng(3)
    spectrum = np.fft.rfft(rng.standard_normal((channels, n)))
    frequencies = np.fft.rfftfreq(n, 1 / rate)
    spectrum *= (frequencies > 60) / np.maximum(frequencies, 60)
    noise = np.fft.irfft(spectrum, n)
    noise *= 0.1 + (np.sin(2 * np.pi * 3 * np.arange(n) / rate) > 0)
    return Waveform((noise / np.abs(noise).max() * 0.5).astype(np.float32), rate)


def lag(samples: NDArray[np.float32], reference: NDArray[np.float32]) -> int:
    """How much later one is: where the cross-correlation of first channels is largest."""
    one, other = (np.fft.rfft(x[0], 2 * x.shape[1]) for x in (samples, reference))
    correlation = np.fft.irfft(one * np.conj(other))
    at = int(np.argmax(correlation))
    return at if at < len(correlation) // 2 else at - len(correlation)


def baseline(name: str) -> System:
    try:
        _, (system,) = open_systems((), (name,), "cpu")
    except UsageError as error:
        lacking(str(error), "CODECSHARDS_EXPECT_DECODERS")
    return system


@pytest.mark.parametrize(
    ("name", "kbps", "channels"),
    [
        *(("opus", 8, 1), ("opus", 8, 2), ("opus", 24, 1), ("opus", 64, 2)),
        *(("mp3", 16, 1), ("mp3", 32, 2), ("mp3", 96, 2)),
        *(("aac", 12, 2), ("aac", 24, 1), ("aac", 96, 2)),
    ],
)
def test_what_comes_back_is_as_long_and_at_its_place(name: str, kbps: float, channels: int) -> None:
    given = bursts(channels)
    passed = baseline(name).through(given, kbps)
    assert passed.samples.shape == given.samples.shape
    assert passed.samples.dtype == np.float32
    assert lag(passed.samples, given.samples) == 0
    assert abs(passed.bits / given.seconds / 1000 / kbps - 1) < 0.1
    assert passed.encode_seconds > 0 and passed.decode_seconds > 0
    again = baseline(name).through(given, kbps)
    assert (again.bits, again.setting) == (passed.bits, passed.setting)
    assert np.array_equal(again.samples, passed.samples)


@pytest.mark.parametrize("name", ["opus", "mp3", "aac"])
def test_the_container_itself_takes_the_delay_out(name: str) -> None:
    """Before anything is looked for by correlation."""
    system = baseline(name)
    given = bursts(2)
    made = packets.encode(
        given.samples,
        RATE,
        system.encoder,  # type: ignore[attr-defined]
        system.container,  # type: ignore[attr-defined]
        96_000,
        system.options,  # type: ignore[attr-defined]
    )
    decoded, _ = packets.decode(made.file)
    assert lag(decoded[:, : given.num_samples], given.samples) == 0


@pytest.mark.parametrize("name", ["opus", "mp3", "aac"])
def test_bits_are_those_that_ffprobe_counts(name: str, tmp_path: Path) -> None:
    if shutil.which("ffprobe") is None:
        lacking("no ffprobe on this machine", "CODECSHARDS_EXPECT_DECODERS")
    system = baseline(name)
    made = packets.encode(
        bursts(2).samples,
        RATE,
        system.encoder,  # type: ignore[attr-defined]
        system.container,  # type: ignore[attr-defined]
        64_000,
        system.options,  # type: ignore[attr-defined]
    )
    file = tmp_path / "coded"
    file.write_bytes(made.file)
    said = subprocess.run(
        ["ffprobe", "-v", "error", "-show_packets", "-of", "json", file],
        capture_output=True,
        check=True,
    )
    sizes = [int(packet["size"]) for packet in json.loads(said.stdout)["packets"]]
    assert made.bits == 8 * sum(sizes)
    assert made.bits / 8 < len(made.file)


def test_opus_is_constant_where_its_rate_leaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with sounds that come to 17 kbps or to 26, and to nothing between."""
    plain = packets.encode

    def leaping(*given: Any) -> packets.Encoded:
        made = plain(*given)
        return made if given[-1] else replace(made, bits=2 * made.bits + 20_000)

    monkeypatch.setattr(packets, "encode", leaping)
    monkeypatch.setattr("pipelines.evaluating.wrapping.search._TRIES", 1)
    passed = baseline("opus").through(bursts(2, 1.0), 22)
    assert abs(passed.bits / 22_000 - 1) < 0.03
    assert "vbr off" in passed.setting
    with pytest.raises(NotReached):
        baseline("opus").through(bursts(2, 1.0), 3)


@pytest.mark.parametrize(("name", "kbps"), [("opus", 3), ("mp3", 6), ("aac", 3), ("codec2", 24)])
def test_a_bitrate_that_it_has_not_is_said(name: str, kbps: float) -> None:
    with pytest.raises(NotReached, match="kbps"):
        baseline(name).through(bursts(2, 1.0), kbps)


@pytest.mark.parametrize("kbps", [6.0, 12.0])
def test_speex_keeps_its_place(kbps: float) -> None:
    given = bursts(1)
    passed = baseline("speex").through(given, kbps)
    assert passed.samples.shape == given.samples.shape
    assert abs(lag(passed.samples, given.samples)) <= RATE // 1000
    assert abs(passed.bits / given.seconds / 1000 / kbps - 1) < 0.1


def test_codec2_has_its_bytes_a_frame() -> None:
    passed = baseline("codec2").through(bursts(2), 3.2)
    assert passed.samples.shape == bursts(2).samples.shape
    # 64 bits every 20 ms, of 2 s and of what makes up for its delay
    assert 0 <= passed.bits - 64 * 100 <= 64


@pytest.mark.parametrize("channels", [1, 2])
def test_a_codec_is_that_codec(channels: int) -> None:
    (system,), _ = open_systems(("mulaw",), (), "cpu")
    given = bursts(channels, 1.3)
    passed = system.through(given, 12.0)
    loaded = load_codec("mulaw", bandwidth=12.0, device="cpu")
    stereo = given.samples if channels == loaded.channels else np.repeat(given.samples, 2, axis=0)
    codes = loaded.encode(Waveform(stereo, RATE))
    expected = loaded.decode(codes).samples
    if channels == 1:
        expected = expected.mean(axis=0, keepdims=True)
    assert np.array_equal(passed.samples, expected)
    scales = 0 if codes.scales is None else codes.scales.size
    assert passed.bits == codes.codes.size * np.log2(loaded.spec.codebook_size) + 32 * scales


def test_bits_with_the_entropy_coder_that_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes all codes for equally likely gives their plain size, but for two bytes of
    each chunk."""
    (system,), _ = open_systems(("mulaw",), (), "cpu")
    given = bursts(2, 2.5)
    plain = system.through(given, 12.0)
    assert plain.entropy_bits is None
    before = system.fingerprint
    even = StaticPredictor.uniform(describe_codec("mulaw", bandwidth=24.0).sizes)
    monkeypatch.setattr(codec, "shipped_for", lambda sha256: "even")
    monkeypatch.setattr(codec, "shipped", lambda name: even)
    coded = system.through(given, 12.0).entropy_bits
    assert coded is not None and abs(coded - plain.bits) <= 3 * 16
    assert system.fingerprint != before


def test_a_codec_has_its_own_bandwidths() -> None:
    (system,), _ = open_systems(("mulaw",), (), "cpu")
    assert [kbps for kbps in (3, 5, 6, 24) if system.offers(kbps)] == [3, 6, 24]
    with pytest.raises(NotReached, match="no bandwidth 5"):
        system.through(bursts(2, 1.0), 5)
    assert system.fingerprint == CodecSystem("other", "mulaw", "cpu").fingerprint


def test_names_are_told_apart() -> None:
    own, others = open_systems(("mulaw", "mine=mulaw", "mulaw"), ("opus",), "cpu")
    assert [one.name for one in (*own, *others)] == ["mulaw", "mine", "mulaw-2", "opus"]


@pytest.mark.parametrize(
    ("codecs", "against", "words"),
    [
        ((), ("vorbis",), "choose of opus, mp3, aac"),
        ((), ("opus", "opus"), "once is enough"),
        ((), ("lyra=",), "NAME=PATH"),
        ((), ("lyra=/nowhere",), "there is no"),
        (("a=",), (), "NAME=CODEC"),
    ],
)
def test_systems_that_cannot_be_are_named(
    codecs: tuple[str, ...], against: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        open_systems(codecs, against, "cpu")


def test_a_codec_that_is_not_there() -> None:
    with pytest.raises(CodecLoadError):
        open_systems(("/nowhere/at/all",), (), "cpu")


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\nset -e\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_program_of_someone(tmp_path: Path) -> None:
    """Its delay of 40 samples is taken out, and its bits are counted by the size of its file."""
    program = script(
        tmp_path / "codec",
        'if [ "$1" = encode ]; then head -c $(($2 * 250)) "$3" > "$4"; cp "$3" '
        f'{tmp_path}/kept.wav; else head -c 44 {tmp_path}/kept.wav > "$4"; '
        f'head -c 80 /dev/zero >> "$4"; tail -c +45 {tmp_path}/kept.wav | head -c -80 >> "$4"; fi',
    )
    _, (system,) = open_systems((), (f"theirs={program}",), "cpu")
    given = bursts(1)
    passed = system.through(given, 16)
    assert system.name == "theirs"
    assert passed.bits == 16 * 250 * 8
    assert np.abs(passed.samples - given.samples)[:, :RATE].max() < 1e-4


def test_a_program_that_fails_costs_its_excerpt(tmp_path: Path) -> None:
    program = script(tmp_path / "codec", "echo no licence >&2; exit 3")
    _, (system,) = open_systems((), (f"theirs={program}",), "cpu")
    with pytest.raises(NotReached, match="exit code 3: no licence"):
        system.through(bursts(1, 1.0), 16)


def test_lyra_is_called_as_its_programs_want_it(tmp_path: Path) -> None:
    script(
        tmp_path / "encoder_main",
        f'echo "$@" > {tmp_path}/encoder.txt; for a in "$@"; do case $a in '
        "--input_path=*) i=${a#*=};; --output_dir=*) o=${a#*=};; esac; done; "
        f'cp "$i" {tmp_path}/kept.wav; head -c 800 /dev/zero > "$o/in.lyra"',
    )
    script(
        tmp_path / "decoder_main",
        f'echo "$@" > {tmp_path}/decoder.txt; for a in "$@"; do case $a in --output_dir=*) '
        f'o=${{a#*=}};; esac; done; cp {tmp_path}/kept.wav "$o/in_decoded.wav"',
    )
    _, (system,) = open_systems((), (f"lyra={tmp_path}",), "cpu")
    passed = system.through(bursts(2), 3.2)
    assert passed.bits == 6400
    assert passed.samples.shape == (2, 2 * RATE)
    assert "--bitrate=3200" in (tmp_path / "encoder.txt").read_text()
    assert "--encoded_path=" in (tmp_path / "decoder.txt").read_text()
    with pytest.raises(NotReached, match=r"3\.2, 6, 9\.2"):
        system.through(bursts(2), 24)


def test_evs_bits_are_counted_frame_by_frame(tmp_path: Path) -> None:
    frames = [np.full(n, 0x81, "<u2") for n in (264, 56, 264)]
    file = b"".join(
        np.array([0x6B21, len(frame)], "<u2").tobytes() + frame.tobytes() for frame in frames
    )
    assert g192_bits(file) == 264 + 56 + 264
    with pytest.raises(NotReached):
        g192_bits(b"RIFF0000")
    (tmp_path / "bits").write_bytes(
        b"".join(np.array([0x6B21, 264], "<u2").tobytes() + bytes(2 * 264) for _ in range(100))
    )
    script(tmp_path / "EVS_cod", f'cp "$3" {tmp_path}/kept; cp {tmp_path}/bits "$4"')
    script(tmp_path / "EVS_dec", f'cp {tmp_path}/kept "$3"')
    _, (system,) = open_systems((), (f"evs={tmp_path}",), "cpu")
    given = bursts(1)
    passed = system.through(given, 13.2)
    assert passed.bits == 26_400
    assert np.abs(passed.samples - given.samples).max() <= 1 / 32768
