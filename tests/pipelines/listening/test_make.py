"""A test as it is made: what is heard, what raters can see, what is refused."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from small_evaluation import write_evaluation

from pipelines.listening.folder import Design, Screen, read_design, read_tokens
from pipelines.listening.making.make import make
from pipelines.listening.making.sound import loudness
from pipelines.listening.options import MakeOptions
from pipelines.listening.order import screens_of, stimuli_of
from tokenizer.errors import OutputError, UsageError

RATE = 16_000


def heard(folder: Path, screen: Screen) -> dict[str, np.ndarray]:
    """What the page plays, by system: read as a browser would."""
    text = (folder / "page" / "audio" / f"{screen.id}.js").read_text()
    name, data = json.loads("[" + text.strip().removeprefix("LOADED(").removesuffix(");") + "]")
    assert name == screen.id
    systems = {one.id: one.system for one in screen.stimuli}
    return {
        systems[key]: soundfile.read(io.BytesIO(base64.b64decode(value)), always_2d=True)[0].T
        for key, value in data.items()
    }


def test_what_is_heard_is_the_evaluations_audio(
    evaluation: Path, made: tuple[Path, Design]
) -> None:
    folder, design = made
    assert len(design.screens) == 4 and read_design(folder) == design
    assert Counter(one.domain for one in design.screens) == {"speech": 2, "music": 2}
    assert design.training.excerpt not in {one.excerpt for one in design.screens}
    for screen in (*design.screens, design.training):
        audio = heard(folder, screen)
        gains = {one.system: one.gain_db for one in screen.stimuli}
        assert set(audio) == {"reference", "anchor-3.5", "good-6", "fair-6", "poor-3"}
        first = round(screen.start * RATE)
        for system in ("reference", "good-6", "poor-3"):
            path = evaluation / "audio" / system / f"{screen.excerpt}.flac"
            source = soundfile.read(path, always_2d=True)[0].T[:, first : first + RATE]
            wanted = source * 10 ** (gains[system] / 20)
            inner = slice(RATE // 50, -RATE // 50)  # between the soft edges
            assert np.abs(audio[system] - wanted)[:, inner].max() < 1e-4
            assert loudness(source, RATE) + gains[system] == pytest.approx(-23, abs=0.01)
        assert gains["anchor-3.5"] == gains["reference"] != gains["poor-3"]
        spectrum = np.abs(np.fft.rfft(audio["anchor-3.5"][0])) ** 2
        assert spectrum[4100:].sum() < 1e-5 * spectrum[:3400].sum()


def test_raters_can_read_no_name_of_a_system(made: tuple[Path, Design]) -> None:
    folder, _ = made
    for path in (folder / "page").rglob("*"):
        if path.is_file() and path.name not in ("page.js", "parts.js", "player.js", "style.css"):
            text = path.read_text()
            assert not [name for name in ("good-6", "fair-6", "poor-3", "anchor") if name in text]
    assert not set(read_tokens(folder)) & set((folder / "page" / "test.js").read_text().split('"'))
    assert (folder / "raters.csv").stat().st_mode & 0o077 == 0


def test_the_same_seed_makes_the_same_page(evaluation: Path, tmp_path: Path) -> None:
    options = MakeOptions(excerpts=1, seconds=1.0, raters=2, quiet=True)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        values = MakeOptions(excerpts=1, seconds=1.0, raters=2, quiet=True, seed=seed)
        make(str(evaluation), str(tmp_path / name), values)
    files = {
        name: {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name / "page").rglob("*")
            if path.is_file()
        }
        for name in "abc"
    }
    assert files["a"] == files["b"] != files["c"]
    before = read_tokens(tmp_path / "a")
    make(str(evaluation), str(tmp_path / "a"), options)
    assert read_tokens(tmp_path / "a") == before  # links that were sent stay good


def test_many_systems_are_compared_bitrate_by_bitrate(tmp_path: Path) -> None:
    systems = {f"{name}-{kbps}": 0.01 for name in "abcd" for kbps in (3, 6, 12)}
    source = write_evaluation(tmp_path / "eval", {"x": 2}, systems=systems)
    options = MakeOptions(seconds=1.0, quiet=True)
    shutil.rmtree(source / "audio" / "d-3")  # a baseline that has no such bitrate
    design = make(str(source), str(tmp_path / "test"), options)
    assert len(design.systems) == 11 and design.facts["without_audio"] == ["d-3"]
    assert [len(one.stimuli) for one in design.screens] == [5, 6, 6] * 2
    assert [one.kbps for one in design.screens] == [3, 6, 12, 3, 6, 12]
    assert design.facts["short_of"] == {"x": 2}
    fewer = MakeOptions(seconds=1.0, systems=("a", "b-3"), quiet=True)
    design = make(str(source), str(tmp_path / "few"), fewer)
    assert [one.name for one in design.systems] == ["a-3", "a-6", "a-12", "b-3"]
    assert [one.kbps for one in design.screens] == [None, None]


def test_what_cannot_be_heard_is_left_out_and_said(evaluation: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(evaluation, tmp_path / "eval"))
    audio = source / "audio"
    (audio / "good-6" / "speech-0.flac").unlink()
    (audio / "poor-3" / "speech-1.flac").write_bytes(b"no audio")
    samples, rate = soundfile.read(audio / "fair-6" / "music-0.flac")
    soundfile.write(audio / "fair-6" / "music-0.flac", samples[:-1], rate, subtype="PCM_24")
    design = make(str(source), str(tmp_path / "test"), MakeOptions(seconds=1.0, quiet=True))
    assert {one.excerpt for one in design.screens} == {"speech-2", "music-1"}
    left_out = design.facts["left_out"]
    assert "not there" in left_out["speech-0"] and "cannot be read" in left_out["speech-1"]
    assert "other samples" in left_out["music-0"]


def test_levels_off_and_what_would_clip(tmp_path: Path) -> None:
    source = write_evaluation(tmp_path / "eval", {"x": 1}, systems={"a-6": 0.0})
    path = source / "audio" / "a-6" / "x-0.flac"
    samples, rate = soundfile.read(path)
    samples[::4000] = 0.9  # peaks that a louder test would clip
    soundfile.write(source / "audio" / "reference" / "x-0.flac", samples, rate, subtype="PCM_24")
    soundfile.write(path, samples / 2, rate, subtype="PCM_24")
    plain = make(str(source), str(tmp_path / "plain"), MakeOptions(seconds=1.0, quiet=True))
    gains = {one.system: one.gain_db for one in plain.screens[0].stimuli}
    assert gains["a-6"] - gains["reference"] == pytest.approx(6.02, abs=0.01)
    off = MakeOptions(seconds=1.0, quiet=True, level_match=False, loudness=-10.0)
    loud = make(str(source), str(tmp_path / "off"), off)
    gains = {one.system: one.gain_db for one in loud.screens[0].stimuli}
    assert gains["a-6"] == gains["reference"]
    assert "as loud as they made it" in loud.facts["levels"] and loud.facts["notes"]
    audio = heard(tmp_path / "off", loud.screens[0])
    assert 0.97 < max(np.abs(one).max() for one in audio.values()) < 0.99


def test_silence_stays_silence(tmp_path: Path) -> None:
    source = write_evaluation(tmp_path / "eval", {"x": 1}, systems={"a-6": 0.0})
    for system in ("reference", "a-6"):
        silence = np.zeros(2 * RATE)
        soundfile.write(source / "audio" / system / "x-0.flac", silence, RATE, subtype="PCM_24")
    design = make(str(source), str(tmp_path / "test"), MakeOptions(seconds=1.0, quiet=True))
    assert "silent" in design.facts["notes"][0]
    assert not any(one.any() for one in heard(tmp_path / "test", design.screens[0]).values())


def test_refusals_name_what_to_do(evaluation: Path, made: tuple[Path, Design]) -> None:
    folder, _ = made
    options = MakeOptions(seconds=1.0, quiet=True)
    (folder / "ratings").mkdir()
    (folder / "ratings" / "anna.json").write_text("{}")
    with pytest.raises(OutputError, match="holds ratings"):
        make(str(evaluation), str(folder), options)
    with pytest.raises(OutputError, match="holds other files"):
        make(str(evaluation), str(evaluation), options)
    with pytest.raises(UsageError, match="evaluat"):
        make(str(folder), str(folder.parent / "new"), options)
    with pytest.raises(UsageError, match="--systems lyra: the evaluation has good-6"):
        make(str(evaluation), str(folder.parent / "new"), MakeOptions(systems=("lyra",)))
    with pytest.raises(UsageError, match="a folder of this machine"):
        make(str(evaluation), "s3://bucket/test", options)
    for wrong in ({"seconds": 0.5}, {"anchors": ("5",)}, {"anchors": ("7",)}, {"screens": 0}):
        with pytest.raises(UsageError, match=f"--{next(iter(wrong))}"):
            MakeOptions(**wrong)  # type: ignore[arg-type]


def test_an_anchor_needs_something_above_it(tmp_path: Path) -> None:
    source = write_evaluation(tmp_path / "eval", {"x": 1}, rate=8000)
    with pytest.raises(UsageError, match="8000 Hz"):
        make(str(source), str(tmp_path / "test"), MakeOptions(seconds=1.0, quiet=True))


def test_webmushra_has_the_same_sounds(evaluation: Path, tmp_path: Path) -> None:
    options = MakeOptions(excerpts=1, seconds=1.0, anchors=("3.5", "7"), webmushra=True, quiet=True)
    design = make(str(evaluation), str(tmp_path / "test"), options)
    root = tmp_path / "test" / "webmushra"
    config = yaml.safe_load((root / "configs" / "codecshards.yaml").read_text())
    training, (word, *pages), last = config["pages"]
    assert training["type"] == "mushra" and word == "random" and last["type"] == "finish"
    assert config["testId"] == design.id and len(pages) == 2
    for page, screen in zip(pages, design.screens, strict=True):
        assert set(page["stimuli"]) == {"good-6", "fair-6", "poor-3", "anchor-3.5", "anchor-7"}
        audio = heard(tmp_path / "test", screen)
        for name, place in {**page["stimuli"], "reference": page["reference"]}.items():
            samples, rate = soundfile.read(root / place, always_2d=True)
            assert rate == RATE and np.array_equal(samples.T, audio[name])


def test_orders_are_of_each_rater_and_screens_are_dealt_evenly() -> None:
    names = [f"s{n:03d}" for n in range(1, 31)]
    dealt = Counter(name for n in range(1, 31) for name in screens_of(names, 7, str(n), 10))
    assert set(dealt.values()) == {10}
    first, second = (screens_of(names, 7, rater, 30) for rater in ("1", "2"))
    assert first != second and sorted(first) == sorted(second) == names
    assert first == screens_of(names, 7, "1", 30) != screens_of(names, 8, "1", 30)
    assert len(set(screens_of(names, 7, "anna", 10))) == 10
    # Each stimulus is in each place about equally often.
    places = Counter(
        (place, name)
        for rater in range(500)
        for place, name in enumerate(stimuli_of(list("abcde"), 7, str(rater), "s001"))
    )
    assert len(places) == 25 and min(places.values()) > 70 and max(places.values()) < 135
