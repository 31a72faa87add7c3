"""`tokenize --audit`: recordings decoded and measured while their waveforms are in memory, and the
report made of that."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import rewrite
from sounds import sound

from pipelines import AuditOptions, audit
from pipelines.auditing.choose.share import limit, number
from pipelines.auditing.page.clips import choose_stretch
from pipelines.auditing.page.kept_stretch import KeptStretch
from pipelines.auditing.results import RecordingAudit
from pipelines.auditing.run import audit_share
from pipelines.auditing.while_tokenizing import WHY, PassingSettings, Watched
from pipelines.cli.main import main
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus
from pipelines.tokenizing.encoders import LocalEncoder
from tokenizer import load_codec
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.errors import FailureKind, RecordingError

QUIET = AuditOptions(quiet=True)
HERE = RunOptions(workers=0, quiet=True, device="cpu")
STRIDE = 47_520
LENGTHS = {
    "short": 700,
    "one": 48_000,
    "tail": 2 * STRIDE + 5,
    "even": 3 * STRIDE,
    "long": 4 * STRIDE + 30_000,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lengths around the chunks' edges, another rate, silence, a copy, and a file that is no
    audio."""
    folder = tmp_path_factory.mktemp("passing") / "corpus"
    folder.mkdir()
    for number_, (name, length) in enumerate(LENGTHS.items()):
        soundfile.write(
            folder / f"{name}.wav", sound(length, seed=number_).samples.T, 48_000, "FLOAT"
        )
    soundfile.write(folder / "mono16.wav", sound(40_000, 1, 16_000, seed=9).samples.T, 16_000)
    soundfile.write(folder / "silent.wav", np.zeros((60_000, 2)), 48_000)
    shutil.copy(folder / "even.wav", folder / "even again.wav")
    (folder / "broken.wav").write_bytes(b"no audio at all")
    return folder


def tokenized(
    corpus: Path, out: Path, share: float | None, codec: str = "mulaw", **values: object
) -> Path:
    config = TokenizeConfig(
        str(corpus), codec=codec, **{"bandwidth": 6.0, "shard_hours": 0.002, **values}
    )  # type: ignore[arg-type]
    tokenize_corpus(config, str(out), replace(HERE, audit=share))
    return out


def without_page(recording: RecordingAudit) -> dict[str, object]:
    return {
        name: value
        for name, value in recording.to_json().items()
        if name not in ("page", "figures", "series", "chosen")
    }


def assert_same(passed: RecordingAudit, afterwards: RecordingAudit) -> None:
    """All but the last bits: other chunks shared the batches that were decoded."""
    assert without_page(passed) == without_page(afterwards)
    for metric, figure in afterwards.figures.items():
        assert passed.figures[metric].reason == figure.reason
        assert passed.figures[metric].value == pytest.approx(figure.value, abs=2e-3)
        assert passed.series[metric] == pytest.approx(afterwards.series[metric], abs=2e-3)
    assert passed.page is not None and afterwards.page is not None
    assert {name: passed.page[name] for name in ("start", "seconds")} == {
        name: afterwards.page[name] for name in ("start", "seconds")
    }
    assert [version["name"] for version in passed.page["versions"]] == [
        v["name"] for v in afterwards.page["versions"]
    ]


def shard_of(recordings: Sequence[RecordingAudit], id: str) -> str:
    return next(recording.shard for recording in recordings if recording.id == id)


@pytest.mark.parametrize("model", ["mulaw", "48khz", "24khz"])
def test_it_finds_what_an_audit_afterwards_finds_without_the_sources(
    corpus: Path, tmp_path: Path, model: str
) -> None:
    codec = (
        "mulaw"
        if model == "mulaw"
        else str(write_seeded(tmp_path / "codec", model=model, size="reduced"))
    )
    moving = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    out = tokenized(moving, tmp_path / "out", 1.0, codec)
    afterwards = {
        r.id: r for r in audit(str(out), options=replace(QUIET, all=True, device="cpu")).recordings
    }
    clip, _ = soundfile.read(moving / "tail.wav", dtype="float32")
    for path in moving.glob("*.wav"):
        path.write_bytes(b"gone")
    done = audit_share(str(out), 1.0, replace(QUIET, device="cpu"))
    assert len(done.recordings) == len(LENGTHS) + 3 and all(
        r.chosen == WHY for r in done.recordings
    )
    for recording in done.recordings:
        assert_same(recording, afterwards[recording.id])
    names = {r.id: [finding.name for finding in r.findings] for r in done.recordings}
    assert (
        "silence" in names["silent.wav"]
        and "duplicate" in names["even.wav"] + names["even again.wav"]
    )
    if model != "24khz":  # the page plays the source, though there is none any more
        page = next(r.page for r in done.recordings if r.id == "tail.wav")
        assert page is not None
        played, _ = soundfile.read(out / "audit" / page["versions"][0]["file"], dtype="float32")
        np.testing.assert_allclose(played, np.clip(clip, -1, 1), atol=2 / 32768)


def test_rows_are_the_same_with_and_without(corpus: Path, tmp_path: Path) -> None:
    first, second = tokenized(corpus, tmp_path / "a", None), tokenized(corpus, tmp_path / "b", 0.5)
    files = sorted(path.name for path in (first / "data").iterdir())
    assert files == sorted(path.name for path in (second / "data").iterdir())
    assert all(
        (first / "data" / name).read_bytes() == (second / "data" / name).read_bytes()
        for name in files
    )
    assert not (first / "audit").exists() and list((second / "audit" / "passing").iterdir())


def test_what_was_committed_without_it_is_audited_afterwards(corpus: Path, tmp_path: Path) -> None:
    out = tokenized(corpus, tmp_path / "out", 1.0)
    parts = sorted((out / "audit" / "passing").iterdir())
    parts[0].unlink()
    parts[1].write_text("{")
    done = audit_share(str(out), 1.0, QUIET)
    why = {recording.chosen for recording in done.recordings}
    assert why == {WHY, "sample"} and len(done.recordings) == len(LENGTHS) + 3 and done.passed


def test_the_same_command_again_needs_no_source(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moving = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    command = [
        "tokenize",
        str(moving),
        str(tmp_path / "out"),
        "--codec",
        "mulaw",
        "--workers",
        "0",
        "--audit",
    ]
    assert main([*command, "2"]) == 2
    assert main([*command, "0.4"]) == 3  # one recording is no audio
    assert "passed" in capsys.readouterr().out
    report = tmp_path / "out" / "audit" / "report.json"
    first = json.loads(report.read_text())["recordings"]
    for path in moving.glob("*.wav"):
        path.write_bytes(b"gone")
    assert main([*command, "0.4"]) == 4  # which is said
    assert json.loads(report.read_text())["recordings"] == first and all(
        r["chosen"] == WHY for r in first
    )


def test_codes_that_are_not_those_that_were_decoded_are_audited_from_the_source(
    corpus: Path, tmp_path: Path
) -> None:
    out = tokenized(corpus, tmp_path / "out", 1.0, bandwidth=12.0)
    rewrite(out, "long.wav", lambda codes: replace(codes, scales=codes.scales * np.float32(2)))
    done = audit_share(str(out), 1.0, QUIET)
    assert {r.id for r in done.recordings if r.chosen == "sample"} == {"long.wav"}
    part = json.loads(
        (out / "audit" / "passing" / f"{shard_of(done.recordings, 'long.wav')}.json").read_text()
    )
    before = part["recordings"]["long.wav"]["result"]["figures"]["level"]["value"]
    now = next(r.figures["level"].value for r in done.recordings if r.id == "long.wav")
    assert now == pytest.approx(before + 20 * np.log10(2), abs=1e-3)


def test_media_that_a_later_audit_threw_away_are_made_again(corpus: Path, tmp_path: Path) -> None:
    out = tokenized(corpus, tmp_path / "out", 0.4)
    audit_share(str(out), 0.4, QUIET)
    audit(str(out), options=replace(QUIET, ids=("short.wav",)))
    for recording in audit_share(str(out), 0.4, QUIET).recordings:
        assert recording.page is not None
        assert all(
            (out / "audit" / version["file"]).exists() for version in recording.page["versions"]
        )


def test_a_recording_that_cannot_be_decoded_still_has_its_row(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: LocalEncoder, chunks: object) -> object:
        raise RecordingError(FailureKind.ENCODER, "not finite", "decode")

    plain = tokenized(corpus, tmp_path / "plain", None)
    monkeypatch.setattr(LocalEncoder, "decode", refuse)
    out = tokenized(corpus, tmp_path / "out", 1.0)
    assert not (out / "audit").exists()
    for path in (plain / "data").iterdir():
        assert path.read_bytes() == (out / "data" / path.name).read_bytes()
    assert all(
        recording.chosen == "sample" for recording in audit_share(str(out), 1.0, QUIET).recordings
    )


def test_chunks_of_a_recording_that_the_encoder_refuses_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: LocalEncoder, ticket: object) -> object:
        raise RecordingError(FailureKind.ENCODER, "not finite", "encode")

    waiting: list[int] = []
    advance = Watched.advance
    monkeypatch.setattr(
        Watched,
        "advance",
        lambda self, codes: (waiting.append(len(self._waiting)), advance(self, codes))[1],
    )
    monkeypatch.setattr(LocalEncoder, "result", refuse)
    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / "corpus" / "long.wav", sound(150 * STRIDE).samples.T, 48_000)
    tokenized(tmp_path / "corpus", tmp_path / "out", 1.0)
    assert 0 < len(waiting) < 100 and max(waiting) < 100


def test_on_ray_the_result_is_the_same(corpus: Path, tmp_path: Path) -> None:
    here = tokenized(corpus, tmp_path / "here", 1.0)
    config = TokenizeConfig(str(corpus), codec="mulaw", bandwidth=6.0, shard_hours=0.002)
    tokenize_corpus(config, str(tmp_path / "there"), replace(HERE, workers=2, audit=1.0))
    done = [audit_share(str(out), 1.0, QUIET).recordings for out in (here, tmp_path / "there")]
    assert done[0] == done[1] and all(recording.chosen == WHY for recording in done[1])


def test_the_choice_is_a_share_of_the_ids_and_never_nothing() -> None:
    ids = [f"recording-{i}" for i in range(20_000)]
    small, large, least, most = (limit(share, ids) for share in (0.01, 0.05, 1e-9, 1.0))
    taken = [id for id in ids if number(id) < small]
    assert 150 < len(taken) < 250  # 200 expected, standard deviation 14
    assert set(taken) <= {id for id in ids if PassingSettings(large, QUIET).takes(id)}
    assert sum(PassingSettings(least, QUIET).takes(id) for id in ids) == 1
    assert all(PassingSettings(most, QUIET).takes(id) for id in ids)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6), st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=1, max_size=30)
)
def test_the_stretch_that_a_page_wants_is_always_kept(most: int, values: list[int | None]) -> None:
    spec = replace(load_codec("mulaw").spec, sample_rate=10, chunk_length=11, chunk_stride=10)
    kept = KeptStretch(most)
    for i, value in enumerate(values):
        kept.add(np.full((1, 10), i, np.float32), None if value is None else (value,))
    worst = max(range(len(values)), key=lambda i: (-1 if values[i] is None else values[i], -i))  # type: ignore[return-value]
    assert kept.worst == (None if all(v is None for v in values) else worst)
    stretch = choose_stretch(kept.worst, 10 * len(values), spec, float(most))
    found = kept.stretch(stretch.first_segment)
    assert found is not None
    expected = np.arange(
        stretch.first_segment, stretch.first_segment + (stretch.stop - stretch.start) // 10
    )
    np.testing.assert_array_equal(found[0, ::10], expected)


def test_memory_does_not_grow_with_the_recording() -> None:
    codec = load_codec("mulaw")
    block = sound(48_000, seed=1).samples
    encode: Callable[[], ChunkCodes] = lambda: codec.encode_chunks([block])[0]  # noqa: E731
    peaks = []
    for seconds in (20, 60):
        watched, codes = Watched(codec, replace(QUIET, clip_seconds=2.0)), {}
        tracemalloc.start()
        for i in range(seconds):
            watched.push(block * np.float32(0.5 + 0.4 * np.sin(i)))
            if i >= 8:  # codes come eight chunks late
                codes[i - 8] = encode()
            watched.advance(codes)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 0.25 * 40 * block.nbytes
