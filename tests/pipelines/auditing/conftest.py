"""What the tests of audits share."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from pipelines.auditing import recording
from pipelines.corpus.reader import Decoder, DecodeSettings


@pytest.fixture(scope="module")
def kept_decoders() -> Iterator[None]:
    """Audits of one corpus in this process share their decoders' processes, whose start would be
    most of a small audit's time."""
    kept: dict[bytes, Decoder] = {}

    def open_decoder(settings: DecodeSettings) -> Decoder:
        key = pickle.dumps(settings)
        if key not in kept:
            kept[key] = Decoder(settings)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "Decoder", open_decoder)
        patch.setattr(recording.Auditor, "close", lambda self: None)
        yield
    for decoder in kept.values():
        decoder.close()
