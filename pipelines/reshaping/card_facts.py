"""Which codec a folder's card (`pipelines.output.card`) says that its codes are of: for shards that
another program has written anew, whose footers say nothing."""

from __future__ import annotations

import re
from dataclasses import replace

from pipelines.output.card import CARD
from pipelines.output.storage import Storage
from tokenizer.codecs.base import CodecSpec

_ROW = re.compile(r"^\| (codec|weights|bandwidth|audio|precision) \| (.*) \|$", re.MULTILINE)
_CODEC = re.compile(r"`([^`]+)`(?: at revision `([^`]+)`)?")
_WEIGHTS = re.compile(r"SHA-256 `([^`]+)`")
_BANDWIDTH = re.compile(r"([\d.]+) kbps: (\d+) codebooks? of ([\d,]+) codes")
"""where all codebooks have one size, and a row each"""
_AUDIO = re.compile(r"(\d+) Hz, (\d+) channels?")


def told_by_card(storage: Storage, guessed: CodecSpec) -> CodecSpec | None:
    """The codec of a folder's card, with what its rows tell; None where there is no card, it does
    not say, or it is of other codes than these."""
    try:
        card = storage.read(CARD).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    said = dict(_ROW.findall(card))
    found = [
        kind.match(said.get(name, ""))
        for name, kind in (
            ("codec", _CODEC),
            ("weights", _WEIGHTS),
            ("bandwidth", _BANDWIDTH),
            ("audio", _AUDIO),
        )
    ]
    if any(one is None for one in found):
        return None
    codec, weights, bandwidth, audio = (one.groups() for one in found if one is not None)
    spec = replace(
        guessed,
        codec=codec[0],
        revision=codec[1],
        weights_sha256=weights[0],
        bandwidth=float(bandwidth[0]),
        codebook_size=int(bandwidth[2].replace(",", "")),
        precision="fast" if said.get("precision", "").startswith("fast") else "exact",
    )
    same = (int(bandwidth[1]), int(audio[0]), int(audio[1])) == (
        guessed.n_q,
        guessed.sample_rate,
        guessed.channels,
    )
    return spec if same and guessed.codebook_size <= spec.codebook_size else None
