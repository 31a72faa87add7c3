"""Whole audits: what is written, resuming, limits and exit codes, segments of files, the notebook,
Ray."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from rewriting import rewrite
from sounds import sound

import pipelines
from pipelines import AuditOptions, AuditReport, audit
from pipelines.auditing.choose import sampling, survey
from pipelines.auditing.choose.sampling import Chosen
from pipelines.auditing.meters import Meters
from pipelines.auditing.page.site import media
from pipelines.auditing.recording import Auditor
from pipelines.auditing.report import render
from pipelines.auditing.results import Finding, RecordingAudit
from pipelines.auditing.saved_results import Parts
from pipelines.cli.main import main
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.export_audio import decode_recording, find_row
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row
from pipelines.output.inspect import inspect
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.names import hash_file
from pipelines.output.storage import open_storage
from pipelines.run import tokenize_corpus
from tokenizer import UsageError, read_audio
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.codecs.mulaw import MuLawCodec
from tokenizer.errors import FailureKind, RecordingError
from tokenizer.sealing import seal, unseal
from tokenizer.types import Codes

QUIET = AuditOptions(all=True, quiet=True)
pytestmark = pytest.mark.usefixtures("kept_decoders")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings in several shards, two of them segments of one file."""
    root = tmp_path_factory.mktemp("audits")
    lines = []
    for number, rate in enumerate([48_000, 44_100, 16_000, 48_000]):
        path = root / f"{number}.wav"
        soundfile.write(
            path, sound(rate * 3 + 77, 1 + number % 2, rate, seed=number).samples.T, rate, "FLOAT"
        )
        lines.append({"path": str(path), "id": f"whole-{number}"})
    lines += [
        {"path": str(root / "1.wav"), "id": f"part-{at}", "start": at, "end": at + 1.1}
        for at in (0.25, 1.5)
    ]
    (root / "corpus.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    config = TokenizeConfig(
        str(root / "corpus.jsonl"), codec="mulaw", bandwidth=12.0, shard_hours=0.0015
    )
    tokenize_corpus(config, str(root / "out"), RunOptions(workers=0, quiet=True))
    return root


@pytest.fixture
def out(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine / "out", tmp_path / "out"))


def test_report_table_and_page_are_written_and_agree(out: Path) -> None:
    done = audit(str(out), options=replace(QUIET, reencode=True))
    report = json.loads((out / "audit" / "report.json").read_text())
    assert done.passed and report["passed"] and report == json.loads(json.dumps(done.report))
    rows = pq.read_table(out / "audit" / "recordings.parquet").to_pylist()
    assert (
        [row["id"] for row in rows]
        == [r["id"] for r in report["recordings"]]
        == [r.id for r in done.recordings]
    )
    for row, recording in zip(rows, done.recordings, strict=True):
        assert (
            row["si_snr"] == recording.figures["si-snr"].value and row["equal_codes"] == [1.0] * 8
        )
        assert len(row["mel_series"]) == -(-round(recording.seconds * 48_000) // 47_520)
    mean = np.mean([row["mel"] for row in rows])
    assert (
        report["figures"]["mel"]["mean"] == pytest.approx(mean)
        and report["figures"]["mel"]["recordings"] == 6
    )
    assert not (out / "audit" / "parts").exists() or not list((out / "audit" / "parts").iterdir())


def test_segments_of_a_file_are_measured_against_their_own_part(out: Path) -> None:
    """The same bytes decode to other figures if start and end are not those of tokenization."""
    done = audit(
        str(out), options=replace(QUIET, ids=("part-1.5",), all=False, reencode=True, page=False)
    )
    only = done.recordings[0]
    assert only.equal_codes == (1.0,) * 8 and only.seconds == pytest.approx(1.1, abs=1e-3)
    assert not only.findings


@pytest.mark.parametrize(("id", "start", "end"), [("whole-1", None, None), ("part-1.5", 1.5, 2.6)])
def test_the_figures_are_those_of_decode_against_the_source(
    out: Path, pristine: Path, tmp_path: Path, id: str, start: float | None, end: float | None
) -> None:
    done = audit(str(out), options=replace(QUIET, ids=(id,), all=False, page=False))
    decode_recording(str(out), id, str(tmp_path / "x.wav"))
    decoded, _ = soundfile.read(tmp_path / "x.wav", dtype="float64")
    source = (
        read_audio(pristine / "1.wav", 48_000, 2, start=start, end=end).samples.astype(np.float64).T
    )
    ratios = []
    for channel in range(2):
        s, d = (
            source[:, channel] - source[:, channel].mean(),
            decoded[:, channel] - decoded[:, channel].mean(),
        )
        target = (d @ s) / (s @ s) * s
        ratios.append(10 * np.log10((target @ target) / ((d - target) @ (d - target))))
    assert done.recordings[0].figures["si-snr"].value == pytest.approx(np.mean(ratios), abs=0.01)


def test_an_interrupted_audit_goes_on_where_it_stopped(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: list[str] = []
    original = Auditor.run

    def stops_after_two(self: Auditor, chosen: object) -> RecordingAudit:
        if len(did) == 2:
            raise KeyboardInterrupt
        did.append(chosen.entry.recording.id)  # type: ignore[attr-defined]
        return original(self, chosen)  # type: ignore[arg-type]

    options = replace(QUIET, page=False)
    monkeypatch.setattr(Auditor, "run", stops_after_two)
    with pytest.raises(KeyboardInterrupt):
        audit(str(out), options=options)
    assert not (out / "audit" / "report.json").exists()
    did.append("not to be counted")
    resumed = audit(str(out), options=options)
    assert did[0] not in did[3:] and len(did) == 3 + 4
    monkeypatch.undo()
    undisturbed = audit(str(out), options=options)
    assert resumed.recordings == undisturbed.recordings


def interrupted(
    out: Path, options: AuditOptions, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit that is broken off when `after` recordings are done."""
    write, written = Parts.write, []

    def stops(self: Parts, one: Chosen, result: RecordingAudit) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(one)
        write(self, one, result)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "write", stops)
        with pytest.raises(KeyboardInterrupt):
            audit(str(out), options=options)


def audited_now(
    out: Path, options: AuditOptions, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], AuditReport]:
    """What an audit does itself, and its report."""
    did: list[str] = []
    write = Parts.write
    with monkeypatch.context() as patch:
        patch.setattr(
            Parts,
            "write",
            lambda self, one, result: (did.append(result.id), write(self, one, result))[1],
        )
        return did, audit(str(out), options=options)


def test_an_audit_that_was_interrupted_on_ray_goes_on_where_it_stopped(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(QUIET, page=False, workers=1, device="cpu")
    interrupted(out, options, 4, monkeypatch)
    did, resumed = audited_now(out, options, monkeypatch)
    assert len(did) == 2
    assert resumed.recordings == audit(str(out), options=replace(options, workers=0)).recordings


def test_a_state_from_before_an_edit_is_healed_and_says_what_changed(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An audit that was broken off, and a report: the first is gone on with where shards are the
    same, the second is known to be of before."""
    options = replace(QUIET, quiet=False, all=True)
    interrupted(out, options, 4, monkeypatch)
    gone = find_first(out)
    pipelines.drop_codes(str(out), [gone], reason="withdrawn")
    capsys.readouterr()
    did, report = audited_now(out, options, monkeypatch)
    said = capsys.readouterr().err
    assert "was edited since (1 recording taken out: withdrawn): what this audit" in said
    assert gone not in {one.id for one in report.recordings} and 0 < len(did) < 6
    assert inspect(str(out)).audit["since"] == ""  # type: ignore[index]
    other = report.recordings[0].id
    pipelines.drop_codes(str(out), [other], quiet=False)
    assert "may play what was taken out" in capsys.readouterr().err
    assert "edited since (1 recording taken out)" in inspect(str(out)).audit["since"]  # type: ignore[index]
    page = {path for path in (out / "audit").rglob("*") if path.is_file()}
    again = audit(str(out), options=options)
    assert "the last audit is of before, and is replaced" in capsys.readouterr().err
    assert other not in (out / "audit" / "report.json").read_text()
    assert len(again.recordings) == len(report.recordings) - 1
    assert len({path for path in (out / "audit").rglob("*") if path.is_file()}) < len(page)


def find_first(out: Path) -> str:
    (first, *_) = sorted((out / "data").iterdir())
    return str(pq.read_table(first, columns=["id"]).to_pylist()[0]["id"])


@pytest.mark.parametrize(
    "other", [{"reencode": True}, {"metrics": ("mel",)}, {"clip_seconds": 2.0}]
)
def test_what_was_begun_with_other_options_is_not_taken_over(
    out: Path, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(QUIET, page=False)
    interrupted(out, options, 3, monkeypatch)
    assert len(audited_now(out, replace(options, **other), monkeypatch)[0]) == 6
    interrupted(out, options, 3, monkeypatch)
    assert len(audited_now(out, replace(options, quiet=False), monkeypatch)[0]) == 3


def test_what_another_version_began_is_not_taken_over(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(QUIET, page=False)
    interrupted(out, options, 3, monkeypatch)
    monkeypatch.setattr("pipelines.auditing.run.version", lambda name: "0.0.1")
    assert len(audited_now(out, options, monkeypatch)[0]) == 6


def test_what_only_the_whole_corpus_shows_is_not_taken_over(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(QUIET, page=False)
    interrupted(out, options, 5, monkeypatch)
    monkeypatch.setattr(
        "pipelines.auditing.judge.registry.duplicates", lambda entries: {"whole-0": "whole-3"}
    )
    did, resumed = audited_now(out, options, monkeypatch)
    assert "whole-0" not in did
    assert [
        r.id for r in resumed.recordings if "duplicate" in [finding.name for finding in r.findings]
    ] == ["whole-0"]


def test_an_audit_that_ends_lets_be_what_another_one_is_writing(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    parts = Parts(storage, "same", {}, [0, 0])
    storage.write("audit/parts/done.json", b"{}")
    dead = tmp_path / "audit" / "parts" / f".killed.json.{'0' * 32}.tmp"
    dead.write_bytes(b"")
    os.utime(dead, (0, 0))
    with storage.stage("audit/parts/other.json") as path:
        Path(path).write_bytes(b"{}")
        parts.clear()
        assert [Path(path)] == list(dead.parent.iterdir())
    assert storage.list("audit/parts") == ["other.json"]


def test_what_the_page_needs_and_is_gone_is_made_again(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(out, QUIET, 3, monkeypatch)
    next((out / "audit" / "media").rglob("*.png")).unlink()
    did, resumed = audited_now(out, QUIET, monkeypatch)
    assert len(did) == 4
    assert all(
        (out / "audit" / name).exists()
        for recording in resumed.recordings
        for name in media(recording.page)
    )


def media_files(out: Path) -> set[Path]:
    return {path for path in (out / "audit" / "media").rglob("*") if path.is_file()}


def test_no_page_leaves_no_page_of_another_verdict(out: Path) -> None:
    audit(str(out), options=replace(QUIET, all=False, ids=("whole-0",)))
    assert media_files(out)
    audit(str(out), options=replace(QUIET, page=False))
    assert (
        not media_files(out)
        and not list((out / "audit").glob("*.html"))
        and not (out / "audit" / "data.js").exists()
    )


def test_media_of_an_audit_that_nobody_went_on_with_are_forgotten(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(out, QUIET, 3, monkeypatch)
    assert len(media_files(out)) > 3 * 7
    # The fourth was written and not noted down: it is audited, and so written, again by whoever
    # goes on.
    done = audit(str(out), options=replace(QUIET, all=False, ids=("whole-0", "whole-3")))
    noted = {
        out / "audit" / name for recording in done.recordings for name in media(recording.page)
    }
    assert noted <= media_files(out) and len(media_files(out)) <= len(noted) + 7


def test_asking_for_ids_reads_their_shards_alone(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    original = survey.hash_stored
    monkeypatch.setattr(
        survey,
        "hash_stored",
        lambda storage, name: (hashed.append(name), original(storage, name))[1],
    )
    done = audit(str(out), options=replace(QUIET, all=False, ids=("whole-2",), page=False))
    assert hashed == [f"data/{done.recordings[0].shard}.parquet"]
    corpus = done.report["corpus"]
    assert corpus["recordings"] == 6 and corpus["shards"] > corpus["surveyed"] == 1


def test_a_measure_or_a_limit_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="needs --metrics visqol"):
        replace(QUIET, limits={"visqol": 3.0})
    with pytest.raises(UsageError, match="give one or more"):
        replace(QUIET, metrics=())


@pytest.mark.parametrize("scale", [np.nan, np.inf, 0.0, 3e38])
@pytest.mark.parametrize("reencode", [True, False])
def test_a_scale_that_is_none_is_an_error_with_a_page_and_a_valid_report(
    out: Path, scale: float, reencode: bool
) -> None:
    def damage(codes: Codes) -> Codes:
        scales = codes.scales.copy()
        scales[1] = scale
        return replace(codes, scales=scales)

    rewrite(out, "whole-0", damage)
    options = replace(QUIET, reencode=reencode, limits={"si-snr": 99.0})
    done = audit(str(out), options=options)
    assert not done.passed and done.report["limits_missed"]
    broken = next(recording for recording in done.recordings if recording.id == "whole-0")
    found = {finding.name: finding for finding in broken.findings}
    assert found["scale outlier"].chunks == (1,) and broken.page is not None
    assert found["scale outlier"].severity == ("warning" if scale == 3e38 else "error")
    assert ("wrong scale" in found) == reencode or scale == 0.0
    if scale != 0.0:
        assert broken.figures["mel"].value is None and "not finite" in (
            broken.figures["mel"].reason or ""
        )

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    report = json.loads((out / "audit" / "report.json").read_text(), parse_constant=refuse)
    assert report["figures"]["mel"]["recordings"] == (6 if scale == 0.0 else 5)


def test_an_audit_that_compared_nothing_has_not_passed(
    pristine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "corpus").mkdir()
    for number in range(2):
        shutil.copy(pristine / f"{number}.wav", tmp_path / "corpus")
    place = str(tmp_path / "out")
    tokenize_corpus(
        TokenizeConfig(str(tmp_path / "corpus"), codec="mulaw"),
        place,
        RunOptions(workers=0, quiet=True),
    )
    (tmp_path / "corpus" / "0.wav").unlink()
    some = audit(place, options=replace(QUIET, page=False))
    assert some.passed and (
        some.report["audited"]["recordings"],
        some.report["audited"]["compared"],
    ) == (2, 1)
    shutil.move(tmp_path / "corpus" / "1.wav", tmp_path)
    assert main(["audit", place, "--workers", "0", "--no-page", "--quiet"]) == 1
    said = capsys.readouterr().out
    assert "0 of 2 recordings compared with their sources (2 could not be)" in said
    assert "nothing compared: none of 2 recordings" in said


@pytest.mark.parametrize("flags", [3, "clipped", ["clipped", "loud", 7], {"a": 1}])
def test_a_field_of_the_source_that_is_called_flags_is_the_sources_own(
    pristine: Path, tmp_path: Path, flags: object
) -> None:
    line = {"path": str(pristine / "0.wav"), "id": "one", "flags": flags}
    (tmp_path / "corpus.jsonl").write_text(json.dumps(line))
    tokenize_corpus(
        TokenizeConfig(str(tmp_path / "corpus.jsonl"), codec="mulaw"),
        str(tmp_path / "out"),
        RunOptions(workers=0, quiet=True),
    )
    manifest = Manifest(open_storage(str(tmp_path / "out")))
    found = survey.take_survey(
        manifest, manifest.read_plans(), shard_format("parquet"), manifest.require_config()
    )
    assert found.entries[0].flags == (("clipped",) if isinstance(flags, list) else ())


def test_a_file_of_another_codec_is_noticed_though_its_commit_record_says_nothing(
    out: Path,
) -> None:
    form, path = shard_format("parquet"), next((out / "data").iterdir())
    with path.open("rb") as file:
        footer = form.footer(file, path.name)
        rows = list(form.read(file, path.name))
    form.write(str(path), rows, footer | {"codec": footer["codec"] | {"weights_sha256": "others"}})
    record = out / "manifest" / "commits" / f"{path.stem}.json"
    record.write_bytes(seal(unseal(record.read_bytes()) | {"sha256": hash_file(str(path))}))
    findings = audit(str(out), options=replace(QUIET, page=False)).report["corpus"]["findings"]
    assert [finding["name"] for finding in findings] == ["other codec"]


def test_scales_are_counted_exactly_and_silent_chunks_apart(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    noise = (
        np.random.default_rng(0).standard_normal((3 * 47_520, 1))
        * np.repeat([0.1, 0.0, 0.01], 47_520)[:, None]
    )
    soundfile.write(tmp_path / "corpus" / "one.wav", noise, 48_000, "FLOAT")
    tokenize_corpus(
        TokenizeConfig(str(tmp_path / "corpus"), codec="mulaw"),
        str(tmp_path / "out"),
        RunOptions(workers=0, quiet=True),
    )
    scales = audit(str(tmp_path / "out"), options=replace(QUIET, page=False)).report["corpus"][
        "scales"
    ]
    rows = np.concatenate(
        [row["scales"] for row in pq.read_table(tmp_path / "out" / "data").to_pylist()]
    )
    levels = 20 * np.log10(rows[rows > 1e-6])
    assert scales["silent"] == int((rows <= 1e-6).sum()) and sum(scales["counts"]) == len(levels)
    assert np.histogram(levels, scales["edges"])[0].tolist() == scales["counts"]
    assert set(np.diff(scales["edges"])) == {3.0}


def test_one_recording_that_the_audit_fails_on_does_not_cost_the_others_theirs(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Meters.findings

    def fails(self: Meters, row: Row, *arguments: Any) -> Iterator[Finding]:
        if row.id == "whole-1":
            raise ZeroDivisionError("by zero")
        return original(self, row, *arguments)

    monkeypatch.setattr(Meters, "findings", fails)
    done = audit(str(out), options=QUIET)
    by_id = {recording.id: recording for recording in done.recordings}
    assert not done.passed and [finding.name for finding in by_id["whole-1"].findings] == [
        "not audited"
    ]
    assert (
        "ZeroDivisionError" in (by_id["whole-1"].error or "")
        and done.report["audited"]["compared"] == 5
    )


def test_a_source_that_the_codec_refuses_is_not_called_unreadable(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: MuLawCodec, chunks: object) -> object:
        raise RecordingError(FailureKind.ENCODER, "the codec's output is not finite", "encode")

    monkeypatch.setattr(MuLawCodec, "encode_chunks", refuse)
    only = audit(str(out), options=replace(QUIET, reencode=True, page=False)).recordings[0]
    assert [finding.name for finding in only.findings] == ["not encoded again"] and only.failed
    assert only.equal_codes is None and only.figures["si-snr"].value is not None


class Deadly(dict):  # type: ignore[type-arg]
    """Kills the process that it is sent to."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


def test_a_process_that_dies_on_a_recording_is_not_a_damaged_shard(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = sampling.choose

    def with_a_deadly_one(*arguments: Any, **named: Any) -> list[Chosen]:
        first, *others = original(*arguments, **named)
        deadly = replace(first.entry.recording, meta=Deadly())
        return [replace(first, entry=replace(first.entry, recording=deadly)), *others]

    monkeypatch.setattr("pipelines.auditing.run.choose", with_a_deadly_one)
    done = audit(str(out), options=replace(QUIET, page=False, workers=1, device="cpu"))
    assert [finding.name for finding in done.recordings[0].findings] == ["not audited"]
    assert "died" in (done.recordings[0].error or "") and done.report["audited"]["compared"] == 5


def test_visqol_and_stoi_through_the_command_line(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("visqol", reason="visqol-python is not installed")
    command = [
        "audit",
        str(out),
        "--ids",
        "whole-0",
        "part-1.5",
        "--workers",
        "0",
        "--quiet",
        "--metrics",
        "visqol,stoi",
    ]
    assert main([*command, "--min-visqol", "1.0"]) == 0
    assert "stoi: of speech only" in capsys.readouterr().out
    report = json.loads((out / "audit" / "report.json").read_text())
    assert (
        1 <= report["figures"]["visqol"]["mean"] <= 4.74
        and -1 <= report["figures"]["stoi"]["mean"] <= 1
    )
    for recording in report["recordings"]:
        assert len(set(recording["series"]["visqol"])) == 1  # one window
        assert recording["page"]["worst_segment"] is not None
    assert '"visqol"' in (out / "audit" / "data.js").read_text()
    assert main([*command, "--no-page", "--min-visqol", "4.9"]) == 1


def test_names_are_printed_as_they_are(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = dict(audit(str(out), options=replace(QUIET, page=False)).report)
    report["figures"] = {"mel": report["figures"]["mel"] | {"worst_id": "Song [live].mp3"}}
    render(report)
    assert "Song [live].mp3" in capsys.readouterr().out


def test_names_command_no_terminal(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = dict(audit(out, options=replace(QUIET, page=False)).report)
    red = "\x1b[31m.mp3"
    report["figures"] = {"mel": report["figures"]["mel"] | {"worst_id": red}}
    report["recordings"] = [{"id": red, "findings": [{"name": "silence", "detail": "x"}]}]
    report["findings"] = [
        {"name": "silence", "severity": "warning", "recordings": 1, "common": False}
    ]
    render(report)
    said = capsys.readouterr().out
    assert "\x1b" not in said and said.count(r"\x1b[31m.mp3") == 2


def test_exit_codes_and_limits(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["audit", str(out), "--workers", "0", "--no-page", "--quiet", "--sample", "3"]
    assert main([*base, "--min-si-snr=-100", "--max-mel", "1000"]) == 0
    assert main([*base, "--min-si-snr", "99"]) == 1
    assert "si-snr" in capsys.readouterr().out
    assert main([*base, "--ids", "nobody"]) == 2
    assert main([*base, "--metrics", "loudness"]) == 2
    assert main(["audit", str(out / "data"), "--workers", "0"]) == 2
    assert main([*base, "--sample", "0"]) == 2


def test_a_fault_is_exit_code_1_without_any_limit(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(out, "whole-0", lambda codes: replace(codes, scales=codes.scales * np.float32(2)))
    arguments = ["audit", str(out), "--workers", "0", "--no-page", "--quiet", "--all"]
    assert main(arguments) == 0  # a suspicion is a warning
    assert "sounds like it" in capsys.readouterr().out
    assert main([*arguments, "--reencode"]) == 1
    assert "wrong scale" in capsys.readouterr().out


def test_inspect_shows_the_last_audit(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["audit"] is None
    audit(str(out), options=replace(QUIET, page=False))
    assert main(["inspect", str(out)]) == 0
    assert "audit        passed on " in capsys.readouterr().out
    assert main(["inspect", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["audit"]["audited"]["recordings"] == 6


def test_a_codec_without_windows_and_scales_and_the_other_format(
    pristine: Path, tmp_path: Path
) -> None:
    where = str(write_seeded(tmp_path / "codec", model="24khz", size="reduced"))
    config = TokenizeConfig(
        str(pristine / "corpus.jsonl"), codec=where, bandwidth=3.0, format="webdataset"
    )
    tokenize_corpus(config, str(tmp_path / "out"), RunOptions(workers=0, quiet=True, device="cpu"))
    done = audit(str(tmp_path / "out"), options=replace(QUIET, reencode=True, device="cpu"))
    assert done.passed and all(recording.equal_codes == (1.0,) * 4 for recording in done.recordings)
    first = done.recordings[0]
    assert first.segment_seconds == 1.0 and len(first.series["si-snr"]) == 4
    assert [version["name"] for version in first.page["versions"]] == [
        "source",
        "1.5 kbps",
        "3 kbps",
    ]
    assert done.report["corpus"]["scales"] == {"edges": [], "counts": [], "silent": 0}


def test_the_notebook_shows_players_and_pictures(out: Path) -> None:
    done = audit(str(out), options=replace(QUIET, all=False, ids=("whole-0", "part-0.25")))
    html = done._repr_html_()

    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(html)
    assert tags.count("audio") == 2 * 4 and tags.count("img") == 2 * 3
    assert "whole-0" in html and "http" not in html


def test_the_next_audit_forgets_the_media_of_the_last(out: Path) -> None:
    audit(str(out), options=replace(QUIET, all=False, ids=("whole-0",)))
    first = {path for path in (out / "audit" / "media").rglob("*") if path.is_file()}
    audit(str(out), options=replace(QUIET, all=False, ids=("whole-1",)))
    second = {path for path in (out / "audit" / "media").rglob("*") if path.is_file()}
    assert len(first) == len(second) == 4 + 3 and not first & second


@pytest.mark.parametrize("page", [False, True])
def test_memory_does_not_grow_with_the_recording(tmp_path: Path, page: bool) -> None:
    peaks = []
    for seconds in (30, 240):
        # Its end is the worst, a hum that becomes stairs, so that what the page plays comes after
        # all the rest.
        samples = np.tile(sound(480_000).samples.T, (seconds // 10, 1))
        samples[-96_000:] = 0.1 * np.sin(np.arange(96_000) / 500)[:, None]
        soundfile.write(tmp_path / "long.wav", samples, 48_000)
        place = str(tmp_path / f"out{seconds}")
        tokenize_corpus(
            TokenizeConfig(str(tmp_path / "long.wav").rsplit("/", 1)[0], codec="mulaw"),
            place,
            RunOptions(workers=0, quiet=True),
        )
        tracemalloc.start()
        done = audit(place, options=replace(QUIET, page=page, clip_seconds=2.0))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        if page:
            assert (
                done.recordings[0].page is not None
                and done.recordings[0].page["worst_segment"] >= seconds - 3
            )
        shutil.rmtree(place)
    # Blocks wait for their turn, up to 12 MB of them, as many as there is time for; either stream
    # would be 81 MB.
    assert peaks[1] - peaks[0] < 0.5 * 210 * 48_000 * 2 * 4


def test_public_names_are_there_and_documented() -> None:
    assert dir(pipelines) == sorted(pipelines.__all__)
    for name in pipelines.__all__:
        assert getattr(pipelines, name).__doc__
    assert callable(pipelines.audit)
    with pytest.raises(AttributeError):
        pipelines.audits  # noqa: B018


def test_on_ray_the_result_is_the_same(out: Path) -> None:
    options = replace(QUIET, page=False, reencode=True)
    here = audit(str(out), options=options)
    there = audit(str(out), options=replace(options, workers=2, device="cpu"))
    assert here.recordings == there.recordings


def test_find_row_is_what_is_audited(out: Path) -> None:
    row = find_row(str(out), "whole-2")
    only = audit(
        str(out), options=replace(QUIET, all=False, ids=("whole-2",), page=False)
    ).recordings[0]
    assert only.seconds == pytest.approx(row.codes.seconds) and only.source_sample_rate == 16_000
