"""What a codec's codes are like, without its weights and without a network: for plans."""

from __future__ import annotations

from pathlib import Path

from tokenizer.chunking import chunk_spans, frames_of
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.lookup import BUNDLED, ON_THE_HUB, Checkpoint, find_checkpoint, looks_local
from tokenizer.codecs.registry import builtin_names, find_builtin
from tokenizer.errors import CodecLoadError

NO_WEIGHTS = ""
"""instead of their hash"""
_KBPS = {48_000: 1.5, 24_000: 0.75}
"""of one codebook of the published checkpoints: 10 bits, 150 or 75 times a second"""
_OFFERED = {48_000: (3.0, 6.0, 12.0, 24.0), 24_000: (1.5, 3.0, 6.0, 12.0, 24.0)}


def codec_facts(name: str, bandwidth: float, revision: str | None = None) -> CodecSpec | None:
    """The facts of a codec as far as this machine knows them; `weights_sha256` may be empty. None
    for a checkpoint of the Hub that is neither one of the published two nor in the cache.

    Raises:
        CodecLoadError: no such folder, no such bandwidth, no EnCodec.
    """
    builtin = find_builtin(name)
    if builtin is not None:
        return builtin.describe(bandwidth)
    if name in ON_THE_HUB and not Path(name).is_dir():
        return _published(name, bandwidth)
    if name in BUNDLED or Path(name).expanduser().is_dir() or looks_local(name):
        return _of_checkpoint(find_checkpoint(name, revision, builtin_names()), bandwidth)
    folder = _cached(name, revision)
    return None if folder is None else _of_checkpoint(Checkpoint.at(folder, name), bandwidth)


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


def _published(name: str, bandwidth: float) -> CodecSpec:
    rate = 48_000 if "48khz" in name else 24_000
    if bandwidth not in _OFFERED[rate]:
        offered = ", ".join(f"{kbps:g}" for kbps in _OFFERED[rate])
        raise CodecLoadError(
            f"codec {name} has no bandwidth {bandwidth:g}: choose one of {offered}"
        )
    whole = rate == 24_000
    return CodecSpec(
        codec=name,
        revision=None,
        weights_sha256=NO_WEIGHTS,
        bandwidth=bandwidth,
        n_q=int(bandwidth / _KBPS[rate]),
        codebook_size=1024,
        sample_rate=rate,
        channels=1 if whole else 2,
        frame_length=320,
        chunk_length=None if whole else 48_000,
        chunk_stride=None if whole else 47_520,
        has_scales=not whole,
    )


def _of_checkpoint(checkpoint: Checkpoint, bandwidth: float) -> CodecSpec:
    from tokenizer.codecs.encodec.checkpoint import encodec_spec, read_config

    if checkpoint.model_type != "encodec":
        raise CodecLoadError(
            f"codec {checkpoint.name}: its config.json has the model_type "
            f"{checkpoint.model_type!r}; give a checkpoint of encodec"
        )
    return encodec_spec(
        read_config(checkpoint),
        codec=checkpoint.name,
        revision=checkpoint.revision,
        weights=NO_WEIGHTS,
        bandwidth=bandwidth,
    )


def _cached(name: str, revision: str | None) -> Path | None:
    """Where a checkpoint of the Hub lies on this machine, if it does."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError as error:
        raise CodecLoadError(f"codec {name}: neither a folder nor a name on the hub") from error
    return Path(found).parent if isinstance(found, str) else None
