"""Codecs by name, and checkpoints by the `model_type` of their config.json.

A codec that needs no checkpoint is one file and one row in `CODECS`; a kind of checkpoint is one
folder and one row in `FAMILIES`. Packages of others add codecs to the former by entry points
(`tokenizer.plugins`). Rows import their codec when they are used: to name a codec or to
describe one needs no torch, unless its configuration does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from inspect import signature
from os import PathLike
from typing import Any

from tokenizer import plugins
from tokenizer.codecs.amounts import (
    DEFAULT_BANDWIDTH,
    is_whole,
    plain_amount,
    require_storable,
)
from tokenizer.codecs.base import Codec, CodecSpec
from tokenizer.codecs.devices import (
    device_kind,
    repeatable_products,
    require_device_name,
    resolve_device,
)
from tokenizer.codecs.lookup import (
    Checkpoint,
    codec_name,
    find_checkpoint,
    require_no_revision,
    require_transformers,
)
from tokenizer.codecs.origin import Origin
from tokenizer.codecs.precision import PRECISIONS
from tokenizer.codecs.settings import guarded_settings
from tokenizer.errors import CodecLoadError

DEFAULT_CODEC = "facebook/encodec_48khz"


@dataclass(frozen=True, slots=True)
class Builtin:
    """A codec that is loaded by its name alone.

    What takes no `n_q` is of a package for earlier versions: it is called without one, and always
    with a bandwidth.
    """

    describe: Callable[..., CodecSpec]
    """`(bandwidth: float | None, n_q: int | None)`: facts at a bandwidth in kbps or with a number
    of codebooks, of which one is None, or both; raises `CodecLoadError` for what it lacks. See
    `tokenizer.codecs.amounts.choose_codebooks`"""
    load: Callable[..., Codec]
    """`(bandwidth, device, n_q)`: the codec, on a device as `load_codec` takes it: one that
    computes with torch resolves it by `tokenizer.codecs.devices.resolve_device`"""

    @property
    def counts(self) -> bool:
        """Whether it can be asked for a number of codebooks."""
        return _takes_n_q(self.describe) and _takes_n_q(self.load)

    def spec(self, name: str, bandwidth: float | None, n_q: int | None) -> CodecSpec:
        """Its facts.

        Raises:
            CodecLoadError: it has no such bandwidth or number of codebooks, or cannot be stored.
        """
        if self.counts:
            return require_storable(self.describe(bandwidth, n_q=n_q))
        return require_storable(self.describe(_only_bandwidth(name, bandwidth, n_q)))

    def open(self, name: str, bandwidth: float | None, n_q: int | None, device: str) -> Codec:
        """The codec itself; raises as `spec` does."""
        if self.counts:
            return self.load(bandwidth, device, n_q=n_q)
        return self.load(_only_bandwidth(name, bandwidth, n_q), device)


def _takes_n_q(function: Callable[..., object]) -> bool:
    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):  # one that is compiled, and does not say
        return False
    return "n_q" in parameters


def _only_bandwidth(name: str, bandwidth: float | None, n_q: int | None) -> float:
    if n_q is not None:
        raise CodecLoadError(f"codec {name} is chosen by its bandwidth, not by n_q")
    return DEFAULT_BANDWIDTH if bandwidth is None else bandwidth


@dataclass(frozen=True, slots=True)
class Family:
    """Checkpoints that one class of transformers reads."""

    describe: Callable[[Checkpoint, float | None, int | None], CodecSpec]
    """facts at a bandwidth in kbps, or with a number of codebooks, at most one of which is given;
    neither is 6 kbps where the checkpoint offers it, else all codebooks. Raises `CodecLoadError`
    for what it lacks, and for a configuration that is not of this family"""
    load: Callable[[Checkpoint, CodecSpec, str, bool], Codec]
    """the codec of a described checkpoint on a resolved device; with True by the reference"""


def _describe_mulaw(bandwidth: float | None, n_q: int | None = None) -> CodecSpec:
    from tokenizer.codecs.mulaw import describe_mulaw

    return describe_mulaw(bandwidth, n_q)


def _load_mulaw(bandwidth: float | None, device: str, n_q: int | None = None) -> Codec:
    from tokenizer.codecs.mulaw import MuLawCodec

    return MuLawCodec(bandwidth, n_q)


def _row(describe: str, codec: str) -> Family:
    """A row that imports what it needs when it is used.

    Args:
        describe: "module:name" of a function as `Family` has it.
        codec: of a class made of a folder, a spec, a device, and whether the reference computes.
    """

    def described(checkpoint: Checkpoint, bandwidth: float | None, n_q: int | None) -> CodecSpec:
        found: CodecSpec = _named(describe)(checkpoint, bandwidth, n_q)
        return found

    def loaded(checkpoint: Checkpoint, spec: CodecSpec, device: str, reference: bool) -> Codec:
        made: Codec = _named(codec)(checkpoint.folder, spec, device, reference)
        return made

    return Family(described, loaded)


def _named(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(f"tokenizer.codecs.{module}"), name)
    return found


CODECS: dict[str, Builtin] = {"mulaw": Builtin(_describe_mulaw, _load_mulaw)}
"""those that ship with the package, by name"""
FAMILIES: dict[str, Family] = {
    "dac": _row("dac.checkpoint:describe_dac", "dac.codec:DacCodec"),
    "encodec": _row("encodec.checkpoint:describe_checkpoint", "encodec.codec:EncodecCodec"),
    "higgs_audio_v2_tokenizer": _row(
        "semantic.xcodec:describe_xcodec", "semantic.xcodec:HiggsTokenizer"
    ),
    "mimi": _row("mimi.checkpoint:describe_mimi", "mimi.codec:MimiCodec"),
    "neucodec": _row("semantic.xcodec2:describe_neucodec", "semantic.xcodec2:NeuCodec"),
    "xcodec": _row("semantic.xcodec:describe_xcodec", "semantic.xcodec:XCodec"),
    "xcodec2": _row("semantic.xcodec2:describe_xcodec2", "semantic.xcodec2:XCodec2"),
}
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
    name: str | PathLike[str],
    *,
    bandwidth: float | None = None,
    n_q: int | None = None,
    revision: str | None = None,
    precision: str = "exact",
) -> CodecSpec:
    """Everything about a codec that decides its codes, without building the model.

    Raises:
        CodecLoadError: as `load_codec`.
    """
    name = codec_name(name)
    require_precision(precision)
    bandwidth, n_q = plain_amount(bandwidth, n_q)
    builtin = find_builtin(name)
    if builtin is not None:
        spec = builtin.spec(name, bandwidth, n_q)
        require_no_revision(name, revision, spec.revision)
        return spec
    checkpoint = find_checkpoint(name, revision, builtin_names())
    return replace(describe_checkpoint(checkpoint, bandwidth, n_q), precision=precision)


def describe_checkpoint(
    checkpoint: Checkpoint, bandwidth: float | None = None, n_q: int | None = None
) -> CodecSpec:
    """The same of a checkpoint that was found.

    Raises:
        CodecLoadError: it is of no row of `FAMILIES`, lacks that bandwidth or number of codebooks,
            or its codes cannot be stored.
    """
    family = _family(checkpoint)
    with guarded_settings(checkpoint):
        spec = family.describe(checkpoint, bandwidth, n_q)
    return require_storable(spec)


def load_codec(
    name: str | PathLike[str] = DEFAULT_CODEC,
    *,
    bandwidth: float | None = None,
    n_q: int | None = None,
    device: object = "auto",
    revision: str | None = None,
    threads: int | None = None,
    reference: bool = False,
    precision: str = "exact",
) -> Codec:
    """Load a codec with one number of codebooks, for good: nothing about it can be changed
    afterwards.

    Args:
        name: hub id, folder written by `save_pretrained`, or one of `builtin_names`.
        bandwidth: kbps; one of those that the checkpoint offers.
        n_q: a number of codebooks instead. With neither it is 6 kbps where the checkpoint offers
            that, else all of its codebooks.
        device: "cpu", "cuda", "cuda:N" for one of several GPUs, or "auto": a GPU if there is one;
            a `torch.device` too.
        revision: hub commit, tag or branch.
        threads: CPU threads that torch computes with in this process from now on; None leaves them.
        reference: compute with transformers' own modules: the same codes, more slowly.
        precision: "exact" (float32 on every device), or on a GPU "fast" (TF32 but for the
            quantizer), which changes some codes; `Codec.precision_report` says how many.

    Raises:
        CodecLoadError: no such checkpoint, no network, a checkpoint of no row of `FAMILIES`,
            unknown bandwidth or number of codebooks, no such device, precision or number of
            threads; a revision or precision of a codec that has none.
    """
    name = codec_name(name)
    require_precision(precision)
    device = require_device_name(device)
    _require_threads(threads)
    bandwidth, n_q = plain_amount(bandwidth, n_q)
    builtin = find_builtin(name)
    if builtin is not None:
        if revision is not None:
            require_no_revision(name, revision, builtin.spec(name, bandwidth, n_q).revision)
        if precision != "exact":
            raise CodecLoadError(f"precision {precision}: codec {name} has exact alone")
        codec = builtin.open(name, bandwidth, n_q, device)
        require_storable(codec.spec)
        found = Origin(name, bandwidth, n_q, device, None, reference, precision, "")
    else:
        checkpoint = find_checkpoint(name, revision, builtin_names())
        spec = describe_checkpoint(checkpoint, bandwidth, n_q)
        where = _prepared(device, precision, threads)
        spec = replace(spec, device=device_kind(where), precision=precision)
        codec = _family(checkpoint).load(checkpoint, spec, where, reference)
        given = (bandwidth, n_q, device, checkpoint.revision, reference, precision)
        found = Origin(checkpoint.name, *given, "")
    # A codec of another package may be frozen.
    object.__setattr__(codec, "origin", replace(found, weights_sha256=codec.spec.weights_sha256))
    return codec


def stored_amount(spec: CodecSpec, name: str | None = None) -> tuple[float | None, int | None]:
    """The bandwidth or number of codebooks by which a stored codec is loaded again: the number,
    which any codec understands but those of packages for earlier versions."""
    builtin = find_builtin(name or spec.codec)
    return (None, spec.n_q) if builtin is None or builtin.counts else (spec.bandwidth, None)


def _prepared(device: str, precision: str, threads: int | None) -> str:
    """The device that is computed on, and torch set up for it."""
    device = resolve_device(device)
    if precision == "fast" and device == "cpu":
        raise CodecLoadError(
            "precision fast: needs a GPU; on a CPU use precision exact, which is no slower there"
        )
    if device_kind(device) == "cuda" and precision == "exact":
        repeatable_products()
    if threads is not None:
        import torch

        torch.set_num_threads(int(threads))
    return device


def _require_threads(threads: int | None) -> None:
    if threads is not None and (not is_whole(threads) or threads < 1):
        raise CodecLoadError(f"threads {threads!r}: give a number of threads, 1 or more")


def require_precision(precision: str) -> None:
    """
    Raises:
        CodecLoadError: not a row of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise CodecLoadError(f"precision {precision}: choose one of {', '.join(PRECISIONS)}")


def _family(checkpoint: Checkpoint) -> Family:
    family = FAMILIES.get(str(checkpoint.model_type))
    if family is None:
        raise CodecLoadError(
            f"codec {checkpoint.name}: its config.json has the model_type "
            f"{checkpoint.model_type!r}; give a checkpoint of {', '.join(FAMILIES)}"
        )
    require_transformers(checkpoint.name)
    return family
