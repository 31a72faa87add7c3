"""Layouts whose audio lies in tars that a list leads to: Lhotse's Shar, NeMo's tarred manifests.
The tars are no WebDataset, though they may look like one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelines.corpus.layouts.base import Folder, Packed
from pipelines.corpus.sources.listing import list_folder
from pipelines.corpus.sources.members import Broken
from tokenizer.errors import SourceError

_SHAR = re.compile(r"(?P<home>(?:.*/)?)cuts\.(?P<shard>\d+)\.jsonl(\.gz)?")
_NEMO = re.compile(
    r"(?:.*/)?(tarred_audio_manifest|sharded_manifests/manifest_\d+)\.(json|jsonl)(\.gz)?"
)


def is_packed(spec: str) -> bool:
    """Whether a folder of tars is one of these, by the names in it."""
    return any(is_shar(name) or is_tarred(name) for name in list_folder(spec).files)


def is_shar(name: str) -> bool:
    """Whether a file is the list of a shard of Shar."""
    return _SHAR.fullmatch(name) is not None


def is_tarred(name: str) -> bool:
    """Whether a file is a manifest of a tarred data set of NeMo."""
    return _NEMO.fullmatch(name) is not None


def audio_of_shard(name: str) -> str:
    """The tar with the recordings of a shard of Shar."""
    found = _SHAR.fullmatch(name)
    if found is None:
        raise ValueError(f"{name} is no list of a shard")
    return f"{found['home']}recording.{found['shard']}.tar"


def whole_members(folder: Folder, tar: str) -> Iterator[Packed]:
    """Members of a tar that can be read; what is amiss with it is a note."""
    try:
        for each in folder.packed(tar):
            if isinstance(each, Broken):
                folder.notes.append(f"{tar}: {each.name or 'the archive'}: {each.message}")
            else:
                yield each
    except SourceError as error:
        folder.notes.append(str(error))
