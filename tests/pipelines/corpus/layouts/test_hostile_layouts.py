"""Layouts as they arrive: unpacked one folder deeper, written on Windows, copied between systems,
with what else lies about. Not one text is lost or wrong."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from layout_corpora import CORPORA, lines, sound
from more_corpora import MORE

from pipelines.corpus.layouts import layout_by_name
from pipelines.corpus.sources import open_source
from pipelines.corpus.tables.hints import parse_hints
from tokenizer.types import Recording

ALL = CORPORA | MORE
_AUDIO = (".wav", ".flac")
ABSOLUTE = ("kaldi", "nemo", "lhotse_supervisions")
"""corpora whose lists name files by whole paths"""


def texts(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix not in (*_AUDIO, ".tar", ".parquet"):
            yield path


def rewritten(root: Path, change: Callable[[bytes], bytes]) -> None:
    for path in texts(root):
        content = path.read_bytes()
        packed = path.suffix == ".gz"
        changed = change(gzip.decompress(content) if packed else content)
        path.write_bytes(gzip.compress(changed) if packed else changed)


def marked(root: Path) -> None:
    rewritten(root, lambda content: b"\xef\xbb\xbf" + content)


def of_windows(root: Path) -> None:
    rewritten(root, lambda content: content.replace(b"\n", b"\r\n"))


def of_old_macs(root: Path) -> None:
    rewritten(root, lambda content: content.replace(b"\n", b"\r"))


def in_utf16(root: Path) -> None:
    rewritten(root, lambda content: content.decode().encode("utf-16"))


def with_blanks(root: Path) -> None:
    rewritten(root, lambda content: content.rstrip(b"\n") + b"\n\n  \n")


def without_last_end(root: Path) -> None:
    rewritten(root, lambda content: content.rstrip(b"\n"))


def deeper(root: Path) -> None:
    root.rename(root.parent / "moving")
    root.mkdir()
    (root.parent / "moving").rename(root / "Corpus-1.0")


def behind_a_link(root: Path) -> None:
    root.rename(root.parent / "elsewhere")
    root.symlink_to(root.parent / "elsewhere")


def in_capitals(root: Path) -> None:
    for path in sorted(root.rglob("*")):
        if path.suffix in _AUDIO:
            path.rename(path.with_suffix(path.suffix.upper()))


def with_others(root: Path) -> None:
    for name in ("README.md", "LICENSE.txt", "README", ".DS_Store", "info.json", "notes.csv"):
        (root / name).write_text("hello|there\nmore, lines\n")
    for name in ("empty.csv", "empty.jsonl", "empty.tsv", "._a.wav"):
        (root / name).write_bytes(b"")


CHANGES = (
    *(marked, of_windows, of_old_macs, in_utf16, with_blanks, without_last_end),
    *(deeper, behind_a_link, in_capitals, with_others),
)


def told(recordings: list[Recording]) -> list[tuple[str, str, str]]:
    return sorted((each.text or "", each.speaker or "", each.language or "") for each in recordings)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", ALL)
def test_a_corpus_as_it_arrives(tmp_path: Path, name: str, change: Callable[[Path], None]) -> None:
    if name in ABSOLUTE and change in (deeper, in_capitals):
        pytest.skip("its paths lead elsewhere then")
    layout, write = ALL[name]
    wanted = write(tmp_path / "corpus")
    change(tmp_path / "corpus")
    home = tmp_path / "corpus"
    source = open_source(str(home / "data" / "train" if name == "kaldi" else home))
    found = list(source.scan())
    assert source.layout == layout_by_name(layout).title
    assert not [each.locator for each in found if "rejected" in each.locator]
    assert told(found) == sorted(
        (want.text or "", want.speaker or "", want.language or "") for want in wanted
    )


def test_names_with_accents_as_two_systems_spell_them(tmp_path: Path) -> None:
    """Composed in the list, decomposed on the disk."""
    sound(tmp_path / "wavs" / "e\u0301te\u0301.wav", 0)
    lines(tmp_path / "metadata.csv", "\u00e9t\u00e9|l'\u00e9t\u00e9")
    (found,) = open_source(str(tmp_path)).scan()
    assert (found.text, found.id) == ("l'\u00e9t\u00e9", "wavs/e\u0301te\u0301.wav")


@pytest.mark.parametrize(
    "quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE], ids=["some", "all", "none"]
)
def test_quotation_marks_of_a_csv_writer_are_no_text(tmp_path: Path, quoting: int) -> None:
    """As pandas writes LJSpeech's table; in LJSpeech's own they stand as they are said."""
    said = {"a-1": 'He said "no"', "a-2": '"Both" of them', "a-3": "it's", "a-4": '"Why?"'}
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="|", quoting=quoting, quotechar='"')
        if quoting == csv.QUOTE_NONE:
            file.writelines(f"{name}|{text}\n" for name, text in said.items())
        else:
            writer.writerows(said.items())
    for number, name in enumerate(said):
        sound(tmp_path / "wavs" / f"{name}.wav", number)
    found = {each.id: each.text for each in open_source(str(tmp_path)).scan()}
    assert found == {f"wavs/{name}.wav": text for name, text in said.items()}


def test_a_field_of_any_length(tmp_path: Path) -> None:
    """An artist's life in FMA's table is longer than the csv module reads unasked."""
    csv.field_size_limit(131_072)
    (tmp_path / "tracks.csv").write_text(
        ",album,artist,set,track\n,title,bio,split,title\ntrack_id,,,,\n"
        f'2,an album,"{"x" * 200_000}",training,a title\n'
    )
    sound(tmp_path / "000" / "000002.wav", 0)
    (found,) = open_source(str(tmp_path)).scan()
    assert found.meta == {"title": "a title", "album": "an album", "split": "training"}


def test_a_column_says_the_split_before_a_folder_does(tmp_path: Path) -> None:
    for name in ("train/a.wav", "train/b.wav", "val/c.wav"):
        sound(tmp_path / name, 0)
    rows = ({"file_name": "train/a.wav", "split": "dev"}, {"file_name": "train/b.wav"})
    lines(tmp_path / "metadata.jsonl", *rows, {"file_name": "val/c.wav"})
    found = list(open_source(str(tmp_path)).scan())
    assert [each.meta["split"] for each in found] == ["dev", "train", "val"]
    hints = parse_hints(layout_split="dev")
    assert [each.id for each in open_source(str(tmp_path), hints=hints).scan()] == ["train/a.wav"]


def test_blanks_behind_a_header_are_no_name(tmp_path: Path) -> None:
    """VCTK's own table of speakers has them."""
    sound(tmp_path / "wav48" / "p225" / "p225_001.wav", 0)
    lines(tmp_path / "txt" / "p225" / "p225_001.txt", "Please call Stella.")
    lines(
        tmp_path / "speaker-info.txt", "ID  AGE  GENDER  ACCENTS  REGION ", "225  23  F  English  S"
    )
    (found,) = open_source(str(tmp_path)).scan()
    assert found.meta["region"] == "S"


def test_two_files_that_differ_in_case_are_not_taken_for_each_other(tmp_path: Path) -> None:
    for name in ("a.WAV", "A.wav"):
        sound(tmp_path / name, 0)
    sound(tmp_path / "b.wav", 1)
    rows = [{"file_name": name, "text": name} for name in ("b.wav", "a.wav", "A.wav")]
    lines(tmp_path / "metadata.jsonl", *rows)
    found = list(open_source(str(tmp_path)).scan())
    good = {each.id: each.text for each in found if "rejected" not in each.locator}
    assert good == {"b.wav": "b.wav", "A.wav": "A.wav", "a.WAV": None}


def test_a_file_beside_the_audio_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    from pipelines.corpus.by_channel import planned

    _, write = ALL["moshi"]
    write(tmp_path)
    (tmp_path / "data" / "0.json").write_text("{")
    source = open_source(str(tmp_path))
    first, second = sorted(planned(source, None, None, 10.0), key=lambda each: each.id)
    assert first.text is None and "no list" in first.meta["sidecar_error"]
    assert second.text == "hi you"
    assert "what lies beside 1 recording cannot be read" in "\n".join(source.notes)


def test_columns_between_bars_may_be_named(tmp_path: Path) -> None:
    """As Coqui's data sets have them; one line lacks a column."""
    for n in range(3):
        sound(tmp_path / "wavs" / f"{n}.wav", n)
    body = [f"wavs/{n}.wav|text {n}|s{n}|calm" for n in range(2)]
    lines(tmp_path / "metadata.csv", "audio_file|text|speaker_name|emotion_name", *body, "2|x")
    found = list(open_source(str(tmp_path)).scan())
    assert [(each.text, each.speaker) for each in found[:2]] == [
        ("text 0", "s0"),
        ("text 1", "s1"),
    ]
    assert found[0].meta == {"emotion_name": "calm"}
    assert "2 columns, the first line names 4" in found[2].locator["rejected"][1]
