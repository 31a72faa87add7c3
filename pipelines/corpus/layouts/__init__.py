"""Layouts of corpora by name. A new one is one class and one row in `LAYOUTS`."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from pipelines.corpus.layouts.base import Folder, Layout
from pipelines.corpus.tables.hints import PLAIN, NotLaidOut
from tokenizer.errors import UsageError

__all__ = ["LAYOUTS", "layout_by_name", "recognise"]

_LISTS, _TREES = "pipelines.corpus.layouts.lists", "pipelines.corpus.layouts.trees"
LAYOUTS: dict[str, str] = {
    "kaldi": f"{_LISTS}.kaldi:Kaldi",
    "shar": f"{_LISTS}.shar:Shar",
    "lhotse": f"{_LISTS}.lhotse:Lhotse",
    "commonvoice": f"{_LISTS}.common_voice:CommonVoice",
    "ljspeech": f"{_LISTS}.ljspeech:LJSpeech",
    "audiofolder": f"{_LISTS}.audiofolder:AudioFolder",
    "nemotarred": f"{_LISTS}.nemo_tarred:NeMoTarred",
    "nemo": f"{_LISTS}.nemo:NeMo",
    "librispeech": f"{_TREES}.librispeech:LibriSpeech",
    "libritts": f"{_TREES}.libritts:LibriTTS",
    "vctk": f"{_TREES}.vctk:VCTK",
    "moshi": f"{_TREES}.moshi:Moshi",
    "fma": f"{_LISTS}.fma:FMA",
    "jamendo": f"{_LISTS}.jamendo:Jamendo",
    "ytdlp": f"{_TREES}.ytdlp:YtDlp",
    "stems": f"{_TREES}.stems:Stems",
}
"""name → `module:class`, asked in this order"""


def layout_by_name(name: str) -> Layout:
    """A layout that was asked for.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in LAYOUTS:
        raise UsageError(f"--layout {name}: choose one of {', '.join([*LAYOUTS, PLAIN])}")
    module, kind = LAYOUTS[name].split(":")
    return cast(Layout, getattr(import_module(module), kind)())


def recognise(folder: Folder, asked: str | None) -> tuple[Layout | None, list[str]]:
    """A folder's layout, None for a plain folder; and a line for each layout that it only half
    looks like.

    Raises:
        NotLaidOut: it does not have the layout that was asked for.
    """
    if asked == PLAIN:
        return None, []
    if asked is not None:
        layout = layout_by_name(asked)
        fit = layout.fits(folder)
        if not fit.yes:
            raise NotLaidOut(
                f"--layout {asked}: {folder.spec} is not laid out so"
                f"{': ' + fit.why_not if fit.why_not else ''}"
            )
        return layout, []
    halves = []
    for name in LAYOUTS:
        layout = layout_by_name(name)
        fit = layout.fits(folder)
        if fit.yes:
            return layout, []
        if fit.why_not:
            halves.append(f"looks like the {layout.title} layout, and is not: {fit.why_not}")
    return None, halves
