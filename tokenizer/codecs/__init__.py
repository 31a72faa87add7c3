"""Codecs by name: those that ship with the package, and every EnCodec checkpoint.

A new weight-free or bundled codec is one file and one row in `CODECS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tokenizer.codecs.base import Codec, CodecSpec
from tokenizer.codecs.lookup import Checkpoint, find_checkpoint, weights_hash
from tokenizer.codecs.precision import PRECISIONS
from tokenizer.errors import CodecLoadError

__all__ = ["CODECS", "DEFAULT_CODEC", "Builtin", "batch_chunks", "describe_codec", "load_codec"]

DEFAULT_CODEC = "facebook/encodec_48khz"
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Builtin:
    """A codec that ships with the package and needs no checkpoint."""

    describe: Callable[[float], CodecSpec]
    """facts at a bandwidth in kbps; raises `CodecLoadError` for a bandwidth it lacks"""
    load: Callable[[float], Codec]


def _describe_mulaw(bandwidth: float) -> CodecSpec:
    from tokenizer.codecs.mulaw import describe_mulaw

    return describe_mulaw(bandwidth)


def _load_mulaw(bandwidth: float) -> Codec:
    from tokenizer.codecs.mulaw import MuLawCodec

    return MuLawCodec(bandwidth)


CODECS: dict[str, Builtin] = {"mulaw": Builtin(_describe_mulaw, _load_mulaw)}


def batch_chunks(device: str) -> int:
    """Chunks that make an efficient batch on a kind of device."""
    # Two batches of the largest shape, so that one is copied while the other is computed.
    return 512 if device == "cuda" else 16


def describe_codec(
    name: str, *, bandwidth: float = 6.0, revision: str | None = None, precision: str = "exact"
) -> CodecSpec:
    """Everything about a codec that decides its codes, without building the model.

    Raises:
        CodecLoadError: as `load_codec`.
    """
    require_precision(precision)
    if name in CODECS:
        return CODECS[name].describe(bandwidth)
    return replace(_encodec_spec(find_checkpoint(name, revision), bandwidth), precision=precision)


def require_precision(precision: str) -> None:
    """
    Raises:
        CodecLoadError: not a row of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise CodecLoadError(f"precision {precision}: choose one of {', '.join(PRECISIONS)}")


def load_codec(
    name: str = DEFAULT_CODEC,
    *,
    bandwidth: float = 6.0,
    device: str = "auto",
    revision: str | None = None,
    threads: int | None = None,
    reference: bool = False,
    precision: str = "exact",
) -> Codec:
    """Load a codec at one bandwidth, for good: nothing about it can be changed afterwards.

    Args:
        name: hub id, folder written by `save_pretrained`, or a row of `CODECS`.
        bandwidth: kbps; one of those that the checkpoint offers.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        revision: hub commit, tag or branch.
        threads: CPU threads that torch computes with in this process from now on; None leaves them.
        reference: compute with transformers' own modules: the same codes, more slowly.
        precision: "exact" (float32 on every device), or on a GPU "fast" (TF32 but for the
            quantizer), which changes some codes; `Codec.precision_report` says how many.

    Raises:
        CodecLoadError: no such checkpoint, no network, not an EnCodec, unknown bandwidth, no such
            device or precision.
    """
    require_precision(precision)
    if device not in DEVICES:
        raise CodecLoadError(f"device {device}: choose one of {', '.join(DEVICES)}")
    if name in CODECS:
        return CODECS[name].load(bandwidth)
    checkpoint = find_checkpoint(name, revision)
    spec = _encodec_spec(checkpoint, bandwidth)

    import torch

    from tokenizer.codecs.encodec.codec import EncodecCodec

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise CodecLoadError(
            "device cuda: torch sees no GPU here; use device cpu, or a torch build with CUDA"
        )
    if precision == "fast" and device == "cpu":
        raise CodecLoadError(
            "precision fast: needs a GPU; on a CPU use precision exact, which is no slower there"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    return EncodecCodec(
        checkpoint.folder, replace(spec, device=device, precision=precision), device, reference
    )


def _encodec_spec(checkpoint: Checkpoint, bandwidth: float) -> CodecSpec:
    from transformers import EncodecConfig

    from tokenizer.codecs.encodec.codec import encodec_spec

    try:
        config = EncodecConfig.from_pretrained(checkpoint.folder)
    except (ValueError, TypeError, OSError) as error:
        raise CodecLoadError(
            f"codec {checkpoint.name}: its config.json is not an EnCodec's: {error}"
        ) from error
    return encodec_spec(
        config,
        codec=checkpoint.name,
        revision=checkpoint.revision,
        weights=weights_hash(checkpoint),
        bandwidth=bandwidth,
    )
