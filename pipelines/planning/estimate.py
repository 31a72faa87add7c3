"""What a corpus would become: codes, bytes, and hours of work, each with what it is based on."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from pipelines.output.config import TokenizeConfig
from pipelines.planning.survey import Survey
from tokenizer.codecs.base import CodecSpec
from tokenizer.types import Waveform

FILE_SECONDS = 0.0013
"""of one core for each recording beside its length: opening, hashing, writing
(`benchmarks/results/clips.md`)"""
DECODE_SECONDS = 0.0017
"""of one core for a second of mp3 (`benchmarks/results/scale.md`)"""
_BENCHMARKS = {
    # Seconds of one core for encoding a second of audio, at 4 and at 16 codebooks.
    (48_000, 2): (2 / 19.85, 2 / 14.17, "encode_6kbps.md, encode_24kbps.md"),
}
_SMALL = (2 / 284.37, 2 / 147.19, "speed_small.md")
_MEASURED_ON = "two cores of an AMD EPYC"
_ROW_BYTES = {"parquet": 50, "webdataset": 4_000}
"""of a row beside its codes and texts: lists' ends, hashes, page and tar headers. With `small` on
speech, music and effects it was 106, -32 and 16 in Parquet, whose codes compress, and 3,989 to
4,022 in tars"""
_CODE_SHARE = 0.945
"""of the bits that a code needs at most, in Parquet, which compresses them. With `small` at 6 kbps
it was 0.90 of speech (200 s), 0.95 of effects (77 min) and of music (28 min); whole estimates were
then 4.5% above, 0.2% and 1.0% below what was written"""
_TEXT_SHARE = {"parquet": 0.5, "webdataset": 1.0}
"""of the bytes of texts, ids and addresses that is left after compression; assumed"""
_PROBE_SECONDS, _PROBE_AUDIO = 3.0, 4.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What would be written, and how long it would take; None is not known."""

    codes: int | None
    bytes: int | None
    seconds: float | None
    """of wall clock"""
    speed: float | None
    """seconds of audio in a second of wall clock"""
    cores: int
    basis: str
    """what the time is based on, or why there is none"""


def make_estimate(
    survey: Survey,
    config: TokenizeConfig,
    spec: CodecSpec | None,
    cores: int,
    measure: bool = False,
) -> Estimate:
    """
    Args:
        survey: of the corpus.
        config: what a run would be asked for.
        spec: the codec's facts, where they are known.
        cores: that would work on it.
        measure: encode a few seconds here and now, rather than go by benchmarks.

    Raises:
        CodecLoadError: to be measured, and the codec is not to be had.
    """
    if spec is None:
        basis = f"not estimated: {config.codec} is not on this machine"
        return Estimate(None, None, None, None, cores, basis)
    codes = survey.frames * spec.n_q
    cost, basis = _measured(config, cores) if measure else _benchmarked(spec, config.codec)
    size = _bytes(survey, config.format, spec, codes)
    if cost is None:
        return Estimate(codes, size, None, None, cores, basis)
    audio = survey.lengths.seconds
    seconds = (audio * (cost + DECODE_SECONDS) + survey.recordings * FILE_SECONDS) / cores
    return Estimate(codes, size, seconds, audio / seconds if seconds else None, cores, basis)


def _bytes(survey: Survey, form: str, spec: CodecSpec, codes: int) -> int | None:
    if form not in _ROW_BYTES:  # another package's
        return None
    packed = _CODE_SHARE * math.ceil(math.log2(spec.codebook_size))
    bits = 16.0 if form == "webdataset" else packed
    scales = 0.0
    if spec.has_scales and spec.chunk_stride:
        scales = 4.0 * survey.lengths.seconds * spec.sample_rate / spec.chunk_stride
    rest = survey.recordings * _ROW_BYTES[form] + survey.metadata_bytes * _TEXT_SHARE[form]
    return round(codes * bits / 8 + scales + rest)


def _benchmarked(spec: CodecSpec, name: str) -> tuple[float | None, str]:
    """Seconds of a core for a second of audio."""
    if spec.device == "none":
        return 0.0, "for reading alone: a codec without weights costs next to nothing"
    figures = _SMALL if name == "small" else _BENCHMARKS.get((spec.sample_rate, spec.channels))
    if figures is None:
        return None, "not estimated: no benchmark of this codec; --measure encodes for 3 s here"
    few, many, pages = figures
    cost = max(few + (many - few) * (spec.n_q - 4) / 12, 0.5 * few)
    return cost, (
        f"by benchmarks on {_MEASURED_ON} (benchmarks/results/{pages}); --measure encodes for "
        "3 s here instead; GPUs are not estimated"
    )


def _measured(config: TokenizeConfig, cores: int) -> tuple[float | None, str]:
    """Seconds of a core for a second of audio, as it is now."""
    from tokenizer.codecs import load_codec

    codec = load_codec(
        config.codec,
        bandwidth=config.bandwidth,
        n_q=config.n_q,
        device="cpu",
        revision=config.revision,
        threads=1,
    )
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((codec.channels, round(_PROBE_AUDIO * codec.sample_rate)))
    waveform = Waveform((0.1 * noise).astype(np.float32), codec.sample_rate)
    codec.encode(waveform)  # what is loaded and compiled at first is no part of it
    began, done = time.perf_counter(), 0.0
    while time.perf_counter() - began < _PROBE_SECONDS:
        codec.encode(waveform)
        done += _PROBE_AUDIO
    cost = (time.perf_counter() - began) / done
    basis = f"as measured now: one core here encodes noise at {1 / cost:.1f} x real time"
    return cost, basis + (
        f"; {cores} cores together may be slower than {cores} times that" if cores > 1 else ""
    )
