"""Packs, mixing and synthesis."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.errors import (
    FailureKind,
    OutputError,
    RecordingError,
    ShapeError,
    SourceError,
    UsageError,
)
from tokenizer.training.data import synthesis
from tokenizer.training.data.draws import LEVEL, DataOptions, Mixer, batches, reverberate, usable
from tokenizer.training.data.pack import AUDIO, INDEX, Pack, PackWriter

RATE = 8_000


def tone(hertz: float, seconds: float, level: float = 0.1) -> np.ndarray:
    wave = level * np.sqrt(2) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
    return np.stack([wave, wave]).astype(np.float32)


def make_pack(
    folder: Path, recordings: dict[str, np.ndarray], held_out: tuple[str, ...] = ()
) -> Pack:
    with PackWriter(folder, RATE, 2) as writer:
        for name, samples in recordings.items():
            writer.add(
                name,
                name.split("/")[0],
                np.array_split(samples, 3, axis=1),
                held_out=name in held_out,
            )
    return Pack(folder)


def three_kinds(folder: Path, **changes: np.ndarray) -> Pack:
    """A tone of its own for each kind, so that a spectrum tells what was mixed."""
    return make_pack(
        folder, {"music/a": tone(500, 3), "speech/b": tone(1500, 2), "other/c": tone(2500, 2)}
    )


def heard(example: np.ndarray) -> tuple[bool, bool, bool]:
    """Which of the three tones are in an example."""
    spectrum = np.abs(np.fft.rfft(example[0]))
    return tuple(bool(spectrum[hertz - 3 : hertz + 4].max() > 20) for hertz in (500, 1500, 2500))  # type: ignore[return-value]


def test_a_pack_gives_back_what_was_put_in_even_beyond_full_scale(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1.7, 1.7, (2, 1001)).astype(np.float32)
    pack = make_pack(
        tmp_path / "pack", {"music/x": tone(500, 1), "other/y": samples}, held_out=("other/y",)
    )
    first, second = pack.recordings
    assert (second.start, second.num_samples, second.held_out) == (8000, 1001, True)
    assert np.abs(pack.read(second, 0, 1001) - samples).max() < 2 / 32767
    assert np.array_equal(pack.read(second, 100, 50), pack.read(second, 0, 1001)[:, 100:150])
    assert first.rms == pytest.approx(0.1, rel=1e-3) and second.peak == pytest.approx(
        np.abs(samples).max()
    )
    assert pack.seconds(held_out=False) == 1.0
    with pytest.raises(ShapeError, match="no samples 1000 to 1002"):
        pack.read(second, 1000, 2)


def test_a_recording_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def failing():
        yield tone(500, 1)
        raise RecordingError(FailureKind.DAMAGED, "half.mp3: damaged")

    with PackWriter(tmp_path / "pack", RATE, 2) as writer:
        writer.add("music/a", "music", [tone(500, 1)])
        with pytest.raises(RecordingError):
            writer.add("music/half", "music", failing())
        writer.add("music/b", "music", [tone(700, 1, 0.2)])
    pack = Pack(tmp_path / "pack")
    assert [r.id for r in pack.recordings] == ["music/a", "music/b"]
    assert np.abs(pack.read(pack.recordings[1], 0, RATE) - tone(700, 1, 0.2)).max() < 1e-4


def test_a_byte_that_is_not_what_was_written_is_told_where_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of 1,000 bytes, recordings that end within one, and one that failed in between."""
    for module in ("pack", "sums"):
        monkeypatch.setattr(f"tokenizer.training.data.{module}.BLOCK", 1_000)
    rng = np.random.default_rng(0)
    lengths, folder = (1, 77, 2_000, 401), tmp_path / "pack"
    sounds = [0.3 * rng.standard_normal((2, length)).astype(np.float32) for length in lengths]

    def failing(sound: np.ndarray) -> Iterator[np.ndarray]:
        yield sound
        raise RecordingError(FailureKind.DAMAGED, "half.mp3: damaged")

    with PackWriter(folder, RATE, 2) as writer:
        for number, sound in enumerate(sounds):
            writer.add(str(number), "music", np.array_split(sound, 3, axis=1))
            with pytest.raises(RecordingError):
                writer.add("half", "music", failing(sound))
    whole = (folder / AUDIO).read_bytes()
    assert json.loads((folder / INDEX).read_text())["checksums"] == [
        zlib.crc32(whole[at : at + 1_000]) for at in range(0, len(whole), 1_000)
    ]
    for at in (0, 5, 999, 1_000, *rng.integers(0, len(whole), 20), len(whole) - 1):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(at) % 8
        (folder / AUDIO).write_bytes(flipped)
        pack = Pack(folder)
        for recording, sound in zip(pack.recordings, sounds, strict=True):
            for _ in range(2):
                try:
                    read = pack.read(recording, 0, recording.num_samples)
                    assert np.abs(read - sound).max() < 1e-4
                except SourceError as error:
                    assert f"behind byte {at // 1_000 * 1_000:,};" in str(error)
        with pytest.raises(SourceError, match="damaged behind byte"):
            for recording in pack.recordings:
                pack.read(recording, 0, recording.num_samples)


def test_a_pack_exists_once_it_is_whole(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), PackWriter(tmp_path / "pack", RATE, 2) as writer:
        writer.add("music/a", "music", [tone(500, 1)])
        raise ZeroDivisionError
    assert not list((tmp_path / "pack").iterdir())
    with pytest.raises(SourceError, match=INDEX):
        Pack(tmp_path / "pack")
    make_pack(tmp_path / "pack", {"music/a": tone(500, 1)})
    with pytest.raises(OutputError, match="there is one already"):
        PackWriter(tmp_path / "pack", RATE, 2)
    with (tmp_path / "pack" / AUDIO).open("ab") as file:
        file.write(b"xx")
    with pytest.raises(SourceError, match="not of the length"):
        Pack(tmp_path / "pack")


def test_another_version_is_refused(tmp_path: Path) -> None:
    make_pack(tmp_path / "pack", {"music/a": tone(500, 1)})
    index = json.loads((tmp_path / "pack" / INDEX).read_text())
    del index["checksum"]
    (tmp_path / "pack" / INDEX).write_text(json.dumps({**index, "version": 99}))
    with pytest.raises(SourceError, match="version 99"):
        Pack(tmp_path / "pack")


@pytest.mark.parametrize("sums", [[], [1, 2], "x", 5])
def test_an_index_without_a_checksum_for_each_block_is_refused(
    tmp_path: Path, sums: object
) -> None:
    make_pack(tmp_path / "pack", {"music/a": tone(500, 1)})
    index = json.loads((tmp_path / "pack" / INDEX).read_text())
    del index["checksum"]
    (tmp_path / "pack" / INDEX).write_text(json.dumps({**index, "checksums": sums}))
    with pytest.raises(SourceError, match="for each block"):
        Pack(tmp_path / "pack")


def test_the_four_strategies_have_their_shares_and_their_sources(tmp_path: Path) -> None:
    mixer = Mixer(three_kinds(tmp_path / "pack"), DataOptions(batch=1))
    rng = np.random.default_rng(0)
    drawn = Counter(mixer.strategy(rng) for _ in range(4000))
    for name, share in (("s1", 0.32), ("s2", 0.32), ("s3", 0.24), ("s4", 0.12)):
        assert drawn[name] / 4000 == pytest.approx(share, abs=0.03)
    by_strategy: dict[str, Counter[tuple[bool, bool, bool]]] = {name: Counter() for name in drawn}
    for number in range(400):
        name = mixer.strategy(np.random.default_rng(number))
        by_strategy[name][heard(mixer.example(np.random.default_rng(number)))] += 1
    assert set(by_strategy["s1"]) == {(True, False, False)}
    assert set(by_strategy["s2"]) == {(False, True, False), (False, False, True)}
    assert {(True, True, False), (True, False, True), (True, False, False)} <= set(
        by_strategy["s3"]
    )
    assert by_strategy["s4"] and not any(music for music, _, _ in by_strategy["s4"])


def test_gains_are_between_minus_10_and_6_db_about_the_level(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "pack", {"music/quiet": tone(500, 2, 0.001)})
    mixer = Mixer(pack, DataOptions(batch=1))
    alone = [
        number for number in range(800) if mixer.strategy(np.random.default_rng(number)) == "s1"
    ]
    levels = np.array([mixer.example(np.random.default_rng(number)).std() for number in alone])
    decibels = 20 * np.log10(levels / LEVEL)
    assert -10.2 < decibels.min() < -9.5 and 5.5 < decibels.max() < 6.2


def test_what_is_held_out_or_silent_is_never_heard(tmp_path: Path) -> None:
    recordings = {
        "music/a": tone(500, 1),
        "music/b": tone(1500, 1),
        "other/c": np.zeros((2, RATE), np.float32),
    }
    mixer = Mixer(
        make_pack(tmp_path / "pack", recordings, held_out=("music/b",)), DataOptions(batch=8)
    )
    assert {heard(example) for step in range(4) for example in mixer.batch(step)} == {
        (True, False, False)
    }
    everything = make_pack(tmp_path / "other", {"music/a": tone(500, 1)}, held_out=("music/a",))
    with pytest.raises(UsageError, match="no audible recording"):
        Mixer(everything, DataOptions())


def test_short_recordings_follow_each_other(tmp_path: Path) -> None:
    recordings = {f"other/{hertz}": tone(hertz, 0.2) for hertz in (500, 1500, 2500)}
    example = Mixer(make_pack(tmp_path / "pack", recordings), DataOptions(batch=1)).example(
        np.random.default_rng(1)
    )
    assert (
        example.shape == (2, RATE) and np.abs(example).reshape(2, 10, -1).max(axis=2).min() > 0.01
    )


def test_examples_do_not_clip_even_if_every_draw_does(tmp_path: Path) -> None:
    loud = np.zeros((2, RATE), np.float32)
    loud[:, ::400] = 1.0  # peaks far above the level: every positive gain clips
    mixer = Mixer(make_pack(tmp_path / "pack", {"other/a": loud}), DataOptions(batch=32))
    assert np.abs(mixer.batch(0)).max() <= 1.0


def test_clipped_silent_and_antiphase_seconds_are_no_examples() -> None:
    good = tone(500, 1)
    assert usable(good)
    assert (
        not usable(good * 20)
        and not usable(good * 1e-4)
        and not usable(good * np.float32([[1], [-1]]))
    )


@settings(max_examples=20, deadline=None)
@given(step=st.integers(0, 10**6), rank=st.integers(0, 7), seed=st.integers(0, 2**31))
def test_a_batch_is_a_function_of_seed_step_and_rank(
    pack_folder: Path, step: int, rank: int, seed: int
) -> None:
    pack = Pack(pack_folder)
    mixer = Mixer(pack, DataOptions(batch=1, seconds=0.1, seed=seed))
    again = Mixer(pack, DataOptions(batch=1, seconds=0.1, seed=seed))
    assert np.array_equal(mixer.batch(step, rank), again.batch(step, rank))
    assert not np.array_equal(mixer.batch(step, rank), mixer.batch(step + 1, rank))
    assert not np.array_equal(mixer.batch(step, rank), mixer.batch(step, rank + 1))


def test_batches_come_in_order_from_any_step(pack_folder: Path) -> None:
    mixer = Mixer(Pack(pack_folder), DataOptions(batch=2, seconds=0.1))
    for step, batch in enumerate(batches(mixer, 5, 12), start=5):
        assert np.array_equal(batch, mixer.batch(step))
    assert step == 11


def test_reverberation_adds_a_tail_that_dies_away() -> None:
    click = np.zeros((2, 48_000), np.float32)
    click[:, 100] = 1.0
    wet = reverberate(click, 48_000, np.random.default_rng(0))
    assert wet.shape == click.shape and np.abs(wet[:, :100]).max() < 1e-4
    early, late = np.square(wet[:, 200:5000]).sum(), np.square(wet[:, 30_000:34_800]).sum()
    assert early > 0 and late < 0.1 * early


@pytest.mark.parametrize("name", sorted(synthesis.INSTRUMENTS))
@pytest.mark.parametrize("hertz", [55.0, 440.0, 3520.0])
def test_instruments_play_the_pitch_they_are_given(name: str, hertz: float) -> None:
    sound = synthesis.INSTRUMENTS[name](hertz, 48_000, 48_000, np.random.default_rng(2))
    assert (
        sound.shape == (48_000,) and np.isfinite(sound).all() and 0.01 < np.abs(sound).max() <= 2.0
    )
    spectrum = np.abs(np.fft.rfft(sound))
    if name in ("plucked", "subtractive"):  # the others may be inharmonic on purpose
        partial = float(spectrum.argmax()) / hertz
        assert 1 <= round(partial) <= 10 and abs(partial - round(partial)) < 0.02 * round(partial)


def test_pieces_are_stereo_audible_unclipped_varied_and_seeded() -> None:
    for make in (synthesis.music, synthesis.noises):
        pieces = [make(2.0, 48_000, np.random.default_rng(seed)) for seed in (1, 1, 2)]
        assert all(piece.shape == (2, 96_000) and piece.dtype == np.float32 for piece in pieces)
        assert all(0.49 < np.abs(piece).max() < 0.91 and piece.std() > 0.005 for piece in pieces)
        assert np.array_equal(pieces[0], pieces[1]) and not np.array_equal(pieces[0], pieces[2])


def test_speech_is_left_out_without_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert synthesis.speech(np.random.default_rng(0)) is None


@pytest.mark.parametrize("old", [False, True], ids=["sealed", "from before checksums"])
@pytest.mark.parametrize(
    ("name", "other"), [("sample_rate", "sbmple_rate"), ('"rms"', '"rmq"'), ("[", "")]
)
def test_a_damaged_index_is_one_line(
    pack_folder: Path, tmp_path: Path, old: bool, name: str, other: str
) -> None:
    text = (pack_folder / INDEX).read_text()
    if old:
        index = json.loads(text)
        del index["checksum"]
        text = json.dumps(index)
    (tmp_path / AUDIO).symlink_to(pack_folder / AUDIO)
    (tmp_path / INDEX).write_text(text)
    assert len(Pack(tmp_path).recordings) == 8
    (tmp_path / INDEX).write_text(text.replace(name, other, 1))
    with pytest.raises(SourceError, match=f"its {INDEX} cannot be read") as caught:
        Pack(tmp_path)
    assert "\n" not in str(caught.value)
