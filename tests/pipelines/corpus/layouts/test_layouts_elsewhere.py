"""Layouts where they do not lie in a folder of this machine: in a tar as they are published, and on
a file system behind a URL."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_corpora import CORPORA, Wanted, lines, ljspeech, sound
from more_corpora import MORE

from pipelines.corpus.layouts import layout_by_name
from pipelines.corpus.layouts.archive import IN_TARS
from pipelines.corpus.sources import open_source
from pipelines.corpus.tables.hints import Hints
from tokenizer.audio import read_audio
from tokenizer.errors import SourceError

ALL = CORPORA | MORE
PACKED = [name for name, (layout, _) in ALL.items() if layout in IN_TARS]


def scan(source: str, **hints: Any) -> tuple[Any, list[Any], str]:
    opened = open_source(source, hints=Hints(**hints))
    found = list(opened.scan())
    return opened, found, "\n".join(opened.notes)


def check(
    source: Any, found: list[Any], wanted: list[Wanted], before: str = "", within: str = ""
) -> None:
    """Rows and samples are those that were written."""
    rows = {each.id.removeprefix(before): each for each in found}
    assert rows.keys() == {each.id for each in wanted}
    for want in wanted:
        row = rows[want.id]
        assert "rejected" not in row.locator, row.locator
        told = (row.text, row.speaker, row.language, row.meta.get("split"))
        assert told == (want.text, want.speaker, want.language, want.split)
        for key, value in want.meta.items():
            assert row.meta[key] == (f"{within}{value}" if key == "group" else value)
        heard = read_audio(source.open(row), start=row.start, end=row.end).samples[0]
        np.testing.assert_allclose(heard, want.audio, atol=2 / 32_768)


@pytest.mark.parametrize("inside", ["corpus-1.0", "."])
@pytest.mark.parametrize("name", PACKED)
def test_a_corpus_in_a_tar_is_read_as_its_folder_is(tmp_path: Path, name: str, inside: str) -> None:
    layout, write = ALL[name]
    wanted = write(tmp_path / "corpus")
    with tarfile.open(tmp_path / "packed.tar", "w") as archive:
        archive.add(tmp_path / "corpus", inside)
    source, found, said = scan(str(tmp_path / "packed.tar"))
    within = "" if inside == "." else f"{inside}/"
    check(source, found, wanted, f"packed/{inside}/", within)
    assert f"{layout_by_name(layout).title} layout: {len(wanted)} recordings" in said
    assert source.layout == layout_by_name(layout).title and "not read" not in said
    _, plain, said = scan(str(tmp_path / "packed.tar"), layout="folder")
    assert not any(each.speaker for each in plain) and "layout" not in said


def test_a_tar_with_amiss_lines_and_more_audio(tmp_path: Path) -> None:
    ljspeech(tmp_path / "LJ")
    with (tmp_path / "LJ" / "metadata.csv").open("ab") as file:
        file.write(b"LJ9|gone|gone\nno bars\n")
    sound(tmp_path / "LJ" / "wavs" / "extra.wav", 7)
    with tarfile.open(tmp_path / "LJ.tar", "w") as archive:
        archive.add(tmp_path / "LJ", "LJ")
        archive.add(tmp_path / "LJ" / "wavs" / "extra.wav", "LJ/wavs/extra.wav")
        archive.add(tmp_path / "LJ" / "metadata.csv", "LJ/README")
    _, found, said = scan(str(tmp_path / "LJ.tar"))
    bad = [each for each in found if "rejected" in each.locator]
    assert [each.id for each in bad] == [
        "LJ/LJ/metadata.csv#line-4",
        "LJ/LJ/metadata.csv#line-5",
        next(each.id for each in bad if "extra.wav@" in each.id),
    ]
    assert "1 more recordings have no row there" in said and "LJ/LJ/README" in said
    with pytest.raises(SourceError, match="--layout vctk"):
        scan(str(tmp_path / "LJ.tar"), layout="vctk")


@pytest.mark.parametrize("name", ["kaldi", "nemo", "lhotse_cuts"])
def test_lists_that_name_files_anywhere_are_said_to_be_unpacked(tmp_path: Path, name: str) -> None:
    ALL[name][1](tmp_path / "corpus")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "corpus", "c")
    _, found, said = scan(str(tmp_path / "a.tar"))
    title = layout_by_name(ALL[name][0]).title
    assert f"looks like the {title} layout in a tar: unpack it" in said and found
    with pytest.raises(SourceError, match="unpack"):
        scan(str(tmp_path / "a.tar"), layout=ALL[name][0])


def test_webdataset_stays_what_it_is(tmp_path: Path) -> None:
    """A table that is about other files changes nothing."""
    sound(tmp_path / "c" / "a.wav", 0)
    (tmp_path / "c" / "a.txt").write_text("words")
    lines(tmp_path / "c" / "metadata.csv", "x|y")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "c", "c")
    source, found, said = scan(str(tmp_path / "a.tar"))
    assert [(each.id, each.text) for each in found] == [("a/c/a.wav", "words")]
    assert "looks like the LJSpeech layout, and is not" in said and source.layout == ""


def test_a_zip_is_said_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "VCTK.zip").write_bytes(b"PK")
    with pytest.raises(SourceError, match="unpack it, and give the folder"):
        open_source(str(tmp_path / "VCTK.zip"))


REMOTE = [name for name in ALL if name not in ("kaldi", "lhotse_supervisions", "nemo")]
"""those whose lists name files by paths that are not this machine's"""


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Any]:
    """Copies a folder to where a URL leads, which it gives."""
    import fsspec

    fs, homes = fsspec.filesystem("memory"), []

    def copy(folder: Path) -> str:
        homes.append(f"/layouts-{len(homes)}")
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                fs.pipe_file(f"{homes[-1]}/{path.relative_to(folder)}", path.read_bytes())
        return f"memory:/{homes[-1]}"

    yield copy
    for home in homes:
        fs.rm(home, recursive=True)


@pytest.mark.parametrize("name", REMOTE)
def test_a_layout_on_any_file_system(tmp_path: Path, name: str, remote: Any) -> None:
    wanted = ALL[name][1](tmp_path / "c")
    source, found, said = scan(remote(tmp_path / "c"))
    assert f"{layout_by_name(ALL[name][0]).title} layout: {len(wanted)} recordings" in said
    check(source, found, wanted)


@pytest.mark.parametrize(
    ("name", "list"),
    [
        ("ljspeech", "metadata.csv"),
        ("lhotse_cuts", "cuts_train.jsonl.gz"),
        ("shar", "train/cuts.000000.jsonl.gz"),
    ],
)
def test_a_list_on_any_file_system(tmp_path: Path, name: str, list: str, remote: Any) -> None:
    wanted = ALL[name][1](tmp_path / "c")
    if name == "shar":
        wanted = wanted[:2]
    source, found, _ = scan(f"{remote(tmp_path / 'c')}/{list}")
    check(source, found, wanted)


@pytest.mark.parametrize("name", ["librispeech", "vctk"])
def test_a_tar_on_any_file_system(tmp_path: Path, name: str, remote: Any) -> None:
    wanted = ALL[name][1](tmp_path / "corpus")
    (tmp_path / "c").mkdir()
    with tarfile.open(tmp_path / "c" / "x.tar", "w") as archive:
        archive.add(tmp_path / "corpus", "top")
    source, found, _ = scan(f"{remote(tmp_path / 'c')}/x.tar")
    check(source, found, wanted, "x/top/")
