"""What the measures of quality say, against signals of which it is known, NumPy and FFmpeg."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tokenizer import RecordingError, UsageError
from tokenizer.audio import quality, stream_audio
from tokenizer.audio.quality.base import Block, Measure
from tokenizer.audio.quality.meter import QualityMeter
from tokenizer.errors import FailureKind

Samples = NDArray[np.float32]
RATE = 48_000
ALL = tuple(quality.MEASURES)


def measured(
    samples: Samples, rate: int = RATE, names: tuple[str, ...] = ALL, step: int = 7_001
) -> dict[str, float | None]:
    meter = QualityMeter(names, "test")
    for at in range(0, samples.shape[1], step):
        meter.add(samples[:, at : at + step], rate)
    return meter.result()


def one(samples: Samples, name: str, rate: int = RATE) -> float | None:
    return measured(np.atleast_2d(samples).astype(np.float32), rate, (name,))[name]


def sine(hz: float, seconds: float, level: float = 0.0, rate: int = RATE) -> Samples:
    """`level`: of its peak, dBFS."""
    t = np.arange(round(seconds * rate)) / rate
    return (10 ** (level / 20) * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> Samples:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * rate))).astype(np.float32)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("level", [-23.0, -33.0])
def test_loudness_is_that_of_the_tones_of_ebu_tech_3341(level: float, rate: int) -> None:
    """Cases 1 and 2: a stereo sine of 1 kHz has the loudness of its peak, within 0.1 LU."""
    tone = sine(1000.0, 6.0, level, rate)
    assert one(np.stack([tone, tone]), "loudness", rate) == pytest.approx(level, abs=0.1)


@pytest.mark.parametrize("levels", [(-36.0, -23.0, -36.0), (-72.0, -36.0, -23.0, -36.0, -72.0)])
def test_loudness_gates_as_ebu_tech_3341_has_it(levels: tuple[float, ...]) -> None:
    """Cases 3 and 4."""
    seconds = {-23.0: 60.0, -36.0: 10.0, -72.0: 10.0}
    tone = np.concatenate([sine(1000.0, seconds[level], level, 16_000) for level in levels])
    assert one(np.stack([tone, tone]), "loudness", 16_000) == pytest.approx(-23.0, abs=0.1)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("channels", [1, 2])
def test_loudness_is_ffmpegs(tmp_path: Path, channels: int) -> None:
    swell = 10 ** (np.linspace(-40, 0, 8 * RATE) / 20)
    samples = np.stack([noise(8.0, seed) * swell for seed in range(channels)]).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples.T, RATE, subtype="FLOAT")
    said = subprocess.run(
        ["ffmpeg", "-nostats", "-i", str(tmp_path / "a.wav"), "-af", "ebur128", "-f", "null", "-"],
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    expected = float(re.findall(r"I:\s+(-?[\d.]+) LUFS", said)[-1])
    assert one(samples, "loudness") == pytest.approx(expected, abs=0.11)


def test_what_samples_say_is_what_numpy_says() -> None:
    samples = np.stack([noise(3.3, 1) + np.float32(0.02), 0.5 * noise(3.3, 2)]).astype(np.float32)
    found = measured(samples)
    exact = samples.astype(np.float64)
    assert found["peak"] == pytest.approx(20 * np.log10(np.abs(exact).max()), abs=1e-5)
    assert found["dc_offset"] == pytest.approx(exact.mean(axis=1)[0], abs=1e-7)
    assert found["correlation"] == pytest.approx(np.corrcoef(exact)[0, 1], abs=1e-6)
    assert found["clipping"] == 0 and found["silence"] == 0


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 1.0), (-1.0, -1.0)])
def test_correlation_of_a_channel_with_itself(sign: float, expected: float) -> None:
    left = noise(2.0)
    assert one(np.stack([left, 0.25 * sign * left]), "correlation") == pytest.approx(expected)
    assert one(left, "correlation") is None
    assert one(np.stack([left, 0 * left]), "correlation") is None


def test_clipping_counts_runs_of_three_and_more_also_over_borders() -> None:
    samples = np.zeros((1, 2 * RATE), np.float32)
    samples[0, 100:102] = 1.0  # two are no clipping
    samples[0, 200:203] = -1.0
    samples[0, RATE - 2 : RATE + 5] = 1.0  # over the border of two seconds
    samples[0, -4:] = 1.0
    assert one(samples, "clipping") == pytest.approx((3 + 7 + 4) / samples.size, rel=1e-6)


def test_silence_is_its_share() -> None:
    half = np.concatenate([noise(2.0), np.zeros(2 * RATE, np.float32)])
    assert one(half, "silence") == pytest.approx(0.5, abs=0.02)


def test_digital_silence_says_so_and_has_no_levels() -> None:
    found = measured(np.zeros((2, 2 * RATE), np.float32))
    assert found["silence"] == 1 and found["dc_offset"] == 0 and found["clipping"] == 0
    assert [found[name] for name in ("loudness", "peak", "bandwidth", "correlation")] == [None] * 4


@pytest.mark.parametrize("edge", [3_400.0, 5_000.0, 11_000.0])
def test_bandwidth_is_where_noise_was_cut_off(edge: float) -> None:
    spectrum = np.fft.rfft(noise(5.0))
    spectrum[np.fft.rfftfreq(5 * RATE, 1 / RATE) > edge] = 0
    assert one(np.fft.irfft(spectrum), "bandwidth") == pytest.approx(edge, abs=100)


def test_bandwidth_of_full_noise_is_half_the_rate_and_of_a_resampled_file_the_old_one() -> None:
    import soxr

    assert one(noise(3.0, rate=16_000), "bandwidth", 16_000) == pytest.approx(8_000, abs=50)
    resampled = soxr.resample(noise(3.0, rate=16_000), 16_000, RATE)
    assert one(resampled, "bandwidth") == pytest.approx(8_000, abs=400)


def test_snr_grows_with_the_distance_of_speech_and_noise() -> None:
    bursts = np.repeat(np.tile([1.0, 0.0], 8), RATE // 2) * sine(400.0, 8.0, -6.0)
    values = [one(bursts + level * noise(8.0), "snr") for level in (1.0, 0.1, 0.01)]
    assert None not in values and values == sorted(values)  # type: ignore[type-var]
    power = np.mean(bursts[bursts != 0] ** 2) / np.mean((0.1 * noise(8.0)) ** 2)
    assert values[1] == pytest.approx(10 * np.log10(power), abs=3.0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 9_000), min_size=1, max_size=12), st.integers(0, 99))
def test_the_numbers_are_the_same_however_blocks_are_cut(steps: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.uniform(-1.05, 1.05, (2, 20_000)).clip(-1, 1).astype(np.float32)
    whole = measured(samples, 8_000, step=samples.shape[1])
    meter = QualityMeter(ALL, "test")
    at = 0
    while at < samples.shape[1]:
        step = steps[at % len(steps)]
        meter.add(samples[:, at : at + step], 8_000)
        at += step
    assert meter.result() == whole


@pytest.mark.parametrize(
    ("channel", "expected"), [(None, None), ("left", -6.0), ("right", -20.0), (1, -20.0)]
)
def test_the_channel_that_is_read_is_the_one_that_is_measured(
    tmp_path: Path, channel: int | str | None, expected: float | None
) -> None:
    both = np.stack([sine(500, 1.0, -6.0), sine(700, 1.0, -20.0)])
    soundfile.write(tmp_path / "a.wav", both.T, RATE, subtype="FLOAT")
    meter = QualityMeter(("peak", "correlation"), "a.wav")
    stream = stream_audio(tmp_path / "a.wav", 24_000, None if channel is None else 1,
                          channel=channel)  # fmt: skip
    stream.listener = meter.add
    for _ in stream:
        pass
    found = meter.result()
    assert found["peak"] == pytest.approx(-6.0 if expected is None else expected, abs=1e-3)
    assert (found["correlation"] is None) == (channel is not None)


def test_what_a_measure_of_another_package_raises_is_the_recordings_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Wrong(Measure):
        unit, what = "", "nothing"

        def add(self, block: Block) -> None:
            raise ValueError("no model")

        def result(self) -> float | None:
            return None

    monkeypatch.setattr("tokenizer.audio.quality.meter.measure", lambda name: Wrong)
    meter = QualityMeter(("mos",), "a.wav")
    with pytest.raises(
        RecordingError, match=r"a\.wav: the quality measure mos failed.*no model"
    ) as (raised):
        meter.add(np.zeros((1, 100_000), np.float32), RATE)
    assert raised.value.kind == FailureKind.MEASURE


def test_names() -> None:
    assert quality.chosen("none") == () and quality.chosen("basic") == ALL
    assert quality.chosen("snr, peak") == ("peak", "snr")
    for wrong in ("", "none,peak", "Peak!", "a b"):
        with pytest.raises(UsageError, match="--quality"):
            quality.chosen(wrong)
    with pytest.raises(UsageError, match="no such measure"):
        quality.measure("mos")
