"""Audio files to `.ecdc` files and back, as the original's command does it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from tokenizer.codecs import load_codec
from tokenizer.codecs.base import Codec
from tokenizer.codecs.encodec.codec import EncodecCodec
from tokenizer.ecdc.audio import converted
from tokenizer.ecdc.files import Lender, Stored, Watch, read_ecdc, require_file, write_ecdc
from tokenizer.ecdc.language_model import load_language_model
from tokenizer.ecdc.models import MODELS, Model, model_of
from tokenizer.errors import (
    CodecLoadError,
    FailureKind,
    OutputError,
    RecordingError,
    UsageError,
    why_unwritten,
)
from tokenizer.types import Codes

SUFFIX = ".ecdc"
LIMIT = 0.99
"""of full scale, beyond which decoded samples are cut off, or to which they are brought down"""
_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
_LARGEST_WAV = (1 << 32) - (1 << 20)
"""bytes of samples that a RIFF header can tell of"""
Block = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file that was written."""

    file: Path
    model: Model
    codec: str
    """whose weights it has to be decoded with"""
    codes: Codes
    size: int
    """bytes"""

    @property
    def kbps(self) -> float:
        return self.size * 8 / 1000 / self.codes.seconds


@dataclass(frozen=True, slots=True)
class Decoded:
    """An audio file that was written."""

    file: Path
    stored: Stored
    peak: float
    """of the samples that the codec gave, as a share of full scale"""


def encode_file(
    source: str | Path,
    target: str | Path | None = None,
    *,
    codec: str = MODELS["encodec_24khz"].codec,
    bandwidth: float | None = None,
    language_model: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    downmix: bool = False,
    force: bool = False,
    watch: Watch | None = None,
) -> Encoded:
    """Encode an audio file. Of a recording at the model's rate it is the original's file, byte for
    byte; so it is at another rate, as long as its samples come out of torchaudio the same.

    Args:
        source: any audio that codecshards reads.
        target: file to write; None is beside the source, with the ending .ecdc.
        codec: a checkpoint of transformers of the shape of a row of `MODELS`.
        bandwidth: kbps; None is 6.
        language_model: weights of the original's language model, to code with it.
        device: of the codec: "auto", "cpu" or "cuda".
        threads: that torch computes with in this process from now on; None leaves them. A file
            with a language model is only read with as many.
        downmix: mix more than two channels down instead of refusing them.
        force: overwrite the target.
        watch: is told how many frames the language model has done.

    Raises:
        UsageError: no such file, codec, bandwidth or language model; a target that is there.
        RecordingError: a source that cannot be read.
        OutputError: the target cannot be written.
    """
    path = require_file(source)
    to = _target(path, path.with_suffix(SUFFIX) if target is None else Path(target), force)
    if to.suffix.lower() != SUFFIX:
        raise UsageError(f"{to}: give a name that ends with {SUFFIX}")
    _set_threads(threads)
    loaded = load_codec(codec, bandwidth=bandwidth, device=device)
    model = _model_of(loaded)
    coder = None if language_model is None else load_language_model(language_model, model)
    codes = _codes(loaded, converted(path, model.sample_rate, model.channels, downmix=downmix))
    with _written(to) as temporary:
        size = _write(temporary, write_ecdc(codes, model, coder, watch))
    return Encoded(to, model, loaded.spec.codec, codes, size)


def decode_file(
    source: str | Path,
    target: str | Path | None = None,
    *,
    codec: str | None = None,
    language_model: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    rescale: bool = False,
    force: bool = False,
    watch: Watch | None = None,
) -> Decoded:
    """Decode an `.ecdc` file to 16-bit audio, exactly as long as the recording was at the model's
    rate.

    Args:
        source: the file.
        target: .wav or .flac to write; None is beside it: `song_decompressed.wav`.
        codec: where the model's weights lie; None is transformers' checkpoint of it.
        language_model: weights of the one that it was written with.
        device: of the codec: "auto", "cpu" or "cuda".
        threads: as `encode_file`.
        rescale: bring a recording that is louder than `LIMIT` down to it, instead of cutting
            samples off there; decodes twice.
        force: overwrite the target.
        watch: as `encode_file`.

    Raises:
        UsageError: no such file, codec or language model; a target that is there.
        RecordingError: a file that is damaged.
        OutputError: the target cannot be written.
    """
    path = require_file(source)
    beside = path.with_name(f"{path.stem}_decompressed.wav")
    to = _target(path, beside if target is None else Path(target), force)
    if to.suffix.lower() not in _FORMATS:
        raise UsageError(f"{to}: give a name that ends with {' or '.join(_FORMATS)}")
    lender: Lender | None = (
        None if language_model is None else partial(load_language_model, language_model)
    )
    _set_threads(threads)
    stored = read_ecdc(path, lender, watch)
    loaded = _codec_of(stored, codec, device)
    gain = 1.0
    if rescale:
        peak = max(float(np.abs(block).max()) for block in _finite(loaded, stored, path))
        gain = min(1.0, LIMIT / peak) if peak else 1.0
    with _written(to) as temporary:
        peak = _write_audio(
            temporary, to, stored.codes, loaded, gain, _finite(loaded, stored, path)
        )
    return Decoded(to, stored, peak)


def _set_threads(threads: int | None) -> None:
    """
    Raises:
        UsageError: fewer than one.
    """
    if threads is None:
        return
    if threads < 1:
        raise UsageError(f"--threads {threads}: give 1 or more")
    torch.set_num_threads(threads)


def _target(source: Path, target: Path, force: bool) -> Path:
    """
    Raises:
        UsageError: it cannot be written, or may not.
    """
    if not target.parent.is_dir():
        raise UsageError(f"{target}: there is no folder {target.parent}")
    if target.is_dir():
        raise UsageError(f"{target} is a folder: give a file's name")
    if target.exists():
        if target.samefile(source):
            raise UsageError(f"{target}: would overwrite what it is made from")
        if not force:
            raise UsageError(f"{target} is there already: --force overwrites it")
    return target


def _codes(codec: Codec, blocks: Iterable[Block]) -> Codes:
    stream = codec.stream()
    return Codes.join([*(stream.push(block) for block in blocks), stream.finish()])


def _codec_of(stored: Stored, codec: str | None, device: str) -> Codec:
    """
    Raises:
        CodecLoadError: there is no such codec, or it is of another shape than the file's model.
    """
    model = stored.header.model
    loaded = load_codec(codec or model.codec, n_q=stored.header.n_q, device=device)
    if _model_of(loaded) != model:
        raise CodecLoadError(
            f"codec {loaded.spec.codec} has not the shape of {model.name}, which the file says: "
            f"give a checkpoint like {model.codec}"
        )
    return loaded


def _model_of(codec: Codec) -> Model:
    """
    Raises:
        CodecLoadError: it is no EnCodec, or of a shape that no model has.
    """
    if not isinstance(codec, EncodecCodec):
        raise CodecLoadError(
            f"codec {codec.spec.codec} is no EnCodec, which .ecdc files are of: give a checkpoint "
            f"with the shape of {' or '.join(model.codec for model in MODELS.values())}"
        )
    return model_of(codec.spec)


def _finite(codec: Codec, stored: Stored, source: Path) -> Iterator[Block]:
    """The decoded blocks.

    Raises:
        RecordingError: samples that are no numbers: a scale in the file is damaged.
    """
    for block in codec.decode_stream(stored.codes):
        if not np.isfinite(block).all():
            raise RecordingError(
                FailureKind.DAMAGED, f"{source}: gives samples that are no numbers", "decode"
            )
        if block.shape[1]:
            yield block


@contextmanager
def _written(target: Path) -> Iterator[Path]:
    """A name to write to, which becomes the target's once all went well.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    except (soundfile.LibsndfileError, OSError) as error:
        raise OutputError(f"{target} cannot be written: {why_unwritten(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write(file: Path, parts: Iterable[bytes]) -> int:
    size = 0
    with file.open("wb") as opened:
        for part in parts:
            size += opened.write(part)
    return size


def _write_audio(
    file: Path, target: Path, codes: Codes, codec: Codec, gain: float, blocks: Iterable[Block]
) -> float:
    """Write 16-bit samples; returns the peak before they were cut off."""
    peak = 0.0
    form = _FORMATS[target.suffix.lower()]
    if form == "WAV" and codes.num_samples * codec.channels * 2 > _LARGEST_WAV:
        form = "RF64"
    with soundfile.SoundFile(
        file, "w", codec.sample_rate, codec.channels, "PCM_16", format=form
    ) as opened:
        for block in blocks:
            peak = max(peak, float(np.abs(block).max()))
            opened.write(np.clip(block * np.float32(gain), -LIMIT, LIMIT).T)
    return peak
