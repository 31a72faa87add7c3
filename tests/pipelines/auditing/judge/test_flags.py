"""Each flag with an input that raises it, and one that must not."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rewriting import rewrite, with_codes
from sounds import sound

from pipelines import AuditOptions, audit
from pipelines.auditing.choose.survey import Entry
from pipelines.auditing.judge.among_others import collapse_flags, duplicates, level_flag
from pipelines.auditing.judge.clicks import ClickMeter
from pipelines.auditing.judge.flags import (
    band_flag,
    impossible_scales,
    meter_flags,
    silence_flag,
)
from pipelines.auditing.judge.suspicions import HeardMeter
from pipelines.auditing.measure.measures import PairSums, SpectralSums
from pipelines.auditing.results import Finding, FindingName, Remark, Severity
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.inspect import CodebookUse
from pipelines.run import tokenize_corpus
from tokenizer import Recording, Waveform, read_audio

RATE, STRIDE, OVERLAP = 48_000, 47_520, 480


def names(findings: Iterable[Finding | Remark]) -> list[str]:
    return [finding.name for finding in findings]


def entry(id: str = "a", **facts: object) -> Entry:
    base = Entry(Recording(id, f"{id}.wav"), "train-0", RATE, -20.0, 0.1, 0.0, "hash", RATE, ())
    return replace(base, **facts)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def flagged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Findings by file, of a corpus in which each file is odd in one way, and one in none."""
    root = tmp_path_factory.mktemp("flags")
    (root / "corpus").mkdir()
    good = sound(2 * RATE, seed=1).samples
    odd = {
        "good.wav": good,
        "silent.wav": np.zeros((2, RATE)),
        "antiphase.wav": np.stack([good[0], -good[0]]),
        "clipped.wav": np.clip(good * 20, -1, 1),
    }
    for name, samples in odd.items():
        soundfile.write(root / "corpus" / name, samples.T, RATE, "FLOAT")
    # Written again it would be another file: libsndfile puts the time of day into the header.
    shutil.copyfile(root / "corpus" / "good.wav", root / "corpus" / "copy.wav")
    soundfile.write(
        root / "corpus" / "upsampled.wav", sound(2 * 16_000, 1, 16_000).samples.T, 16_000, "FLOAT"
    )
    tokenize_corpus(
        TokenizeConfig(str(root / "corpus"), codec="mulaw"),
        str(root / "out"),
        RunOptions(workers=0, quiet=True),
    )
    done = audit(str(root / "out"), options=AuditOptions(all=True, page=False, quiet=True))
    return {recording.id: names(recording.findings) for recording in done.recordings}


@pytest.mark.parametrize(
    ("id", "flag"),
    [
        ("silent.wav", FindingName.SILENCE),
        ("antiphase.wav", FindingName.ANTIPHASE),
        ("clipped.wav", FindingName.CLIPPING),
        ("upsampled.wav", FindingName.LOW_BANDWIDTH),
    ],
)
def test_flags_of_the_source(flagged: dict[str, list[str]], id: str, flag: FindingName) -> None:
    assert flag in flagged[id]
    assert [other for other, found in flagged.items() if flag in found] == [id]


def test_a_copy_is_a_duplicate_and_the_first_is_not(flagged: dict[str, list[str]]) -> None:
    # In the corpus's order: copy.wav comes before good.wav.
    assert FindingName.DUPLICATE in flagged["good.wav"] and flagged["copy.wav"] == []


def test_parts_of_one_file_are_no_duplicates() -> None:
    first, second = (
        entry(id, recording=Recording(id, "x.wav", start=at, end=at + 1))
        for id, at in (("a", 0.0), ("b", 1.0))
    )
    assert duplicates([first, second]) == {}
    assert duplicates([first, replace(first, recording=replace(first.recording, id="c"))]) == {
        "c": "a"
    }


def test_meter_flags_are_passed_on_and_truncation_is_not_the_audits() -> None:
    assert names(meter_flags(("antiphase", "clipped", "truncated"))) == [
        FindingName.ANTIPHASE,
        FindingName.CLIPPING,
    ]
    assert names(meter_flags(())) == []


@pytest.mark.parametrize(("peak", "said"), [(0.0, "digital silence"), (3e-6, "(-11"), (2e-5, None)])
def test_what_is_too_quiet_to_be_measured_is_called_silent(peak: float, said: str | None) -> None:
    noise = (peak * np.random.default_rng(0).uniform(-1, 1, (2, 9_000))).astype(np.float32)
    sums = PairSums(2).add(noise, noise)
    found = list(silence_flag(("silent",) if not peak else (), sums))
    assert [said in finding.detail for finding in found] == ([True] if said else [])  # type: ignore[operator]
    assert (sums.level().value is None) == bool(found)


def test_a_band_that_ends_at_8_khz(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "narrow.wav", sound(32_000, 1, 16_000).samples.T, 16_000)
    narrow, wide = read_audio(tmp_path / "narrow.wav", RATE, 2), sound(RATE)
    found = list(band_flag(SpectralSums(RATE).add(narrow.samples, narrow.samples).spectrum, RATE))
    assert names(found) == [FindingName.LOW_BANDWIDTH] and "7." in found[0].detail
    assert names(band_flag(SpectralSums(RATE).add(wide.samples, wide.samples).spectrum, RATE)) == []


def test_low_bandwidth_is_not_asked_of_codecs_that_end_there_or_of_silence() -> None:
    assert names(band_flag(np.ones(1025), 16_000)) == []
    assert names(band_flag(np.zeros(1025), RATE)) == []


def test_scales_that_no_recording_has() -> None:
    for bad in (40.0, np.nan, np.inf, -0.1, 0.0):
        found = list(impossible_scales(np.array([0.1, bad, 0.1], np.float32)))
        assert names(found) == [FindingName.SCALE_OUTLIER] and found[0].chunks == (1,)
        assert found[0].severity is (Severity.WARNING if bad == 40.0 else Severity.ERROR)
    assert names(impossible_scales(np.array([0.1, 1e-8, 0.9], np.float32))) == []
    assert names(impossible_scales(None)) == []


def test_a_level_far_from_the_corpus() -> None:
    levels = np.linspace(-30, -20, 50)
    assert names(level_flag(entry(level=-70.0), levels)) == [FindingName.SCALE_OUTLIER]
    assert names(level_flag(entry(level=-38.0), levels)) == []
    assert names(level_flag(entry(level=-70.0), levels[:3])) == []


@pytest.mark.parametrize("edge", [0, OVERLAP])
def test_a_click_where_chunks_join(edge: int) -> None:
    source = sound(5 * STRIDE, seed=2).samples
    decoded = source + 0.01 * sound(5 * STRIDE, seed=3).samples
    decoded[:, 3 * STRIDE + edge] += 2.0
    for block, clicked in ((decoded, [3]), (source, [])):
        meter = ClickMeter(OVERLAP)
        for i in range(5):
            part = slice(i * STRIDE, (i + 1) * STRIDE)
            meter.add(source[:, part], block[:, part])
        assert meter.clicks == clicked and names(meter.remarks()) == [
            FindingName.BOUNDARY_CLICKS
        ] * len(clicked)


def test_a_click_that_the_source_has_too_is_music() -> None:
    source = sound(3 * STRIDE, seed=2).samples.copy()
    source[:, STRIDE] += 2.0
    meter = ClickMeter(OVERLAP)
    for i in range(3):
        part = source[:, i * STRIDE : (i + 1) * STRIDE]
        meter.add(part, part)
    assert meter.clicks == []


def test_a_codebook_that_has_collapsed() -> None:
    use = [CodebookUse(0, 700.0, 0.99, 9.4), CodebookUse(1, 3.0, 0.01, 1.6)]
    found = list(collapse_flags(use, 100_000, (1024,) * 8))
    assert (
        names(found) == [FindingName.COLLAPSE]
        and "codebook 1" in found[0].detail
        and "1014 dead" in found[0].detail
    )
    assert names(collapse_flags(use[:1], 100_000, (1024,) * 8)) == []
    assert names(collapse_flags(use, 1_000, (1024,) * 8)) == []  # too little to tell


def test_many_dead_codes_are_a_collapse_however_evenly_the_others_are_used() -> None:
    use = [
        CodebookUse(0, 300.0, 0.49, 8.2),
        CodebookUse(1, 200.0, 0.75, 7.6),
    ]  # the other is what a little speech uses
    found = list(collapse_flags(use, 20_480, (1024,) * 8))
    assert (
        names(found) == [FindingName.COLLAPSE]
        and "codebook 0" in found[0].detail
        and "522 dead" in found[0].detail
    )


def test_a_collapse_in_the_stored_codes_is_noticed_though_the_commit_records_count_others(
    tmp_path: Path,
) -> None:
    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / "corpus" / "one.wav", sound(140 * RATE, 1).samples.T, RATE)
    config = TokenizeConfig(str(tmp_path / "corpus"), codec="mulaw", bandwidth=3.0)
    tokenize_corpus(config, str(tmp_path / "out"), RunOptions(workers=0, quiet=True))
    options = AuditOptions(all=True, page=False, quiet=True)
    assert audit(str(tmp_path / "out"), options=options).report["corpus"]["findings"] == ()

    def few(values: np.ndarray) -> None:
        values[1] = values[1] % 300

    rewrite(tmp_path / "out", "one.wav", lambda codes: with_codes(codes, few))
    found = audit(str(tmp_path / "out"), options=options).report["corpus"]["findings"]
    assert [finding["name"] for finding in found] == [
        FindingName.COLLAPSE
    ] and "codebook 1" in found[0]["detail"]


def heard(source: Waveform, decoded: np.ndarray) -> list[str]:
    meter = HeardMeter()
    for i in range(0, source.num_samples, STRIDE):
        meter.add(source.samples[:, i : i + STRIDE], decoded[:, i : i + STRIDE].astype(np.float32))
    return names(meter.remarks())


def test_what_can_be_heard_without_encoding_again() -> None:
    source = sound(6 * STRIDE, seed=4)
    near = source.samples + 0.1 * sound(6 * STRIDE, seed=5).samples
    gone = near.copy()
    gone[:, 2 * STRIDE : 3 * STRIDE] = 0
    assert heard(source, near) == []
    assert heard(source, near[::-1]) == [FindingName.CHANNEL_SWAP]
    assert heard(source, 2 * near) == heard(source, 0.5 * near) == [FindingName.WRONG_SCALE]
    assert heard(source, gone) == [FindingName.ZEROED]
    assert heard(source, np.roll(near, STRIDE, axis=1)) == [FindingName.SHIFTED]
    assert heard(source, sound(6 * STRIDE, seed=8).samples) == []  # nothing alike: nothing to say
    smooth = np.stack(
        [np.convolve(channel, np.ones(12) / 12, "same") for channel in source.samples]
    )
    assert heard(source, smooth) == []  # quieter, since half of it is lost
