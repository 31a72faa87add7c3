"""Pieces of recordings on a CPU, faster than transformers: its convolutions tile by tile, its LSTM
in segments, and its own modules where rounding could matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tokenizer.codecs.encodec.certainty import noise, uncertain
from tokenizer.codecs.encodec.cpu.seanet import SeaNet
from tokenizer.codecs.encodec.cpu.tiled_quantizer import TiledQuantizer
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.streams.lstm import SegmentedLstm
from tokenizer.codecs.encodec.streams.network import Encoded, PieceNetwork
from tokenizer.codecs.encodec.streams.stack import Stack, make_stack
from tokenizer.codecs.encodec.streams.ties import TOGETHER, Doubts, TieBreaker
from tokenizer.codecs.encodec.streams.trace import Trace


class TiledPieces(PieceNetwork):
    """Not to be shared between threads."""

    def __init__(self, model: Any, modules: ReferenceModules, n_q: int) -> None:
        """`modules` are the model's.

        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        super().__init__(model, modules, n_q)
        self._quantize = TiledQuantizer(
            [layer.codebook.embed.detach() for layer in model.quantizer.layers]
        )
        self._ties = TieBreaker(model, modules, self._encoder, n_q)
        first, second = self._encoder.first.reach, self._encoder.second.reach
        # As far back as a stretch can begin that ends with the next frame.
        kept = self._ties.length + TOGETHER + 2 * (first.after + second.after) + 4
        kept = max(kept, first.before + first.least)
        self._encoder = replace(
            self._encoder, first=replace(self._encoder.first, kept=kept), remembered=kept + 1
        )

    def _stacks(self) -> tuple[Stack, Stack]:
        return self._stack(self._model.encoder, False), self._stack(self._model.decoder, True)

    def _stack(self, module: Any, decodes: bool) -> Stack:
        net = SeaNet(module)
        runs = (net.before, net.after)
        return make_stack(module, runs, QuickLstm(net.lstm), self._model.config, decodes=decodes)

    def _codes(self, encoded: Sequence[Encoded]) -> list[torch.Tensor]:
        counts = [len(one.frames) for one in encoded]
        joined = torch.cat([one.frames for one in encoded])
        sizes = torch.tensor([one.rms for one in encoded]).repeat_interleave(torch.tensor(counts))
        codes, certainty = self._quantize(joined, self.n_q, noise(joined, sizes))
        results = list(torch.split(codes, counts, dim=1))
        doubtful = [
            torch.nonzero(uncertain(one))[:, 0].tolist() for one in torch.split(certainty, counts)
        ]
        some = [i for i, frames in enumerate(doubtful) if frames]
        doubts = [self._doubts(encoded[i], doubtful[i]) for i in some]
        for i, settled in zip(some, self._ties(doubts), strict=True):
            results[i] = results[i].clone()
            results[i][:, doubtful[i]] = settled
            self.repeated += len(doubtful[i])
        return results

    def _doubts(self, encoded: Encoded, frames: Sequence[int]) -> Doubts:
        stage, held = self._encoder.first, encoded.before.stack.first
        samples = np.concatenate([held.rows, encoded.piece.samples.T])
        whole = (
            -(-len(samples) // stage.taken) if encoded.piece.last else len(samples) // stage.taken
        )
        return Doubts(
            [encoded.before.stack.second.done + frame for frame in frames],
            samples,
            held.start,
            held.start + whole,
            encoded.trace,
            encoded.after.stack.first.done,
        )


class QuickLstm:
    """`SegmentedLstm` with the shortcut."""

    def __init__(self, lstm: Any) -> None:
        self._run = SegmentedLstm(lstm)
        self.layers, self.size = self._run.layers, self._run.size

    def __call__(
        self, sequences: Sequence[torch.Tensor], states: Sequence[Trace]
    ) -> tuple[list[torch.Tensor], list[Trace]]:
        traces = self._run(sequences, states)
        outputs = [
            sequence + torch.from_numpy(trace.outputs[-1])
            for sequence, trace in zip(sequences, traces, strict=True)
        ]
        return outputs, traces
