"""Codes to `.ecdc` files, and back."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokenizer.chunking import runs_of
from tokenizer.ecdc.arithmetic import Decoder, Encoder, Exhausted, OutOfStep
from tokenizer.ecdc.header import SCALE, Header, cut_off, read_header
from tokenizer.ecdc.models import ENTRIES, Model
from tokenizer.ecdc.packing import packed, unpacked
from tokenizer.errors import FailureKind, RecordingError, ShapeError, UsageError
from tokenizer.types import Codes

if TYPE_CHECKING:
    from tokenizer.ecdc.language_model import LanguageModel

Chunk = NDArray[np.uint16]
"""codes uint16 `[n_q, frames]`"""
Lender = Callable[[Model], "LanguageModel"]
"""hands out the language model for a file that turns out to need one"""
Watch = Callable[[int], None]
"""is told how many frames the language model has done, which takes its time"""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file holds."""

    header: Header
    codes: Codes


def write_ecdc(
    codes: Codes,
    model: Model,
    language_model: LanguageModel | None = None,
    watch: Watch | None = None,
) -> Iterator[bytes]:
    """The bytes of a file, chunk by chunk: the original's own for the same codes.

    Args:
        codes: of a whole recording, by a codec of the model's shape.
        model: a row of `MODELS`.
        language_model: to code with it, in fewer bytes and much more time.
        watch: is called after each frame that was coded so.

    Raises:
        ShapeError: codes of another codec.
        RecordingError: the language model gives no probabilities (ENCODER).
    """
    frames = list(model.chunk_frames(codes.num_samples)) if codes.num_samples else []
    fits = (
        (codes.sample_rate, sum(frames)) == (model.sample_rate, codes.frames)
        and 1 <= codes.n_q <= model.codebooks
        and (codes.scales is not None) == model.has_scales
    )
    if not fits or not frames or int(codes.codes.max()) >= ENTRIES:
        raise ShapeError(f"{codes} are not those of a recording by {model.name}")
    header = Header(model, codes.num_samples, codes.n_q, language_model is not None)
    yield header.dumps()
    end = 0
    for number, count in enumerate(frames):
        chunk = codes.codes[:, end : end + count]
        end += count
        if codes.scales is not None:
            yield SCALE.pack(codes.scales[number])
        if language_model is None:
            yield packed(chunk.T.ravel())
        else:
            yield _coded(chunk, language_model, watch, end - count)


def _coded(chunk: Chunk, language_model: LanguageModel, watch: Watch | None, before: int) -> bytes:
    """A chunk behind so many frames."""
    predictions, encoder = language_model.begin(len(chunk)), Encoder()
    for number, codes in enumerate(chunk.T, start=1):
        try:
            for code, ends in zip(codes.tolist(), predictions.ends(), strict=True):
                encoder.push(code, ends)
        except (ValueError, OutOfStep) as error:
            reason = str(error) or "a code no share of its interval"
            raise RecordingError(
                FailureKind.ENCODER, f"the language model gives {reason}", "encode"
            ) from error
        predictions.push(codes)
        if watch is not None:
            watch(before + number)
    return encoder.finish()


def read_ecdc(
    file: str | os.PathLike[str],
    language_model: Lender | None = None,
    watch: Watch | None = None,
) -> Stored:
    """Read a file; memory is bounded by its size, whatever its header says.

    Args:
        file: a local path.
        language_model: called for a file that was written with one; None refuses these.
        watch: is called after each frame of such a file.

    Raises:
        UsageError: no such file, or one that needs a language model.
        RecordingError: not such a file, or one that is damaged; see `read_header`.
    """
    path, name = require_file(file), os.fspath(file)
    try:
        with path.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            header = read_header(opened, size, name)
            lender = _lender(header, language_model, name)
            held = opened.read()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error
    reader = _Chunks(header, held, name, watch)
    chunks = list(reader.coded(lender(header.model)) if lender else reader.plain())
    return Stored(header, _joined(header, chunks, reader.scales))


def require_file(file: str | os.PathLike[str]) -> Path:
    """
    Raises:
        UsageError: it is no regular file. A pipe would be waited for, for ever.
    """
    path = Path(file)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path}: not a file")
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return path


def _lender(header: Header, language_model: Lender | None, name: str) -> Lender | None:
    if not header.entropy_coded:
        return None
    if language_model is None:
        raise UsageError(
            f"{name}: was written with --lm; give the language model's weights: --lm FILE, the "
            f"original's are {header.model.language_model_url}"
        )
    return language_model


class _Chunks:
    """The chunks of a file, read one after the other."""

    def __init__(self, header: Header, held: bytes, name: str, watch: Watch | None) -> None:
        self._header, self._held, self._name, self._watch = header, held, name, watch
        self._at = self._done = 0
        self.scales: list[float] = []
        """of the chunks that were read"""

    def plain(self) -> Iterator[Chunk]:
        for frames in self._frames():
            count = frames * self._header.n_q
            end = self._at + self._header.chunk_bytes(frames) - self._header.scale_bytes
            try:
                codes = unpacked(self._held[self._at : end], count)
            except ValueError as error:
                raise self._damaged(str(error)) from error
            self._at = end
            yield codes.reshape(frames, self._header.n_q).T

    def coded(self, language_model: LanguageModel) -> Iterator[Chunk]:
        for frames in self._frames():
            try:
                yield self._decoded(frames, language_model)
            except Exhausted as error:
                raise self._out_of_step("ends too soon") from error
            except OutOfStep as error:
                raise self._out_of_step("does not fit the language model") from error
            except ValueError as error:
                raise RecordingError(
                    FailureKind.ENCODER, f"the language model gives {error}", "decode"
                ) from error
        if self._at != len(self._held):
            raise self._out_of_step(f"is followed by {len(self._held) - self._at:,} bytes")

    def _decoded(self, frames: int, language_model: LanguageModel) -> Chunk:
        predictions = language_model.begin(self._header.n_q)
        decoder, found = Decoder(self._held, self._at), []
        for _ in range(frames):  # as long as there are bits for them
            ends = predictions.ends()
            codes = np.array([decoder.pull(own) for own in ends], np.uint16)
            predictions.push(codes)
            found.append(codes)
            self._done += 1
            if self._watch is not None:
                self._watch(self._done)
        self._at = decoder.finish()
        return np.stack(found, axis=1)

    def _frames(self) -> Iterator[int]:
        """Frames of each chunk, once its scale has been read."""
        for frames in self._header.model.chunk_frames(self._header.num_samples):
            if self._header.model.has_scales:
                self.scales.append(self._scale())
            yield frames

    def _scale(self) -> float:
        if self._at + SCALE.size > len(self._held):
            raise cut_off(self._name, f"chunk {len(self.scales)} has no scale")
        (scale,) = SCALE.unpack_from(self._held, self._at)
        self._at += SCALE.size
        if not 0 < scale < np.inf:
            raise self._damaged(f"its scale is {scale}", len(self.scales))
        return float(scale)

    def _damaged(self, what: str, chunk: int | None = None) -> RecordingError:
        place = max(0, len(self.scales) - 1) if chunk is None else chunk
        return RecordingError(
            FailureKind.DAMAGED, f"{self._name}: chunk {place} is damaged: {what}", "decode"
        )

    def _out_of_step(self, what: str) -> RecordingError:
        place = max(0, len(self.scales) - 1)
        return RecordingError(
            FailureKind.DAMAGED,
            f"{self._name}: chunk {place} {what}: the file is damaged, or was written with other "
            "weights, or where torch rounds otherwise: decode it on that machine, with its version "
            "of torch, or with another number of --threads",
            "decode",
        )


def _joined(header: Header, chunks: list[Chunk], scales: list[float]) -> Codes:
    codes = np.ascontiguousarray(np.concatenate(chunks, axis=1))
    layout = header.model.layout
    frames = [chunk.shape[1] for chunk in chunks] if layout.chunked else runs_of(codes.shape[1])
    return Codes(
        codes,
        np.array(scales, np.float32) if header.model.has_scales else None,
        np.array(frames, np.uint16),
        header.num_samples,
        header.model.sample_rate,
        layout,
    )
