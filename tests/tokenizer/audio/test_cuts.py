"""Where recordings are cut: pauses at known places, and segments that neither overlap nor lose
what is heard."""

from __future__ import annotations

import io
import sys
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from audio_files import by_ffmpeg
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenizer.audio.cutting.activity import Activity
from tokenizer.audio.cutting.energy import EnergyListener, heard
from tokenizer.audio.cutting.places import cut_evenly, cut_in_pauses
from tokenizer.audio.cutting.recording import cut_by_header, cut_by_listening
from tokenizer.audio.cutting.vad import require_silero, speech
from tokenizer.audio.stream import stream_audio
from tokenizer.cuts import CutRule, Cuts
from tokenizer.errors import RecordingError, UsageError

RATE = 8_000
Layout = list[tuple[float, float]]
"""seconds of sound, and of the pause behind it"""


def sounded(layout: Layout, floor: float = 1e-3, rate: int = RATE) -> tuple[np.ndarray, list]:
    """Noise float32 `[1, n]` that comes and goes, over a floor of noise, and its pauses as
    seconds; that at the end is one too."""
    rng = np.random.default_rng(len(layout))
    parts, pauses, at = [], [], 0
    for sound, pause in layout:
        for seconds, level in ((sound, 0.2), (pause, 0.0)):
            count = round(seconds * rate)
            parts.append(level * rng.standard_normal(count))
            at += count
        pauses.append(((at - round(pause * rate)) / rate, at / rate))
    samples = np.concatenate(parts) + floor * rng.standard_normal(at)
    return samples.astype(np.float32)[None], pauses


def by_level(samples: np.ndarray, rule: CutRule, rate: int = RATE, block: int = 7_001) -> Cuts:
    listener = EnergyListener(rate)
    for start in range(0, samples.shape[1], block):
        listener.add(samples[:, start : start + block])
    return cut_in_pauses(listener.result(), rate, rule)


def require_sound(cuts: Cuts, rule: CutRule, rate: int = RATE) -> None:
    """Segments in order, no longer and no shorter than allowed, and every sample accounted for."""
    ends = [0, *(edge for piece in cuts.pieces for edge in piece), cuts.samples]
    assert ends == sorted(ends)
    for start, end in cuts.pieces:
        assert rule.least * rate - 1 <= end - start <= rule.most * rate
    parts = sorted((*cuts.pieces, *cuts.lost))
    assert all(one[1] <= other[0] for one, other in pairwise(parts))
    assert cuts.left_out + sum(end - start for start, end in parts) == cuts.samples


layouts = st.lists(st.tuples(st.floats(1.0, 4.0), st.floats(0.35, 4.0)), min_size=3, max_size=12)


@settings(max_examples=40, deadline=None)
@given(layouts, st.floats(0.0, 0.5), st.sampled_from([0.0, 1e-3, 1e-2]))
def test_every_cut_lies_in_a_pause(layout: Layout, pad: float, floor: float) -> None:
    samples, pauses = sounded(layout, floor)
    rule = CutRule("silence", 1.0, 6.0, pad)
    cuts = by_level(samples, rule)
    if samples.shape[1] <= 6 * RATE:
        assert cuts.pieces == () and cuts.left_out == 0
        return
    require_sound(cuts, rule)
    assert cuts.forced == 0 and not cuts.lost
    edges = {edge / RATE for piece in cuts.pieces for edge in piece} - {0.0}
    for edge in edges:  # a frame of 10 ms may be half of each
        assert any(start - 0.011 <= edge <= end + 0.011 for start, end in pauses), edge
    inside = np.zeros(samples.shape[1], bool)
    for start, end in cuts.pieces:
        inside[start:end] = True
    for start, end in pauses:
        inside[round((start - 0.011) * RATE) : round((end + 0.011) * RATE)] = True
    assert inside.all(), "a sound is in no segment"


frames = st.lists(st.tuples(st.booleans(), st.integers(1, 400)), min_size=1, max_size=20)


@settings(max_examples=300, deadline=None)
@given(
    frames,
    st.floats(0.0, 2.0),
    st.floats(0.0, 1.0),
    st.sampled_from([1_000, 8_000, 11_025, 44_100]),
    st.integers(0, 99),
)
@example([(True, 900)], 2.0, 0.0, 8_000, 0)
@example([(True, 20), (False, 700), (True, 20)], 2.0, 1.0, 8_000, 0)
def test_whatever_is_heard_no_segment_is_too_long_and_nothing_is_lost_unsaid(
    stretches: list[tuple[bool, int]], least: float, pad: float, rate: int, more: int
) -> None:
    marks = np.concatenate([np.full(count, loud) for loud, count in stretches])
    rng = np.random.default_rng(0)
    level = np.where(marks, rng.uniform(0.1, 1.0, len(marks)), 0).astype(np.float32)
    hop = rate // 100
    samples = max(1, len(marks) * hop - more % hop)
    rule = CutRule("silence", min(least, (4.0 - 2 * pad) / 2), 4.0, pad)
    cuts = cut_in_pauses(Activity(level, marks, float(hop), samples), rate, rule)
    if samples <= 4 * rate:
        assert cuts == Cuts(rate, samples)
        return
    require_sound(cuts, rule, rate)
    covered = np.zeros(samples, bool)
    for start, end in (*cuts.pieces, *cuts.lost):
        covered[start:end] = True
    assert covered[np.repeat(marks, hop)[:samples]].all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400_000), st.floats(0.2, 30), st.floats(0, 1), st.integers(1_000, 48_000))
def test_equal_lengths_tile(samples: int, most: float, least: float, rate: int) -> None:
    rule = CutRule("fixed", least * most / 2, most, 0.0)
    cuts = cut_evenly(samples, rate, rule)
    longest = most * rate + 1e-6  # a product of two floats may lie that much under a whole number
    if samples <= longest:
        assert not cuts.pieces
        return
    starts, ends = zip(*cuts.pieces, strict=True)
    assert starts == (0, *ends[:-1]) and ends[-1] == samples
    lengths = [end - start for start, end in cuts.pieces]
    assert max(lengths) <= longest and min(lengths) >= int(rule.least * rate) - 1
    assert len({*lengths[:-2]}) <= 1


def test_a_sound_without_a_pause_is_cut_where_it_is_quietest() -> None:
    rng = np.random.default_rng(1)
    samples = 0.3 * rng.standard_normal(10 * RATE)
    samples[round(4.5 * RATE) : round(4.62 * RATE)] *= 0.5  # quieter, and no pause
    cuts = by_level(samples.astype(np.float32)[None], CutRule("silence", 1.0, 6.0, 0.0))
    assert cuts.forced == 1 and cuts.left_out == 0
    ((_, first), (second, _)) = cuts.pieces
    assert first == second and 4.5 <= first / RATE <= 4.62


def test_a_short_word_between_long_pauses_is_kept() -> None:
    samples, _ = sounded([(3.0, 5.0), (0.4, 5.0), (3.0, 1.0)])
    cuts = by_level(samples, CutRule("silence", 1.0, 6.0, 0.1))
    assert len(cuts.pieces) == 3 and not cuts.lost
    start, end = cuts.pieces[1]
    assert start <= 8.0 * RATE and end >= 8.4 * RATE and 1.0 <= (end - start) / RATE <= 1.3


def test_padding_never_overlaps_and_parts_a_short_pause_in_the_middle() -> None:
    samples, _ = sounded([(5.0, 0.4), (5.0, 0.4)])
    cuts = by_level(samples, CutRule("silence", 1.0, 6.0, 0.5))
    ((_, first), (second, _)) = cuts.pieces
    assert first == second and abs(first / RATE - 5.2) < 0.02
    assert cuts.left_out == 0


def test_levels_are_the_same_whatever_the_blocks() -> None:
    samples, _ = sounded([(2.0, 0.5), (2.0, 0.5), (3.0, 0.7)])
    rule = CutRule("silence", 0.5, 3.0, 0.1)
    assert by_level(samples, rule, block=37) == by_level(samples, rule, block=100_000)


def test_either_channel_is_heard() -> None:
    (left,), _ = sounded([(3.0, 4.0)], floor=0.0)
    (right,), _ = sounded([(0.0, 3.5), (3.0, 0.5)], floor=0.0)
    cuts = by_level(np.stack([left, right]), CutRule("silence", 1.0, 4.0, 0.0))
    assert [round(edge / RATE, 1) for piece in cuts.pieces for edge in piece] == [0, 3, 3.5, 6.5]


def test_a_quiet_half_is_judged_by_what_is_near() -> None:
    loud, _ = sounded([(2.0, 0.5)] * 30, floor=0.0)
    samples = np.concatenate([loud, 0.01 * loud], axis=1)
    level = EnergyListener(RATE)
    level.add(samples)
    marks = heard(level.result().level)
    late = marks[len(marks) * 3 // 4 :]
    assert 0.7 < late.mean() < 0.9


def test_words_are_heard_even_where_the_level_says_nothing() -> None:
    level = np.zeros(1_000, np.float32)
    silent = Activity(level, np.zeros(1_000, bool), 80.0, 80_000)
    rule = CutRule("silence", 0.5, 4.0, 0.0)
    cuts = cut_in_pauses(silent.also([(8_000, 16_000), (40_000, 56_000)]), RATE, rule)
    assert cuts.pieces == ((8_000, 16_080), (40_000, 56_080))


def test_no_word_is_cut_through_where_it_can_be_helped() -> None:
    rng = np.random.default_rng(2)
    level = rng.uniform(0.2, 1.0, 1_000).astype(np.float32)
    loud = Activity(level, np.ones(1_000, bool), 80.0, 80_000)
    words = [(start * 8_000, start * 8_000 + 6_400) for start in range(10)]
    cuts = cut_in_pauses(loud.also(words), RATE, CutRule("silence", 0.5, 4.0, 0.0))
    assert cuts.forced >= 2
    for start, _ in cuts.pieces[1:]:
        assert not any(begin < start < end for begin, end in words), start / RATE


def test_speech_begins_at_a_half_and_lasts_to_a_third() -> None:
    chances = np.array([0.1] * 5 + [0.6] + [0.4] * 20 + [0.1] * 10 + [0.9] * 3, np.float32)
    marks = speech(chances)
    assert marks[5:26].all() and not marks[:5].any()
    assert not marks[26:].any(), "0.1 s is no speech"


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_056, 44_100])
def test_speech_is_heard_up_to_the_end_at_any_rate(rate: int) -> None:
    """Of an hour at 11,025 Hz the last 2 s were not heard: windows are no whole samples there."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("silero_vad")
    from tokenizer.audio.cutting.vad import VadListener

    listener = VadListener(rate)
    listener._net = lambda window, rate: torch.full((len(window), 1), 0.9)
    for _ in range(200):
        listener.add(np.zeros((1, rate), np.float32))
    found = listener.result()
    assert abs(len(found.level) - 200 * 16_000 / 512) < 1
    assert found.at(len(found.level) - 1) < found.samples == 200 * rate


def wav(samples: np.ndarray) -> io.BytesIO:
    sink = io.BytesIO()
    soundfile.write(sink, samples.T, RATE, format="WAV", subtype="PCM_16")
    sink.seek(0)
    return sink


def test_a_header_that_counts_samples_is_enough_for_equal_lengths() -> None:
    samples, _ = sounded([(2.0, 0.5)] * 4)
    stream = stream_audio(wav(samples), None, 2)
    rule = CutRule("fixed", 1.0, 3.0, 0.0)
    assert cut_by_header(stream, rule) == cut_evenly(samples.shape[1], RATE, rule)
    assert cut_by_header(stream, CutRule("silence", 1.0, 3.0)) is None
    assert cut_by_header(stream, CutRule("silence", 1.0, 20.0)) == Cuts(RATE, 80_000)


def test_an_mp3_without_a_count_of_its_frames_is_decoded() -> None:
    samples = np.repeat(sounded([(2.0, 0.5)] * 4, rate=16_000)[0], 2, axis=0)
    content = by_ffmpeg("mp3", ("libmp3lame", samples), rate=16_000, options={"write_xing": "0"})
    rule = CutRule("fixed", 1.0, 3.0, 0.0)
    assert cut_by_header(stream_audio(io.BytesIO(content), None, 2), rule) is None
    cuts = cut_by_listening(stream_audio(io.BytesIO(content), None, 2), rule)
    assert cuts.samples == sum(b.shape[1] for b in stream_audio(io.BytesIO(content)))


def test_silence_alone_is_empty() -> None:
    stream = stream_audio(wav(np.zeros((1, 5 * RATE), np.float32)), None, 2)
    with pytest.raises(RecordingError, match=r"nothing but silence in 5\.0 s") as caught:
        cut_by_listening(stream, CutRule("silence", 1.0, 3.0))
    assert caught.value.kind == "empty"


def test_the_network_hears_no_speech_in_tones_and_is_asked_for_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("silero_vad", reason="pip install '.[vad]'")
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(5 * RATE) / RATE)
    stream = stream_audio(wav(tone.astype(np.float32)[None]), None, 2)
    with pytest.raises(RecordingError, match=r"no speech in 5\.0 s"):
        cut_by_listening(stream, CutRule("vad", 1.0, 3.0))
    assert require_silero().is_file()
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(UsageError, match=r"pip install silero-vad"):
        require_silero()


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        (("pauses",), "--cut pauses"),
        (("vad", 1.0, float("nan")), "--cut-max nan"),
        (("vad", 1.0, 0.0), "--cut-max 0"),
        (("vad", 20.0, 30.0), "--cut-min 20"),
        (("vad", -1.0, 30.0), "--cut-min -1"),
        (("vad", 1.0, 30.0, 8.0), "--cut-pad 8"),
        (("vad", 1.0, 30.0, float("inf")), "--cut-pad inf"),
    ],
)
def test_rules_that_cannot_be_followed(values: tuple, flag: str) -> None:
    with pytest.raises(UsageError, match=f"^{flag}: "):
        CutRule(*values)
