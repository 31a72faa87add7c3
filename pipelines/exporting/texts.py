"""Text to ids and back, by any tokenizer of Hugging Face."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizer.errors import UsageError

FOLDER = "tokenizer"
"""in the new folder: a copy, so that ids stay readable wherever it goes"""


class TextTokenizer:
    """A tokenizer by its hub name, its folder, or its `tokenizer.json`."""

    def __init__(self, name: str) -> None:
        """
        Raises:
            UsageError: it cannot be loaded.
        """
        self._tokenizer = _load(name)
        known = self._tokenizer.get_vocab().values()
        self.size: int = max([len(self._tokenizer) - 1, *known]) + 1

    def ids(self, text: str) -> list[int]:
        """Without the tokenizer's own special tokens; words in a text that look like one are
        text."""
        found: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        return found

    def text(self, ids: Sequence[int]) -> str:
        """As the tokenizer writes it, which need not be the very same letters."""
        found: str = self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
        return found

    def save(self, folder: Path) -> None:
        self._tokenizer.save_pretrained(str(folder / FOLDER))


def _load(name: str) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    logging.getLogger("transformers.tokenization_utils_base").setLevel(logging.ERROR)
    path = Path(name)
    bare = path if path.is_file() else path / "tokenizer.json"
    try:
        if path.is_file() or (bare.is_file() and not (path / "tokenizer_config.json").is_file()):
            made: Any = PreTrainedTokenizerFast
            return made(tokenizer_file=str(bare))
        return AutoTokenizer.from_pretrained(name)
    except Exception as error:  # transformers raises whatever its parts do
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"--text-tokenizer {name}: not a tokenizer of Hugging Face that can be loaded: "
            f"{reason:.200}"
        ) from error
