"""A corpus from end to end in one process: rows, failures, resume, refusals."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora import Maker, write_corpus
from lag_codec import WHOLE
from sounds import sound

from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.export_audio import decode_recording, find_row
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row
from pipelines.output.inspect import inspect
from pipelines.output.manifest.commits import Manifest
from pipelines.output.storage import open_storage
from pipelines.output.verify import verify
from pipelines.run import tokenize_corpus
from tokenizer import OutputError, SourceError, UsageError, load_codec, read_audio
from tokenizer.codecs import registry
from tokenizer.codecs.encodec.seeded import write_seeded

HERE = RunOptions(workers=0, quiet=True)
ROOT = Path(__file__).resolve().parents[3]


def config(corpus: Path, **values: object) -> TokenizeConfig:
    return TokenizeConfig(
        **{"source": str(corpus), "codec": "mulaw", "shard_hours": 0.002, **values}
    )  # type: ignore[arg-type]


def rows_of(out: Path, form: str = "parquet") -> dict[str, Row]:
    rows = {}
    for path in sorted((out / "data").iterdir()):
        with path.open("rb") as file:
            rows |= {row.id: row for row in shard_format(form).read(file, path.name)}
    return rows


def data_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    made: dict[str, str] = {}

    def get(model: str) -> str:
        if model == "small":
            return model
        if model not in made:
            made[model] = str(
                write_seeded(tmp_path_factory.mktemp("codec") / model, model=model, size="reduced")
            )
        return made[model]

    return get


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_every_recording_becomes_the_row_that_the_library_makes(
    make_corpus: Maker, tmp_path: Path, form: str
) -> None:
    corpus, out = make_corpus(), tmp_path / "out"
    result = tokenize_corpus(config(corpus, format=form), str(out), HERE)
    assert (result.recordings, result.failures) == (12, 1) and result.shards > 2
    codec = load_codec("mulaw")
    rows = rows_of(out, form)
    assert len(rows) == 12
    for id, row in rows.items():
        waveform = read_audio(corpus / id, 48_000, 2)
        assert row.codes.equals(codec.encode(waveform))
        assert row.source_sample_rate == soundfile.info(corpus / id).samplerate
        number = int(Path(id).stem)
        assert row.text == (f"recording {number}" if number % 4 == 0 else None)
    assert verify(str(out)) == []
    (failure,) = inspect(str(out)).failures
    assert (failure.id, failure.kind, failure.stage) == ("broken.wav", "truncated", "decode")


@pytest.mark.parametrize(
    ("form", "first"), [("parquet", "train-00000-of-"), ("webdataset", "train-000000.tar")]
)
def test_the_cards_own_recipe_reads_every_row(
    make_corpus: Maker, tmp_path: Path, form: str, first: str
) -> None:
    out = tmp_path / "out"
    tokenize_corpus(config(make_corpus(), format=form), str(out), HERE)
    assert min(path.name for path in (out / "data").iterdir()).startswith(first)
    recipe = (out / "README.md").read_text().split("```python\n")[1].split("```")[0]
    count = "\nprint('rows:', sum(1 for row in codes))"
    ran = subprocess.run(
        [sys.executable, "-c", recipe + count], cwd=out, capture_output=True, text=True, check=False
    )
    assert "rows: 12" in ran.stdout, ran.stderr


@pytest.mark.parametrize("model", ["small", "24khz"])
def test_encodec_rows_equal_one_recording_alone(
    make_corpus: Maker, tmp_path: Path, seeded: Callable[[str], str], model: str
) -> None:
    count = {"small": 9, "24khz": 3}[model]  # of its full size
    corpus, out = make_corpus(count=count), tmp_path / "out"
    tokenize_corpus(config(corpus, codec=seeded(model), bandwidth=24.0), str(out), HERE)
    codec = load_codec(seeded(model), bandwidth=24.0, device="cpu")
    rows = rows_of(out)
    assert len(rows) == count
    for id, row in rows.items():
        assert row.codes.equals(
            codec.encode(read_audio(corpus / id, codec.sample_rate, codec.channels))
        ), id


def test_two_runs_are_the_same_bytes(make_corpus: Maker, tmp_path: Path) -> None:
    corpus = make_corpus()
    for name in ("one", "two"):
        tokenize_corpus(config(corpus), str(tmp_path / name), HERE)
    assert data_bytes(tmp_path / "one") == data_bytes(tmp_path / "two")


def test_a_second_run_does_only_what_is_missing(make_corpus: Maker, tmp_path: Path) -> None:
    corpus, out = make_corpus(), tmp_path / "out"
    tokenize_corpus(config(corpus), str(out), HERE)
    before, stamps = (
        data_bytes(out),
        {p.name: p.stat().st_mtime_ns for p in (out / "data").iterdir()},
    )
    names = sorted(before)
    (out / "data" / names[0]).unlink()
    (out / "manifest" / "commits" / names[1].replace(".parquet", ".json")).unlink()
    (out / "data" / names[1]).unlink()
    tokenize_corpus(config(corpus), str(out), HERE)
    assert data_bytes(out) == before
    changed = {p.name for p in (out / "data").iterdir() if p.stat().st_mtime_ns != stamps[p.name]}
    assert changed == set(names[:2])


def test_another_configuration_is_refused_with_the_differences(
    make_corpus: Maker, tmp_path: Path
) -> None:
    corpus, out = make_corpus(), tmp_path / "out"
    tokenize_corpus(config(corpus), str(out), HERE)
    before = data_bytes(out)
    with pytest.raises(OutputError, match=r"config\.bandwidth: 6\.0 there, 12\.0 now"):
        tokenize_corpus(config(corpus, bandwidth=12.0), str(out), HERE)
    with pytest.raises(OutputError, match=r"config\.shard_hours"):
        tokenize_corpus(config(corpus, shard_hours=1.0), str(out), HERE)
    assert data_bytes(out) == before
    tokenize_corpus(
        config(corpus), str(out), replace(HERE, decode_timeout=5.0)
    )  # how it is run is free to change


def test_nothing_is_written_before_the_run_is_known_to_work(
    make_corpus: Maker, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for wrong in (
        config(tmp_path / "missing"),
        config(make_corpus(), bandwidth=5.0),
        config(make_corpus(name="other"), codec=str(tmp_path)),
    ):
        with pytest.raises(UsageError):
            tokenize_corpus(wrong, str(out), HERE)
        assert not out.exists()


def test_duplicate_ids_are_refused_before_work(make_corpus: Maker, tmp_path: Path) -> None:
    corpus = make_corpus(count=2)
    lines = [
        {"path": str(corpus / "000.wav"), "id": "same"},
        {"path": str(corpus / "a/001.flac"), "id": "same"},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(SourceError, match="same"):
        tokenize_corpus(config(tmp_path / "list.jsonl"), str(tmp_path / "out"), HERE)
    assert not (tmp_path / "out").exists()


def test_segments_and_metadata_are_carried(make_corpus: Maker, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", sound(480_000).samples.T, 48_000)
    lines = [
        {
            "path": "long.wav",
            "id": "x",
            "start": 1.0,
            "end": 2.5,
            "text": "hello",
            "language": "en",
            "bpm": 90,
        },
        {"path": "long.wav", "id": "y", "start": 8.0},
        {"path": "long.wav", "id": "z", "start": 11.0},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    tokenize_corpus(config(tmp_path / "list.jsonl"), str(tmp_path / "out"), HERE)
    rows = rows_of(tmp_path / "out")
    assert (rows["x"].text, rows["x"].language) == ("hello", "en")
    assert rows["x"].meta == {"bpm": 90, "start": 1.0, "end": 2.5}
    assert (rows["x"].codes.num_samples, rows["y"].codes.num_samples) == (72_000, 96_000)
    (failure,) = inspect(str(tmp_path / "out")).failures
    assert (failure.id, failure.kind) == ("z", "empty")


def test_flags_reach_the_rows_and_the_totals(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    music = sound(60_000).samples
    signals = {
        "plain": music,
        "silent": 0 * music,
        "antiphase": np.stack([music[0], -music[0]]),
        "clipped": np.clip(20 * music, -1, 1),
    }
    for name, samples in signals.items():
        soundfile.write(corpus / f"{name}.wav", samples.T, 48_000, "FLOAT")
    soundfile.write(corpus / "nan.wav", np.full((100, 2), np.nan), 48_000, "FLOAT")
    cut = corpus / "truncated.wav"
    soundfile.write(cut, music.T, 48_000)
    cut.write_bytes(cut.read_bytes()[:100_000])
    tokenize_corpus(config(corpus, allow_truncated=True), str(tmp_path / "out"), HERE)
    flags = {
        id.removesuffix(".wav"): row.meta.get("flags")
        for id, row in rows_of(tmp_path / "out").items()
    }
    assert flags == {name: None if name == "plain" else [name] for name in [*signals, "truncated"]}
    summary = inspect(str(tmp_path / "out"))
    assert summary.flags == {"antiphase": 1, "clipped": 1, "silent": 1, "truncated": 1}
    assert summary.failure_kinds == {"non_finite": 1}


def test_what_is_too_long_for_a_codec_that_takes_recordings_whole_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.CODECS, "whole", WHOLE)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    soundfile.write(corpus / "long.wav", sound(24_000 * 4, 1, 24_000).samples.T, 24_000)
    soundfile.write(corpus / "short.wav", sound(24_000, 1, 24_000).samples.T, 24_000)
    tokenize_corpus(
        config(corpus, codec="whole", max_chunk_seconds=3.0), str(tmp_path / "out"), HERE
    )
    assert list(rows_of(tmp_path / "out")) == ["short.wav"]
    (failure,) = inspect(str(tmp_path / "out")).failures
    assert failure.kind == "too_long" and "--max-chunk-seconds" in failure.message


def test_a_shard_of_failures_alone_has_a_record_and_no_file(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.wav").write_text("no audio")
    result = tokenize_corpus(config(corpus), str(tmp_path / "out"), HERE)
    assert (result.recordings, result.failures, result.shards) == (0, 1, 1)
    assert not (tmp_path / "out" / "data").exists() and verify(str(tmp_path / "out")) == []


def test_too_many_failures_stop_the_run_and_it_can_go_on(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 6)
    (corpus / "also.wav").write_text("no audio")
    with pytest.raises(UsageError, match="--max-failures 1"):
        tokenize_corpus(config(corpus), str(tmp_path / "out"), replace(HERE, max_failures=1))
    assert (
        tokenize_corpus(
            config(corpus), str(tmp_path / "out"), replace(HERE, max_failures=2)
        ).failures
        == 2
    )


def test_a_remote_output(make_corpus: Maker) -> None:
    import fsspec

    corpus = make_corpus(count=6)
    tokenize_corpus(config(corpus), "memory://remote-out", HERE)
    assert verify("memory://remote-out") == []
    assert inspect("memory://remote-out").recordings == 6
    assert find_row("memory://remote-out", "000.wav").text == "recording 0"
    fsspec.filesystem("memory").rm("/remote-out", recursive=True)


def test_decoding_gives_the_exact_length(make_corpus: Maker, tmp_path: Path) -> None:
    corpus, out = make_corpus(), tmp_path / "out"
    tokenize_corpus(config(corpus), str(out), HERE)
    codec = load_codec("mulaw")
    for id in ("000.wav", "a/001.flac"):
        waveform = read_audio(corpus / id, 48_000, 2)
        written = decode_recording(str(out), id, str(tmp_path / "x.wav"))
        assert written.num_samples == waveform.num_samples
        decoded = read_audio(tmp_path / "x.wav")
        assert np.array_equal(decoded.samples, codec.decode(codec.encode(waveform)).samples)
    for id, reason in {"nobody": "no recording", "broken.wav": "truncated"}.items():
        with pytest.raises(UsageError, match=reason):
            decode_recording(str(out), id, str(tmp_path / "y.wav"))
    with pytest.raises(UsageError, match=r"cannot write \.xyz"):
        decode_recording(str(out), "000.wav", str(tmp_path / "y.xyz"))
    assert not (tmp_path / "y.wav").exists()


def test_what_is_too_long_for_wave_is_written_as_rf64(
    make_corpus: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, out = make_corpus(), tmp_path / "out"
    tokenize_corpus(config(corpus), str(out), HERE)
    decode_recording(str(out), "000.wav", str(tmp_path / "short.wav"))
    monkeypatch.setattr("pipelines.output.export_audio.LARGEST_WAV", 1_000)
    decode_recording(str(out), "000.wav", str(tmp_path / "long.wav"))
    assert (tmp_path / "short.wav").read_bytes()[:4] == b"RIFF" and (
        tmp_path / "long.wav"
    ).read_bytes()[:4] == b"RF64"
    assert np.array_equal(
        read_audio(tmp_path / "long.wav").samples, read_audio(tmp_path / "short.wav").samples
    )


def test_a_minute_of_vorbis_is_written(tmp_path: Path) -> None:
    """More than libsndfile can take at once; in a process of its own, since it would crash."""
    code = f"""
import numpy as np
from pathlib import Path
from pipelines.output.export_audio import Blocks, write_blocks
noise = np.random.default_rng(0).standard_normal((2, 4_000_000), np.float32) * np.float32(0.1)
write_blocks({str(tmp_path / "a.ogg")!r}, Blocks(iter([noise]), noise.shape[1], 48_000, 2))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    assert read_audio(tmp_path / "a.ogg").num_samples == 4_000_000


def test_a_codec_that_moved_is_known_by_its_weights(
    make_corpus: Maker, tmp_path: Path, seeded: Callable[[str], str]
) -> None:
    corpus, out = make_corpus(count=3), tmp_path / "out"
    moved = write_seeded(tmp_path / "moved", size="reduced")
    other = write_seeded(tmp_path / "other", size="reduced", seed=5)
    tokenize_corpus(config(corpus, codec=seeded("48khz")), str(out), HERE)
    tokenize_corpus(config(corpus, codec=str(moved)), str(out), HERE)
    assert (
        decode_recording(
            str(out), "000.wav", str(tmp_path / "x.flac"), codec=str(moved)
        ).sample_rate
        == 48_000
    )
    with pytest.raises(UsageError, match="other weights"):
        decode_recording(str(out), "000.wav", str(tmp_path / "x.wav"), codec=str(other))
    with pytest.raises(OutputError, match="weights_sha256"):
        tokenize_corpus(config(corpus, codec=str(other)), str(out), HERE)


def test_progress_ends_at_what_was_planned(
    make_corpus: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However wrong the plan's lengths are, which come from the files' sizes: the share done goes
    from 0 to 1."""
    seen: list[float] = []
    monkeypatch.setattr(
        "pipelines.running.work.Work._show",
        lambda run, worker, progress: seen.append(worker.progress.planned),
    )
    tokenize_corpus(config(make_corpus(), shard_hours=2.0), str(tmp_path / "out"), HERE)
    planned = sum(
        shard.seconds for shard in Manifest(open_storage(str(tmp_path / "out"))).read_plan().shards
    )
    assert seen == sorted(seen) and 0.5 * planned < seen[-1] <= planned


def test_the_reference_writes_the_same_bytes(
    make_corpus: Maker, tmp_path: Path, seeded: Callable[[str], str]
) -> None:
    corpus = make_corpus(count=9)
    for name, options in (("fast", HERE), ("reference", replace(HERE, reference=True))):
        tokenize_corpus(
            config(corpus, codec=seeded("small"), bandwidth=24.0), str(tmp_path / name), options
        )
    assert data_bytes(tmp_path / "fast") == data_bytes(tmp_path / "reference")


def test_the_output_is_a_data_set(make_corpus: Maker, tmp_path: Path) -> None:
    import datasets
    import yaml

    corpus, out = make_corpus(), tmp_path / "out"
    tokenize_corpus(config(corpus), str(out), HERE)
    front = yaml.safe_load((out / "README.md").read_text().split("---")[1])
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    info = datasets.DatasetInfo._from_yaml_dict(front["dataset_info"])
    assert info.splits is None and info.features is not None, "rows without bytes are warned of"
    table = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(table) == 12 and table.column_names[:3] == ["id", "codes", "scales"]


def run_limited(arguments: list[str], file_bytes: int) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    command = [
        sys.executable,
        "-m",
        "pipelines",
        "tokenize",
        *arguments,
        "--codec",
        "mulaw",
        "--workers",
        "0",
    ]
    # Compiled modules would be cut at the limit too, and break every later import of them.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_full_disk_is_one_line_and_nothing_half_written(
    make_corpus: Maker, tmp_path: Path
) -> None:
    corpus, out = make_corpus(count=4), tmp_path / "out"
    ended = run_limited([str(corpus), str(out)], 8_192)
    assert ended.returncode == 2, ended.stderr
    assert "cannot be written" in ended.stderr.splitlines()[-1] and "Traceback" not in ended.stderr
    files = [path for path in out.rglob("*") if path.is_file() and "manifest/plan" not in str(path)]
    assert {path.name for path in files} <= {"config.json"}
    assert tokenize_corpus(config(corpus, shard_hours=2.0), str(out), HERE).recordings == 4
    assert verify(str(out)) == []


def test_totals_are_those_of_committed_records(make_corpus: Maker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tokenize_corpus(config(make_corpus()), str(out), HERE)
    records = Manifest(open_storage(str(out))).committed().values()
    rows = rows_of(out)
    assert sum(r.frames for r in records) == sum(row.codes.frames for row in rows.values())
    assert sum(r.num_samples for r in records) == sum(
        row.codes.num_samples for row in rows.values()
    )
    summary = inspect(str(out))
    assert summary.hours == pytest.approx(sum(row.codes.seconds for row in rows.values()) / 3600)
    together = np.concatenate([row.codes.codes for row in rows.values()], axis=1)
    for use, level in zip(summary.codebooks, together, strict=True):
        assert use.used == pytest.approx(len(np.unique(level)) / 1024, abs=1e-4)
        shares = np.unique(level, return_counts=True)[1] / level.size
        assert use.perplexity == pytest.approx(2 ** -(shares * np.log2(shares)).sum(), abs=0.01)


def test_an_output_that_is_deleted_during_a_run_is_no_success(
    make_corpus: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, out = make_corpus(), tmp_path / "out"
    seen: list[int] = []

    def delete(*args: object) -> None:
        seen.append(1)
        if len(seen) == 9:
            shutil.rmtree(out)

    monkeypatch.setattr("pipelines.running.work.Work._show", delete)
    with pytest.raises(OutputError) as caught:
        tokenize_corpus(config(corpus), str(out), HERE)
    assert len(seen) >= 9 and "\n" not in str(caught.value)
    assert not (out / "manifest" / "config.json").exists() and not list(
        out.glob("manifest/commits/*")
    )


def test_max_failures_counts_earlier_runs(tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path / "corpus", 6), tmp_path / "out"
    for name in ("also", "third"):
        (corpus / f"{name}.wav").write_text("no audio")
    tokenize_corpus(config(corpus), str(out), HERE)
    with pytest.raises(UsageError, match=r"3 recordings have failed \(3 of them in earlier runs\)"):
        tokenize_corpus(config(corpus), str(out), replace(HERE, max_failures=2))
    assert tokenize_corpus(config(corpus), str(out), replace(HERE, max_failures=3)).failures == 3


def test_a_run_without_a_row_says_so_whatever_it_was_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "corpus").mkdir()
    for name in "ab":
        (tmp_path / "corpus" / f"{name}.wav").write_text("no audio")
    tokenize_corpus(config(tmp_path / "corpus"), str(tmp_path / "out"), HERE)
    (line,) = capsys.readouterr().err.splitlines()
    assert "not one of 2 recordings" in line and "not_audio 2" in line and "a.wav" in line


def first_runs(arguments: list[list[str]]) -> list[subprocess.CompletedProcess[str]]:
    """Several commands at the same time."""
    command = [sys.executable, "-m", "pipelines", "tokenize"]
    rest = ["--codec", "mulaw", "--workers", "0", "--shard-hours", "0.002"]
    running = [
        subprocess.Popen(
            [*command, *own, *rest],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for own in arguments
    ]
    told = [process.communicate(timeout=600) for process in running]
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *texts)
        for process, texts in zip(running, told, strict=True)
    ]


def test_two_first_runs_join_or_one_is_refused(make_corpus: Maker, tmp_path: Path) -> None:
    corpus, out = make_corpus(), tmp_path / "out"
    tokenize_corpus(config(corpus), str(tmp_path / "alone"), HERE)
    joined = first_runs([[str(corpus), str(tmp_path / "same")]] * 2)
    assert [ended.returncode for ended in joined] == [3, 3], [ended.stderr for ended in joined]
    assert (
        data_bytes(tmp_path / "same") == data_bytes(tmp_path / "alone")
        and verify(str(tmp_path / "same")) == []
    )
    other = first_runs([[str(corpus), str(out)], [str(corpus), str(out), "--bandwidth", "3"]])
    assert sorted(ended.returncode for ended in other) == [2, 3], [ended.stderr for ended in other]
    assert verify(str(out)) == [] and not any("Traceback" in ended.stderr for ended in other)


def test_a_plan_that_comes_too_late_gives_way(
    make_corpus: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run begins while this one lists the corpus, which has grown since: what is stored
    counts."""
    corpus, out = make_corpus(), tmp_path / "out"
    begin = Manifest.begin

    def late(manifest: Manifest, *arguments: object) -> bool:
        monkeypatch.setattr(Manifest, "begin", begin)
        (corpus / "000.wav").rename(tmp_path / "000.wav")
        tokenize_corpus(config(corpus), str(out), HERE)
        return manifest.begin(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Manifest, "begin", late)
    assert tokenize_corpus(config(corpus), str(out), HERE).recordings == 11
    assert verify(str(out)) == []


def test_segments_in_any_order_are_rows_in_the_order_of_the_table(tmp_path: Path) -> None:
    """Two files take turns, backwards; they are read in their own order."""
    for name, seed in (("a.flac", 1), ("b.flac", 2)):
        soundfile.write(tmp_path / name, sound(400_000, seed=seed).samples.T, 48_000)
    lines, wanted = ["path,id,start,end"], []
    for number in range(14):
        name, start = "ab"[number % 2] + ".flac", 7 - number // 2
        end = start + 1 if number != 6 else 99  # which is behind the file's end: it fails
        lines.append(f"{name},s{number},{start},{end}")
        wanted.append((f"s{number}", name, start, end))
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    asked = config(tmp_path / "list.csv", shard_hours=0.0035)
    result = tokenize_corpus(asked, str(out), HERE)
    assert (result.recordings, result.failures) == (13, 1) and result.shards > 1
    rows, codec = rows_of(out), load_codec("mulaw")
    assert list(rows) == [id for id, *_ in wanted if id != "s6"]
    for id, name, start, end in wanted:
        if id != "s6":
            alone = read_audio(
                tmp_path / name, codec.sample_rate, codec.channels, start=start, end=end
            )
            assert np.array_equal(rows[id].codes.codes, codec.encode(alone).codes), id
