"""Recordings on a CPU, more than twice as fast as transformers encodes them.

Where the order of transformers' sums is known, all of them are in that order, in convolutions and
in an LSTM that recordings share, and no code is in doubt. Elsewhere long recordings go through
transformers' own convolutions, on windows; and short ones through tiles and an LSTM in segments, in
any order, and what rounding could decide is found again in transformers'.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.certainty import noise, uncertain
from tokenizer.codecs.encodec.cpu.same_sums import SameSums
from tokenizer.codecs.encodec.cpu.seanet import SeaNet
from tokenizer.codecs.encodec.cpu.tiled_quantizer import TiledQuantizer
from tokenizer.codecs.encodec.networks import UnknownLayer, check_finite
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.streams.beginning import Beginning
from tokenizer.codecs.encodec.streams.lstm import SegmentedLstm
from tokenizer.codecs.encodec.streams.network import PieceNetwork
from tokenizer.codecs.encodec.streams.reach import usual
from tokenizer.codecs.encodec.streams.same_lstm import SameLstm
from tokenizer.codecs.encodec.streams.stack import Stack, make_stack, parts_of
from tokenizer.codecs.encodec.streams.ties import Doubts, TieBreaker
from tokenizer.codecs.encodec.streams.trace import Trace
from tokenizer.codecs.pieces import Piece, PieceCodes

ENDS = 2
"""last frames in which that is felt, beside those that look ahead"""


class TiledPieces(PieceNetwork):
    """Not to be shared between threads."""

    def __init__(self, model: Any, modules: ReferenceModules, n_q: int) -> None:
        """`modules` are the model's.

        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        super().__init__(model, modules, n_q)
        self._quick = self._quick_stack(model.encoder, decodes=False)
        self._same: SameSums | None = None
        self._lstm: SameLstm | None = None
        with suppress(UnknownLayer):
            self._lstm = SameLstm(parts_of(model.encoder)[1])
            self._encoder = replace(self._encoder, lstm=self._lstm)
            self._take_same_sums(model)
        self._quantize = TiledQuantizer(
            [layer.codebook.embed.detach() for layer in model.quantizer.layers]
        )
        self._ties = TieBreaker(model, modules, self._quick, n_q, self._same)
        self._beginning = Beginning(model, modules, self._encoder, n_q)
        self.settled = 0
        """frames so far that a stretch has decided; `repeated` counts recordings that were run from
        their start"""

    def _decoder_stack(self) -> Stack:
        return self._quick_stack(self._model.decoder, decodes=True)

    def _quick_stack(self, module: Any, decodes: bool) -> Stack:
        net = SeaNet(module)
        runs = (net.before, net.after)
        return make_stack(module, runs, QuickLstm(net.lstm), self._model.config, decodes=decodes)

    def _take_same_sums(self, model: Any) -> None:
        """Run convolutions in oneDNN's order where transformers' bits are asked for.

        Raises:
            UnknownLayer: for an encoder whose sums' order is not known.
        """
        self._before, _, after = parts_of(model.encoder)
        first, second = self._encoder.first, self._encoder.second
        hop, window = first.taken, self._quick.first.window
        same, after_lstm = SameSums(self._before, hop), SameSums(after, 1)
        self._encoder = replace(
            self._encoder,
            first=replace(first, run=same.where_proven(first.run), window=window),
            second=replace(second, run=after_lstm.where_proven(second.run), window=window),
        )
        self._same = same

    def _is_same(self, samples: int) -> bool:
        """Whether windows have the bits that convolutions over a whole recording of so many have.

        They are not summed in oneDNN's order where torch finds few numbers to sum.
        """
        if self._same is None or not self._same.proven:
            return False
        first = self._encoder.first
        alone = torch.get_num_threads() == 1
        return -(-samples // first.taken) >= first.reach.least and (
            alone or usual(self._before, samples)
        )

    def _is_exact(self, samples: int) -> bool:
        """Whether a recording of so many samples leaves nothing to doubt but its end."""
        return self._lstm is not None and self._lstm.proven and self._is_same(samples)

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[PieceCodes]:
        short = [i for i, piece in enumerate(pieces) if self._is_short(piece)]
        codes = self._short([pieces[i].samples for i in short])
        results: dict[int, PieceCodes] = {
            i: PieceCodes(found.numpy().astype(np.uint16), None)
            for i, found in zip(short, codes, strict=True)
            if found is not None
        }
        # Whole, as transformers takes them: no window is rounded as these are.
        results |= {i: self._whole(pieces[i]) for i in short if i not in results}
        left = [i for i in range(len(pieces)) if i not in results]
        results.update(zip(left, super().encode_pieces([pieces[i] for i in left]), strict=True))
        return [results[i] for i in range(len(pieces))]

    def _codes(self, piece: Piece, frames: torch.Tensor) -> NDArray[np.uint16]:
        if self._is_whole(piece) and self._end_is_doubtful(frames):
            self.repeated += 1
            return self._whole(piece).codes
        return super()._codes(piece, frames)

    def _end_is_doubtful(self, frames: torch.Tensor) -> bool:
        """Whether another last bit could change a code at the end, where torch's threads, also a
        single one, take another exponential for the few numbers that fill no vector."""
        end = frames[-ENDS - self._encoder.second.reach.after :]
        moved = noise(end, frames.square().mean().sqrt().repeat(len(end)))
        return bool(uncertain(self._quantize(end, self.n_q, moved)[1]).any())

    def _whole(self, piece: Piece) -> PieceCodes:
        with torch.inference_mode(), exact_float32():
            embeddings = self._modules.embed(torch.from_numpy(piece.samples)[None])
            check_finite(bool(torch.isfinite(embeddings).all()))
            found = self._modules.quantize(embeddings, self.n_q)[:, 0]
        return PieceCodes(found.numpy().astype(np.uint16), None)

    def _is_short(self, piece: Piece) -> bool:
        """Whether it is a whole recording to be tried in any order of sums first."""
        return self._is_whole(piece) and not self._is_exact(piece.samples.shape[1])

    def _is_whole(self, piece: Piece) -> bool:
        whole = piece.last and piece.state is None
        return whole and 0 < piece.samples.shape[1] <= self.piece_length

    def _short(self, recordings: Sequence[Any]) -> list[torch.Tensor | None]:
        """Codes of whole recordings, int64 `[n_q, frames]`; None where they stay in doubt."""
        if not recordings:
            return []
        with torch.inference_mode(), exact_float32():
            rows = [np.ascontiguousarray(samples.T) for samples in recordings]
            begin, ends = self._quick.begin(self._channels), [True] * len(rows)
            _, frames, traces = self._quick.advance([begin] * len(rows), rows, ends)
            joined, counts = torch.cat(frames), [len(one) for one in frames]
            check_finite(bool(torch.isfinite(joined).all()))
            sizes = torch.stack([one.square().mean().sqrt() for one in frames])
            moved = noise(joined, sizes.repeat_interleave(torch.tensor(counts)))
            codes, certainty = self._quantize(joined, self.n_q, moved)
            results: list[torch.Tensor | None] = list(torch.split(codes, counts, dim=1))
            doubts = {
                i: Doubts(
                    torch.nonzero(one)[:, 0].tolist(),
                    rows[i],
                    traces[i],
                    float(sizes[i]),
                    self._is_same(len(rows[i])),
                )
                for i, one in enumerate(torch.split(uncertain(certainty), counts))
                if bool(one.any())
            }
            for i, found in zip(doubts, self._decided(list(doubts.values())), strict=True):
                results[i] = self._with(results[i], doubts[i], found)
        return results

    def _decided(self, doubts: Sequence[Doubts]) -> list[dict[int, torch.Tensor] | None]:
        """As `TieBreaker`; None of recordings that no window is rounded like."""
        able = [self._beginning.decides(len(one.samples)) for one in doubts]
        found = iter(self._ties([one for one, fits in zip(doubts, able, strict=True) if fits]))
        return [next(found) if fits else None for fits in able]

    def _with(
        self,
        codes: torch.Tensor | None,
        doubts: Doubts,
        found: dict[int, torch.Tensor] | None,
    ) -> torch.Tensor | None:
        """A recording's codes with those that were found again; None where it must be encoded as a
        whole."""
        left = [frame for frame in doubts.frames if frame not in (found or {})]
        self.settled += len(doubts.frames) - len(left)
        self.repeated += bool(left)
        if codes is None or found is None:
            return None
        codes = codes.clone()
        for frame, code in found.items():
            codes[:, frame] = code
        if left:
            codes[:, left] = self._beginning(doubts.samples, left)
        return codes


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
