"""Times of words, in every form that corpora have them: each word is a tone of its own, so that
what a cut of a shard says can be compared with what is heard in it."""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.corpus.by_channel import planned
from pipelines.corpus.sources import open_source
from pipelines.corpus.tables.alignment import with_alignment
from pipelines.loader.crop import Crop
from pipelines.loader.dataset import CodesDataset
from pipelines.loader.loader import CodesLoader
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus
from tokenizer.codecs.registry import load_codec

RATE = 48_000
TONES = (300, 450, 600, 750, 900, 1_050)
WORDS = [(0.1 + 0.5 * n, 0.5 + 0.5 * n, f"w{tone}") for n, tone in enumerate(TONES)]
"""start, end, word"""
SECONDS = 3.2
FIRST, SECOND = (0.0, 1.6), (1.55, 3.2)
"""segments: the words 0 to 2, and 3 to 5"""


def talk(path: Path, words: list[tuple[float, float, str]] = WORDS) -> Path:
    """A recording in which each word is heard as its tone."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    heard = np.zeros_like(time)
    for start, end, word in words:
        inside = (time >= start) & (time < end)
        heard[inside] = 0.4 * np.sin(2 * np.pi * int(word[1:]) * time[inside])
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, heard, RATE, subtype="PCM_16")
    return path


def tone_in(samples: np.ndarray) -> str:
    """The word that is heard: its tone is the loudest."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    loudest = np.fft.rfftfreq(len(samples), 1 / RATE)[spectrum.argmax()]
    return f"w{min(TONES, key=lambda tone: abs(tone - loudest))}"


def long_grid(words: list[tuple[float, float, str]], tier: str = "words") -> str:
    """As Praat and the Montreal Forced Aligner write it: silence is intervals without a label."""
    spans, at = [], 0.0
    for start, end, word in words:
        spans += [(at, start, ""), (start, end, word)]
        at = end
    spans.append((at, SECONDS, ""))
    phones = [(0.0, SECONDS, 'A"H')]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 "]
    lines += [f"xmax = {SECONDS} ", "tiers? <exists> ", "size = 2 ", "item []: "]
    for number, (name, of_tier) in enumerate([(tier, spans), ("phones", phones)], 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier" ']
        lines += [f'        name = "{name}" ', "        xmin = 0 ", f"        xmax = {SECONDS} "]
        lines += [f"        intervals: size = {len(of_tier)} "]
        for at, (start, end, label) in enumerate(of_tier, 1):
            quoted = label.replace('"', '""')
            lines += [f"        intervals [{at}]:", f"            xmin = {start} "]
            lines += [f"            xmax = {end} ", f'            text = "{quoted}" ']
    return "\n".join(lines) + "\n"


def short_grid(words: list[tuple[float, float, str]]) -> str:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", f"{SECONDS}"]
    lines += ["<exists>", "2", '"IntervalTier"', '"Words"', "0", f"{SECONDS}", f"{len(words)}"]
    for start, end, word in words:
        lines += [f"{start}", f"{end}", f'"{word}"']
    lines += ['"TextTier"', '"clicks"', "0", f"{SECONDS}", "1", "0.5", '"click"']
    return "\n".join(lines) + "\n"


def whisper(words: list[tuple[float, float, str]], **also: Any) -> dict[str, Any]:
    """As `whisper --word_timestamps True --output_format json` writes it."""
    told = [
        {"word": f" {word}", "start": start, "end": end, "probability": 0.9}
        for start, end, word in words
    ]
    own = {"id": 0, "seek": 0, "tokens": [1, 2], "temperature": 0.0}
    segment = {**own, "start": 0.0, "end": SECONDS, "text": " the segment", "words": told}
    return {"text": f" {' '.join(w for *_, w in words)}", "segments": [segment], **also}


def grid_beside(root: Path) -> Path:
    talk(root / "a.wav")
    (root / "a.TextGrid").write_text(long_grid(WORDS))
    return root


def grid_short_utf16(root: Path) -> Path:
    talk(root / "a.wav")
    (root / "a.TextGrid").write_bytes(short_grid(WORDS).encode("utf-16"))
    return root


def grid_elsewhere(root: Path) -> Path:
    """The aligner's own folder; names repeat among speakers."""
    for speaker in ("ann", "bob"):
        talk(root / "corpus" / speaker / "1.wav")
        (root / "aligned" / speaker).mkdir(parents=True)
        (root / "aligned" / speaker / "1.TextGrid").write_text(
            long_grid(WORDS, f"{speaker} - words")
        )
    return root


def whisper_beside(root: Path) -> Path:
    talk(root / "a.wav")
    (root / "a.json").write_text(json.dumps(whisper(WORDS, language="en")))
    return root


def mfa_json(root: Path) -> Path:
    talk(root / "a.wav")
    entries = {"type": "interval", "entries": [list(word) for word in WORDS]}
    phones = {"type": "interval", "entries": [[0.0, SECONDS, "AH"]]}
    tiers = {"start": 0, "end": SECONDS, "tiers": {"words": entries, "phones": phones}}
    (root / "a.json").write_text(json.dumps(tiers))
    return root


def whisperx(root: Path) -> Path:
    """A word that is not in the aligner's alphabet has no times of its own."""
    talk(root / "a.wav")
    told = [{"word": word, "start": start, "end": end} for start, end, word in WORDS]
    told[2] = {"word": WORDS[2][2]}
    segment = {"start": 0.1, "end": 3.0, "text": " all of it", "words": told}
    (root / "a.json").write_text(json.dumps({"segments": [segment], "word_segments": told}))
    return root


def jsonl(root: Path) -> Path:
    talk(root / "a.wav")
    words = [{"word": word, "start": start, "end": end} for start, end, word in WORDS]
    (root / "t.jsonl").write_text(json.dumps({"path": "a.wav", "words": words}) + "\n")
    return root / "t.jsonl"


def jsonl_segments(root: Path) -> Path:
    """Words of segments in the file's time; that of the second could be its own."""
    talk(root / "a.wav")
    rows = [
        {"path": "a.wav", "start": start, "end": end, "alignment": [list(word) for word in words]}
        for (start, end), words in ((FIRST, WORDS[:3]), (SECOND, WORDS[3:]))
    ]
    (root / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root / "t.jsonl"


def csv_segments(root: Path) -> Path:
    """JSON in cells, words in each segment's own time."""
    talk(root / "a.wav")
    with (root / "t.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "start", "end", "word_timestamps"])
        for (start, end), words in ((FIRST, WORDS[:3]), (SECOND, WORDS[3:])):
            own = [{"word": w, "start": s - start, "end": e - start} for s, e, w in words]
            table.writerow(["a.wav", start, end, json.dumps(own)])
    return root / "t.csv"


def parquet(root: Path) -> Path:
    talk(root / "a.wav")
    words = [{"text": word, "start": start, "end": end} for start, end, word in WORDS]
    pq.write_table(pa.table({"path": ["a.wav"], "words": [words]}), root / "t.parquet")
    return root / "t.parquet"


def ctm(name: str, words: list[tuple[float, float, str]], shift: float = 0.0) -> str:
    return "".join(f"{name} 1 {s - shift:.3f} {e - s:.3f} {w} 0.98\n" for s, e, w in words)


def kaldi(root: Path) -> Path:
    """A CTM by recordings."""
    talk(root / "a.wav")
    (root / "wav.scp").write_text(f"talk {root}/a.wav\n")
    (root / "segments").write_text("u0 talk 0.0 1.6\nu1 talk 1.55 -1\n")
    silence = "talk 1 0.00 0.10 <eps>\n;; a comment\n"
    (root / "ctm").write_text(silence + ctm("talk", WORDS))
    return root


def kaldi_by_utterance(root: Path) -> Path:
    kaldi(root)
    (root / "ctm").write_text(ctm("u0", WORDS[:3]) + ctm("u1", WORDS[3:], SECOND[0]))
    return root


def kaldi_whole(root: Path) -> Path:
    kaldi(root)
    (root / "segments").unlink()
    (root / "reco2file_and_channel").write_text("talk far A\n")
    other = "far B 0.0 3.0 other\n"
    (root / "ctm").write_text(ctm("far", WORDS).replace(" 1 ", " A ") + other)
    return root


def nemo_aligner(root: Path) -> Path:
    """What NeMo's forced aligner writes: the CTM's words are those of the whole file."""
    talk(root / "a.wav")
    (root / "nfa" / "ctm" / "words").mkdir(parents=True)
    (root / "nfa" / "ctm" / "words" / "a.ctm").write_text(
        ctm("a", WORDS).replace("0.98", "NA lex NA")
    )
    named = "/elsewhere/nfa/ctm/words/a.ctm"
    rows = [
        {
            "audio_filepath": "a.wav",
            "offset": start,
            "duration": round(end - start, 3),
            "words_level_ctm_filepath": named,
        }
        for start, end in (FIRST, SECOND)
    ]
    name = root / "train_manifest_with_output_file_paths.json"
    name.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def nemo_manifest(root: Path) -> Path:
    talk(root / "a.wav")
    (root / "x.ctm").write_text(ctm("a", WORDS))
    row = {"audio_filepath": "a.wav", "duration": SECONDS, "ctm_filepath": "x.ctm"}
    (root / "m.json").write_text(json.dumps(row) + "\n")
    return root / "m.json"


def moshi(root: Path) -> Path:
    talk(root / "data" / "a.wav")
    words = [[word, [start, end], "SPEAKER_MAIN"] for start, end, word in WORDS]
    (root / "data" / "a.json").write_text(json.dumps({"alignments": words}))
    return root


def lhotse(root: Path) -> Path:
    talk(root / "a.wav")
    known = {"sampling_rate": RATE, "num_samples": round(SECONDS * RATE), "duration": SECONDS}
    source = {"type": "file", "channels": [0], "source": "a.wav"}
    recording = {"id": "talk", "sources": [source], **known}
    items = [[word, start, round(end - start, 3), None] for start, end, word in WORDS]
    cuts = [
        {
            "id": f"c{n}",
            "start": start,
            "duration": round(end - start, 3),
            "channel": 0,
            "type": "MonoCut",
            "recording": recording,
            "supervisions": [
                {
                    "id": f"s{n}",
                    "start": 0.0,
                    "duration": round(end - start, 3),
                    "alignment": {"word": items[3 * n : 3 * n + 3], "phone": [["AH", start, 0.1]]},
                }
            ],
        }
        for n, (start, end) in enumerate((FIRST, SECOND))
    ]
    (root / "cuts.jsonl").write_text("".join(json.dumps(cut) + "\n" for cut in cuts))
    return root


def librispeech(root: Path) -> Path:
    """The published alignments: words and silences, and when each ends."""
    home = root / "dev-clean" / "84" / "121123"
    talk(home / "84-121123-0000.flac")
    text = " ".join(word for *_, word in WORDS)
    (home / "84-121123.trans.txt").write_text(f"84-121123-0000 {text}\n")
    ends = [f"{time:.3f}" for start, end, _ in WORDS for time in (start, end)]
    words = ",".join(f",{word}" for *_, word in WORDS)
    line = f'84-121123-0000 "{words}," "{",".join(ends)},{SECONDS}"\n'
    (home / "84-121123.alignment.txt").write_text(line)
    return root


def in_a_tar(root: Path) -> Path:
    talk(root / "x" / "a.wav")
    (root / "x" / "a.TextGrid").write_text(long_grid(WORDS))
    with tarfile.open(root / "t.tar", "w") as archive:
        archive.add(root / "x", "x")
    shutil.rmtree(root / "x")
    return root / "t.tar"


def hub(root: Path) -> Path:
    """A data set with bytes of audio, and a list for each column of words."""
    audio = {"bytes": talk(root / "a.wav").read_bytes(), "path": "a.wav"}
    told = {"start": [s for s, *_ in WORDS], "end": [e for _, e, _ in WORDS]}
    told["word"] = [word for *_, word in WORDS]
    pq.write_table(pa.table({"audio": [audio], "words": [told]}), root / "d.parquet")
    (root / "a.wav").unlink()
    return root / "d.parquet"


FORMS: tuple[Callable[[Path], Path], ...] = (
    grid_beside,
    grid_short_utf16,
    grid_elsewhere,
    whisper_beside,
    mfa_json,
    whisperx,
    jsonl,
    jsonl_segments,
    csv_segments,
    parquet,
    kaldi,
    kaldi_by_utterance,
    kaldi_whole,
    nemo_aligner,
    nemo_manifest,
    moshi,
    lhotse,
    librispeech,
    in_a_tar,
    hub,
)


SEGMENTED = (jsonl_segments, csv_segments, kaldi, kaldi_by_utterance, nemo_aligner, lhotse)


def tokenize(source: Path | list[Path], out: Path, **also: Any) -> CodesDataset:
    named = str(source) if isinstance(source, Path) else [str(each) for each in source]
    config = TokenizeConfig(source=named, codec="mulaw", bandwidth=24.0, split="all", **also)
    tokenize_corpus(config, str(out), RunOptions(workers=0, quiet=True))
    return CodesDataset(str(out))


@pytest.fixture(scope="module", params=["parquet", "webdataset"])
def shards(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All forms as one corpus; ids begin with the form's name."""
    root = tmp_path_factory.mktemp("forms")
    sources = []
    for form in FORMS:
        home = root / form.__name__
        home.mkdir()
        made = form(home)
        # A table of a name of its own, so that its rows can be told from others.
        sources.append(
            made if made == home else made.rename(home / f"{form.__name__}{made.suffix}")
        )
    return tokenize(sources, root / "out", format=request.param)


def test_the_words_of_a_cut_are_those_that_are_heard_in_it(shards: CodesDataset) -> None:
    codec, heard = load_codec("mulaw", bandwidth=24.0), dict[str, list[str]]()
    for number in range(len(shards)):
        found = set()
        for unit in range(shards.units(number)):
            cut = shards.slice(number, unit * 0.99, unit * 0.99 + 0.5, ("alignment", "scales"))
            sound = codec.decode(cut.to_codes()).samples[0]
            for start, end, word in cut.fields["alignment"]:
                inside = sound[max(0, round(start * RATE)) : round(end * RATE)]
                if len(inside) > 0.1 * RATE:
                    assert tone_in(inside) == word, cut.id
                    found.add(word)
        heard.setdefault(cut.id.split("/")[0].split(".")[0], []).extend(sorted(found))
    words = sorted(word for *_, word in WORDS)
    assert heard.keys() == {form.__name__ for form in FORMS}
    for form in FORMS:
        times = 2 if form is grid_elsewhere else 1
        assert sorted(heard[form.__name__]) == sorted(words * times)


def test_the_loader_cuts_along_them(shards: CodesDataset) -> None:
    numbers = {shards[number].id: number for number in range(len(shards))}
    for batch in CodesLoader(
        shards, batch_size=4, crop=Crop(seconds=1), fields=("alignment",), epochs=2
    ):
        for id, start, words in zip(
            batch.ids, batch.start_seconds, batch.fields["alignment"], strict=True
        ):
            cut = shards.slice(numbers[id], float(start) + 0.01, float(start) + 0.5, ("alignment",))
            assert words == cut.fields["alignment"] and cut.start_seconds == float(start)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_words_are_told_in_each_recordings_own_time(
    tmp_path: Path, form: Callable[[Path], Path]
) -> None:
    source = open_source(str(form(tmp_path)))
    found = list(source.scan())
    parts = [(FIRST, WORDS[:3]), (SECOND, WORDS[3:])]
    if form not in SEGMENTED:
        parts = [((0.0, SECONDS), WORDS)] * (2 if form is grid_elsewhere else 1)
    for recording, ((start, _), words) in zip(found, parts, strict=True):
        told = recording.meta["alignment"]
        assert [word[2] for word in told] == [word for *_, word in words]
        wanted = [(s - start, e - start) for s, e, _ in words]
        near = 0.11 if form is whisperx else 2e-3  # where one is put between its neighbours
        np.testing.assert_allclose([word[:2] for word in told], wanted, atol=near)
        text = "all of it" if form is whisperx else " ".join(word for *_, word in words)
        assert recording.text == text
        assert "alignment_error" not in recording.meta


BAD: dict[str, Any] = {
    "reversed": [["a", 0.5, 0.1]],
    "negative": [["a", -1, 0.1]],
    "no number": [["a", 0.1, 0.2], ["b", "soon", 0.3]],
    "not finite": [["a", float("nan"), 0.2]],
    "no list": "a.TextGrid",
    "behind its end": [["a", 0.1, 0.2], ["b", 9.0, 9.5]],
}


def test_times_that_cannot_be_cost_the_words_and_not_the_recording(tmp_path: Path) -> None:
    """Another row keeps its own; it is said how many do not, and what is amiss."""
    talk(tmp_path / "a.wav")
    rows = [
        {"id": case, "path": "a.wav", "text": "said", "alignment": given}
        for case, given in BAD.items()
    ]
    rows.append({"id": "good", "path": "a.wav", "alignment": [list(WORDS[0])]})
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = tokenize(tmp_path / "t.jsonl", tmp_path / "out")
    assert [data[number].id for number in range(len(data))] == [*BAD, "good"]
    errors = {}
    for number, case in enumerate(BAD):
        row = data.read(number, fields=("text", "meta", "alignment"))
        assert row.fields["text"] == "said" and row.fields["alignment"] == []
        assert "alignment" not in row.fields["meta"]
        errors[case] = row.fields["meta"]["alignment_error"]
        wanted = ["words_outside"] if case == "behind its end" else None
        assert row.fields["meta"].get("flags") == wanted
    good = data.read(len(BAD), fields=("text", "alignment"))
    assert (good.fields["alignment"], good.fields["text"]) == ([WORDS[0]], WORDS[0][2])
    assert "9 s of a recording of 3.2 s" in errors["behind its end"]
    source = open_source(str(tmp_path / "t.jsonl"))
    assert len(list(planned(source, None, None, 10.0))) == len(rows)
    said = "\n".join(source.notes)
    assert "times of words in 2 recordings " in said
    assert f"times of words that cannot be used in {len(BAD) - 1} recordings, which stay" in said
    assert f"reversed: {errors['reversed']}" in said


def test_words_outside_their_segment_cost_themselves(tmp_path: Path) -> None:
    """The second row tells that times are the segments' own; the third fits neither."""
    talk(tmp_path / "a.wav")
    rows = [
        {"path": "a.wav", "start": 1.0, "end": 3.0, "words": [["a", 1.2, 1.5]]},
        {"path": "a.wav", "start": 2.0, "end": 3.0, "words": [["b", 0.2, 0.5]]},
        {"path": "a.wav", "start": 2.5, "end": 3.0, "words": [["c", 0.8, 1.2]]},
        {"path": "a.wav"},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(open_source(str(tmp_path / "t.jsonl")).scan())
    assert [each.meta.get("alignment") for each in found] == [
        [[1.2, 1.5, "a"]],
        [[0.2, 0.5, "b"]],
        None,
        None,
    ]
    assert "from 0.8 to 1.2 s" in found[2].meta["alignment_error"]


@pytest.mark.parametrize(
    "values",
    [
        {"words": ["one", "two"]},
        {"words": "one two"},
        {"words": 17},
        {"words": [[1, 2, 3]]},
        {"segments": [{"start": 0, "end": 2, "label": "music"}]},
        {"chunks": [{"timestamp": [0, 2], "text": "two words"}]},
        {"alignments": "left", "tiers": {"words": 3}},
        {"words": [{"text": "a"}, {"text": "b"}]},
    ],
)
def test_what_is_no_list_of_words_with_times_stays_as_it_is(values: dict[str, Any]) -> None:
    assert with_alignment(values) == values


def test_segments_of_whisper_keep_what_is_said_of_them() -> None:
    told = whisper(WORDS[:1], avg=-0.2)
    told["segments"][0]["avg_logprob"] = -0.3
    found = with_alignment(told)
    kept = {"id": 0, "temperature": 0.0, "start": 0.0, "end": SECONDS, "avg_logprob": -0.3}
    assert found["segments"] == [{**kept, "text": " the segment"}] and found["avg"] == -0.2
    without = {"segments": [{"start": 0, "text": " one", "tokens": [1]}, {"text": " two"}]}
    assert with_alignment(without)["text"] == "one two"


def test_words_with_wrong_times_are_still_what_is_said() -> None:
    told = with_alignment({"words": [["one", 0.5, 0.1], ["sil", 0.6, 0.7], ["two", 0.8, 0.9]]})
    assert told["text"] == "one two" and "ends at 0.1 s" in told["alignment_error"]
    assert with_alignment({"text": "own", "words": [["one", 2, 1]]})["text"] == "own"


def test_tiers_without_words_are_kept_by_their_names(tmp_path: Path) -> None:
    talk(tmp_path / "a.wav")
    (tmp_path / "a.TextGrid").write_text(long_grid(WORDS, "notes"))
    talk(tmp_path / "b.wav")
    (tmp_path / "b.TextGrid").write_text(long_grid(WORDS)[:-40])
    talk(tmp_path / "c.wav")
    (tmp_path / "c.TextGrid").write_text(long_grid(WORDS))
    a, b, c = open_source(str(tmp_path)).scan()
    assert a.meta["alignments"]["phones"] == [[0.0, SECONDS, 'A"H']] and a.text is None
    assert [word for *_, word in a.meta["alignments"]["notes"]] == [word for *_, word in WORDS]
    assert "cut off" in b.meta["alignment_error"] and b.text is None
    assert c.meta["alignments"] == {"phones": [[0.0, SECONDS, 'A"H']]}


def test_a_ctm_that_is_wrong_or_gone(tmp_path: Path) -> None:
    talk(tmp_path / "a.wav")
    (tmp_path / "x.ctm").write_text("a 1 soon 0.1 hello\n")
    (tmp_path / "y.ctm").write_text(
        "a 1 * * <ALT_BEGIN>\na 1 0.1 0.1 yes\na 1 * * <ALT>\n"
        "a 1 0.1 0.1 no\na 1 * * <ALT_END>\na 1 0.3 0.1 sir\n"
    )
    rows = [{"id": name, "path": "a.wav", "ctm_filepath": f"{name}.ctm"} for name in "xyz"]
    (tmp_path / "m.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    x, y, z = open_source(str(tmp_path / "m.json")).scan()
    assert "`hello` is at soon" in x.meta["alignment_error"]
    assert [word[2] for word in y.meta["alignment"]] == ["yes", "sir"]
    assert "z.ctm" in z.meta["alignment_error"]


def test_text_beside_a_file_is_not_the_text_of_its_segments(tmp_path: Path) -> None:
    talk(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("all that is said in the file")
    (tmp_path / "wav.scp").write_text(f"talk {tmp_path}/a.wav\n")
    (tmp_path / "segments").write_text("u0 talk 0.0 1.6\nu1 talk 1.55 -1\n")
    assert [each.text for each in open_source(str(tmp_path)).scan()] == [None, None]
    (tmp_path / "a.TextGrid").write_text(long_grid(WORDS))
    first, second = open_source(str(tmp_path)).scan()
    assert first.text == " ".join(word for *_, word in WORDS[:3])
    assert [word[2] for word in second.meta["alignment"]] == [word for *_, word in WORDS[3:]]


def test_several_speakers_and_channels(tmp_path: Path) -> None:
    """A tier for each speaker; channels of a CTM that names nobody."""
    talk(tmp_path / "t" / "a.wav")
    tiers = {
        "ann - words": {"entries": [[0.0, 0.5, "one"], [1.0, 1.5, "three"]]},
        "ann - phones": {"entries": [[0.0, 0.5, "W"]]},
        "bob - words": {"entries": [[0.5, 1.0, "two"]]},
    }
    (tmp_path / "t" / "a.json").write_text(json.dumps({"tiers": tiers}))
    (found,) = open_source(str(tmp_path / "t")).scan()
    assert found.text == "one two three" and found.speaker is None
    assert [word[2:] for word in found.meta["alignment"]] == [
        ["one", "ann"],
        ["two", "bob"],
        ["three", "ann"],
    ]
    assert found.meta["alignments"] == {"ann - phones": [[0.0, 0.5, "W"]]}
    (tmp_path / "k").mkdir()
    kaldi_whole(tmp_path / "k")
    (tmp_path / "k" / "reco2file_and_channel").unlink()
    (tmp_path / "k" / "ctm").write_text(
        "talk A 0.1 0.2 yes\ntalk B 0.4 0.2 no\nelse A 1 1 x\nx y\n"
    )
    source = open_source(str(tmp_path / "k"))
    (found,) = source.scan()
    assert [word[2:] for word in found.meta["alignment"]] == [["yes", "A"], ["no", "B"]]
    said = "\n".join(source.notes)
    assert "words of 1 name that are neither a recording's nor an utterance's: else" in said
    assert "passed over 1 line without `name channel start duration word`" in said


def test_what_else_lhotse_has_aligned_moves_along(tmp_path: Path) -> None:
    first, second = open_source(str(lhotse(tmp_path))).scan()
    assert first.meta["alignments"] == {"phone": [[0.0, 0.1, "AH"]]}
    assert second.meta["alignments"] == {"phone": [[0.0, 0.1, "AH"]]}
