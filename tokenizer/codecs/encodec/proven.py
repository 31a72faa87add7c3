"""Which checkpoints the faster networks have been shown to give transformers' codes for. All others
run on its own modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizer.codecs.encodec.geometry import LEAST_ROWS, widest_padding

if TYPE_CHECKING:
    from transformers import EncodecConfig

PADDING = ("reflect", "constant")
"""pad modes"""
NORMS = ("weight_norm", "time_group_norm")


def unproven(config: EncodecConfig) -> list[str]:
    """What a configuration has that only transformers' own modules are known to compute as they do;
    empty: nothing.

    A new kind of layer or setting belongs here until the tests of the faster networks cover it.
    """
    found = []
    if config.pad_mode not in PADDING:
        found.append(f"pad_mode {config.pad_mode}")
    if config.norm_type not in NORMS:
        found.append(f"norm_type {config.norm_type}")
    # A tile reflects what lies in it: padding that is wider would reach into the next one.
    if widest_padding(config) > LEAST_ROWS:
        found.append(f"convolutions over {widest_padding(config) + 1} samples")
    if config.codebook_dim != config.hidden_size:
        found.append(f"codebooks of {config.codebook_dim} numbers for {config.hidden_size}")
    return found
