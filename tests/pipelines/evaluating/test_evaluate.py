"""The command from a corpus to its table, and again."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from sounds import sound
from torchmetrics.functional.audio import scale_invariant_signal_noise_ratio

from pipelines.cli.main import main
from pipelines.corpus.reader import DecodeSettings
from pipelines.evaluating import measuring, work
from pipelines.evaluating.folder import read_evaluation
from pipelines.evaluating.options import EvaluateOptions
from pipelines.evaluating.run import evaluate
from pipelines.evaluating.systems.codec import CodecSystem
from tokenizer.audio.stream import AudioStream
from tokenizer.errors import OutputError, UsageError
from tokenizer.types import Recording, Waveform

RATE = 48_000
CHEAP = ("--metrics", "si-snr,stoi", "--workers", "0", "--quiet")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains: stereo at 44.1 kHz, and one channel at 16 kHz; one recording is silent, one too
    short, one no audio."""
    root = tmp_path_factory.mktemp("corpus")
    for folder, rate, channels in (("music", 44_100, 2), ("speech", 16_000, 1)):
        (root / folder).mkdir()
        for number in range(3):
            samples = sound(rate * (3 + number), channels, rate, seed=number).samples.T
            soundfile.write(root / folder / f"{number}.wav", samples, rate)
    soundfile.write(root / "speech" / "silent.wav", np.zeros(3 * 16_000), 16_000)
    soundfile.write(root / "speech" / "short.wav", np.full(8_000, 0.1), 16_000)
    (root / "speech" / "none.wav").write_text("<html>no such file</html>")
    return root


@pytest.fixture(scope="module")
def done(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command's folder: 3 excerpts of a second a domain, a codec and Opus."""
    out = tmp_path_factory.mktemp("evaluated") / "eval"
    assert main(command(corpus, out)) == 0
    return out


class DecodedHere:
    """In place of the process that decodes, whose start would be most of a small run's time; the
    folder of `done` was made with that."""

    def __init__(self, settings: DecodeSettings) -> None:
        self._settings = settings

    def decode(self, recordings: Iterable[Recording]) -> Iterator[Any]:
        for recording in recordings:
            yield _Here(recording, self._settings)

    def close(self) -> None:
        pass


class _Here:
    def __init__(self, recording: Recording, settings: DecodeSettings) -> None:
        self.recording, self._settings = recording, settings

    def __iter__(self) -> Iterator[np.ndarray]:
        settings = self._settings
        file = settings.source.open(self.recording)
        yield from AudioStream(
            file, settings.sample_rate, settings.channels, downmix=settings.downmix
        )


@pytest.fixture(autouse=True)
def decoded_here(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.evaluating.excerpts.Decoder", DecodedHere)


def command(corpus: Path, out: Path, *more: str) -> list[str]:
    asked = ["--codec", "mulaw", "--against", "opus", "--bandwidths", "6,24"]
    sizes = ["--excerpts", "3", "--seconds", "1", "--report", str(out)]
    return ["evaluate", str(corpus), *asked, *sizes, *CHEAP, *more]


def test_the_folder_is_what_a_listening_test_needs(done: Path) -> None:
    evaluation = read_evaluation(done)
    assert [point.name for point in evaluation.systems] == [
        "mulaw-6",
        "mulaw-24",
        "opus-6",
        "opus-24",
    ]
    domains = [excerpt.domain for excerpt in evaluation.excerpts]
    assert domains == ["music"] * 3 + ["speech"] * 3
    for excerpt in evaluation.excerpts:
        folders = ["reference", *(point.name for point in evaluation.systems)]
        infos = [soundfile.info(done / "audio" / f / f"{excerpt.name}.flac") for f in folders]
        assert {(info.samplerate, info.channels, info.frames) for info in infos} == {
            (RATE, excerpt.channels, round(excerpt.seconds * RATE))
        }
        assert {info.subtype for info in infos} == {"PCM_24"}
        assert excerpt.channels == (2 if excerpt.domain == "music" else 1)
    passed = {one["id"].rpartition("/")[2]: one["reason"] for one in evaluation.passed_over}
    assert set(passed) <= {"silent.wav", "short.wav", "none.wav"}
    for point in evaluation.systems:
        assert point.measured_kbps == pytest.approx(point.kbps, rel=0.1)


def test_excerpts_are_stretches_of_their_recordings(done: Path, corpus: Path) -> None:
    """As libsndfile reads them, at a rate that needs no filter but time."""
    for excerpt in read_evaluation(done).excerpts:
        if excerpt.domain != "speech":
            continue
        original, rate = soundfile.read(corpus / excerpt.id, dtype="float32")
        first = round(excerpt.start * rate)
        there = original[first : first + round(excerpt.seconds * rate)]
        found, _ = soundfile.read(done / "audio" / "reference" / f"{excerpt.name}.flac")
        assert np.corrcoef(found[:: RATE // rate], there)[0, 1] > 0.99


def test_si_snr_is_that_of_torchmetrics(done: Path) -> None:
    rows = pq.read_table(done / "results.parquet").to_pylist()
    assert len(rows) == 6 * 4
    for row in rows:
        files = [done / "audio" / name / f"{row['excerpt']}.flac" for name in ("reference",)]
        files.append(done / "audio" / row["name"] / f"{row['excerpt']}.flac")
        target, preds = (
            torch.from_numpy(soundfile.read(file, always_2d=True)[0].T) for file in files
        )
        expected = scale_invariant_signal_noise_ratio(preds, target).mean()
        assert row["si-snr"] == pytest.approx(float(expected), abs=1e-3)


def test_the_table_says_what_the_rows_do(done: Path) -> None:
    results = json.loads((done / "results.json").read_text())
    rows = pq.read_table(done / "results.parquet").to_pylist()
    for line in results["table"]:
        own = [
            row
            for row in rows
            if row["name"] == line["name"] and line["domain"] in (row["domain"], "all domains")
        ]
        values = [row["si-snr"] for row in own]
        figure = line["figures"]["si-snr"]
        assert figure["mean"] == pytest.approx(np.mean(values), abs=1e-5)
        assert figure["median"] == pytest.approx(np.median(values), abs=1e-5)
        assert figure["low"] <= figure["mean"] <= figure["high"]
        kbps = sum(row["bits"] for row in own) / sum(row["seconds"] for row in own) / 1000
        assert line["measured_kbps"] == pytest.approx(kbps, abs=1e-4)
        assert ("stoi" in line["figures"]) == (line["domain"] != "music")
        assert line["entropy_kbps"] is None
    table = (done / "table.md").read_text()
    assert "## music" in table and "| opus | 24 |" in table
    assert "entropy coder: none ships" in table and "evaluate" in table


def test_the_same_seed_gives_the_same_numbers(done: Path, corpus: Path, tmp_path: Path) -> None:
    assert main(command(corpus, tmp_path / "eval")) == 0
    assert figures(tmp_path / "eval") == figures(done)
    assert excerpts(tmp_path / "eval") == excerpts(done)


def test_another_seed_takes_other_excerpts(done: Path, corpus: Path, tmp_path: Path) -> None:
    assert (
        main([*command(corpus, tmp_path), "--seed", "1", "--against", "", "--codec", "mulaw"]) == 0
    )
    assert excerpts(tmp_path) != excerpts(done)


def figures(folder: Path) -> list[dict[str, Any]]:
    keep = ("domain", "name", "measured_kbps", "figures", "excerpts")
    lines = json.loads((folder / "results.json").read_text())["table"]
    return [{name: line[name] for name in keep} for line in lines]


def excerpts(folder: Path) -> list[tuple[str, float]]:
    return [(one.id, one.start) for one in read_evaluation(folder).excerpts]


def test_a_run_that_was_broken_off_goes_on(
    corpus: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two excerpts, and with half of a line in the ledger."""
    out = tmp_path / "eval"
    plain = work.Evaluator.run
    tasks: list[str] = []

    def counted(self: work.Evaluator, task: work.Task) -> list[work.Row]:
        tasks.append(task.excerpt.name)
        if len(tasks) == 3:
            raise KeyboardInterrupt
        return plain(self, task)

    monkeypatch.setattr(work.Evaluator, "run", counted)
    assert main(command(corpus, out)) == 130
    with (out / "rows.jsonl").open("a") as ledger:
        ledger.write('{"excerpt": "music-00')
    assert main(command(corpus, out)) == 0
    assert len(tasks) == 3 + 4 and len(set(tasks)) == 6
    assert figures(out) == figures(done)


def test_more_systems_are_added_and_nothing_is_done_twice(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = EvaluateOptions(
        codec=("mulaw",),
        against=(),
        bandwidths=("6",),
        excerpts=1,
        seconds=1.0,
        report=str(tmp_path),
        metrics=("si-snr",),
        quiet=True,
    )
    evaluate(str(corpus), options=options)
    first = (tmp_path / "rows.jsonl").read_text()
    more = evaluate(str(corpus), options=options, codec=("mine=mulaw",), bandwidths=("6", "12"))
    assert [point.name for point in more.evaluation.systems] == ["mine-6", "mine-12", "mulaw-6"]
    both = (tmp_path / "rows.jsonl").read_text()
    assert both.startswith(first) and len(both.splitlines()) == 2 + 4
    found = {line.point.name: line.figures["si-snr"].mean for line in more.summary.lines}
    assert found["mine-6"] == found["mulaw-6"]
    evaluate(str(corpus), options=options, codec=("mine=mulaw",), bandwidths=("6", "12"))
    assert (tmp_path / "rows.jsonl").read_text() == both


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--seed", "7"), "seed 0, not 7"),
        (("--seconds", "2"), r"seconds 1.0, not 2.0"),
        (("--domains", "music"), "domains"),
    ],
)
def test_a_folder_has_one_set_of_excerpts(
    done: Path,
    corpus: Path,
    more: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*command(corpus, done), *more]) == 2
    assert words.replace("\\", "") in capsys.readouterr().err


def test_domains_of_a_column_and_several_excerpts_of_a_recording(tmp_path: Path) -> None:
    with (tmp_path / "corpus.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "kind"])
        for name, kind in (("a", "song"), ("b", "talk")):
            samples = sound(6 * 16_000, 2, 16_000, seed=ord(name)).samples.T
            soundfile.write(tmp_path / f"{name}.wav", samples, 16_000)
            rows.writerow([f"{name}.wav", kind])
    done = evaluate(
        str(tmp_path / "corpus.csv"),
        codec=("mulaw",),
        against=(),
        bandwidths=("6",),
        domain_column="kind",
        excerpts=4,
        seconds=1.0,
        metrics=("si-snr", "stoi"),
        speech=("talk",),
        report=str(tmp_path / "eval"),
        quiet=True,
    )
    assert [one.domain for one in done.evaluation.excerpts] == ["song"] * 4 + ["talk"] * 4
    starts = [one.start for one in done.evaluation.excerpts if one.domain == "talk"]
    assert starts == sorted(set(starts)) and all(start == int(start) for start in starts)
    talk = next(line for line in done.summary.lines if line.domain == "talk")
    assert talk.figures["stoi"].recordings == 1 and talk.figures["stoi"].excerpts == 4
    with pytest.raises(UsageError, match=r"--domain-column genre: .* there are"):
        evaluate(
            str(tmp_path / "corpus.csv"), domain_column="genre", report=str(tmp_path / "other")
        )


def test_a_measure_without_its_package_is_left_out_and_said(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    measuring._opened.cache_clear()
    given = [*command(corpus, tmp_path), "--metrics", "si-snr,pesq", "--against", ""]
    assert main(given) == 0
    assert "PESQ, wide band is left out: pesq needs a package" in capsys.readouterr().out
    measuring._opened.cache_clear()


def test_a_fault_in_one_excerpt_costs_that_one(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = work.measure
    calls: Iterator[int] = iter(range(100))

    def faulty(*given: Any, **more: Any) -> Any:
        if next(calls) == 0:
            raise ZeroDivisionError("no")
        return plain(*given, **more)

    monkeypatch.setattr(work, "measure", faulty)
    given = [*command(corpus, tmp_path), "--against", ""]
    assert main(given) == 3
    assert "1 excerpt failed, and are tried again" in capsys.readouterr().err
    assert main(given) == 0
    assert len(pq.read_table(tmp_path / "results.parquet")) == 6 * 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--bandwidths", "six"), "--bandwidths six"),
        (("--bandwidths", ""), "--bandwidths: give kbps"),
        (("--excerpts", "0"), "--excerpts 0"),
        (("--seconds", "0.5"), "--seconds 0.5"),
        (("--metrics", "beauty"), "--metrics beauty: choose from"),
        (("--domains", "noise"), "--domains noise: there are music, speech"),
        (("--against", "vorbis"), "choose of opus"),
        (("--report", "s3://bucket/eval"), "a folder of this machine"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    corpus: Path,
    tmp_path: Path,
    more: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*command(corpus, tmp_path / "eval"), *more]) == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said


def test_a_damaged_evaluation_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no evaluation\.json"):
        read_evaluation(tmp_path)
    for text in ("{", "[]", '{"format": 9}', '{"format": 1, "seed": 0}'):
        (tmp_path / "evaluation.json").write_text(text)
        with pytest.raises(UsageError, match=r"evaluation\.json"):
            read_evaluation(tmp_path)


def test_a_reference_that_has_gone_or_is_damaged_is_named(corpus: Path, tmp_path: Path) -> None:
    options = EvaluateOptions(
        codec=("mulaw",),
        against=(),
        bandwidths=("6",),
        excerpts=1,
        report=str(tmp_path),
        quiet=True,
    )
    found = evaluate(str(corpus), options=options, metrics=("si-snr",)).evaluation
    reference = tmp_path / "audio" / "reference" / f"{found.excerpts[0].name}.flac"
    content = bytearray(reference.read_bytes())
    content[len(content) // 2] ^= 4
    reference.write_bytes(content)
    with pytest.raises(OutputError, match=f"{reference.stem} is damaged; give another folder"):
        evaluate(str(corpus), options=options, metrics=("si-snr",))
    reference.unlink()
    with pytest.raises(OutputError, match="has gone"):
        evaluate(str(corpus), options=options)


def test_the_page_has_a_line_for_each_system(done: Path) -> None:
    page = (done / "index.html").read_text()
    assert page.count("<figure>") == 3 + 1  # domains and all of them, STOI of speech only
    assert page.count("<polyline") == 2 * page.count("<figure>")
    assert "http://" not in page and "https://" not in page
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    for _, name, _ in data["excerpts"]:
        for folder in data["folders"]:
            assert (done / data["audio"] / folder / f"{name}.flac").is_file()


def test_a_sound_of_another_rate_comes_back_as_it_was() -> None:
    system = CodecSystem("mulaw", "mulaw", "cpu")
    low = Waveform(sound(24_000, 1, 24_000).samples, 24_000)
    passed = system.through(low, 24.0)
    assert passed.samples.shape == low.samples.shape


def test_the_page_in_a_browser(done: Path, chromium: Any) -> None:
    """Opened from a file, on a desk and on a phone: it fits, and every system can be played."""
    try:
        for width in (1300, 390):
            chromium.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
            )
            chromium.get((done / "index.html").as_uri())
            assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
            players = chromium.execute_script(
                "return [...document.querySelectorAll('audio')].map((one) => one.src)"
            )
            assert len(players) == 1 + 4 and all("/audio/" in one for one in players)
        seconds = chromium.execute_async_script(
            "const done = arguments[0], one = document.querySelector('audio');"
            "one.addEventListener('loadedmetadata', () => done(one.duration));"
            "one.addEventListener('error', () => done(-1)); one.preload = 'auto'; one.load();"
        )
        first = read_evaluation(done).excerpts[0]
        assert seconds == pytest.approx(first.seconds, abs=0.05)
        assert not [one for one in chromium.get_log("browser") if one["level"] == "SEVERE"]
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_codec_without_those_bandwidths_is_taken_as_it_is(corpus: Path, tmp_path: Path) -> None:
    done = evaluate(
        str(corpus / "music"),
        codec=("mulaw",),
        against=(),
        bandwidths=("5",),
        excerpts=1,
        metrics=("si-snr",),
        report=str(tmp_path / "eval"),
    )
    assert [(point.name, point.kbps) for point in done.evaluation.systems] == [("mulaw-6", 6.0)]
    assert done.evaluation.excerpts[0].domain == "all"
