"""Tars as people have them: every member that `tarfile` finds in the whole archive is a recording,
or something says so."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest

from pipelines.corpus.sources import open_source
from pipelines.corpus.sources.tar import TarSource
from tokenizer.errors import FailureKind, RecordingError, SourceError
from tokenizer.types import Recording

Content = bytes | tuple[bytes, str]
"""of a member: bytes, or a link's type and target"""


def tar(members: list[tuple[str, Content]], form: int = tarfile.GNU_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                member.type, member.linkname = content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def scan(
    folder: Path, content: bytes, name: str = "t.tar"
) -> tuple[TarSource, list[Recording], list[Recording]]:
    """The source, its recordings, and those that were rejected."""
    (folder / name).write_bytes(content)
    source = open_source(str(folder / name))
    assert isinstance(source, TarSource)
    found = list(source.scan())
    assert len({recording.id for recording in found}) == len(found)
    bad = [recording for recording in found if "rejected" in recording.locator]
    return source, [recording for recording in found if recording not in bad], bad


def read(source: TarSource, recording: Recording) -> bytes:
    file = source.open(recording)
    assert not isinstance(file, str)
    with file:
        return file.read()


def test_what_a_folder_leaves_out_is_left_out(tmp_path: Path) -> None:
    """Tars of a Mac have its own file beside each."""
    content = tar(
        [
            ("./._a.wav", b"mac"),
            ("./a.wav", audio(1)),
            ("./._a.txt", b"mac"),
            ("./a.txt", b"said"),
            ("__MACOSX/a.wav", b"mac"),
            (".DS_Store", b"mac"),
            ("./.b.wav", audio(2)),
            ("...And Justice.wav", audio(3)),
        ]
    )
    source, good, bad = scan(tmp_path, content)
    assert [(each.id, each.text) for each in good] == [
        ("t/./a.wav", "said"),
        ("t/...And Justice.wav", None),
    ]
    assert not bad
    assert source.notes == ("left out: 1 hidden file or folder: ./.b.wav (a leading dot)",)


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_a_folder_may_be_called_like_a_tar(tmp_path: Path, name: str) -> None:
    """As some programs call what they have unpacked."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.wav").write_bytes(audio(1))
    (found,) = open_source(str(tmp_path / name)).scan()
    assert found.id == "a.wav"
    (tmp_path / name / "a.wav").unlink()
    (tmp_path / name / "t.tar").write_bytes(tar([("b.wav", audio(2))]))
    (found,) = open_source(str(tmp_path / name)).scan()
    assert found.id == "t/b.wav"
    (tmp_path / "shard.wds").write_bytes(tar([("b.wav", audio(2))]))
    (found,) = open_source(f"tar:{tmp_path / 'shard.wds'}").scan()
    assert found.id == "shard.wds/b.wav"


def test_names_in_another_encoding_are_told_apart(tmp_path: Path) -> None:
    """Tars from before UTF-8: two names that look alike as text cost no run."""
    names = [b"caf\xe9.wav", b"caf\xe8.wav", b"\xfc.wav"]
    members = [(name.decode("utf-8", "surrogateescape"), audio(n)) for n, name in enumerate(names)]
    source, good, bad = scan(tmp_path, tar([*members, members[0]]))
    assert [each.id for each in good] == ["t/caf\\xe9.wav", "t/caf\\xe8.wav", "t/\ufffd.wav"]
    assert [read(source, each) for each in good] == [audio(n) for n in range(3)]
    (twice,) = bad
    assert "is there twice" in twice.locator["rejected"][1]
    twice.id.encode()
    str(twice.locator).encode()


def test_tars_of_several_splits_are_not_mixed(tmp_path: Path) -> None:
    for name in ("train-000000", "train-000001", "test-000000"):
        said = b'{"split": "dev"}' if name == "train-000001" else b"{}"
        (tmp_path / f"{name}.tar").write_bytes(tar([("a.wav", audio(1)), ("a.json", said)]))
    pattern = f"{tmp_path}/{{train-{{000000..000001}},test-000000}}.tar"
    for spec in (str(tmp_path), pattern):
        found = {each.id: each.meta["split"] for each in open_source(spec).scan()}
        assert found == {
            "train-000000/a.wav": "train",
            "train-000001/a.wav": "dev",
            "test-000000/a.wav": "test",
        }
    (tmp_path / "test-000000.tar").rename(tmp_path / "val-000000.tar")
    found = {each.id: each.meta["split"] for each in open_source(str(tmp_path)).scan()}
    assert found["val-000000/a.wav"] == "val"
    (tmp_path / "val-000000.tar").unlink()
    assert "split" not in next(iter(open_source(str(tmp_path)).scan())).meta
    (tmp_path / "train-000000.tar").rename(tmp_path / "train_ann.tar")
    (tmp_path / "train-000001.tar").rename(tmp_path / "train_bob.tar")
    found = {each.id: each.meta.get("split") for each in open_source(str(tmp_path)).scan()}
    assert found == {"train_ann/a.wav": None, "train_bob/a.wav": "dev"}


def test_a_pattern_may_be_longer_than_a_name(tmp_path: Path) -> None:
    names = [f"train-{number:06d}" for number in range(40)]
    for name in names[:2]:
        (tmp_path / f"{name}.tar").write_bytes(tar([("a.wav", audio(1))]))
    pattern = f"{tmp_path}/{{{','.join(names)}}}.tar"
    with pytest.raises(SourceError, match=r"train-000002\.tar"):
        list(open_source(pattern).scan())
    for name in names[2:]:
        (tmp_path / f"{name}.tar").write_bytes(tar([("a.wav", audio(1))]))
    assert [each.id for each in open_source(pattern).scan()] == [f"{one}/a.wav" for one in names]


def audio(number: int) -> bytes:
    return bytes([number]) * (700 + number)


FIVE: list[tuple[str, Content]] = [
    (f"{n}.{ending}", audio(n) if ending == "wav" else b"words %d" % n)
    for n in range(5)
    for ending in ("wav", "txt")
]


def headers(content: bytes) -> list[int]:
    """Where `tarfile` finds the headers."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return [member.offset for member in archive]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_whole_archives_are_read_as_tarfile_reads_them(tmp_path: Path, form: int) -> None:
    long = [] if form == tarfile.USTAR_FORMAT else [("é" * 80 + "/" + "x" * 120 + ".wav", audio(9))]
    content = tar([*FIVE, *long], form)
    source, good, bad = scan(tmp_path, content)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        wanted = {m.name: archive.extractfile(m).read() for m in archive if m.name.endswith(".wav")}  # type: ignore[union-attr]
    assert not bad and {r.locator["member"]: read(source, r) for r in good} == wanted


def test_a_cut_anywhere_is_never_silent(tmp_path: Path) -> None:
    content = tar(FIVE)
    ends = headers(content)
    for cut in [
        *ends[1:],
        *(at + 200 for at in ends[1:]),
        *(at + 600 for at in ends),
        len(content.rstrip(b"\0")) + 10,
    ]:
        _, good, bad = scan(tmp_path, content[:cut])
        assert bad and [recording.id for recording in good] == [
            f"t/{n}.wav" for n in range(len(good))
        ], cut
    assert {recording.locator["rejected"][0] for recording in bad} == {"truncated"}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_flipped_bit_in_a_header_costs_one_member_and_is_named(tmp_path: Path, form: int) -> None:
    members: list[tuple[str, Content]] = [(f"{'long' * 30}{n}.wav", audio(n)) for n in range(3)]
    content = tar([*FIVE, *members], form)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = {m.name for m in archive if m.name.endswith(".wav")}
    rng = np.random.default_rng(7)
    for at in headers(content):
        flipped = bytearray(content)
        flipped[at + int(rng.integers(512))] ^= 1 << int(rng.integers(8))
        _, good, bad = scan(tmp_path, bytes(flipped))
        found = {recording.locator["member"] for recording in good}
        assert bad and found < names | {None} and len(names - found) <= 1
        assert str(tmp_path / "t.tar") in bad[0].locator["rejected"][1]


def test_the_first_header_may_be_the_damaged_one(tmp_path: Path) -> None:
    content = bytearray(tar(FIVE))
    content[3] ^= 4
    _, good, bad = scan(tmp_path, bytes(content))
    assert [r.id for r in good] == [f"t/{n}.wav" for n in range(1, 5)] and len(bad) == 1


def test_archives_one_after_the_other(tmp_path: Path) -> None:
    source, good, bad = scan(tmp_path, tar(FIVE[:4]) + tar(FIVE[4:]))
    assert not bad and [read(source, r) for r in good] == [audio(n) for n in range(5)]
    _, good, bad = scan(tmp_path, tar(FIVE[:4]) + tar(FIVE[2:4]))
    assert len(good) == 2 and "there twice" in bad[0].locator["rejected"][1]


def test_what_is_behind_the_end_is_named(tmp_path: Path) -> None:
    _, good, bad = scan(tmp_path, tar(FIVE) + b"x" * 2000)
    assert len(good) == 5 and "behind the archive's end" in bad[0].locator["rejected"][1]


def test_links_lead_to_members_or_fail_by_name(tmp_path: Path) -> None:
    hard, soft = tarfile.LNKTYPE, tarfile.SYMTYPE
    members: list[tuple[str, Content]] = [
        ("x/a.wav", audio(1)),
        ("b.wav", (hard, "x/a.wav")),
        ("x/c.wav", (soft, "a.wav")),
        ("d.wav", (soft, "./x/../x/c.wav")),
        ("e.wav", (soft, "/etc/passwd")),
        ("f.wav", (soft, "../a.wav")),
        ("g.wav", (soft, "h.wav")),
        ("h.wav", (soft, "g.wav")),
        ("x/a.txt", b"words"),
        ("b.txt", (hard, "x/a.txt")),
    ]
    source, good, bad = scan(tmp_path, tar(members))
    assert {r.id: read(source, r) for r in good} == {
        f"t/{name}": audio(1) for name in ("x/a.wav", "b.wav", "x/c.wav", "d.wav")
    }
    assert {r.id: r.text for r in good if r.text} == {"t/x/a.wav": "words", "t/b.wav": "words"}
    assert [recording.id.split("@")[0] for recording in bad] == [
        "t/e.wav",
        "t/f.wav",
        "t/g.wav",
        "t/h.wav",
    ]
    with pytest.raises(RecordingError, match=r"e\.wav: a link to /etc/passwd"):
        source.open(bad[0])


def test_what_follows_a_sparse_file_is_read(tmp_path: Path) -> None:
    """Its size is that of the whole: it seemed to be cut off, and all behind it went with it."""
    info = tarfile.TarInfo("GNUSparseFile.0/hole.wav")
    stored = b"1\n0\n512\n".ljust(512, b"\0") + bytes(512)
    info.size, info.pax_headers = (
        len(stored),
        {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "hole.wav",
            "GNU.sparse.realsize": "3000000",
        },
    )
    sparse = info.tobuf(tarfile.PAX_FORMAT) + stored
    rest = tar([("a.wav", audio(0)), ("a.txt", b"words")])
    (tmp_path / "x.tar").write_bytes(sparse + rest)
    source = open_source(str(tmp_path / "x.tar"))
    found = {recording.id: recording for recording in source.scan()}
    assert found.pop("x/a.wav").text == "words"
    (failed,) = found.values()
    with pytest.raises(RecordingError, match="a sparse file"):
        source.open(failed)


def test_sidecars_pair_by_the_whole_stem(tmp_path: Path) -> None:
    members: list[tuple[str, Content]] = [(f"dr.smith.0{n}.wav", audio(n)) for n in range(3)]
    members += [(f"dr.smith.0{n}.txt", b"words %d" % n) for n in (2, 0, 1)]
    members += [
        ("dr.txt", b"whose?"),
        ("k.audio.wav", audio(5)),
        ("k.txt", b"by key"),
        ("lone.json", b"{}"),
        ("x.pdf", b""),
    ]
    source, good, bad = scan(tmp_path, tar(members))
    assert not bad and [r.text for r in good] == ["words 0", "words 1", "words 2", "by key"]
    assert len(source.notes) == 1 and all(
        name in source.notes[0] for name in ("dr.txt", "lone.json", "x.pdf")
    )


@pytest.mark.parametrize(("of_audio", "of_text"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_sidecars_pair_across_unicode_forms(tmp_path: Path, of_audio: str, of_text: str) -> None:
    """As a tar has them whose texts were written on a Mac; not where two could be meant."""
    forms = [normalize(form, "Été/ü") for form in ("NFC", "NFD")]
    members: list[tuple[str, Content]] = [
        (normalize(of_audio, "Été/é.1.wav"), audio(1)),
        (normalize(of_text, "Été/é.1.txt"), "déjà".encode()),
        *((f"{name}.wav", audio(2)) for name in forms),
        (f"{normalize('NFC', 'É')}{normalize('NFD', 'té')}/ü.txt", b"whose?"),
    ]
    source, good, bad = scan(tmp_path, tar(members))
    assert not bad and [one.text for one in good] == ["déjà", None, None]
    assert len(source.notes) == 1 and "1 .txt" in source.notes[0]


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"no tar" * 300):
        with pytest.raises(SourceError, match="not a readable tar"):
            scan(tmp_path, content)


@pytest.mark.parametrize("change", ["order", "content", "shorter"])
def test_another_member_at_the_place_of_one_is_a_failure(tmp_path: Path, change: str) -> None:
    same: list[tuple[str, Content]] = [(f"{n}.wav", bytes([n]) * 5000) for n in range(4)]
    source, good, _ = scan(tmp_path, tar(same))
    other = {
        "order": tar([same[2], same[1], same[0], same[3]]),
        "content": tar(
            [("0.wav", bytes([9]) * 5000), same[1], ("2.wav", bytes([8]) * 5000), same[3]]
        ),
        "shorter": tar([same[1]]),
    }[change]
    (tmp_path / "t.tar").write_bytes(other)
    kinds = []
    for recording in good:
        try:
            kinds.append(read(source, recording) == bytes([int(recording.id[2])]) * 5000)
        except RecordingError as error:
            kinds.append(error.kind is FailureKind.CHANGED)
            assert "another OUT" in error.message
    assert all(kinds)
    with pytest.raises(RecordingError):
        read(source, good[0])
    source.check_versions = False
    if change == "content":
        assert read(source, good[0]) == bytes([9]) * 5000
