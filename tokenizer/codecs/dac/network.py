"""A DAC's networks on recordings of any length, in steps on one grid: the same steps however a
recording is handed over, so that its codes are the same bit for bit.

On a CPU each of torch's threads takes a run of steps of its own. A run that does not begin where
another ended begins as far before as the convolutions reach, and drops what the true beginning
would have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tokenizer.codecs.dac.layers import Chain, Tail, Whole, decoder_chain, encoder_chain
from tokenizer.codecs.dac.quantizer import Quantizer
from tokenizer.errors import FailureKind, RecordingError

STEP_FRAMES = 64
"""frames of a step: what the widest layers hold of it stays in the shared cache, and weights are
laid out anew for each"""
STEP_ON_A_GPU = 512
"""likewise, where every step costs hundreds of launches"""
_PROBE = 1 << 14
"""frames, more than any network reaches"""


@dataclass(frozen=True, slots=True)
class Run:
    """Steps one after the other."""

    signal: torch.Tensor
    """`[channels, n]`: the run's input, from where it begins"""
    tails: Sequence[Tail] | None
    steps: tuple[int, ...]
    """of the input, each step's end in the signal; the first begins at 0"""
    drop: int
    """positions of the output that come out first and are not to be kept"""
    last: bool = False
    """the recording ends with it"""
    doubt: bool = False
    """whether the certainty of codes is wanted"""
    whole: Whole | None = None
    """the recording, where its bits are wanted"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run gave."""

    output: torch.Tensor
    """codes int64 `[n_q, frames]`, or float32 `[1, samples]`"""
    certainty: torch.Tensor
    tails: Sequence[Tail] | None


class DacNetwork:
    """An encoder, a quantizer and a decoder. Threads may share it."""

    def __init__(self, model: Any, n_q: int, fused: bool) -> None:
        """`model` is a `DacModel`; with `fused`, Snake is computed by `tokenizer.codecs.dac
        .kernels`, which needs a CPU."""
        self.device: torch.device = next(model.parameters()).device
        self.encoder = encoder_chain(model.encoder, fused)
        self.decoder = decoder_chain(model.decoder, fused)
        self.quantizer = Quantizer(list(model.quantizer.quantizers)[:n_q])

    @torch.inference_mode()
    def encode(self, run: Run) -> Ran:
        """float32 `[1, samples]`, whole hops, to codes.

        Raises:
            RecordingError: the encoder's output is not finite (ENCODER).
        """
        frames, tails = _through(self.encoder, run)
        if not bool(torch.isfinite(frames).all()):
            raise RecordingError(FailureKind.ENCODER, "the codec's output is not finite", "encode")
        return Ran(*self.quantizer(frames, run.doubt), tails)

    @torch.inference_mode()
    def decode(self, run: Run) -> Ran:
        """Codes int64 `[levels, frames]` to samples."""
        signal = self.quantizer.entries(run.signal)
        entries = Run(signal, run.tails, run.steps, run.drop, run.last)
        samples, tails = _through(self.decoder, entries)
        return Ran(samples.tanh(), samples[0, :0], tails)


def _through(chain: Chain, run: Run) -> tuple[torch.Tensor, Sequence[Tail]]:
    tails, parts, at, drop = run.tails, [], 0, run.drop
    for stop in run.steps:
        last = run.last and stop == run.steps[-1]
        found, tails = chain(run.signal[:, at:stop], tails, last, run.whole)
        parts.append(found[:, drop:])
        drop = max(0, drop - found.shape[1])
        at = stop
    return torch.cat(parts, dim=1), tails or []


def steps_of(waiting: int, step: int, last: bool) -> list[int]:
    """Ends of the steps that so much of a recording that waits allows.

    The last step of a recording is never shorter than a step, unless all of it is: of few numbers
    torch computes convolutions in another way. So a step is taken once another one has come.
    """
    count = waiting // step - 1
    ends = [step * i for i in range(1, count + 1)]
    return [*ends, waiting] if last and waiting else ends


@dataclass(frozen=True, slots=True)
class Grid:
    """How a chain's input and output repeat."""

    chain: Chain
    hop: int
    """positions of the input that make a frame"""
    out: int
    """positions of the output that a frame gives"""
    step: int = STEP_FRAMES
    """frames of a step"""

    def runs(
        self, signal: torch.Tensor, tails: Sequence[Tail] | None, ends: Sequence[int], parts: int
    ) -> list[Run]:
        """The steps that end at `ends` as up to `parts` runs of about equal length.

        Args:
            signal: what waits, `[channels, n]`, from the grid's last step on.
            tails: of what came before; None at the recording's beginning.
            ends: of steps, in the signal.
            parts: most runs.
        """
        runs, warm = [], self._warm_up()
        for first, stop in _cuts(ends, parts, 2 * warm):
            begin = max(first - warm, 0)
            steps = tuple(end - begin for end in ends if first < end <= stop)
            # The run before has given all that its input decided.
            drop = self.chain.field.decided(first) - begin // self.hop * self.out if first else 0
            runs.append(Run(signal[:, begin:stop], None if first else tails, steps, drop))
        return runs

    def _warm_up(self) -> int:
        """How far before a place a run must begin for its outputs from that place on to be right:
        whole frames, so that its layers' strides lie as they do in the recording."""
        come = _PROBE * self.hop
        first, _ = self.chain.field.inputs(*[self.chain.field.decided(come)] * 2)
        return -(-(come - first) // self.hop) * self.hop


def _cuts(ends: Sequence[int], parts: int, least: int) -> list[tuple[int, int]]:
    """Begin and end of runs, at steps' ends."""
    if not ends:
        return []
    starts, total = [0], ends[-1]
    for part in range(1, parts):
        place = min(ends, key=lambda end: abs(end - total * part // parts))
        if place - starts[-1] >= least and total - place >= least:
            starts.append(place)
    return list(zip(starts, [*starts[1:], total], strict=True))
