"""Corpora as they come: each layout is recognised and said, and its text, speakers, segments and
splits reach the shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from layout_corpora import CORPORA, RATE, SPANS, kaldi, lines, ljspeech, samples, size, sound
from more_corpora import MORE

from pipelines.corpus.layouts import LAYOUTS, layout_by_name
from pipelines.corpus.sources import open_source
from pipelines.corpus.tables.hints import Hints
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.stored_run import StoredRun
from pipelines.planning.dry_run import plan
from pipelines.run import tokenize_corpus
from tokenizer.audio import read_audio
from tokenizer.errors import SourceError, UsageError

HERE = RunOptions(workers=0, quiet=True)
ALL = CORPORA | MORE


def tokenize(source: Path, out: Path, **settings: Any) -> list[dict[str, Any]]:
    """Rows of the shards, in their order."""
    config = TokenizeConfig(source=str(source), codec="mulaw", bandwidth=24.0, **settings)
    tokenize_corpus(config, str(out), HERE)
    found = []
    for path in sorted((out / "data").glob("*.parquet")):
        found += pq.read_table(path).to_pylist()
    return found


def scan(source: Path, **hints: Any) -> tuple[list[Any], list[str], str]:
    """Recordings, messages of those that are none, and notes."""
    opened = open_source(str(source), hints=Hints(**hints))
    found = list(opened.scan())
    good = [each for each in found if "rejected" not in each.locator]
    bad = [each.locator["rejected"][1] for each in found if "rejected" in each.locator]
    return good, bad, "\n".join(opened.notes)


def test_every_layout_has_a_corpus() -> None:
    assert {layout for layout, _ in ALL.values()} == LAYOUTS.keys()


@pytest.mark.parametrize("name", ALL)
def test_text_speakers_segments_and_splits_reach_the_shards(tmp_path: Path, name: str) -> None:
    layout, write = ALL[name]
    corpus = tmp_path / "corpus"
    wanted = {row.id: row for row in write(corpus)}
    source = {"kaldi": corpus / "data" / "train"}.get(name, corpus)
    _, bad, said = scan(source)
    assert f"{layout_by_name(layout).title} layout: {len(wanted)} recordings" in said
    assert not bad and "not read" not in said and "more recordings" not in said
    rows = {row["id"]: row for row in tokenize(source, tmp_path / "out")}
    assert rows.keys() == wanted.keys()
    for id, row in rows.items():
        want, meta = wanted[id], json.loads(row["meta"] or "{}")
        found = (row["text"], row["speaker"], row["language"], row["num_samples"])
        assert found == (want.text, want.speaker, want.language, want.samples)
        assert meta.get("split") == want.split and want.meta.items() <= meta.items()
    config = TokenizeConfig(source=str(source), codec="mulaw")
    planned = plan(config, quiet=True).to_json()
    assert planned["sources"][0]["layout"] == layout_by_name(layout).title
    assert planned["recordings"] == len(wanted) and not planned["rejected"]["count"]
    texts = [want.text for want in wanted.values() if want.text is not None]
    assert planned["text"] == {"recordings": len(texts), "characters": sum(map(len, texts))}
    assert planned["speakers"]["distinct"] == len({w.speaker for w in wanted.values()} - {None})


@pytest.mark.parametrize("name", ALL)
def test_what_is_heard_is_what_the_row_is_about(tmp_path: Path, name: str) -> None:
    """Every sound is another noise, so that no sample of another file or part passes."""
    wanted = {row.id: row for row in ALL[name][1](tmp_path)}
    source = open_source(str({"kaldi": tmp_path / "data" / "train"}.get(name, tmp_path)))
    for recording in source.scan():
        heard = read_audio(source.open(recording), start=recording.start, end=recording.end)
        assert heard.sample_rate == RATE
        np.testing.assert_allclose(heard.samples[0], wanted[recording.id].audio, atol=2 / 32_768)


def test_the_codes_of_a_segment_are_those_of_its_samples(tmp_path: Path) -> None:
    kaldi(tmp_path / "corpus")
    parts = tmp_path / "parts"
    parts.mkdir()
    for n, (start, end) in enumerate(SPANS):
        piece = samples(0, 7_200)[start:end]
        soundfile.write(parts / f"u{n}.wav", piece, RATE, subtype="PCM_16")
    whole = {row["id"]: row for row in tokenize(tmp_path / "corpus/data/train", tmp_path / "a")}
    for row in tokenize(parts, tmp_path / "b"):
        assert whole[row["id"].removesuffix(".wav")]["codes"] == row["codes"]


def test_layout_folder_takes_audio_alone_and_layout_split_a_part(tmp_path: Path) -> None:
    _, write = CORPORA["common_voice"]
    wanted = write(tmp_path)
    plain, _, said = scan(tmp_path, layout="folder")
    assert [each.id for each in plain] == [each.id for each in wanted]
    assert not any(each.text or each.speaker for each in plain) and "layout" not in said
    dev, _, said = scan(tmp_path, layout_split="dev")
    assert [each.id for each in dev] == ["cy/clips/clip_1.wav"] and "3 of others" in said
    with pytest.raises(SourceError, match="dev, invalidated, train, validated"):
        scan(tmp_path, layout_split="tset")


def test_rows_without_a_file_and_files_without_a_row(tmp_path: Path) -> None:
    ljspeech(tmp_path)
    with (tmp_path / "metadata.csv").open("ab") as file:
        file.write(b"LJ9|gone|gone\nno bars\n\xff\xfe|x|y\nLJ001-0001|again|again\n")
    sound(tmp_path / "wavs" / "extra.wav", 9)
    good, bad, said = scan(tmp_path)
    assert [each.id for each in good][-1] == "wavs/extra.wav" and len(good) == 4
    assert [message.split("metadata.csv, ")[1].split(":")[0] for message in bad] == [
        f"line {n}" for n in (4, 5, 6, 7)
    ]
    assert "no such file" in bad[0] and "already" in bad[3]
    for word in ("3 recordings", "1 more recordings", "1 rows name files", "3 lines are no rows"):
        assert word in said
    rows = tokenize(tmp_path, tmp_path.parent / "out")
    assert len(rows) == 4


FRIENDS = {
    "ljspeech": {"metadata.csv": "a|b\nc|d\n"},
    "audiofolder": {"metadata.jsonl": '{"file_name": "elsewhere.wav"}\n'},
    "librispeech": {"1-2.trans.txt": "1-2-0000 NOT HERE\n"},
    "libritts": {"other.normalized.txt": "text\n"},
    "vctk": {"txt/p1/p1_001.txt": "text\n", "wav48/p1/p2_001.wav": ""},
    "commonvoice": {"train.tsv": "client_id\tpath\tsentence\nc\tx.mp3\ts\n"},
    "kaldi": {"wav.scp": "one\n"},
    "nemo": {"manifest.json": '{"name": "an app"}\n'},
    "lhotse": {"supervisions.jsonl": '{"id": "s", "recording_id": "r", "start": 0}\n'},
    "stems": {"song/mixture.wav": "", "song/vocals.wav": ""},
    "shar": {"cuts.000000.jsonl": '{"id": "c", "start": 0, "supervisions": []}\n'},
    "nemotarred": {"tarred_audio_manifest.json": '{"audio_filepath": "x.wav"}\n'},
    "moshi": {"x.json": '{"alignments": "left"}'},
    "fma": {"tracks.csv": ",album,artist,set,track\n,title,name,split,title\n"},
    "jamendo": {"raw_30s.tsv": "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"},
}


@pytest.mark.parametrize("name", FRIENDS)
def test_a_false_friend_is_a_plain_folder_and_says_so(tmp_path: Path, name: str) -> None:
    sound(tmp_path / "x.wav", 0)
    for path, content in FRIENDS[name].items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    good, bad, said = scan(tmp_path)
    assert "x.wav" in [each.id for each in good] and not bad
    assert not any(each.text or each.speaker for each in good)
    assert f"looks like the {layout_by_name(name).title} layout, and is not: " in said
    with pytest.raises(SourceError, match=f"--layout {name}"):
        scan(tmp_path, layout=name)


def test_a_command_in_wav_scp_is_refused_by_name_and_never_run(tmp_path: Path) -> None:
    sound(tmp_path / "b.wav", 0)
    lines(tmp_path / "wav.scp", f"u0 touch {tmp_path}/made |", f"u1 {tmp_path}/b.wav", "u2 x.ark:7")
    lines(tmp_path / "text", "u1 words", "u9 of nothing")
    for source in (tmp_path, tmp_path / "wav.scp"):
        good, bad, _ = scan(source)
        assert [(each.id, each.text) for each in good] == [("u1", "words")]
        assert [word in bad[n] for n, word in enumerate(("never run", "archive", "text, line 2"))]
        assert len(bad) == 3 and not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "list"),
    [
        ("ljspeech", "metadata.csv"),
        ("kaldi", "data/train/wav.scp"),
        ("lhotse_cuts", "cuts_train.jsonl.gz"),
        ("lhotse_supervisions", "manifests/x_supervisions_dev-1.jsonl.gz"),
    ],
)
def test_a_list_alone_gives_its_rows(tmp_path: Path, name: str, list: str) -> None:
    wanted = CORPORA[name][1](tmp_path)
    sound(tmp_path / "unlisted.wav", 5)
    good, bad, said = scan(tmp_path / list)
    assert not bad and f"{layout_by_name(CORPORA[name][0]).title} layout" in said
    assert [(each.id, each.text, each.speaker) for each in good] == [
        (each.id, each.text, each.speaker) for each in wanted
    ]


def test_cuts_that_cannot_be_read_as_they_are_meant_cost_themselves(tmp_path: Path) -> None:
    CORPORA["lhotse_cuts"][1](tmp_path)
    source = {"type": "command", "source": "sox x -t wav -"}
    cut = {"id": "c", "start": 0, "duration": 1, "supervisions": []}
    lines(
        tmp_path / "more_cuts.jsonl",
        {**cut, "recording": {"sources": [source]}},
        {
            **cut,
            "recording": {"sources": [{"type": "file", "source": "talk.wav"}], "transforms": [1]},
        },
        {"id": "mix", "tracks": [], "type": "MixedCut", "supervisions": []},
    )
    good, bad, _ = scan(tmp_path)
    assert len(good) == 2
    for message, word in zip(bad, ("never run", "transforms", "MixedCut"), strict=True):
        assert word in message


def test_three_columns_may_be_id_speaker_text(tmp_path: Path) -> None:
    for n in range(3):
        sound(tmp_path / "wav" / f"{n}.wav", n)
    lines(tmp_path / "metadata.csv", *(f"{n}|s{n % 2}|one two {n}" for n in range(3)))
    good, _, _ = scan(tmp_path)
    assert [(each.speaker, each.text) for each in good] == [
        (f"s{n % 2}", f"one two {n}") for n in range(3)
    ]


def test_a_corpus_on_any_file_system(tmp_path: Path) -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe_file("/voice/metadata.csv", b"a|words|words\n")
    fs.pipe_file("/voice/wavs/a.wav", sound(tmp_path / "a.wav", 0).read_bytes())
    source = open_source("memory://voice")
    recordings = list(source.scan())
    assert [(each.id, each.text) for each in recordings] == [("wavs/a.wav", "words")]
    with source.open(recordings[0]) as file:  # type: ignore[union-attr]
        assert file.read() == (tmp_path / "a.wav").read_bytes()


def test_an_output_from_before_there_were_layouts_goes_on(tmp_path: Path) -> None:
    """Its plan says what its rows are; nothing of it is listed again."""
    ljspeech(tmp_path / "corpus")
    before = tokenize(tmp_path / "corpus", tmp_path / "out", layout="folder")
    stored = json.loads((tmp_path / "out/manifest/config.json").read_text())
    assert stored["config"]["layout"] == "folder" and len(before) == 3
    with pytest.raises(UsageError, match="layout"):
        tokenize(tmp_path / "corpus", tmp_path / "out")
    old = json.loads(json.dumps(stored))
    for name in ("layout", "layout_split", "map", "audio_root", "delimiter"):
        del old["config"][name]
    now = {**stored, "config": {**stored["config"], "layout": None}}
    before, after = StoredRun.from_json(old), StoredRun.from_json(now)
    assert before.differences(after) == [] and before.fingerprint == after.fingerprint


@pytest.mark.parametrize(
    ("hints", "flag"),
    [
        ({"layout": "kaldy"}, "--layout kaldy"),
        ({"columns": {"path": "x"}}, "--map"),
        ({"audio_root": "/x"}, "--audio-root"),
        ({"layout_split": "dev"}, "--layout-split"),
    ],
)
def test_hints_that_mean_nothing_are_refused(tmp_path: Path, hints: Any, flag: str) -> None:
    sound(tmp_path / "a.wav", size(0))
    with pytest.raises(UsageError, match=flag):
        scan(tmp_path, **hints)
