"""The anchor's filter and loudness, against FFTs, the standard's own figures and coefficients."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.listening.making.sound import faded, loudness, low_pass


@pytest.mark.parametrize(
    ("rate", "hertz"),
    [(48_000, 3500), (44_100, 3500), (24_000, 3500), (16_000, 3500), (48_000, 7000)],
)
def test_the_anchor_is_cut_where_bs1534_has_it(rate: int, hertz: float) -> None:
    impulse = np.zeros((2, rate))
    impulse[:, rate // 2] = 1.0
    filtered = low_pass(impulse, rate, hertz)
    assert filtered.shape == impulse.shape
    assert np.argmax(np.abs(filtered[0])) == rate // 2  # without delay
    gain = 20 * np.log10(np.abs(np.fft.rfft(filtered[1])) + 1e-12)  # a bin a hertz
    assert np.abs(gain[: int(hertz)]).max() < 0.1
    assert gain[int(hertz) + 500 :].max() < -75  # 25 dB are asked for there, 50 dB 500 Hz above


def test_noise_keeps_what_is_below_the_cut_and_nothing_above() -> None:
    noise = np.random.default_rng(0).standard_normal((1, 96_000))
    filtered = low_pass(noise, 48_000, 3500.0)
    middle = slice(10_000, 86_000)
    window = np.hanning(76_000)
    before, after = (np.abs(np.fft.rfft(x[0, middle] * window)) ** 2 for x in (noise, filtered))
    below, above = int(3400 / 48_000 * 76_000), int(4100 / 48_000 * 76_000)
    assert np.isclose(after[:below].sum(), before[:below].sum(), rtol=1e-3)
    assert after[above:].sum() < 1e-7 * before[above:].sum()


def test_loudness_of_the_standards_sine() -> None:
    """997 Hz at full scale in one channel is -3.01 LKFS (BS.1770-4, annex 1)."""
    for rate in (48_000, 44_100, 16_000):
        sine = np.sin(2 * np.pi * 997 * np.arange(5 * rate) / rate)
        assert loudness(np.stack([sine, 0 * sine]), rate) == pytest.approx(-3.01, abs=0.05)
        assert loudness(np.stack([sine, sine]), rate) == pytest.approx(0.0, abs=0.05)


def test_loudness_by_the_filters_that_the_standard_prints_for_48_khz() -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal(24_000)

    def biquad(x: np.ndarray, b: tuple[float, ...], a: tuple[float, ...]) -> np.ndarray:
        y = np.zeros(len(x) + 2)
        x = np.concatenate([[0.0, 0.0], x])
        for n in range(2, len(x)):
            y[n] = (
                b[0] * x[n] + b[1] * x[n - 1] + b[2] * x[n - 2] - a[0] * y[n - 1] - a[1] * y[n - 2]
            )
        return y[2:]

    head = (1.53512485958697, -2.69169618940638, 1.19839281085285)
    weighted = biquad(noise, head, (-1.69065929318241, 0.73248077421585))
    weighted = biquad(weighted, (1.0, -2.0, 1.0), (-1.99004745483398, 0.99007225036621))
    wanted = -0.691 + 10 * np.log10((weighted**2).mean())
    assert loudness(noise[None], 48_000) == pytest.approx(wanted, abs=0.02)


def test_silence_has_no_loudness() -> None:
    assert loudness(np.zeros((2, 4800)), 48_000) == -np.inf


def test_edges_are_soft_and_the_rest_is_as_it_was() -> None:
    samples = np.ones((2, 4800))
    soft = faded(samples, 48_000)
    assert soft[0, 0] == soft[1, -1] == 0
    assert (soft[:, 480:-480] == 1).all() and (samples == 1).all()
