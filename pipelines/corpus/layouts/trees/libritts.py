"""LibriTTS: `x.normalized.txt` and `x.original.txt` beside `x.wav`."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.corpus.layouts.base import NO, YES, BadRow, Fit, Folder, Layout, Row, half, split_of

_NORMALIZED, _ORIGINAL = ".normalized.txt", ".original.txt"


class LibriTTS(Layout):
    """One row for each recording with a transcript: the normalized one is its text, the original is
    `meta.original_text`."""

    title = "LibriTTS"
    reads = "text from .normalized.txt (.original.txt where there is none)"

    def fits(self, folder: Folder) -> Fit:
        stems = _stems(folder)
        if not stems:
            return NO
        if any(stem in folder.stems for stem in stems):
            return YES
        return half(f"no audio beside {stems[0]}{_NORMALIZED} or {_ORIGINAL}")

    def rows(self, folder: Folder) -> Iterator[Row | BadRow]:
        for stem in _stems(folder):
            texts, place = {}, stem
            for ending in (_ORIGINAL, _NORMALIZED):
                if stem + ending not in folder.files:
                    continue
                place = stem + ending
                try:
                    texts[ending] = folder.text(place).strip()
                except ValueError as error:
                    yield BadRow(place, str(error))
            values = {
                "text": texts.get(_NORMALIZED, texts.get(_ORIGINAL)),
                "speaker": _speaker(stem),
            }
            if texts.get(_ORIGINAL, values["text"]) != values["text"]:
                values["original_text"] = texts[_ORIGINAL]
            path = folder.stems.get(stem, f"{stem}.wav")
            yield Row(path, place, values, split=split_of(stem, folder.spec))


def _stems(folder: Folder) -> list[str]:
    """What texts are about, without endings."""
    return sorted(
        {
            name.removesuffix(_NORMALIZED).removesuffix(_ORIGINAL)
            for name in folder.ending_in(_NORMALIZED, _ORIGINAL)
        }
    )


def _speaker(stem: str) -> str | None:
    *folders, name = stem.split("/")
    return name.split("_")[0] if name.split("_")[0] in folders else None
