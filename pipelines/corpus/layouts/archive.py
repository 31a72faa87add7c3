"""One tar: its recordings with what lies beside them, or with what the corpus says of them where it
is packed with its lists."""

from __future__ import annotations

import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO
from unicodedata import normalize

from pipelines.corpus.layouts import layout_by_name
from pipelines.corpus.layouts.base import Folder, Layout
from pipelines.corpus.layouts.laid_out import LaidOut
from pipelines.corpus.sources.base import estimate_seconds, is_audio, rejected
from pipelines.corpus.sources.identity import FILE, VERSION, handle_version, member_version
from pipelines.corpus.sources.listing import Entry, Listing, is_hidden_audio, is_left_out
from pipelines.corpus.sources.members import Broken, Member, read_members
from pipelines.corpus.sources.sidecars import READ_AS, read_sidecars
from pipelines.corpus.tables.hints import PLAIN, Hints, NotLaidOut
from pipelines.corpus.tables.values import clean
from tokenizer.errors import FailureKind
from tokenizer.types import Recording

MEMBER = "member"
"""key of a locator: the name of a tar's member"""
IN_TARS = (
    *("commonvoice", "ljspeech", "audiofolder", "librispeech", "libritts", "vctk"),
    *("fma", "jamendo", "ytdlp", "stems"),
)
"""layouts that are read in a tar, in this order: what they name lies beside their lists"""
_UNPACKED = ("kaldi", "shar", "lhotse", "nemotarred", "nemo")
"""layouts whose lists name files anywhere"""


@dataclass(slots=True)
class Archive:
    """The contents of one archive, while it is listed."""

    uri: str
    stem: str
    version: str | None
    audio: list[Member] = field(default_factory=list)
    sidecars: list[Member] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    files: list[Member] = field(default_factory=list)
    """all that is no audio"""
    hidden: list[str] = field(default_factory=list)
    """names of audio that begin with a dot"""
    notes: list[str] = field(default_factory=list)
    layout: str = ""
    """the title of the layout that was recognised"""
    _called: Counter[str] | None = None
    """how many members are shown by a name"""

    @classmethod
    def read(cls, uri: str, stem: str, file: BinaryIO) -> Archive:
        archive = cls(uri, stem, handle_version(file, uri))
        # What a folder leaves out is left out here: tars of a Mac have `._x.wav` for each `x.wav`.
        for member in read_members(file):
            if isinstance(member, Broken):
                archive.broken.append(member)
                continue
            if is_left_out(member.name):
                archive.hidden += [clean(member.name)] * is_hidden_audio(member.name)
                continue
            if is_audio(member.name):
                archive.audio.append(member)
                continue
            archive.files.append(member)
            if _ending(member.name) in READ_AS:
                archive.sidecars.append(member)
            else:
                archive.others.append(f"{stem}/{member.name}")
        archive.notes += Listing(hidden=archive.hidden).notes()
        return archive

    def beside(self) -> dict[str, list[Member]]:
        """Sidecars of each audio member, by its name: those with its name but for the ending; or,
        as WebDataset has it, with its name up to the first dot where that belongs to no other
        audio; or with its name in another Unicode form, as of a Mac, where it is the only one of
        its kind."""
        stems = {_stem(member.name) for member in self.audio}
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for name in stems:
            alike[normalize("NFC", name)].append(name)
        of_key: defaultdict[str, set[str]] = defaultdict(set)
        for member in self.audio:
            of_key[_key(member.name)].add(_stem(member.name))
        found: dict[str, list[Member]] = defaultdict(list)
        other: defaultdict[tuple[str, str], list[Member]] = defaultdict(list)
        used = set()
        for sidecar in self.sidecars:
            stem = _stem(sidecar.name)
            if stem in stems:
                found[stem].append(sidecar)
            elif len(of_key.get(stem, ())) == 1:
                found[next(iter(of_key[stem]))].append(sidecar)
            else:
                same = alike[normalize("NFC", stem)]
                if len(same) == 1:
                    other[same[0], _ending(sidecar.name)].append(sidecar)
                continue
            used.add(sidecar)
        for (stem, ending), given in other.items():
            if len(given) == 1 and ending not in {_ending(one.name) for one in found[stem]}:
                found[stem] += given
                used |= {*given}
        self.others += [
            f"{self.stem}/{member.name}" for member in self.sidecars if member not in used
        ]
        return found

    def recordings(self, file: BinaryIO, hints: Hints) -> Iterator[Recording]:
        """Its recordings in order, then what is wrong with it.

        Raises:
            NotLaidOut: it does not have the layout that was asked for.
            SourceError: not one row of its layout can be used.
        """
        beside, first = self.beside(), dict[str, Member]()
        for member in self.audio:
            first.setdefault(member.name, member)

        def of_member(member: Member) -> Recording:
            return self._recording(member, file, beside.get(_stem(member.name), []))

        yield from self._laid_out(file, hints, first, of_member)
        for member in self.audio:
            if first[member.name] is not member:
                message = (
                    f"{self.uri}: {member.name} is there twice; this is the one at byte "
                    f"{member.offset}"
                )
                id = clean(f"{self.stem}/{member.name}@{member.offset}")
                yield rejected(id, self.uri, FailureKind.BAD_ROW, clean(message))
        yield from self._broken()

    def _laid_out(
        self,
        file: BinaryIO,
        hints: Hints,
        audio: dict[str, Member],
        of_member: Callable[[Member], Recording],
    ) -> Iterator[Recording]:
        """Its audio, with what its layout says of it if it has one."""
        members = {_inside(member.name): member for member in [*self.audio, *self.files][::-1]}
        listing = Listing({name: Entry(members[name].size) for name in sorted(members)})

        def read(name: str) -> bytes:
            return _read(file, members[name])

        folder = Folder(self.uri, listing, read, hints.encoding)
        layout = self._recognise(folder, hints.layout)
        if layout is None:
            yield from map(of_member, audio.values())
            return
        folder.used.clear()
        self.layout = layout.title
        laid = LaidOut(
            folder,
            layout,
            hints,
            lambda name: of_member(members[name]),
            follow_links=False,
            audio=[_inside(name) for name in audio],
            tar=self.stem,
        )
        yield from laid.recordings()
        self.notes += laid.notes()
        used = {f"{self.stem}/{members[name].name}" for name in folder.used}
        self.others = [name for name in self.others if name not in used]

    def _recognise(self, folder: Folder, asked: str | None) -> Layout | None:
        if asked == PLAIN:
            return None
        if asked in _UNPACKED:
            raise NotLaidOut(f"--layout {asked}: is not read in a tar: unpack {self.uri}")
        for name in IN_TARS if asked is None else [asked]:
            layout = layout_by_name(name)
            fit = layout.fits(folder)
            if fit.yes:
                return layout
            if asked is not None:
                why = f": {fit.why_not}" if fit.why_not else ""
                raise NotLaidOut(f"--layout {asked}: {self.uri} is not laid out so{why}")
            if fit.why_not:
                self.notes.append(
                    f"looks like the {layout.title} layout, and is not: {fit.why_not}"
                )
        for name in _UNPACKED:
            layout = layout_by_name(name)
            if layout.fits(folder).yes:
                self.notes.append(
                    f"looks like the {layout.title} layout in a tar: unpack it and give the "
                    "folder, for its text and segments"
                )
        return None

    def _recording(self, member: Member, file: BinaryIO, sidecars: list[Member]) -> Recording:
        readers: dict[str, Callable[[], bytes]] = {
            _ending(sidecar.name): partial(_read, file, sidecar) for sidecar in sidecars
        }
        fields, meta = read_sidecars(readers)
        version = member_version(file, member.offset, member.size)
        return Recording(
            id=clean(f"{self.stem}/{self._shown(member.name)}"),
            uri=self.uri,
            locator={
                MEMBER: clean(member.name),
                "offset": member.offset,
                "size": member.size,
                VERSION: version,
                **({} if self.version is None else {FILE: self.version}),
            },
            seconds=estimate_seconds(member.name, member.size),
            meta=meta,
            **fields,
        )

    def _shown(self, name: str) -> str:
        """A member's name as text. Where several that are no UTF-8 would be called the same, each
        shows its own bytes."""
        if self._called is None:
            self._called = Counter(clean(each) for each in {member.name for member in self.audio})
        if self._called[shown := clean(name)] < 2:
            return shown
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def _broken(self) -> Iterator[Recording]:
        for broken in self.broken:
            if (
                not broken.name
                or is_audio(broken.name)
                or _ending(broken.name) in READ_AS
                or broken.kind == FailureKind.TRUNCATED
            ):
                name = clean(broken.name)
                id = f"{self.stem}/{name or 'archive'}@{broken.offset}"
                place = f"{self.uri}/{name}" if name else self.uri
                yield rejected(id, self.uri, broken.kind, f"{place}: {broken.message}")
            else:
                self.others.append(f"{self.stem}/{broken.name}")


def _inside(name: str) -> str:
    """A member's name as that of a file in a folder."""
    return posixpath.normpath(name)


def _stem(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.rsplit('.', 1)[0]}"


def _key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.split('.', 1)[0]}"


def _ending(name: str) -> str:
    return name.rsplit(".", 1)[-1].lower()


def _read(file: BinaryIO, member: Member) -> bytes:
    file.seek(member.offset)
    return file.read(member.size)
