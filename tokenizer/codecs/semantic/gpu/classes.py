"""Windows by length: short ones in batches of many rows, long ones in batches of few."""

from __future__ import annotations

import torch

from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.encodec.gpu.whole import AloneWork, RowsWork, WholeBatches

SHORT_SECONDS = 10
"""what the memory for many rows is shared out by"""
BATCH_PIECES = 64
"""pieces that are worth taking together: as many rows as a batch of short ones has"""
LANES, LONG_LANES = 4, 2
"""windows that are encoded alone at the same time"""
FLOOR = 1
"""rows that take as long as what a batch costs however few it has: a transformer's products fill a
card with a recording's positions"""


def window_batches(
    together: RowsWork,
    alone: AloneWork,
    device: torch.device,
    spec: CodecSpec,
    *,
    channels: int,
    rows: tuple[int, ...] | None = None,
) -> list[WholeBatches]:
    """Batches for windows of up to `SHORT_SECONDS`, and of up to those of `spec`.

    Args:
        together: what encodes a batch.
        alone: transformers' operations on a window.
        device: of both.
        spec: of a codec with windows.
        channels: of the layers at the full rate, which decide what memory a row takes.
        rows: that a batch may have, rising; None: as many as the device has memory for.
    """
    hop, longest = spec.frame_length, spec.window_length or spec.frame_length
    short = min(round(SHORT_SECONDS * spec.frame_rate) * hop, longest)
    lanes = {short: LANES} if short == longest else {short: LANES, longest: LONG_LANES}
    return [
        WholeBatches(
            together,
            alone,
            device,
            longest=length,
            hop=hop,
            rows=rows,
            channels=channels,
            lanes=count,
            floor=FLOOR,
        )
        for length, count in lanes.items()
    ]
