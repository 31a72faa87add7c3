"""A file for every id, on any file system: two ids never have one file.

An id's folders and name are kept as far as every system can hold them (`<>:"|?*`, control and
invisible characters, `CON`, dots and blanks at an end, and long names are not kept). Where two ids
would have files that some system takes for one, as `A.wav` and `a.mp3` do where case or endings say
nothing, the names of both end with a hash of their ids, so that an id's name depends on no order.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Iterable

import numpy as np

_AUDIO = re.compile(
    "wave?|flac|mp[234]|mpga|og[ga]|opus|spx|m4[ab]|aac|aif[fc]?|wma|webm|mk[av]|sph|nist|au|caf|"
    "amr|ac3|w64|rf64|wv|ape|mov",
    re.IGNORECASE,
)
"""endings that give way to the new one"""
_FORBIDDEN = frozenset('<>:"|?*\\/~')
"""and `~`, which the hash begins with"""
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE
)
_LONGEST_PART, _LONGEST = 70, 150
"""bytes of a name and of a whole path, without hash and ending"""
_HASH = 20
"""hexadecimal digits: 80 bits"""


class Names:
    """The files of all ids of one output folder."""

    def __init__(self, ids: Iterable[str], ending: str) -> None:
        """
        Args:
            ids: all of them; eight bytes are kept of each.
            ending: of the files, with the dot.
        """
        self._ending = ending
        keys = array("Q", (_key(plain_name(id)) for id in ids))
        found, counts = np.unique(np.frombuffer(keys, np.uint64), return_counts=True)
        self._shared = frozenset(found[counts > 1].tolist())

    def file(self, id: str) -> str:
        """Path below the folder, with `/` between its parts."""
        plain = plain_name(id)
        if _key(plain) in self._shared:
            digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
            plain = f"{plain}~{digest[:_HASH]}"
        return plain + self._ending


def plain_name(id: str) -> str:
    """An id as a path without an ending that every file system can hold."""
    parts = [part for part in id.split("/") if part] or ["_"]
    stem, _, ending = parts[-1].rpartition(".")
    last = _part(stem if stem.strip(". ") and _AUDIO.fullmatch(ending) else parts[-1], "")
    path = "/".join([*(_part(part, "_") for part in parts[:-1]), last])
    if len(path.encode()) > _LONGEST:  # folders that lie deeper than some systems can go
        path = f"_long/{last}"
    return path


def _part(text: str, behind: str) -> str:
    """One folder or name. `behind` stands behind what would end like a file of ours."""
    text = unicodedata.normalize("NFC", text)
    kept = "".join("_" if _is_odd(character) else character for character in text)
    kept = _cut(kept, _LONGEST_PART)
    if kept.endswith((".", " ")):
        kept = kept[:-1] + "_"
    if kept.startswith((".", " ")):
        kept = "_" + kept[1:]
    if _RESERVED.fullmatch(kept):
        kept = f"_{kept}"
    if behind and _AUDIO.fullmatch(kept.rpartition(".")[2]):
        kept += behind
    return kept


def _is_odd(character: str) -> bool:
    return character in _FORBIDDEN or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co")


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")


def _key(path: str) -> int:
    """64 bits that are the same for names that some file system takes for one."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", path).casefold())
    digest = hashlib.blake2b(folded.casefold().encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
