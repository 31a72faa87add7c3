"""From token ids back to codes and text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.exporting.export import MAP
from pipelines.exporting.texts import TextTokenizer
from pipelines.exporting.token_map import TokenMap
from pipelines.loader.patterns import Ints
from tokenizer.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """What token ids say."""

    codes: NDArray[np.uint16]
    """uint16 `[n_q, frames]`"""
    text_ids: list[int] | None
    """of the text tokenizer; None where there is no text"""
    text: str | None
    """as the tokenizer writes it; None where there is no text or no tokenizer"""


def codes_from_tokens(
    ids: Ints | Sequence[int], export: str | PathLike[str] | Mapping[str, Any]
) -> Tokens:
    """The codes and the text that token ids of an export stand for, or of what a model that was
    trained on it has written.

    Args:
        ids: of one document, `[tokens]`. Without `audio_start` everything behind the text is audio;
            it ends at `audio_end`, `eos` or the end. A last frame that is not whole is dropped.
        export: the folder that `export_codes` has written, or what its `export.json` holds.

    Raises:
        UsageError: not the folder of an export.
        ShapeError: a token where it cannot be.
    """
    if isinstance(export, Mapping):
        vocabulary, texts = TokenMap.from_json(export.get("vocabulary", {})), None
    else:
        vocabulary, texts = _opened(fspath(export))
    known = np.asarray(ids) if len(ids) else np.zeros(0, np.int64)
    text_ids = vocabulary.text(known)
    text = None if texts is None or text_ids is None else texts.text(text_ids)
    return Tokens(vocabulary.codes(known), text_ids, text)


def _opened(folder: str) -> tuple[TokenMap, TextTokenizer | None]:
    place = Path(folder, MAP)
    try:
        state = place.stat()
    except OSError as error:
        raise UsageError(f"{place}: not what `codecshards export` writes: {error}") from error
    return _read(folder, state.st_ino, state.st_mtime_ns, state.st_size)


@lru_cache(8)
def _read(folder: str, *version: int) -> tuple[TokenMap, TextTokenizer | None]:
    """The same folder may have been made again, with other ids."""
    place = Path(folder, MAP)
    try:
        about = json.loads(place.read_text(encoding="utf-8"))
        vocabulary, tokenizer = about["vocabulary"], about["tokenizer"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{place}: not what `codecshards export` writes: {error}") from error
    texts = None if tokenizer is None else TextTokenizer(str(Path(folder, tokenizer)))
    return TokenMap.from_json(vocabulary), texts
