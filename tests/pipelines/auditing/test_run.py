"""Whole audits: what is written, resuming, limits and exit codes, segments of files, the notebook, Ray."""

from __future__ import annotations

import json
import shutil
import struct
import tracemalloc
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from rewriting import rewrite
from sounds import sound

import pipelines
from pipelines import AuditOptions, audit
from pipelines.auditing.clips import Stretch, decode_stretch, nested_levels
from pipelines.auditing.images import difference_png, mel_image, spectrogram_png
from pipelines.auditing.options import missed_limits
from pipelines.auditing.recording import Auditor
from pipelines.auditing.results import Figure, RecordingAudit
from pipelines.auditing.site import script
from pipelines.cli import main
from pipelines.config import RunOptions, TokenizeConfig
from pipelines.decode import decode_recording, find_row
from pipelines.run import tokenize_corpus
from tokenizer import UsageError, load_codec, read_audio
from tokenizer.codecs.seeded import write_seeded

QUIET = AuditOptions(all=True, quiet=True)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings in several shards, two of them segments of one file."""
    root = tmp_path_factory.mktemp("audits")
    lines = []
    for number, rate in enumerate([48_000, 44_100, 16_000, 48_000]):
        path = root / f"{number}.wav"
        soundfile.write(path, sound(rate * 3 + 77, 1 + number % 2, rate, seed=number).samples.T, rate, "FLOAT")
        lines.append({"path": str(path), "id": f"whole-{number}"})
    lines += [{"path": str(root / "1.wav"), "id": f"part-{at}", "start": at, "end": at + 1.1} for at in (0.25, 1.5)]
    (root / "corpus.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    config = TokenizeConfig(str(root / "corpus.jsonl"), codec="mulaw", bandwidth=12.0, shard_hours=0.0015)
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
    assert [row["id"] for row in rows] == [r["id"] for r in report["recordings"]] == [r.id for r in done.recordings]
    for row, recording in zip(rows, done.recordings, strict=True):
        assert row["si_snr"] == recording.figures["si-snr"].value and row["equal_codes"] == [1.0] * 8
        assert len(row["mel_series"]) == -(-round(recording.seconds * 48_000) // 47_520)
    mean = np.mean([row["mel"] for row in rows])
    assert report["figures"]["mel"]["mean"] == pytest.approx(mean) and report["figures"]["mel"]["recordings"] == 6
    assert not (out / "audit" / "parts").exists() or not list((out / "audit" / "parts").iterdir())


def test_segments_of_a_file_are_measured_against_their_own_part(out: Path) -> None:
    """The same bytes decode to other figures if start and end are not those of tokenization."""
    done = audit(str(out), options=replace(QUIET, ids=("part-1.5",), all=False, reencode=True, page=False))
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
    source = read_audio(pristine / "1.wav", 48_000, 2, start=start, end=end).samples.astype(np.float64).T
    ratios = []
    for channel in range(2):
        s, d = source[:, channel] - source[:, channel].mean(), decoded[:, channel] - decoded[:, channel].mean()
        target = (d @ s) / (s @ s) * s
        ratios.append(10 * np.log10((target @ target) / ((d - target) @ (d - target))))
    assert done.recordings[0].figures["si-snr"].value == pytest.approx(np.mean(ratios), abs=0.01)


def test_an_interrupted_audit_goes_on_where_it_stopped(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_was_begun_with_other_options_is_not_taken_over(out: Path) -> None:
    part = out / "audit" / "parts"
    audit(str(out), options=replace(QUIET, page=False))
    assert not list(part.iterdir())
    with pytest.raises(UsageError, match="needs --metrics visqol"):
        audit(str(out), options=replace(QUIET, limits={"visqol": 3.0}))
    assert replace(QUIET, reencode=True).fingerprint({}) != QUIET.fingerprint({}) == replace(QUIET, quiet=False).fingerprint({})


def test_exit_codes_and_limits(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["audit", str(out), "--workers", "0", "--no-page", "--quiet", "--sample", "3"]
    assert main([*base, "--min-si-snr=-100", "--max-mel", "1000"]) == 0
    assert main([*base, "--min-si-snr", "99"]) == 1
    assert "si-snr" in capsys.readouterr().out
    assert main([*base, "--ids", "nobody"]) == 2
    assert main([*base, "--metrics", "loudness"]) == 2
    assert main(["audit", str(out / "data"), "--workers", "0"]) == 2
    assert main([*base, "--sample", "0"]) == 2


def test_a_fault_is_exit_code_1_without_any_limit(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_limits_by_the_mean_and_not_applicable_is_missed() -> None:
    def one(id: str, value: float | None) -> RecordingAudit:
        return RecordingAudit(
            id, "s", "sample", "u", 1.0, 1.0, 48_000, 2, figures={"visqol": Figure(value), "level": Figure(value)}
        )

    asked = replace(QUIET, metrics=("visqol", "level"), limits={"visqol": 3.5})
    assert missed_limits(asked, [one("a", 3.0), one("b", 4.2)]) == []
    missed = missed_limits(asked, [one("a", 3.0), one("b", 3.2), one("c", None)])
    assert missed[0].mean == pytest.approx(3.1) and missed[0].worst == "a"
    assert missed_limits(asked, [one("a", None)])[0].mean is None
    assert missed_limits(replace(asked, limits={"level": 2.0}), [one("a", -3.0), one("b", 1.5)])[0].worst == "a"


def test_a_codec_without_windows_and_scales_and_the_other_format(pristine: Path, tmp_path: Path) -> None:
    where = str(write_seeded(tmp_path / "codec", model="24khz", size="reduced"))
    config = TokenizeConfig(str(pristine / "corpus.jsonl"), codec=where, bandwidth=3.0, format="webdataset")
    tokenize_corpus(config, str(tmp_path / "out"), RunOptions(workers=0, quiet=True, device="cpu"))
    done = audit(str(tmp_path / "out"), options=replace(QUIET, reencode=True, device="cpu"))
    assert done.passed and all(recording.equal_codes == (1.0,) * 4 for recording in done.recordings)
    first = done.recordings[0]
    assert first.segment_seconds == 1.0 and len(first.series["si-snr"]) == 4
    assert [version["name"] for version in first.page["versions"]] == ["source", "1.5 kbps", "3 kbps"]
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


@pytest.mark.parametrize("name", ["mulaw", "encodec"])
def test_a_stretch_is_what_decoding_all_gives_there(name: str, tmp_path: Path) -> None:
    where = name if name == "mulaw" else str(write_seeded(tmp_path / "codec", size="reduced"))
    codec = load_codec(where, bandwidth=6.0, device="cpu")
    codes = codec.encode(sound(5 * 47_520 + 200))
    whole = codec.decode(codes).samples
    for start, stop in ((0, 47_520), (2 * 47_520, 4 * 47_520), (4 * 47_520, 5 * 47_520 + 200), (0, 5 * 47_520 + 200)):
        part = decode_stretch(codec, codes, Stretch(start, stop, start // 47_520, None))
        # Other chunks in a batch move the last bits of its products.
        np.testing.assert_allclose(part, whole[:, start:stop], rtol=0, atol=1e-5 * float(np.abs(whole).max()))


def test_nested_levels() -> None:
    assert [nested_levels(n) for n in (2, 4, 8, 16, 32, 3, 1)] == [
        [2],
        [2, 4],
        [2, 4, 8],
        [2, 4, 8, 16],
        [2, 4, 8, 16, 32],
        [3],
        [1],
    ]


def test_pictures_are_png_files() -> None:
    image = mel_image(sound(48_000).samples, 48_000)
    for content in (spectrogram_png(image), difference_png(image, image)):
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", content[16:24])
        assert (height, width) == image.shape
        at = content.index(b"IDAT")
        size = struct.unpack(">I", content[at - 4 : at])[0]
        raw = zlib.decompress(content[at + 4 : at + 4 + size])
        assert len(raw) == height * (width + 1)
    assert set(raw) == {0, 128}  # no difference: the palette's middle, and each row's filter


def test_data_cannot_end_its_script() -> None:
    assert b"</script" not in script("AUDIT", {"id": "</script><b>"})


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    peaks = []
    for seconds in (30, 120):
        soundfile.write(tmp_path / "long.wav", np.tile(sound(480_000).samples.T, (seconds // 10, 1)), 48_000)
        place = str(tmp_path / f"out{seconds}")
        tokenize_corpus(
            TokenizeConfig(str(tmp_path / "long.wav").rsplit("/", 1)[0], codec="mulaw"), place, RunOptions(workers=0, quiet=True)
        )
        tracemalloc.start()
        audit(place, options=replace(QUIET, page=False))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        shutil.rmtree(place)
    # Blocks wait for their turn, up to 12 MB of them, as many as there is time for; either stream would be 35 MB.
    assert peaks[1] - peaks[0] < 0.5 * 90 * 48_000 * 2 * 4


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
    only = audit(str(out), options=replace(QUIET, all=False, ids=("whole-2",), page=False)).recordings[0]
    assert only.seconds == pytest.approx(row.codes.seconds) and only.source_sample_rate == 16_000
