"""Whether rounding could have decided a code.

Two ways to add the same float32 numbers differ in the last bits, and so do the codes of a frame
that lies between two entries as near as that. How far rounding moves a frame against the plane
halfway between its two nearest entries has three parts: the encoder's output differs by a share of
the frame's size, and by a smaller share of its chunk's; and the distances themselves, which
upstream computes as differences of large numbers, by a share of the residual's squared size. The
certainty of a code is how wide the gap between the two entries is against these bounds; the
encoder's and the distances' are added as independent errors are.

The bounds are measured, not proven: a proof that adds up the worst of every operation would leave
no code certain. They hold an error whose direction is random, as that of noise, speech and music
is. Of a constant input every frame has the same error, in one direction, and a normalisation whose
input varies little about a large mean (silence, DC) takes the mean off and leaves its rounding: it
grows errors by its condition, the input's RMS over the root of its variance plus epsilon. So the
encoder's parts are multiplied by the product of the conditions of all normalisations on a chunk's
way: 1.0 to 1.2 for recordings, hundreds for silence. `benchmarks/rounding.py` measures what is left
beyond the bounds on recordings, `benchmarks/structured.py` on structured signals.
"""

from __future__ import annotations

import torch

FRAME_NOISE, CHUNK_NOISE, SCORE_NOISE = 7e-6, 2e-6, 1e-6
"""bounds of the three parts: of the frame's RMS, of its chunk's RMS, of the residual's squared size
over the entries' distance"""
BESIDE = 1 / 6
"""share of the encoder's two parts that is left where every layer but the LSTM has upstream's own
bits (`tokenizer.codecs.encodec.gpu.settling`); `benchmarks/gpu/bound.py` measures it"""
ON_GPU = 2.0
"""how much wider the encoder's parts are on a CUDA device. cuDNN adds up a convolution's products
one after the other: on an H200 embeddings of transformers' alone were 1.5e-6 of a frame's RMS from
those in float64, on a CPU 0.7e-6"""
CERTAIN = 1.0
"""certainty from which on a code is beyond doubt"""


def noise(
    frames: torch.Tensor, chunk_rms: torch.Tensor | float, condition: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """How far rounding may move frames, float32 `[frames]`.

    Args:
        frames: float32 `[frames, dim]`.
        chunk_rms: of all frames of the chunk that a frame belongs to, `[frames]` or the same for
            all.
        condition: of that chunk's way through the encoder, likewise.
    """
    sizes = FRAME_NOISE * frames.square().mean(1).sqrt() + CHUNK_NOISE * chunk_rms
    return (ON_GPU if frames.is_cuda else 1.0) * condition * sizes


def uncertain(certainty: torch.Tensor) -> torch.Tensor:
    """Which codes of a chunk have to be looked at again; of any shape."""
    return certainty < CERTAIN
