"""Measures against hand-worked values and independent computations, and their traps."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import sound

from pipelines.auditing.measure.measures import LIMIT_DB, Measures
from pipelines.auditing.measure.pairs import Pairs, Segments
from pipelines.auditing.measure.spectra import magnitudes, mel_filters
from pipelines.auditing.measure.stoi import stoi
from pipelines.auditing.measure.visqol import not_applicable, open_visqol, visqol
from pipelines.auditing.measure.windows import Windowed, open_windowed
from pipelines.auditing.meters import Meters
from pipelines.auditing.results import Figure
from tokenizer import UsageError, load_codec

RATE = 48_000


def measured(source: np.ndarray, decoded: np.ndarray, segment: int = 47_520) -> Measures:
    measures = Measures(source.shape[0], RATE)
    for s, d in Pairs(
        [source.astype(np.float32)], [decoded.astype(np.float32)], source.shape[0], segment
    ):
        measures.add(s, d)
    return measures


def value(source: np.ndarray, decoded: np.ndarray, metric: str) -> float:
    found = measured(source, decoded).figures()[metric].value
    assert found is not None
    return found


def si_snr_by_definition(source: torch.Tensor, decoded: torch.Tensor) -> float:
    """Equation of Luo & Mesgarani (2018), word by word, for one channel."""
    s, e = source - source.mean(), decoded - decoded.mean()
    target = (e @ s) / (s @ s) * s
    return float(10 * torch.log10((target @ target) / ((e - target) @ (e - target))))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    noise=st.floats(1e-3, 3),
    gain=st.floats(0.1, 4),
    offset=st.floats(-0.2, 0.2),
    n=st.integers(50, 5000),
)
def test_si_snr_is_the_published_one_and_knows_neither_gain_nor_offset(
    seed: int, noise: float, gain: float, offset: float, n: int
) -> None:
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((2, n)).astype(np.float32)
    decoded = (gain * (source + noise * rng.standard_normal((2, n))) + offset).astype(np.float32)
    expected = np.mean(
        [
            si_snr_by_definition(torch.tensor(s).double(), torch.tensor(d).double())
            for s, d in zip(source, decoded, strict=True)
        ]
    )
    assert value(source, decoded, "si-snr") == pytest.approx(expected, abs=1e-3)


def test_a_piece_within_a_block_is_no_copy() -> None:
    """A GPU and codecs without windows give blocks of many minutes: copying the rest for every
    piece is quadratic."""
    block = np.zeros((2, 10_000), np.float32)
    pieces = Segments([block, block], 2)
    taken = [pieces.take(3_000) for _ in range(7)]
    assert [piece.shape[1] for piece in taken] == [3_000] * 6 + [2_000]
    assert [np.shares_memory(piece, block) for piece in taken] == [
        True,
        True,
        True,
        False,
        True,
        True,
        True,
    ]


def test_si_snr_by_hand() -> None:
    # Orthogonal noise with a tenth of the amplitude: 20 dB.
    source = np.array([[1.0, -1.0, 1.0, -1.0]])
    decoded = source + 0.1 * np.array([[1.0, 1.0, -1.0, -1.0]])
    assert value(source, decoded, "si-snr") == pytest.approx(20.0, abs=1e-4)
    assert value(source, source, "si-snr") == LIMIT_DB
    assert value(source, np.zeros_like(source), "si-snr") == -LIMIT_DB


@pytest.mark.parametrize("seed", range(4))
def test_si_snr_is_that_of_torchmetrics(seed: int) -> None:
    audio = pytest.importorskip(
        "torchmetrics.functional.audio", reason="torchmetrics is not installed"
    )
    source = sound(100_000, seed=seed).samples
    decoded = 0.7 * source + 10.0**-seed * sound(100_000, seed=seed + 10).samples + np.float32(0.01)
    expected = audio.scale_invariant_signal_noise_ratio(
        torch.tensor(decoded), torch.tensor(source)
    ).mean()
    assert value(source, decoded, "si-snr") == pytest.approx(float(expected), abs=0.01)


def test_level_difference_by_hand() -> None:
    source = sound(60_000).samples
    assert value(source, 2 * source, "level") == pytest.approx(6.0206, abs=1e-3)
    assert value(source, source, "level") == pytest.approx(0.0, abs=1e-6)


def test_convergence_against_torch_stft() -> None:
    source, decoded = sound(40_000, seed=1).samples, sound(40_000, seed=2).samples
    frames = 1 + -(-(40_000 - 2048) // 512)
    pad = (0, (frames - 1) * 512 + 2048 - 40_000)
    spectra = [
        torch.stft(torch.nn.functional.pad(torch.tensor(x), pad).double(), 2048, 512,
                   window=torch.hann_window(2048).double(),
                   center=False, return_complex=True).abs()
        for x in (source, decoded)
    ]  # fmt: skip
    expected = float((spectra[0] - spectra[1]).norm() / spectra[0].norm())
    assert value(source, decoded, "convergence") == pytest.approx(expected, rel=1e-4)
    assert value(source, source, "convergence") == 0.0


def test_log_mel_distance_by_hand() -> None:
    # Twice the amplitude is 6.02 dB in every band that is above the floor: white noise is,
    # everywhere.
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 96_000))
    assert value(noise, 2 * noise, "mel") == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert value(noise, noise, "mel") == 0.0


def test_a_full_scale_sine_has_magnitude_one_and_every_mel_band_has_a_bin() -> None:
    sine = np.sin(2 * np.pi * 1500 * np.arange(8192) / RATE)[None].astype(np.float32)
    spectrum = magnitudes(sine)[0, 3]
    assert spectrum.argmax() == 64 and spectrum.max() == pytest.approx(1.0, abs=1e-3)
    assert (mel_filters(RATE, 2048, 128).sum(axis=0) > 0).all()


@pytest.mark.parametrize("metric", ["si-snr", "level", "convergence", "mel"])
def test_against_silence_there_is_a_reason_and_no_number(metric: str) -> None:
    loud = sound(60_000).samples
    figure = measured(np.zeros_like(loud), loud).figures()[metric]
    assert figure == Figure(None, "the source is silent")


@pytest.mark.parametrize("source", [np.full((2, 60_000), 0.5), np.full((2, 1), 0.5)])
def test_a_constant_source_is_loud_and_has_no_si_snr(source: np.ndarray) -> None:
    figures = measured(source, source).figures()
    assert figures["si-snr"] == Figure(None, "the source does not vary")
    assert figures["level"] == Figure(0.0) and figures["mel"] == Figure(0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_reconstruction_that_is_not_finite_has_a_reason_and_no_number(value: float) -> None:
    source = sound(3 * 47_520).samples
    decoded = source.copy()
    decoded[0, 50_000] = value
    measures = measured(source, decoded)
    assert {figure.value for figure in measures.figures().values()} == {None}
    assert "not finite" in (measures.figures()["mel"].reason or "")
    assert [v is None for v in measures.series["mel"]] == [False, True, False]


def test_a_silent_chunk_has_no_value_and_the_others_do() -> None:
    source = sound(3 * 47_520).samples.copy()
    source[:, 47_520 : 2 * 47_520] = 0
    series = measured(source, source + 0.01).series
    assert [v is None for v in series["si-snr"]] == [False, True, False]
    assert [v is None for v in series["mel"]] == [False, True, False]


def test_series_show_where_it_is_bad() -> None:
    source = sound(4 * 47_520, seed=3).samples
    decoded = source + 0.001 * sound(4 * 47_520, seed=4).samples
    decoded[:, 2 * 47_520 : 3 * 47_520] = sound(47_520, seed=5).samples
    series = measured(source, decoded).series
    assert int(np.argmin(series["si-snr"])) == 2 and int(np.argmax(series["mel"])) == 2


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 400), max_size=12),
    segment=st.integers(1, 500),
    length=st.integers(1, 2000),
)
def test_blocks_of_any_size_make_the_same_pairs(cuts: list[int], segment: int, length: int) -> None:
    samples = np.arange(2 * length, dtype=np.float32).reshape(2, length)
    edges = [0, *np.cumsum(cuts).clip(max=length).tolist(), length]
    blocks = [samples[:, a:b] for a, b in pairwise(edges)]
    pairs = list(Pairs(blocks, [samples], 2, segment))
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert np.array_equal(np.concatenate([a for a, _ in pairs], axis=1), samples)


# Hand-made speech-like signal: values from pystoi 0.4.1 on the same arrays.
@pytest.mark.parametrize(
    ("snr", "expected"), [(20, 0.982974526), (0, 0.705240850), (-10, 0.436584094)]
)
def test_stoi_is_that_of_the_reference_implementation(snr: float, expected: float) -> None:
    source, noise = speechlike()
    figure = stoi(source, source + noise * 10 ** (-snr / 20), 10_000)
    assert figure.value == pytest.approx(expected, abs=1e-6)


# The same, resampled on the way: pystoi by its own filters, here by soxr.
@pytest.mark.parametrize(
    ("rate", "snr", "expected"),
    [
        (48_000, 20, 0.996317528),
        (48_000, 0, 0.861411165),
        (48_000, -10, 0.611043690),
        (24_000, 0, 0.801988745),
    ],
)
def test_stoi_at_other_rates_is_that_of_the_reference_implementation(
    rate: int, snr: float, expected: float
) -> None:
    source, noise = speechlike(rate)
    assert stoi(source, source + noise * 10 ** (-snr / 20), rate).value == pytest.approx(
        expected, abs=2e-5
    )


def speechlike(rate: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    """Syllables of harmonics, with pauses; and noise of the same power."""
    time = np.arange(4 * rate) / rate
    voice = sum(np.sin(2 * np.pi * 120 * k * time + k) / k for k in range(1, 30))
    source = voice * np.clip(np.sin(2 * np.pi * 2.1 * time), 0, None) * 0.1
    noise = np.random.default_rng(5).standard_normal(len(time)) * source.std()
    return source, noise


def test_stoi_is_not_applicable_to_silence_nan_and_little() -> None:
    source, noise = speechlike()
    assert stoi(source, source, 10_000).value == pytest.approx(1.0)
    assert stoi(np.zeros(20_000), noise[:20_000], 10_000).reason == "the source is silent"
    assert stoi(source[:1000], noise[:1000], 10_000).value is None
    assert stoi(source[:100], noise[:100], 10_000).value is None
    assert "finite" in (stoi(np.full(20_000, np.nan), noise[:20_000], 10_000).reason or "")


class Fake:
    """Stands in for the library: counts what it is asked, and says what it is told to."""

    def __init__(self, says: object) -> None:
        self.says, self.asked = says, 0

    def measure_from_arrays(self, source: np.ndarray, decoded: np.ndarray, rate: int) -> object:
        self.asked += 1
        if isinstance(self.says, Exception):
            raise self.says
        return type("Result", (), {"moslqo": self.says})


def test_visqol_is_not_asked_what_it_cannot_answer() -> None:
    loud, silent = sound(96_000, channels=1).samples[0].astype(np.float64), np.zeros(96_000)
    fake = Fake(4.7)
    assert visqol(silent, silent, RATE, fake) == Figure(None, "the source is silent")
    assert visqol(loud, silent, RATE, fake).reason == "the reconstruction is silent"
    assert visqol(loud[:40_000], loud[:40_000], RATE, fake).reason == "shorter than 1 s"
    assert "finite" in (not_applicable(np.where(loud > 0, np.nan, loud), loud, RATE) or "")
    assert fake.asked == 0
    assert visqol(loud, loud, RATE, fake) == Figure(4.7) and fake.asked == 1


def test_visqol_that_fails_says_why() -> None:
    loud = sound(96_000, channels=1).samples[0].astype(np.float64)
    assert (
        visqol(loud, loud, RATE, Fake(ValueError("too few patches"))).reason
        == "ViSQOL cannot compare them: too few patches"
    )
    assert visqol(loud, loud, RATE, Fake(float("nan"))).value is None


def test_without_the_package_visqol_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.auditing.measure import visqol as module

    monkeypatch.setitem(sys.modules, "visqol", None)
    module._api.cache_clear()
    with pytest.raises(UsageError, match="codecshards"):
        open_windowed(["visqol"], RATE, 47_520)
    module._api.cache_clear()


@pytest.mark.usefixtures("visqol_library")
def test_real_visqol_where_it_is_installed() -> None:
    measure = open_visqol()
    source = sound(3 * RATE, channels=1).samples[0].astype(np.float64)
    good = measure(
        source, source + 1e-4 * np.random.default_rng(0).standard_normal(len(source)), RATE
    )
    poor = measure(
        source, source + 0.3 * np.random.default_rng(0).standard_normal(len(source)), RATE
    )
    assert good.value is not None and poor.value is not None and good.value > 4.5 > poor.value + 0.5


VISQOL_PAIR = ("clean_speech__CA01_01.wav", "clean_speech__transcoded_CA01_01.wav")


def conformance(name: str, shared_audio: Path) -> np.ndarray:
    samples, rate = soundfile.read(shared_audio / "speech" / "visqol" / name)
    assert rate == RATE
    return np.asarray(samples)


def test_visqol_scores_googles_conformance_pair_as_google_does(
    shared_audio: Path, visqol_library: ModuleType
) -> None:
    """Speech mode, exponential mapping: the pair whose audio comes with google/visqol.

    Its src/include/conformance.h (conformance number 333) gives 3.374505555111911.
    """
    api = visqol_library.VisqolApi()
    api.create(mode="speech", use_lattice_model=False)
    source, decoded = (conformance(name, shared_audio) for name in VISQOL_PAIR)
    assert visqol(source, decoded, RATE, api).value == pytest.approx(3.374505555111911, abs=0.01)


@pytest.mark.usefixtures("visqol_library")
def test_visqol_gives_the_published_score_for_identity_in_audio_mode(shared_audio: Path) -> None:
    """The audit's own mode: google/visqol gives 4.732101253042348, its highest score, to a
    recording against itself."""
    source = conformance(VISQOL_PAIR[0], shared_audio)
    assert open_visqol()(source, source, RATE).value == pytest.approx(4.732101253042348, abs=0.01)


def test_windows_average_by_length_and_fill_the_series() -> None:
    windowed = Windowed("visqol", lambda s, d, r: Figure(float(s.mean())), 100, 100)
    for level in [1.0] * 10 + [4.0] * 5:
        block = np.full((2, 100), level, np.float32)
        windowed.add(block, block)
    assert windowed.figure() == Figure(2.0)
    assert windowed.series == [1.0] * 10 + [4.0] * 5


def test_the_worst_chunk_is_the_spectrally_worst_of_the_worst_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ViSQOL has one value for ten segments: the first of them is no worse than the others."""
    spec = load_codec("mulaw").spec
    visqol = Windowed(
        "visqol", lambda s, d, r: Figure(4.5 - float(np.square(s - d).mean())), RATE, 47_520
    )
    monkeypatch.setattr("pipelines.auditing.meters.open_windowed", lambda *arguments: [visqol])
    meters = Meters(spec, ("visqol", "mel"), clip_seconds=3.0)
    source = sound(47_520).samples
    for i in range(25):
        # The second window is the worst, its fourth segment has the largest distance in it; segment
        # 3 has a larger one.
        meters.add(source, {3: 0.001, 13: 0.01}.get(i, 0.3 if i // 10 == 1 else 1.0) * source)
    meters.figures()
    assert meters.kept.worst == 13
