"""Codecs by name, and checkpoints by the `model_type` of their config.json.

A codec that needs no checkpoint is one file and one row in `CODECS`; a kind of checkpoint is one
folder and one row in `FAMILIES`. Packages of others add codecs to the former by entry points
(`tokenizer.plugins`). Rows import their codec when they are used: to name a codec or to
describe one needs no torch, unless its configuration does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tokenizer import plugins
from tokenizer.codecs.base import Codec, CodecSpec
from tokenizer.codecs.devices import (
    device_kind,
    repeatable_products,
    require_device_name,
    resolve_device,
)
from tokenizer.codecs.lookup import Checkpoint, find_checkpoint
from tokenizer.codecs.precision import PRECISIONS
from tokenizer.errors import CodecLoadError

DEFAULT_CODEC = "facebook/encodec_48khz"


@dataclass(frozen=True, slots=True)
class Builtin:
    """A codec that is loaded by its name alone."""

    describe: Callable[[float], CodecSpec]
    """facts at a bandwidth in kbps; raises `CodecLoadError` for a bandwidth it lacks"""
    load: Callable[[float, str], Codec]
    """the codec at a bandwidth, on a device as `load_codec` takes it: one that computes with torch
    resolves it by `tokenizer.codecs.devices.resolve_device`"""


@dataclass(frozen=True, slots=True)
class Family:
    """Checkpoints that one class of transformers reads."""

    describe: Callable[[Checkpoint, float], CodecSpec]
    """facts at a bandwidth in kbps; raises `CodecLoadError` for a bandwidth it lacks, and for a
    configuration that is not of this family"""
    load: Callable[[Checkpoint, CodecSpec, str, bool], Codec]
    """the codec of a described checkpoint on a resolved device; with True by the reference"""


def _describe_mulaw(bandwidth: float) -> CodecSpec:
    from tokenizer.codecs.mulaw import describe_mulaw

    return describe_mulaw(bandwidth)


def _load_mulaw(bandwidth: float, device: str) -> Codec:
    from tokenizer.codecs.mulaw import MuLawCodec

    return MuLawCodec(bandwidth)


def _describe_encodec(checkpoint: Checkpoint, bandwidth: float) -> CodecSpec:
    from tokenizer.codecs.encodec.checkpoint import describe_checkpoint

    return describe_checkpoint(checkpoint, bandwidth)


def _load_encodec(checkpoint: Checkpoint, spec: CodecSpec, device: str, reference: bool) -> Codec:
    from tokenizer.codecs.encodec.codec import EncodecCodec

    return EncodecCodec(checkpoint.folder, spec, device, reference)


def _describe_mimi(checkpoint: Checkpoint, bandwidth: float) -> CodecSpec:
    from tokenizer.codecs.mimi.checkpoint import describe_mimi

    return describe_mimi(checkpoint, bandwidth)


def _load_mimi(checkpoint: Checkpoint, spec: CodecSpec, device: str, reference: bool) -> Codec:
    from tokenizer.codecs.mimi.codec import MimiCodec

    return MimiCodec(checkpoint.folder, spec, device, reference)


CODECS: dict[str, Builtin] = {"mulaw": Builtin(_describe_mulaw, _load_mulaw)}
"""those that ship with the package, by name"""
FAMILIES: dict[str, Family] = {"encodec": Family(_describe_encodec, _load_encodec)}
"""by `model_type`"""


def builtin_names() -> list[str]:
    """Of all codecs that are loaded by name alone: those that ship, then other packages'."""
    return [*CODECS, *plugins.plugin_names(plugins.CODECS, CODECS)]


def find_builtin(name: str) -> Builtin | None:
    """The codec of that name; None where the name is a checkpoint's.

    Raises:
        UsageError: it comes from a package that cannot be loaded.
    """
    if name in CODECS:
        return CODECS[name]
    if name not in builtin_names():
        return None
    loaded = plugins.load_plugin(plugins.CODECS, name)
    if not isinstance(loaded, Builtin):
        raise plugins.not_a(plugins.CODECS, name, "a tokenizer.codecs.registry.Builtin")
    return loaded


def describe_codec(
    name: str, *, bandwidth: float = 6.0, revision: str | None = None, precision: str = "exact"
) -> CodecSpec:
    """Everything about a codec that decides its codes, without building the model.

    Raises:
        CodecLoadError: as `load_codec`.
    """
    require_precision(precision)
    builtin = find_builtin(name)
    if builtin is not None:
        return builtin.describe(bandwidth)
    checkpoint, family = _checkpoint(name, revision)
    return replace(family.describe(checkpoint, bandwidth), precision=precision)


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
        name: hub id, folder written by `save_pretrained`, or one of `builtin_names`.
        bandwidth: kbps; one of those that the checkpoint offers.
        device: "cpu", "cuda", "cuda:N" for one of several GPUs, or "auto": a GPU if there is one.
        revision: hub commit, tag or branch.
        threads: CPU threads that torch computes with in this process from now on; None leaves them.
        reference: compute with transformers' own modules: the same codes, more slowly.
        precision: "exact" (float32 on every device), or on a GPU "fast" (TF32 but for the
            quantizer), which changes some codes; `Codec.precision_report` says how many.

    Raises:
        CodecLoadError: no such checkpoint, no network, a checkpoint of no row of `FAMILIES`,
            unknown bandwidth, no such device or precision.
    """
    require_precision(precision)
    require_device_name(device)
    builtin = find_builtin(name)
    if builtin is not None:
        return builtin.load(bandwidth, device)
    checkpoint, family = _checkpoint(name, revision)
    spec = family.describe(checkpoint, bandwidth)
    device = resolve_device(device)
    if precision == "fast" and device == "cpu":
        raise CodecLoadError(
            "precision fast: needs a GPU; on a CPU use precision exact, which is no slower there"
        )
    if device_kind(device) == "cuda" and precision == "exact":
        repeatable_products()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    spec = replace(spec, device=device_kind(device), precision=precision)
    return family.load(checkpoint, spec, device, reference)


def require_precision(precision: str) -> None:
    """
    Raises:
        CodecLoadError: not a row of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise CodecLoadError(f"precision {precision}: choose one of {', '.join(PRECISIONS)}")


def _checkpoint(name: str, revision: str | None) -> tuple[Checkpoint, Family]:
    checkpoint = find_checkpoint(name, revision, builtin_names())
    family = FAMILIES.get(str(checkpoint.model_type))
    if family is None:
        raise CodecLoadError(
            f"codec {checkpoint.name}: its config.json has the model_type "
            f"{checkpoint.model_type!r}; give a checkpoint of {' or '.join(FAMILIES)}"
        )
    return checkpoint, family
