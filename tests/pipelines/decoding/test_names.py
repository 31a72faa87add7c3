"""A file for every id: what any file system keeps apart, and takes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.decoding.ledger import utterance
from pipelines.decoding.names import Names, plain_name

ODD = [
    "a.wav",
    "A.wav",
    "a.mp3",
    "a",
    "a/b",
    "a.flac/b",
    "con",
    "CON.wav",
    "aux/nul.x",
    "a:b",
    "a?b",
    "a_b",
    "x.",
    "x ",
    "x",
    ".hidden",
    "../../etc/passwd",
    "/etc/passwd",
    "etc/passwd",
    "a//b",
    "é",
    unicodedata.normalize("NFD", "é"),
    "straße",
    "STRASSE",
    "ﬁ",
    "fi",
    "a\x00b",
    "a\nb",
    "a\u200bb",
    "ab",
    "l" * 300,
    "l" * 300 + "2",
    "/".join("deep" * 9 for _ in range(9)),
    "/".join("deep" * 9 for _ in range(8)),
    "com¹",
    "",
    "/",
    ".",
    "..",
]


def as_one(path: str) -> str:
    """What a file system without case, accents' forms or invisible characters makes of a name."""
    kept = "".join(c for c in path if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", kept).casefold())


def check(files: list[str], ending: str) -> None:
    seen = {as_one(file) for file in files}
    assert len(seen) == len(files)
    folders = {"/".join(one.split("/")[:n]) for one in seen for n in range(1, one.count("/") + 1)}
    assert not folders & seen  # no file where a folder is
    for file in files:
        assert file.endswith(ending) and len(file.encode()) < 200
        for part in file.split("/"):
            assert part and part not in (".", "..") and len(part.encode()) <= 105
            assert not set(part) & set('<>:"\\|?*\0') and part.isprintable()
            assert part == part.rstrip(". ") and not part.startswith(".")
            stem = part.split(".")[0].lower()
            assert stem not in {"con", "prn", "aux", "nul", "com1", "lpt9", "com¹"}


@pytest.mark.parametrize("ending", [".flac", ".wav"])
def test_odd_ids_have_files_that_every_system_keeps_apart(ending: str) -> None:
    names = Names(ODD, ending)
    check([names.file(id) for id in ODD], ending)


def test_plain_ids_keep_their_names_and_order_does_not_matter() -> None:
    ids = ["Album/01 Song.mp3", "LJ001-0001.wav", "84-121123-0000", "v1.5", "call.wav#0", "日本/語"]
    names = Names(ids, ".flac")
    assert [names.file(id) for id in ids] == [
        "Album/01 Song.flac",
        "LJ001-0001.flac",
        "84-121123-0000.flac",
        "v1.5.flac",
        "call.wav#0.flac",
        "日本/語.flac",
    ]
    forth, back = Names(ODD, ".wav"), Names(reversed(ODD), ".wav")
    assert [forth.file(id) for id in ODD] == [back.file(id) for id in ODD]


letters = st.text(st.sampled_from("aAé/.:~ \u0301ßsS_"), max_size=6)


@given(st.lists(st.one_of(letters, st.text(max_size=12)), unique=True, max_size=12))
@example(["a~" + "0" * 20, "a", "A"])
@example(["\ud800", "_"])
def test_any_ids_do(ids: list[str]) -> None:
    names = Names(ids, ".opus")
    files = [names.file(id) for id in ids]
    assert len({as_one(file) for file in files}) == len(ids)
    for file in files:
        file.encode()
        assert all(part and not part.startswith(".") for part in file.split("/"))


@given(st.lists(st.text(max_size=8), unique=True))
def test_kaldi_ids_are_words_and_stay_apart(ids: list[str]) -> None:
    words = [utterance(id) for id in ids]
    assert len(set(words)) == len(ids)
    assert all(len(word.split()) == 1 for word, id in zip(words, ids, strict=True) if id)
    assert plain_name("b c.wav") == "b c" and utterance("b c%.wav") == "b%20c%25.wav"
