from __future__ import annotations

import numpy as np
import pytest

from pipelines.evaluating.systems.base import NotReached
from pipelines.evaluating.wrapping.search import Search
from pipelines.evaluating.wrapping.shaping import aligned, best_lag, moved, restored, shaped
from tokenizer.types import Waveform


@pytest.mark.parametrize("gain", [0.3, 0.8, 1.0, 1.7, 3.0])
@pytest.mark.parametrize("offset", [0, 900])
def test_a_setting_is_found(gain: float, offset: int) -> None:
    tries: list[float] = []

    def make(setting: float) -> int:
        tries.append(setting)
        return round(gain * setting + offset)

    setting, made = Search(make, lambda bits: bits, (1, 10**6)).find(6000, 6000)
    assert abs(made / 6000 - 1) <= 0.01
    assert make(setting) == made
    assert len(tries) <= 10


def test_steps_of_an_encoder_do_not_hold_it() -> None:
    _, made = Search(lambda s: int(s // 500) * 500, lambda bits: bits, (1, 10**6)).find(6250, 6250)
    assert made in (6000, 6500)


def test_an_encoder_that_stops_before_it_is_told_from_one_that_is_near() -> None:
    floor = Search(lambda s: max(s, 9_000), lambda bits: int(bits), (1, 10**6))
    with pytest.raises(NotReached, match=r"1\.50"):
        floor.find(6000, 6000)
    assert floor.find(8500, 8500)[1] == 9000


def test_sounds_go_to_another_form_and_back_at_their_place() -> None:
    n = 48_000
    tone = np.sin(2 * np.pi * 440 * np.arange(n) / 48_000)[None].astype(np.float32)
    sound = Waveform(np.concatenate([tone, tone]), 48_000)
    for rate in (8_000, 16_000, 44_100):
        there = shaped(sound.samples, 48_000, rate, 1)
        assert there.shape == (1, n * rate // 48_000)
        back = restored(there, rate, sound)
        assert back.shape == sound.samples.shape
        assert np.abs(back - sound.samples)[:, 2_000:-2_000].max() < 1e-3


@pytest.mark.parametrize("late", [-37, 0, 5, 480])
def test_what_is_late_is_moved_back(late: int) -> None:
    rng = np.random.default_rng(0)
    sound = rng.standard_normal((2, 5_000)).astype(np.float32)
    there = moved(sound, -late)
    assert best_lag(there, sound, 500)[0] == late
    assert np.array_equal(aligned(there, sound, 500)[:, 500:-500], sound[:, 500:-500])


def test_what_is_nothing_like_it_stays_where_it_is() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 1, 5_000)).astype(np.float32)
    assert aligned(one, other, 500) is one
    assert best_lag(np.zeros((1, 100), np.float32), other[:, :100], 10) == (0, 0.0)
