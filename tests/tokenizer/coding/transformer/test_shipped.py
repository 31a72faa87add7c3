"""The coder that ships, for the codes of the codec that ships."""

from __future__ import annotations

import numpy as np
import pytest
from made_coder import Made

from tokenizer.codecs.lookup import BUNDLED, Checkpoint, weights_hash
from tokenizer.coding.arithmetic import decode, encode
from tokenizer.coding.registry import SHIPPED, shipped, shipped_for
from tokenizer.coding.transformer import shipped as module
from tokenizer.coding.transformer.predictor import TransformerPredictor
from tokenizer.coding.transformer.reference import reference_intervals

FINGERPRINT = "81208d4adc23190ff5f6d826c1d19341923de0db4a1c42bcf1b3673d07ce26a3"
"""archives name it: another coder takes another name"""


def test_it_is_the_one_that_archives_name() -> None:
    assert module._FILE.stat().st_size < 3_000_000
    coder = shipped("small")
    assert coder.fingerprint == FINGERPRINT
    assert coder.sizes == (1024,) * 16 and coder.segment_frames == 150
    codec = weights_hash(Checkpoint.at(BUNDLED["small"], "small"))
    assert shipped_for(codec) == "small" and SHIPPED["small"].weights_sha256 == codec


@pytest.mark.parametrize("n_q", [4, 16])
def test_it_is_the_same_in_both_implementations(n_q: int) -> None:
    coder = shipped("small").at(n_q)
    assert isinstance(coder, TransformerPredictor)
    made = Made("of the shipped one")
    segments = [
        made.ints(str(length), 0, 1023, n_q, length).astype(np.uint16) for length in (3, 1, 2)
    ]
    truth = reference_intervals(coder.weights, segments)
    assert [one.tolist() for one in coder.intervals(segments)] == [one.tolist() for one in truth]
    found = decode(coder, encode(coder, segments), [3, 1, 2])
    for one, other in zip(found, segments, strict=True):
        assert one is not None and np.array_equal(one, other)
