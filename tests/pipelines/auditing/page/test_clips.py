"""What the page is made of: sound within its budget, pictures of the right numbers, data that stays
small."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import sound

from pipelines import AuditOptions, audit
from pipelines.auditing import run as run_module
from pipelines.auditing import while_tokenizing as passing_module
from pipelines.auditing.page import notebook
from pipelines.auditing.page.clips import (
    AUDIT,
    MOST_HEARD,
    PAGE_BYTES,
    PageFiles,
    Stretch,
    choose_stretch,
    peaks,
)
from pipelines.auditing.page.images import (
    COLUMNS,
    DIFFERENCE_DB,
    LOUDEST_DB,
    RANGE_DB,
    difference_png,
    mel_image,
    spectrogram_png,
)
from pipelines.auditing.page.site import POINTS, thinned, worst_first, write_site
from pipelines.auditing.recording import Auditor
from pipelines.auditing.results import Figure, Finding, RecordingAudit, Severity
from pipelines.auditing.run import audit_share
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.storage import open_storage
from pipelines.run import tokenize_corpus
from tokenizer import load_codec

RATE = 48_000
QUIET = AuditOptions(all=True, quiet=True)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """What FLAC and Opus find hardest, float32 `[2, n]`."""
    return np.random.default_rng(seed).normal(0, 0.1, (2, int(seconds * RATE))).astype(np.float32)


def written(
    tmp_path: Path, samples: np.ndarray, heard: int, worst: int = 0, bandwidth: float = 12.0
) -> dict[str, Any]:
    """The page's files of a recording, in `tmp_path`."""
    codec = load_codec("mulaw", bandwidth=bandwidth)
    codes = codec.encode(replace(sound(10), samples=samples))
    stretch = choose_stretch(worst, samples.shape[1], codec.spec, 30.0)
    source = samples[:, stretch.start : stretch.stop]
    return PageFiles(open_storage(str(tmp_path)), codec, heard).write("x", codes, stretch, source)


def size_of(tmp_path: Path, page: dict[str, Any]) -> int:
    names = [version["file"] for version in page["versions"]] + list(page["images"].values())
    return sum((tmp_path / AUDIT / name).stat().st_size for name in names)


def test_few_short_recordings_are_lossless(tmp_path: Path) -> None:
    samples = noise(3)
    page = written(tmp_path, samples, heard=5)
    assert [version["format"] for version in page["versions"]] == ["FLAC"] * 4
    played, _ = soundfile.read(tmp_path / AUDIT / page["versions"][0]["file"], dtype="float32")
    np.testing.assert_allclose(played.T, samples, atol=1 / 32768)


@pytest.mark.parametrize("heard", [25, MOST_HEARD])
def test_the_clip_gets_shorter_rather_than_the_source_worse(tmp_path: Path, heard: int) -> None:
    page = written(tmp_path, noise(45), heard, worst=40)
    assert heard * size_of(tmp_path, page) < 1.02 * PAGE_BYTES
    assert page["first_segment"] <= 40 < page["first_segment"] + page["seconds"] / 0.99
    assert page["seconds"] > (25 if heard <= 25 else 10)
    for version in (page["versions"][0], page["versions"][-1]):  # 96 kbps a channel at the least
        assert version["format"] == "FLAC" or int(version["format"].split()[1]) >= 192
        actual = 8 * (tmp_path / AUDIT / version["file"]).stat().st_size / page["seconds"] / 1000
        assert version["format"] == "FLAC" or actual == pytest.approx(
            int(version["format"].split()[1]), rel=0.05
        )


def test_a_shortened_source_is_still_the_part_that_is_decoded(tmp_path: Path) -> None:
    loudness = np.random.default_rng(1).uniform(
        0.01, 0.3, 61
    )  # of each chunk, which its scale keeps
    page = written(
        tmp_path,
        noise(60) * np.repeat(loudness, 47_520)[: 60 * RATE].astype(np.float32),
        MOST_HEARD,
        worst=40,
    )
    first = page["first_segment"]
    assert first > 30
    for i in (0, -1):
        played = soundfile.read(tmp_path / AUDIT / page["versions"][i]["file"])[0][
            : 10 * 47_520, 0
        ].reshape(10, -1)
        levels = np.sqrt(np.square(played[:, 5_000:-5_000]).mean(axis=1))
        assert np.corrcoef(levels, loudness[first : first + 10])[0, 1] > 0.99


def test_what_is_not_finite_is_silence(tmp_path: Path) -> None:
    codec = load_codec("mulaw", bandwidth=12.0)
    codes = codec.encode(sound(3 * 47_520))
    assert codes.scales is not None
    broken = replace(codes, scales=np.array([1.0, np.nan, np.inf], np.float32)[: len(codes.scales)])
    page = PageFiles(open_storage(str(tmp_path)), codec).write(
        "x", broken, Stretch(0, 3 * 47_520, 0, 1), None
    )
    json.dumps(page, allow_nan=False)
    assert [version["name"] for version in page["versions"]] == ["3 kbps", "6 kbps", "12 kbps"]
    assert set(page["images"]) == {"decoded"}


def pixels(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A page's PNG file: indices `[rows, columns]`, low bands first, and its palette `[256, 3]`."""
    width, height = struct.unpack(">II", content[16:24])
    parts, at = {}, 8
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        parts[kind] = content[at + 8 : at + 8 + size]
        at += size + 12
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, width + 1)
    return rows[::-1, 1:].astype(np.float64), np.frombuffer(parts[b"PLTE"], np.uint8).reshape(
        256, 3
    ).astype(int)


def test_the_difference_is_the_reconstruction_minus_the_source() -> None:
    source, decoded = (mel_image(sound(RATE, seed=seed).samples, RATE) for seed in (1, 2))
    found, palette = pixels(difference_png(decoded, source))
    expected = np.clip(decoded - source, -DIFFERENCE_DB, DIFFERENCE_DB)
    np.testing.assert_allclose(
        (found / 254 - 0.5) * 2 * DIFFERENCE_DB, expected, atol=DIFFERENCE_DB / 254 + 1e-3
    )
    red, blue = palette[254], palette[0]
    assert red[0] > red[2] and blue[2] > blue[0]  # red where the reconstruction is louder


def test_the_difference_on_a_page_is_that_of_its_two_pictures(tmp_path: Path) -> None:
    page = written(tmp_path, sound(3 * RATE).samples * 0.5, heard=5)
    images = {
        name: pixels((tmp_path / AUDIT / file).read_bytes())[0]
        for name, file in page["images"].items()
    }
    source, decoded = (
        images[name] / 254 * RANGE_DB + LOUDEST_DB - RANGE_DB for name in ("source", "decoded")
    )
    difference = (images["difference"] / 254 - 0.5) * 2 * DIFFERENCE_DB
    inside = np.all([(image > 0) & (image < 254) for image in images.values()], axis=0)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(
        difference[inside], (decoded - source)[inside], atol=RANGE_DB / 254 + DIFFERENCE_DB / 254
    )


def test_what_is_shorter_ends_before_and_keeps_its_clock() -> None:
    long = sound(3 * RATE, seed=1).samples
    short = long[:, : 2 * RATE]
    whole, part = mel_image(long, RATE), mel_image(short, RATE, span=3 * RATE)
    assert whole.shape == part.shape
    known = ~np.isnan(part).any(axis=0)
    assert (
        known.sum() == pytest.approx(2 / 3 * len(known), abs=8)
        and not known[int(0.7 * len(known)) :].any()
    )
    np.testing.assert_allclose(part[:, : known.sum() - 10], whole[:, : known.sum() - 10])
    found, palette = pixels(spectrogram_png(part))
    assert (found[:, ~known] == 255).all() and (found[:, known] < 255).all()
    red, green, blue = palette[255]
    assert max(red, green, blue) - min(red, green, blue) < 40, "grey"
    assert (pixels(difference_png(whole, part))[0][:, ~known] == 255).all()


def test_peaks_of_all_sounds_are_on_one_clock() -> None:
    long, short = peaks(sound(3 * RATE).samples, 3 * RATE), peaks(sound(2 * RATE).samples, 3 * RATE)
    assert len(long) == len(short) and None not in long
    assert [column is None for column in short] == [
        i >= 2 / 3 * len(short) for i in range(len(short))
    ]
    assert peaks(np.full((2, 1), 0.5, np.float32), 1) == [[64, 64]]


@pytest.mark.parametrize("seconds", [1.0, 27.5, 30.0])
def test_nothing_falls_between_two_windows_of_a_spectrogram(seconds: float) -> None:
    n = int(seconds * RATE)
    for at in np.linspace(0.3, 0.7, 7) if seconds > 1 else [0.5]:
        samples = np.zeros((1, n), np.float32)
        samples[0, int(at * n)] = 1.0
        image = mel_image(samples, RATE)
        assert image.shape[1] <= COLUMNS + 1
        assert image.max() > -75.0  # the floor is -80
        assert abs(image.max(axis=0).argmax() / image.shape[1] - at) < 0.03


def test_a_spectrogram_shows_what_is_in_antiphase() -> None:
    tone = 0.5 * np.sin(np.arange(RATE) * 0.1, dtype=np.float32)
    both, against = (mel_image(np.stack([tone, sign * tone]), RATE) for sign in (1, -1))
    np.testing.assert_allclose(both, against, atol=0.01)


def one(
    number: int,
    severity: Severity | None = None,
    mel: float | None = 1.0,
    heard: bool = True,
    n: int = 4,
) -> RecordingAudit:
    return RecordingAudit(
        id=f"folder/recording {number:05}.flac",
        shard="train-00000-of-00001",
        chosen="all",
        source_uri=f"/corpus/folder/recording {number:05}.flac",
        seconds=0.99 * n,
        segment_seconds=0.99,
        source_sample_rate=RATE,
        source_channels=2,
        figures={} if mel is None else {"mel": Figure(mel), "si-snr": Figure(-mel)},
        series={"mel": (1.0,) * n, "si-snr": (None,) * n},
        findings=() if severity is None else (Finding("fault", severity, "detail"),),
        page={"versions": [], "images": {}, "peaks": {}} if heard else None,
    )


def test_worst_first() -> None:
    given = [
        one(0, mel=5.0),
        one(1, Severity.WARNING, mel=2.0),
        one(2, Severity.ERROR, mel=None),
        one(3, Severity.ERROR, mel=1.0),
        one(4, Severity.ERROR, mel=3.0),
        one(5, mel=7.0),
    ]
    assert [int(recording.id[17:22]) for recording in worst_first(given)] == [4, 3, 1, 5, 0, 2]


def test_a_thinned_measure_keeps_its_worst() -> None:
    assert thinned("mel", [1.0, 3.0, None, 2.0, None, None, 4.0], 2) == [3.0, 2.0, None, 4.0]
    assert thinned("si-snr", [1.0, 3.0, None, 2.0], 2) == [1.0, 2.0]
    assert thinned("level", [1.0, -3.0], 2) == [-3.0]


def test_data_of_ten_thousand_recordings_is_small(tmp_path: Path) -> None:
    """Ten hours each would be 36,000 values of every measure."""
    recordings = [
        one(number, heard=number < 2, n=36_000 if number < 4 else 200) for number in range(10_000)
    ]
    write_site(open_storage(str(tmp_path)), {"passed": True}, recordings)
    content = (tmp_path / AUDIT / "data.js").read_bytes()
    assert len(content) < 6_000_000
    rows = json.loads(content.split(b" = ", 1)[1].rstrip(b";\n"))["recordings"]
    assert len(rows) == 10_000 and rows[5]["series"] == {}
    assert (
        0 < len(rows[0]["series"]["mel"]) <= POINTS
        and rows[0]["series_step"] * len(rows[0]["series"]["mel"]) >= 36_000
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "corpus"
    folder.mkdir()
    for number in range(5):
        soundfile.write(
            folder / f"{number}.wav", sound(RATE * 2 + 7 * number, seed=number).samples.T, RATE
        )
    return folder


@pytest.fixture
def two_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (run_module, passing_module):
        monkeypatch.setattr(module, "MOST_HEARD", 2)


def tokenized(corpus: Path, out: Path, share: float | None = None) -> Path:
    config = TokenizeConfig(str(corpus), codec="mulaw", bandwidth=12.0)
    tokenize_corpus(config, str(out), RunOptions(workers=0, quiet=True, device="cpu", audit=share))
    return out


def folders(out: Path) -> set[str]:
    """Those of media that hold files."""
    return {path.parent.name for path in (out / AUDIT / "media").rglob("*") if path.is_file()}


@pytest.mark.usefixtures("two_heard")
def test_of_many_recordings_the_worst_have_sound(corpus: Path, tmp_path: Path) -> None:
    out = tokenized(corpus, tmp_path / "out")
    done = audit(str(out), options=QUIET)
    heard = [recording.id for recording in done.recordings if recording.page is not None]
    assert sorted(heard) == sorted(recording.id for recording in worst_first(done.recordings)[:2])
    assert len(done.recordings) == 5 and len(folders(out)) == 2
    silent = audit(str(out), options=replace(QUIET, page=False))
    assert [recording.figures for recording in silent.recordings] == [
        recording.figures for recording in done.recordings
    ]


@pytest.mark.usefixtures("two_heard")
def test_what_was_interrupted_among_the_heard_is_not_measured_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tokenized(corpus, tmp_path / "out")
    did: list[tuple[str, bool]] = []
    original = Auditor.run
    stop_at = 6

    def stops(self: Auditor, chosen: Any) -> RecordingAudit:
        if len(did) == stop_at:
            raise KeyboardInterrupt
        did.append((chosen.entry.recording.id, self.settings.options.page))
        return original(self, chosen)

    monkeypatch.setattr(Auditor, "run", stops)
    with pytest.raises(KeyboardInterrupt):
        audit(str(out), options=QUIET)
    assert [page for _, page in did] == [False] * 5 + [True]
    stop_at = 99
    resumed = audit(str(out), options=QUIET)
    assert len(did) == 7 and did[6][1]
    assert resumed.recordings == audit(str(out), options=QUIET).recordings
    assert not list((out / AUDIT / "parts").iterdir())


@pytest.mark.usefixtures("two_heard")
def test_in_passing_no_sound_is_written_while_nobody_knows_the_worst(
    corpus: Path, tmp_path: Path
) -> None:
    out = tokenized(corpus, tmp_path / "out", 1.0)
    assert not folders(out)
    done = audit_share(str(out), 1.0, replace(QUIET, device="cpu"))
    assert [recording.chosen for recording in done.recordings].count("in passing") == 3
    assert (
        sum(recording.page is not None for recording in done.recordings) == len(folders(out)) == 2
    )


def test_in_passing_few_have_sound_at_once(corpus: Path, tmp_path: Path) -> None:
    assert len(folders(tokenized(corpus, tmp_path / "out", 1.0))) == 5


def test_a_notebook_shows_what_it_has_room_for(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = audit(str(tokenized(corpus, tmp_path / "out")), options=QUIET)
    assert done._repr_html_().count("<audio") == 5 * 4
    worst = worst_first(done.recordings)[0]
    for room, shown in ((1, 1), (2.5 * size_of(tmp_path / "out", dict(worst.page or {})), 2)):
        monkeypatch.setattr(notebook, "MOST_BYTES", room)
        html = done._repr_html_()
        assert (
            html.count("<audio") == shown * 4
            and f"{5 - shown} more are on the page" in html
            and f"<h4>{worst.id}" in html
        )
