"""The same networks on a CPU, with what costs most of the time done otherwise: the SEANets tile by
tile (`tokenizer.codecs.encodec.cpu.tiles`), and each level's nearest entries in one product and one
pass instead of a matrix of distances."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tokenizer.codecs.encodec.certainty import noise, uncertain
from tokenizer.codecs.encodec.cpu.threads import Threads
from tokenizer.codecs.encodec.cpu.tiled_quantizer import TiledQuantizer
from tokenizer.codecs.encodec.cpu.tiles import (
    Convolution,
    Signal,
    TransposedConvolution,
    Workspace,
    plain,
)
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.mimi.network import (
    Block,
    CodedBlock,
    MimiNetwork,
    decoder_looks_back,
    looks_back,
)

SEGMENT = 120
"""positions that a SEANet runs over at a time: segments go to torch's threads, and each computes
again what lies before it, as far as convolutions look back"""
Step = Callable[[Signal, Workspace], Signal]


class TiledMimi(MimiNetwork):
    """Codes whose certainty (`tokenizer.codecs.encodec.certainty`) is too low are told of, and are
    for transformers' own modules to decide."""

    def __init__(self, model: Any, n_q: int) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        super().__init__(model, n_q)
        config = model.config
        self._tiled = SegmentedSeaNet(self._seanet, looks_back(self._seanet), self._hop, 1)
        self._tiled_decoder = SegmentedSeaNet(
            self._decoder_seanet, decoder_looks_back(self._decoder_seanet), 1, self._hop
        )
        split = model.quantizer
        semantic, count = split.semantic_residual_vector_quantizer, config.num_semantic_quantizers
        self._quantizers = [_Quantizer(semantic, count)]
        if n_q > count:
            acoustic = split.acoustic_residual_vector_quantizer
            self._quantizers.append(_Quantizer(acoustic, n_q - count))

    def encode(self, block: Block) -> CodedBlock:
        latents, passed = self._latents(block)
        found = [quantizer(latents[0]) for quantizer in self._quantizers]
        certain = not any(bool(uncertain(certainty).any()) for _, certainty in found)
        return CodedBlock(torch.cat([codes for codes, _ in found]), passed, certain)

    def _embed(self, samples: torch.Tensor, skipped: int) -> torch.Tensor:
        return self._tiled(samples.t(), skipped)

    def _sound(self, positions: torch.Tensor) -> torch.Tensor:
        return self._tiled_decoder(positions.t(), 0).t()


class _Quantizer:
    """transformers' `MimiResidualVectorQuantizer`."""

    def __init__(self, module: Any, n_q: int) -> None:
        self._projection = None if module.input_proj is None else module.input_proj.weight[:, :, 0]
        self._n_q = n_q
        self._quantize = TiledQuantizer(
            [layer.codebook.embed.detach() for layer in module.layers[:n_q]]
        )

    def __call__(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 `[dim, frames]` to codes int64 `[n_q, frames]` and certainty `[frames]`."""
        frames = latents.t()
        if self._projection is not None:
            frames = frames @ self._projection.t()
        frames = frames.contiguous()
        size = frames.square().mean().sqrt()
        return self._quantize(frames, self._n_q, noise(frames, size))


class SegmentedSeaNet:
    """Runs transformers' `MimiEncoder` or `MimiDecoder`, whose weights it takes, over segments."""

    def __init__(self, module: Any, back: int, rows_in: int, rows_out: int) -> None:
        """`back` positions before a segment are computed with it; a position has so many rows of
        input and of output.

        Raises:
            UnknownLayer: a layer that this cannot run.
        """
        self._back, self._in, self._out = back, rows_in, rows_out
        self._steps: list[Step] = []
        self._spaces: list[Workspace] = []
        self._threads = Threads()
        elu = False
        for layer in module.layers:
            if type(layer).__name__ == "ELU":
                elu = True
                continue
            self._steps.append(_step(layer, elu))
            elu = False
        if elu:
            raise UnknownLayer("a network that ends with an ELU")

    def __call__(self, rows: torch.Tensor, skipped: int) -> torch.Tensor:
        """float32 `[rows, channels]` to `[rows, out]`, without those of the first positions."""
        positions = -(-rows.shape[0] // self._in)
        count = max(round((positions - skipped) / SEGMENT), 1)
        edges = [skipped + (positions - skipped) * i // count for i in range(count + 1)]
        segments = list(itertools.pairwise(edges))
        return torch.cat(self._threads.map(lambda edge: self._segment(rows, *edge), segments))

    @torch.inference_mode()
    def _segment(self, rows: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        first = max(start - self._back, 0)
        found = self._run(rows[first * self._in : stop * self._in])
        return found[(start - first) * self._out :]

    def _run(self, rows: torch.Tensor) -> torch.Tensor:
        space = self._spaces.pop() if self._spaces else Workspace()
        signal = plain(rows.contiguous())
        for step in self._steps:
            result = step(signal, space)
            space.give_back(*signal.terms)
            signal = result
        whole = signal.whole()
        space.give_back(*signal.terms)
        self._spaces.append(space)
        return whole


@dataclass(frozen=True, slots=True)
class _AsEncodec:
    """A convolution of Mimi's as one of EnCodec's without a normalisation, of which it differs in
    nothing else that is looked at."""

    conv: Any
    causal: bool
    pad_mode: str = "constant"
    trim_right_ratio: float = 1.0
    norm_type: str = "none"
    norm: Any = None


def _convolution(layer: Any) -> Convolution:
    _require(layer, "MimiConv1d")
    return Convolution(_AsEncodec(layer.conv, bool(layer.causal), layer.pad_mode))


def _require(layer: Any, kind: str) -> None:
    if type(layer).__name__ != kind:
        raise UnknownLayer(f"a layer of the kind {type(layer).__name__}")


def _step(layer: Any, elu: bool) -> Step:
    kind = type(layer).__name__
    if kind == "MimiResnetBlock":
        return _Residual(layer)
    if kind == "MimiConvTranspose1d":
        like = _AsEncodec(layer.conv, bool(layer.causal), trim_right_ratio=layer.trim_right_ratio)
        transposed = TransposedConvolution(like)
        return lambda signal, space: transposed(signal, elu, space)
    convolution = _convolution(layer)
    return lambda signal, space: convolution(signal, elu, space)


class _Residual:
    """transformers' `MimiResnetBlock`."""

    def __init__(self, block: Any) -> None:
        layers: Sequence[Any] = block.block
        kinds = [type(layer).__name__ for layer in layers]
        if kinds != ["ELU", "MimiConv1d", "ELU", "MimiConv1d"]:
            raise UnknownLayer(f"a residual block of {kinds}")
        self._first, self._second = _convolution(layers[1]), _convolution(layers[3])
        identity = isinstance(block.shortcut, torch.nn.Identity)
        self._shortcut = None if identity else _convolution(block.shortcut)

    def __call__(self, signal: Signal, space: Workspace) -> Signal:
        hidden = self._first(signal, True, space)
        branch = self._second(hidden, True, space)
        space.give_back(*hidden.terms)
        # The caller gives the input back, so it is copied where it is a part of the result.
        if self._shortcut is None:
            return branch + plain(signal.whole())
        return branch + self._shortcut(signal, False, space)
