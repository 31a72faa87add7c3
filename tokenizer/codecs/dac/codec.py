"""DAC through transformers' `DacModel`: any checkpoint of that class.

The truth is `DacFeatureExtractor`, which pads a recording with zeros to whole hops, and
`DacModel.encode` on that recording alone. The network is computed in steps by transformers' own
convolutions, with Snake fused (`tokenizer.codecs.dac.layers`): the frames are transformers' own,
bit for bit, but for lengths for which its convolutions are blocked otherwise. So a recording that
is short enough to be looked at as a whole has its near ties settled: on a stretch about each, by
transformers' own encoder at several lengths, and where these disagree on the whole recording. How
long a recording will be is not known while it comes: longer ones keep the codes of the steps.

On a GPU recordings of a few seconds share batches (`tokenizer.codecs.dac.gpu`), and transformers'
own modules encode those of up to 30 s, each alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.dac.gpu import whole_recordings
from tokenizer.codecs.dac.layers import Whole
from tokenizer.codecs.dac.network import (
    STEP_FRAMES,
    STEP_ON_A_GPU,
    DacNetwork,
    Grid,
    Ran,
    Run,
)
from tokenizer.codecs.dac.reference import Reference
from tokenizer.codecs.dac.tracks import Track
from tokenizer.codecs.devices import batch_chunks
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.cpu.threads import Threads
from tokenizer.codecs.encodec.gpu.whole import WholeBatches
from tokenizer.codecs.flow.piecewise import PiecewiseCodec
from tokenizer.codecs.pieces import CodedPiece, Piece, PieceCodes, PieceSamples
from tokenizer.codecs.weights import load_pretrained

WHOLE_SECONDS = 30
"""recordings up to this length wait until they have ended, and their near ties are settled"""
Item = TypeVar("Item")
Result = TypeVar("Result")


class DacCodec(PiecewiseCodec):
    """A DAC checkpoint with so many of its codebooks, on one device. Threads may share it, and take
    turns."""

    doubted = 0
    """frames so far whose codes rounding could have decided"""
    settled = 0
    """recordings so far that transformers' own modules encoded as a whole"""

    def __init__(self, folder: Path, spec: CodecSpec, device: str, reference: bool = False) -> None:
        """Load the weights in `folder` (written by `save_pretrained`) for a spec made from its
        configuration. With `reference`, transformers' own modules compute recordings of up to
        `WHOLE_SECONDS`, and longer ones in steps with nothing fused."""
        from transformers import DacModel

        self.spec = spec
        self.batch_chunks = batch_chunks(device)
        self._place = torch.device(device)
        self.piece_length = round(WHOLE_SECONDS * spec.frame_rate) * spec.frame_length
        self._longest_whole = self.piece_length
        model = load_pretrained(DacModel, folder, self._place)
        on_cpu = self._place.type == "cpu"
        self._network = DacNetwork(model, spec.n_q, fused=on_cpu and not reference)
        self._reference = Reference(model, spec.n_q, self._network.encoder.field)
        # On a GPU convolutions of a step round otherwise than those of a recording altogether: what
        # is short enough runs whole.
        self._by_reference, self._settles = reference, on_cpu and not reference
        self._batches = None if on_cpu or reference else self._open_batches(model)
        step = STEP_FRAMES if on_cpu else STEP_ON_A_GPU
        self._encoder = Grid(self._network.encoder, spec.frame_length, 1, step)
        self._decoder = Grid(self._network.decoder, 1, spec.frame_length, step)
        self._threads = Threads()

    def _open_batches(self, model: Any, rows: tuple[int, ...] | None = None) -> WholeBatches:
        return whole_recordings(
            model,
            self.spec.n_q,
            rate=self.spec.sample_rate,
            longest=self._longest_whole,
            hop=self.spec.frame_length,
            rows=rows,
        )

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[PieceCodes]:
        for piece in pieces:
            self._checked(piece)
        with torch.inference_mode(), exact_float32():
            tracks = [
                Track(self._encoder, piece.samples, piece.state, piece.last, self._place)
                for piece in pieces
            ]
            whole = [track for track in tracks if self._is_whole(track)]
            longer = [track for track in tracks if self._is_longer(track)]
            if self._batches is not None:
                self._run_batches(self._batches, whole)
            elif self._by_reference:
                for track in whole:
                    track.outputs.append(self._reference.encode(track.signal))
            else:
                self._run(self._network.encode, whole, self._settles, encodes=True)
            self._run(self._network.encode, longer, encodes=True)
            for track in whole if self._settles else []:
                self._settle(track)
            return [self._coded(track) for track in tracks]

    def decode_pieces(self, pieces: Sequence[CodedPiece]) -> list[PieceSamples]:
        for piece in pieces:
            self._checked_codes(piece)
        with torch.inference_mode(), exact_float32():
            tracks = [
                Track(
                    self._decoder,
                    piece.codes.astype(np.int64),
                    piece.state,
                    piece.last,
                    self._place,
                )
                for piece in pieces
            ]
            self._run(self._network.decode, tracks)
            return [self._sounding(track) for track in tracks]

    def _is_whole(self, track: Track) -> bool:
        """Whether all of a recording has come, and is short enough to be looked at as a whole."""
        return track.last and not track.begun and track.length <= self._longest_whole

    def _is_longer(self, track: Track) -> bool:
        """Whether it is known to be longer than that."""
        return track.begun or track.length > self._longest_whole

    def _run_batches(self, batches: WholeBatches, tracks: Sequence[Track]) -> None:
        found = batches.encode([track.held for track in tracks])
        for track, codes in zip(tracks, found, strict=True):
            track.outputs.append(torch.from_numpy(codes.astype(np.int64)).to(self._place))
        self.settled = batches.repeated

    def _whole(self, track: Track, threads: int) -> Whole:
        """What transformers would be given, as far as it matters: the same however it is cut."""
        ended = track.last and not track.begun
        length = track.signal.shape[1] if ended else self._longest_whole
        return Whole(min(length, self._longest_whole), threads)

    def _run(
        self,
        work: Callable[[Run], Ran],
        tracks: Sequence[Track],
        doubt: bool = False,
        encodes: bool = False,
    ) -> None:
        """All runs of all tracks, side by side where there are several of torch's threads."""
        threads = torch.get_num_threads() if self._place.type == "cpu" else 1
        exact = encodes and self._place.type == "cpu"
        active = list(tracks)
        while active:
            parts = max(1, threads // len(active))
            runs = [
                track.runs(parts, doubt, self._whole(track, threads) if exact else None)
                for track in active
            ]
            active = [track for track, own in zip(active, runs, strict=True) if own]
            runs = [own for own in runs if own]
            ran = self._shared(work, [run for own in runs for run in own])
            at = 0
            for track, own in zip(active, runs, strict=True):
                track.take(ran[at : at + len(own)])
                at += len(own)

    def _shared(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        if self._place.type != "cpu":
            return [work(item) for item in items]
        return self._threads.map(work, items)

    def _settle(self, track: Track) -> None:
        """Encode a recording by transformers' own modules where rounding decides one of its
        codes."""
        certainty = torch.cat(track.certainty)
        doubtful = torch.nonzero(certainty < 1.0)[:, 0].tolist()
        if not doubtful:
            return
        self.doubted += len(doubtful)
        codes = torch.cat(track.outputs, dim=1)
        hop = self.spec.frame_length
        for frame in doubtful:
            if not self._reference.agrees(track.signal, codes[:, frame], frame, hop):
                track.outputs = [self._reference.encode(track.signal)]
                self.settled += 1
                return

    def _coded(self, track: Track) -> PieceCodes:
        empty = torch.zeros((self.spec.n_q, 0), dtype=torch.int64, device=self._place)
        codes = torch.cat([empty, *track.outputs], dim=1)
        return PieceCodes(codes.cpu().numpy().astype(np.uint16), track.state())

    def _sounding(self, track: Track) -> PieceSamples:
        parts = [part.cpu().numpy() for part in track.outputs]
        if track.last:
            # What odd strides leave out at the end: transformers' recordings are shorter by that.
            parts.append(np.zeros((1, self._network.decoder.field.lost), np.float32))
        samples = np.concatenate([np.zeros((1, 0), np.float32), *parts], axis=1)
        return PieceSamples(samples, track.state())
