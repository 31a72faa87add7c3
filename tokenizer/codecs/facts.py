"""What a codec's codes are like, without its weights and without a network: for plans."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from tokenizer.chunking import chunk_spans, frames_of
from tokenizer.codecs.amounts import (
    DEFAULT_BANDWIDTH,
    choose_codebooks,
    kbps,
    plain_amount,
    require_codebooks,
)
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.lookup import (
    BUNDLED,
    NO_WEIGHTS,
    ON_THE_HUB,
    Checkpoint,
    codec_name,
    find_checkpoint,
    folder_called,
    looks_local,
    require_no_revision,
)
from tokenizer.codecs.registry import builtin_names, describe_checkpoint, find_builtin
from tokenizer.errors import CodecLoadError

__all__ = ["NO_WEIGHTS", "code_frames", "codec_facts"]


@dataclass(frozen=True, slots=True)
class _Published:
    """What a published checkpoint's config.json says."""

    sample_rate: int
    frame_length: int
    codebooks: int
    size: int = 1024
    offered: tuple[float, ...] = ()
    """kbps that it was trained for"""
    chunks: tuple[int, int] | None = None
    """length and stride; such a codec is stereo and has scales"""


_PUBLISHED = {
    "facebook/encodec_48khz": _Published(
        48_000, 320, 16, offered=(3.0, 6.0, 12.0, 24.0), chunks=(48_000, 47_520)
    ),
    "facebook/encodec_32khz": _Published(32_000, 640, 4, 2048, (2.2,)),
    "facebook/encodec_24khz": _Published(24_000, 320, 32, offered=(1.5, 3.0, 6.0, 12.0, 24.0)),
    "descript/dac_44khz": _Published(44_100, 512, 9),
    "descript/dac_24khz": _Published(24_000, 320, 32),
    "descript/dac_16khz": _Published(16_000, 320, 12),
    "kyutai/mimi": _Published(24_000, 1920, 32, 2048),
    **{
        name: _Published(16_000, 320, 8, offered=(0.5, 1.0, 1.5, 2.0, 4.0))
        for name in ON_THE_HUB
        if name.startswith("hf-audio/xcodec-")
    },
    "hf-audio/xcodec2": _Published(16_000, 320, 1, 65_536),
    "neuphonic/neucodec": _Published(16_000, 320, 1, 65_536),
}
"""without the windows of those that have some, which plans do not need"""


def codec_facts(
    name: str | PathLike[str],
    bandwidth: float | None = None,
    revision: str | None = None,
    *,
    n_q: int | None = None,
) -> CodecSpec | None:
    """The facts of a codec as far as this machine knows them; `weights_sha256` may be empty. None
    for a checkpoint of the Hub that is neither in the cache nor one whose facts are known here.

    Raises:
        CodecLoadError: no such folder, no such bandwidth or number of codebooks, no such kind of
            checkpoint.
    """
    name = codec_name(name)
    bandwidth, n_q = plain_amount(bandwidth, n_q)
    builtin = find_builtin(name)
    if builtin is not None:
        spec = builtin.spec(name, bandwidth, n_q)
        require_no_revision(name, revision, spec.revision)
        return spec
    if name in _PUBLISHED and not Path(name).is_dir():
        return _published(name, bandwidth, n_q)
    if name in BUNDLED or folder_called(name).exists() or looks_local(name):
        checkpoint = find_checkpoint(name, revision, builtin_names())
    else:
        folder = _cached(name, revision)
        if folder is None:
            return None
        checkpoint = Checkpoint.at(folder, name)
    return describe_checkpoint(replace(checkpoint, weighed=False), bandwidth, n_q)


def code_frames(num_samples: int, spec: CodecSpec) -> int:
    """Frames that a recording of so many samples has, over all of its chunks; as `chunk_spans` has
    them, without a list of them."""
    length, stride = spec.chunk_length, spec.chunk_stride
    if length is None or stride is None or num_samples < length:
        spans = chunk_spans(num_samples, length, stride)
        return sum(frames_of(stop - start, spec.frame_length) for start, stop in spans)
    full = (num_samples - length) // stride + 1
    rest = (
        chunk_spans(num_samples - full * stride, length, stride)
        if (full * stride < num_samples)
        else []
    )
    return full * frames_of(length, spec.frame_length) + sum(
        frames_of(stop - start, spec.frame_length) for start, stop in rest
    )


def _published(name: str, bandwidth: float | None, n_q: int | None) -> CodecSpec:
    known = _PUBLISHED[name]
    rate, sizes = known.sample_rate / known.frame_length, [known.size] * known.codebooks
    if known.offered:
        kept, count = _trained(name, known, bandwidth, n_q)
    else:
        count = choose_codebooks(name, sizes, rate, bandwidth, n_q)
        kept = kbps(sizes[:count], rate)
    length, stride = known.chunks or (None, None)
    return CodecSpec(
        codec=name,
        revision=None,
        weights_sha256=NO_WEIGHTS,
        bandwidth=kept,
        n_q=count,
        codebook_size=known.size,
        sample_rate=known.sample_rate,
        channels=1 if known.chunks is None else 2,
        frame_length=known.frame_length,
        chunk_length=length,
        chunk_stride=stride,
        has_scales=known.chunks is not None,
    )


def _trained(
    name: str, known: _Published, bandwidth: float | None, n_q: int | None
) -> tuple[float, int]:
    """kbps and codebooks of one that was trained for some bandwidths, as its configuration has
    them."""
    each = kbps([known.size], known.sample_rate / known.frame_length)
    if n_q is not None:
        return require_codebooks(name, n_q, known.codebooks) * each, n_q
    offered = known.offered
    if bandwidth is None:
        bandwidth = DEFAULT_BANDWIDTH if DEFAULT_BANDWIDTH in offered else max(offered)
    if bandwidth not in offered:
        choices = ", ".join(f"{one:g}" for one in offered)
        raise CodecLoadError(
            f"codec {name} has no bandwidth {bandwidth:g}: choose one of {choices}"
        )
    return float(bandwidth), int(bandwidth / each + 1e-9)


def _cached(name: str, revision: str | None) -> Path | None:
    """Where a checkpoint of the Hub lies on this machine, if it does."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError as error:
        raise CodecLoadError(f"codec {name}: neither a folder nor a name on the hub") from error
    return Path(found).parent if isinstance(found, str) else None
