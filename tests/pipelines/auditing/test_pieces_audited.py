"""Audits of recordings that are encoded in pieces: in passing and afterwards, the same as of the
whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from lag_codec import HOP, RATE, LagCodec
from sounds import sound

from pipelines.auditing.judge.reencode import Reencoder
from pipelines.auditing.measure.pairs import Block, Pairs
from pipelines.auditing.meters import Meters
from pipelines.auditing.options import AuditOptions
from pipelines.auditing.page.clips import Stretch, decode_stretch
from pipelines.auditing.while_tokenizing import Watched
from tokenizer.chunking import PieceCutter
from tokenizer.codecs.base import ChunkCodes
from tokenizer.codecs.pieces import Piece
from tokenizer.errors import FailureKind, RecordingError

METRICS = ("si-snr", "mel")


def blocks(samples: Block, seed: int) -> list[Block]:
    rng, at, found = np.random.default_rng(seed), 0, []
    while at < samples.shape[1]:
        size = int(rng.integers(1, 3_000))
        found.append(samples[:, at : at + size])
        at += size
    return found


def test_what_is_watched_measures_what_an_audit_afterwards_does() -> None:
    codec, options = LagCodec(800), AuditOptions(metrics=METRICS, page=False)
    for length in (1, 79, 800, 801, 30_000, 33_333):
        samples = sound(length, 1, RATE).samples
        watched, cutter = Watched(codec, options), PieceCutter(1, 800)
        codes: dict[int, ChunkCodes] = {}
        pieces = [piece for block in blocks(samples, length) for piece in cutter.push(block)]
        pieces += cutter.finish()
        state, rng = None, np.random.default_rng(length)
        for number, piece in enumerate(pieces):
            watched.push(piece)
            (found,) = codec.encode_pieces([Piece(piece, state, number + 1 == len(pieces))])
            state = found.state
            codes[number] = ChunkCodes(found.codes, None)
            if rng.random() < 0.5:
                watched.advance(codes)
        watched.end(codes)
        meters = Meters(codec.spec, METRICS)
        stored = codec.encode_batch([sound(length, 1, RATE)])[0]
        for pair in Pairs([samples], codec.decode_stream(stored), 1, meters.segment):
            meters.add(*pair)
        assert watched.error is None and not watched._waiting
        assert watched._meters.figures() == meters.figures()
        assert watched._meters.series() == meters.series()


def test_a_piece_that_cannot_be_decoded_gives_the_recording_up() -> None:
    class Refusing(LagCodec):
        def decode_pieces(self, pieces: object) -> list:  # type: ignore[override,type-arg]
            raise RecordingError(FailureKind.ENCODER, "refused", "decode")

    watched = Watched(Refusing(800), AuditOptions(metrics=METRICS, page=False))
    for number in range(3):
        watched.push(np.zeros((1, 800), np.float32))
        watched.advance({number: ChunkCodes(np.zeros((3, 10), np.uint16), None)})
    watched.end({})
    assert watched.error is not None and not watched._waiting


def compared(codec: LagCodec, samples: Block, codes: Block) -> Reencoder:
    stored = replace(codec.encode(samples, sample_rate=RATE), codes=codes)
    reencoder = Reencoder(codec, stored)
    for _ in reencoder.watch(iter(blocks(samples, 3))):
        pass
    return reencoder


def test_what_is_encoded_again_in_pieces_is_compared_frame_by_frame() -> None:
    codec = LagCodec(800)
    for length in (1, 800, 801, 33_333):
        samples = sound(length, 1, RATE).samples
        codes = codec.encode(samples, sample_rate=RATE).codes
        again = compared(codec, samples, codes)
        assert again.error is None and again.comparison.equal
        assert again.comparison.frames == codes.shape[1]
        assert len(again.comparison.chunks) == -(-codes.shape[1] // 10)
    damaged = codes.copy()
    damaged[:, 100:110] = 0
    damaged[1, 205] ^= np.uint16(1)
    found = compared(codec, samples, damaged).comparison
    wrong = {index for index, match in found.chunks.items() if match.differing}
    assert wrong == {10, 20} and found.chunks[10].stuck and found.chunks[20].single_bit == 1


def test_a_stretch_is_the_whole_there() -> None:
    codec = LagCodec(8_000)
    codes = codec.encode(sound(100 * RATE + 3, 1, RATE))
    whole = codec.decode(codes).samples
    for start, stop in [(0, RATE), (50 * RATE, 53 * RATE), (99 * RATE, 100 * RATE + 3)]:
        part = decode_stretch(codec, replace(codes, layout=None), Stretch(start, stop, 0, None))
        assert np.array_equal(part, whole[:, start:stop])
    assert HOP * codes.frames >= codes.num_samples
