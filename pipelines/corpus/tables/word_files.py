"""Files that say when which word is said: CTM (NIST's, as Kaldi and NeMo write it) and TextGrid
(Praat's, as the Montreal Forced Aligner writes it)."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pipelines.corpus.tables.alignment import ALIGNMENT, ERROR, SILENCE, Word, stored
from tokenizer.errors import CodecshardsError

_STRING = r'"((?:[^"]|"")*)"'
_TOKEN = re.compile(rf"{_STRING}|(?<![\w.])(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w.])")
_NUMBERED = re.compile(r"(?m)^[ \t]*(item|intervals|points) *\[\d*\] *:?")
"""`intervals [3]:`"""
_INTERVALS = "IntervalTier"
_NOT_WORDS = re.compile(r"(?i).*(phone|phon|segment|syll|mau).*")
_ROUNDED = 0.25
"""seconds that times may be off"""
CTM_COLUMNS = ("words_level_ctm_filepath", "word_level_ctm_filepath", "ctm_filepath")
"""that name a CTM; NeMo's forced aligner writes the first"""
_NOBODY = ("NA", "<NA>", "unknown", "null", "-")
"""what stands in a CTM where the speaker is not known"""
Interval = tuple[float, float, str]


class Ctm:
    """Words of a CTM by the name that its lines begin with: a recording or an utterance.

    A line is `name channel start duration word [confidence [type [speaker]]]`; `;;` begins a
    comment, and of alternatives (`<ALT_BEGIN>`) the first counts.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._words: defaultdict[str, list[tuple[str, Word]]] = defaultdict(list)
        self.wrong: dict[str, str] = {}
        """name → why its words cannot be used"""
        self.short = 0
        """lines that are no words"""
        passed_over = False
        for line in lines:
            cells = line.split()
            if not cells or cells[0].startswith((";;", "#")):
                continue
            if len(cells) < 5:
                self.short += 1
                continue
            if cells[4].startswith("<ALT"):
                passed_over = cells[4] == "<ALT>"
            elif not passed_over:
                self._add(cells)

    def _add(self, cells: list[str]) -> None:
        name, channel, word = cells[0], cells[1], cells[4]
        try:
            start, length = float(cells[2]), float(cells[3])
        except ValueError:
            start = length = math.nan
        if not (math.isfinite(start + length) and start >= 0 and length >= 0):
            self.wrong.setdefault(name, f"`{word}` is at {cells[2]} for {cells[3]} s")
        elif word not in SILENCE:
            speaker = cells[7] if len(cells) > 7 and cells[7] not in _NOBODY else None
            self._words[name].append((channel, (start, round(start + length, 6), word, speaker)))

    def __contains__(self, name: str) -> bool:
        return name in self._words or name in self.wrong

    def words(self, name: str, channel: str | None = None) -> list[Word]:
        """Words of a name, or of one channel of it; where several channels speak, a channel stands
        for a speaker that is not named.

        Raises:
            ValueError: times that cannot be.
        """
        if name in self.wrong:
            raise ValueError(self.wrong[name])
        found = self._words.get(name, [])
        several = channel is None and len({own for own, _ in found}) > 1
        return [
            (start, end, word, speaker or (own if several else None))
            for own, (start, end, word, speaker) in found
            if channel in (None, own)
        ]

    @property
    def names(self) -> set[str]:
        return {*self._words, *self.wrong}


class NamedCtms:
    """Words' times in files that rows of a table name, one row after the other."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        """`read` gives the content of a file that is called so, and raises `OSError` or
        `CodecshardsError` where it cannot."""
        self._read = read
        self._last: tuple[str, Ctm] = ("", Ctm(()))

    def timed(
        self, values: Mapping[str, Any], path: str, start: float | None, end: float | None
    ) -> Mapping[str, Any]:
        """A row's values with the words of the file that they name, which go from `start` to `end`
        of the audio `path`; times are left as the file has them."""
        column = next((each for each in CTM_COLUMNS if isinstance(values.get(each), str)), None)
        if column is None or not values[column] or values.get(ALIGNMENT):
            return values
        named = values[column]
        try:
            words = self._words(named, path)
        except (OSError, ValueError, CodecshardsError) as error:
            return {**values, ERROR: f"{named}: {error}"}
        rest = {key: value for key, value in values.items() if key not in CTM_COLUMNS}
        words = _in_part(words, start or 0.0, end)
        return {**rest, ALIGNMENT: words} if words else rest

    def _words(self, named: str, path: str) -> list[list[Any]]:
        if self._last[0] != named:
            text = self._read(named).decode("utf-8-sig")
            self._last = named, Ctm(text.splitlines())
        ctm = self._last[1]
        stem = path.rpartition("/")[2].rpartition(".")[0]
        names = [stem] if stem in ctm else sorted(ctm.names)
        return stored(word for each in names for word in ctm.words(each))


def _in_part(words: list[list[Any]], start: float, end: float | None) -> list[list[Any]]:
    """Words of a part, of those of a longer recording; all where they may be the part's alone."""
    if end is None or all(word[1] <= end - start + _ROUNDED for word in words):
        return words
    return [
        [max(start, word[0]), min(end, word[1]), *word[2:]]
        for word in words
        if start <= (word[0] + word[1]) / 2 < end
    ] or words


def textgrid_tiers(text: str) -> dict[str, list[list[float | str]]]:
    """Tiers of intervals, as `[start, end, label]` without the empty ones, by their names. The only
    one is called `words`, unless its name says that it is another thing.

    Raises:
        ValueError: no TextGrid, or one that is cut off.
    """
    if "ooTextFile" not in text[:200] or "TextGrid" not in text[:200]:
        raise ValueError("no TextGrid as text: save it as one in Praat")
    tiers: dict[str, list[list[float | str]]] = {}
    for name, spans in _tiers(text):
        kept: list[list[float | str]] = [list(span) for span in spans if span[2].strip()]
        while name in tiers:
            name = f"{name}'"
        tiers[name] = kept
    if len(tiers) == 1 and not _NOT_WORDS.fullmatch(next(iter(tiers))):
        tiers = {"words": next(iter(tiers.values()))}
    return tiers


def _tiers(text: str) -> Iterator[tuple[str, list[Interval]]]:
    """Name and intervals of each tier. The long form differs from the short one only in what stands
    around its values, so both are the same sequence of strings and numbers."""
    tokens = [
        (False, found[2]) if found[1] is None else (True, found[1].replace('""', '"'))
        for found in _TOKEN.finditer(_NUMBERED.sub("", text))
    ]
    at = 0
    while at < len(tokens):
        if tokens[at] != (True, _INTERVALS):
            at += 1
            continue
        head = tokens[at + 1 : at + 5]
        if [is_text for is_text, _ in head] != [True, False, False, False]:
            raise ValueError("a tier that is cut off")
        name, count, at = head[0][1], int(float(head[3][1])), at + 5
        spans = []
        for number in range(count):
            part = tokens[at : at + 3]
            if [is_text for is_text, _ in part] != [False, False, True]:
                raise ValueError(f"interval {number + 1} of the tier {name!r} is cut off")
            spans.append((float(part[0][1]), float(part[1][1]), part[2][1]))
            at += 3
        yield name, spans
