"""The vectors of a codec's codes, where they are at hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from safetensors.torch import load_file

from tokenizer.codecs.codebooks.vectors import codebook_vectors
from tokenizer.codecs.lookup import BUNDLED, Checkpoint, weights_hash
from tokenizer.codecs.mulaw import describe_mulaw


def test_those_of_an_encodec_are_its_codebooks() -> None:
    spec = replace(
        describe_mulaw(6.0),
        codec="small",
        weights_sha256=weights_hash(Checkpoint.at(BUNDLED["small"], "small")),
    )
    found = codebook_vectors(spec, 4)
    assert found is not None and len(found) == 4
    tensors = load_file(BUNDLED["small"] / "model.safetensors")
    for level, vectors in enumerate(found):
        stored = tensors[f"quantizer.layers.{level}.codebook.embed"].float().numpy()
        assert np.array_equal(vectors, stored) and vectors.shape == (1024, 56)
    assert codebook_vectors(replace(spec, weights_sha256="0" * 64), 4) is None
    assert codebook_vectors(replace(spec, codebook_size=512), 4) is None


def test_other_codecs_have_none() -> None:
    assert codebook_vectors(describe_mulaw(6.0), 4) is None
    assert codebook_vectors(replace(describe_mulaw(6.0), codec="no-one/has-this"), 4) is None
