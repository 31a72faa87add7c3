"""How a codec was loaded: what it is pickled as, and how it comes to another device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tokenizer.codecs.devices import device_kind, require_device_name, resolve_device
from tokenizer.errors import CodecLoadError

if TYPE_CHECKING:
    from tokenizer.codecs.base import Codec


@dataclass(frozen=True, slots=True)
class Origin:
    """What `load_codec` was asked for, with names that mean the same in any process."""

    name: str
    """hub id, registry name, or the absolute path of a folder"""
    bandwidth: float | None
    n_q: int | None
    device: str
    """as it was asked for: "auto" is what the process that loads it again has"""
    revision: str | None
    """hub commit that it was"""
    reference: bool
    precision: str
    weights_sha256: str

    def load(self) -> Codec:
        """The codec, loaded again in this process.

        Raises:
            CodecLoadError: it is not here, or has other weights by now.
        """
        from tokenizer.codecs.registry import load_codec

        codec = load_codec(
            self.name,
            bandwidth=self.bandwidth,
            n_q=self.n_q,
            device=self.device,
            revision=self.revision,
            reference=self.reference,
            precision=self.precision,
        )
        if codec.spec.weights_sha256 != self.weights_sha256:
            raise CodecLoadError(f"codec {self.name} has other weights than when it was pickled")
        return codec


def load_again(origin: Origin) -> Codec:
    """What a pickled codec calls."""
    return origin.load()


def computed_on(codec: Codec) -> str:
    """The device that a codec computes on, by name: "cpu", "cuda" or "cuda:N"."""
    kind = codec.spec.device
    asked = kind if codec.origin is None else codec.origin.device
    return asked if device_kind(asked) == kind else kind


def moved(codec: Codec, to: object) -> Codec:
    """`Codec.to`."""
    device = require_device_name(to)
    if codec.spec.device == "none":
        return codec
    origin = codec.origin
    if origin is None:
        raise CodecLoadError(
            f"codec {codec.spec.codec} was not made by load_codec: load it on device {device}"
        )
    if resolve_device(device) == resolve_device(origin.device):
        return codec
    return replace(origin, device=device).load()
