"""Mimi's SEANet encoder on a CPU in segments of a recording: the same convolutions, with the same
results bit for bit, in two thirds of the time.

Over a whole recording every layer writes hundreds of megabytes that the next one reads, with a
copy for the padding and one for each ELU. Over two seconds of it they stay in the cache.
oneDNN adds up an output of a convolution in the same order wherever it lies, so that what a
segment's outputs are does not depend on where the recording is cut, but for segments that are very
short (`LEAST`). So a segment is computed from as many samples before it as its outputs are made of,
and padded only where the recording begins or ends. Whether a machine keeps to this is tried out
once for each number of threads (`SegmentedSeaNet.proven`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional

from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.cpu.threads import PerThreads, Threads
from tokenizer.codecs.encodec.geometry import ConvolutionGeometry
from tokenizer.codecs.encodec.networks import UnknownLayer

SEGMENT = 60
"""positions of a segment, about"""
LEAST = 25
"""positions from which on a segment's convolutions add in the order that they have in a longer
one"""
ODD = 512
"""a convolution of one tap over a multiple of so many samples adds in another order"""
_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
Known = tuple[torch.Tensor, int]
"""samples `[channels, n]`, and how many positions at their beginning are not asked for; these are
only there for what they give to the next ones"""


class SegmentedSeaNet:
    """Runs transformers' `MimiEncoder`, whose convolutions it takes."""

    def __init__(self, module: Any, hop: int) -> None:
        """`hop` samples become a position.

        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._module, self._hop, self._threads = module, hop, Threads()
        self._proven = PerThreads(self._prove)
        self._steps = [_step(layer) for layer in module.layers]
        self._reach, step = 0, 1
        for one in self._steps:
            self._reach += one.padding * step
            step *= one.stride

    def __call__(self, known: Sequence[Known]) -> list[torch.Tensor]:
        """float32 `[dim, positions]` of each. Segments go to torch's threads."""
        shared = torch.get_num_threads() > 1
        cut = [
            (samples, edge) for samples, skipped in known for edge in self._cut(samples, skipped)
        ]
        found = iter(self._threads.map(lambda one: self._segment(*one, shared), cut))
        return [
            torch.cat([next(found) for _ in self._cut(samples, skipped)], dim=1)
            for samples, skipped in known
        ]

    @property
    def proven(self) -> bool:
        """Whether this machine, with as many threads as torch has now, gives for segments what it
        gives for the whole, bit for bit.

        Some positions may differ where torch's threads meet in an ELU: there it takes the C
        library's exponential, and not its own, for a few numbers.
        """
        return self._proven()

    def _prove(self) -> bool:
        generator = torch.Generator().manual_seed(0)
        channels, length = self._module.layers[0].in_channels, 4 * LEAST * self._hop
        samples = 0.1 * torch.randn(channels, length, generator=generator)
        begun = samples[:, LEAST * self._hop :]
        with torch.inference_mode(), exact_float32():
            whole = self._module(samples[None])[0]
            found = torch.cat(self([(samples, 0), (begun, 2 * LEAST)]), dim=1)
        equal = (found == torch.cat([whole, whole[:, 3 * LEAST :]], dim=1)).all(0)
        return bool(equal.float().mean() > 0.5)

    def usual(self, length: int) -> bool:
        """Whether a recording of so many samples is computed in the usual order: for some lengths
        oneDNN takes another one (`ODD`), which no segment of it would have."""
        for step in self._steps:
            length = -(-length // step.stride)
            if isinstance(step, _Residual) and length % ODD == 0:
                return False
        return True

    def _cut(self, samples: torch.Tensor, skipped: int) -> list[tuple[int, int]]:
        positions = -(-samples.shape[1] // self._hop)
        asked = positions - skipped
        count = max(asked // SEGMENT, 2 if asked >= 2 * LEAST else 1)
        return list(pairwise(skipped + asked * i // count for i in range(count + 1)))

    @torch.inference_mode()
    def _segment(self, samples: torch.Tensor, edge: tuple[int, int], shared: bool) -> torch.Tensor:
        start, stop = edge
        begin = min(start, max(stop - LEAST, 0))
        from_sample = begin * self._hop - self._reach
        if from_sample <= 0:
            begin, from_sample = 0, 0
        ends = Ends(from_sample == 0, stop * self._hop >= samples.shape[1], shared)
        x = samples[:, from_sample : stop * self._hop].clone()[None]
        for step in self._steps:
            x = step(x, ends)
        return x[0, :, start - begin :]


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a segment lies."""

    first: bool
    """the recording begins with it, and is padded there"""
    last: bool
    """the recording ends with it, and is padded there"""
    shared: bool
    """torch has several threads, though the segment is computed by one"""


class _Step(ABC):
    """A layer over a segment: float32 `[1, channels, n]` to `[1, out, m]`. What comes in may be
    written over."""

    padding = 0
    """inputs that it needs before a segment's own"""
    stride = 1

    @abstractmethod
    def __call__(self, x: torch.Tensor, ends: Ends) -> torch.Tensor: ...


class _Elu(_Step):
    def __init__(self, alpha: float) -> None:
        self._alpha = alpha

    def __call__(self, x: torch.Tensor, ends: Ends) -> torch.Tensor:
        return functional.elu_(x, self._alpha)


class _Convolution(_Step):
    """transformers' `MimiConv1d`."""

    def __init__(self, module: Any) -> None:
        if type(module).__name__ != "MimiConv1d" or module.conv.groups != 1:
            raise UnknownLayer(f"a layer of the kind {type(module).__name__}")
        geometry = ConvolutionGeometry.of(module)
        self.padding, self.stride = geometry.padding, geometry.stride
        self._dilation = geometry.dilation
        self._weight, self._bias = module.conv.weight.detach(), module.conv.bias.detach()
        self._is_product = geometry.taps == 1 and geometry.stride == 1

    def __call__(self, x: torch.Tensor, ends: Ends) -> torch.Tensor:
        left = self.padding if ends.first else 0
        own = x.shape[2] + left - self.padding
        right = -own % self.stride if ends.last else 0
        if left or right:
            x = functional.pad(x, (left, right))
        if self._is_product:
            return self._product(x, ends.shared)
        return functional.conv1d(x, self._weight, self._bias, self.stride, dilation=self._dilation)

    def _product(self, x: torch.Tensor, shared: bool) -> torch.Tensor:
        """Of one tap: torch leaves it to oneDNN where it has several threads, and else multiplies
        matrices, which adds in another order."""
        if shared and _ONEDNN:
            length = x.shape[2]
            if length % ODD == 0:
                x = functional.pad(x, (0, 1))
            y = torch.mkldnn_convolution(
                x[:, :, None], self._weight[:, :, None], self._bias, [0, 0], [1, 1], [1, 1], 1
            )
            return y[:, :, 0, :length]
        return torch.addmm(self._bias[:, None], self._weight[:, :, 0], x[0])[None]


class _Residual(_Step):
    """transformers' `MimiResnetBlock`."""

    def __init__(self, block: Any) -> None:
        self._branch = [_step(layer) for layer in block.block]
        self.padding = sum(step.padding for step in self._branch)
        shortcut = block.shortcut
        identity = isinstance(shortcut, torch.nn.Identity)
        self._shortcut = None if identity else _Convolution(shortcut)

    def __call__(self, x: torch.Tensor, ends: Ends) -> torch.Tensor:
        branch = x.clone()
        for step in self._branch:
            branch = step(branch, ends)
        if not ends.first:
            x = x[:, :, self.padding :]
        if self._shortcut is not None:
            x = self._shortcut(x, ends)
        return branch.add_(x)


def _step(layer: Any) -> _Step:
    if isinstance(layer, torch.nn.ELU):
        return _Elu(layer.alpha)
    if type(layer).__name__ == "MimiResnetBlock":
        return _Residual(layer)
    return _Convolution(layer)


@dataclass(frozen=True, slots=True)
class AsEncodec:
    """A convolution of Mimi's as one of EnCodec's without a normalisation, of which it differs in
    nothing else that is looked at."""

    conv: Any
    causal: bool
    pad_mode: str = "constant"
    trim_right_ratio: float = 1.0
    norm_type: str = "none"
    norm: Any = None


def as_encodec(layer: Any) -> AsEncodec:
    """
    Raises:
        UnknownLayer: not a `MimiConv1d`.
    """
    _require(layer, "MimiConv1d")
    return AsEncodec(layer.conv, bool(layer.causal), layer.pad_mode)


def residual_of(block: Any) -> tuple[AsEncodec, AsEncodec, AsEncodec | None]:
    """Of transformers' `MimiResnetBlock`: two convolutions, an ELU before each, and what lies
    beside them; None: nothing but the input.

    Raises:
        UnknownLayer: other layers than these.
    """
    layers = list(block.block)
    kinds = [type(layer).__name__ for layer in layers]
    if kinds != ["ELU", "MimiConv1d", "ELU", "MimiConv1d"]:
        raise UnknownLayer(f"a residual block of {kinds}")
    shortcut = type(block.shortcut).__name__ != "Identity" and as_encodec(block.shortcut)
    return as_encodec(layers[1]), as_encodec(layers[3]), shortcut or None


def _require(layer: Any, kind: str) -> None:
    """
    Raises:
        UnknownLayer: a layer of another kind.
    """
    if type(layer).__name__ != kind:
        raise UnknownLayer(f"a layer of the kind {type(layer).__name__}")
