"""X-Codec's and Higgs's encoders over rows of different lengths in one shape, for a GPU
(`tokenizer.codecs.encodec.gpu.whole`): a DAC encoder beside HuBERT or WavLM, each row masked to its
own length in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from tokenizer.codecs.dac.gpu import RowsEncoder, Step, convolution, masked, pointwise, residual
from tokenizer.codecs.encodec.certainty import uncertain
from tokenizer.codecs.encodec.gpu.fused import inside
from tokenizer.codecs.encodec.gpu.whole import AloneWork, RowsWork
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.encodec.quantizer import half_squares, nearest
from tokenizer.codecs.semantic.features import Resampling
from tokenizer.codecs.semantic.gpu.hubert import RowsHubert
from tokenizer.codecs.semantic.gpu.noise import Noise

NOISE = Noise(3.2e-4, 8e-5)
"""over 30 times what was seen: batches of speech, noise, silence, constants, impulses and squares
through seeded checkpoints moved margins by at most 0.027 of it"""
_TRIED = (1, 2, 3, 5, 8, 50, 501)
"""frames of recordings whose branches must be of one length"""


class EncodeAlone(AloneWork):
    """A recording, filled up to whole frames, by transformers' own modules, as `encode` calls them
    where both branches are of one length."""

    captured = False

    def __init__(self, model: Any, n_q: int) -> None:
        self._model, self._n_q = model, n_q
        self._hop = int(model.config.hop_length)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        model, samples = self._model, inputs[0]
        filled = functional.pad(samples, (0, -samples.shape[2] % self._hop))
        heard = model._extract_semantic_features(filled)
        semantic = model.encoder_semantic(heard.transpose(1, 2))
        both = torch.cat([model.acoustic_encoder(filled), semantic], dim=1)
        latents = model.fc(both.transpose(1, 2)).transpose(1, 2)
        codes = model.quantizer.encode(latents)[: self._n_q]
        return codes.to(torch.int32), torch.isfinite(latents).all()


class EncodeRows(RowsWork):
    """Samples to codes, and whether they are beyond doubt."""

    def __init__(self, model: Any, n_q: int) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        self.latents = Latents(model)
        self._levels = [_level(one) for one in list(model.quantizer.quantizers)[:n_q]]

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        latents, frames, condition = self.latents(*inputs)
        own = inside(latents.shape[1], frames)[:, 0]
        finite = torch.isfinite(latents).all(dim=2).all(dim=1)
        moved = NOISE.moved(latents, frames, condition)
        codes, certainty = quantized(latents.flatten(0, 1), self._levels, moved.flatten())
        near = uncertain(certainty.view(own.shape).masked_fill(~own, torch.inf)).any(dim=1)
        return codes.view(-1, *own.shape).to(torch.int32), finite, near


class Latents:
    """Samples to what is quantized."""

    def __init__(self, model: Any) -> None:
        """
        Raises:
            UnknownLayer: the model has layers that this cannot run.
        """
        config = model.config
        self._hop = int(config.hop_length)
        self._resampling = _resampling(model)
        # As each has it: X-Codec pads by half a frame, Higgs by half of one at 16 kHz.
        self._padding = 160 if hasattr(config, "semantic_sample_rate") else int(model.pad)
        self._every = max(int(getattr(config, "semantic_downsample_factor", 1)), 1)
        self._hubert = RowsHubert(model.semantic_model)
        self._semantic = _semantic_steps(model.encoder_semantic)
        self._acoustic, self._joined = RowsEncoder(model.acoustic_encoder), model.fc
        self._require_one_length(model)

    def _require_one_length(self, model: Any) -> None:
        """Where the branches differ in length, transformers pads what goes into one of them."""
        for frames in _TRIED:
            samples = frames * self._hop
            acoustic = model._get_conv1d_output_lengths(samples, model.acoustic_encoder)
            if self._resampling is not None:
                samples = self._resampling.samples(samples)
            positions = self._hubert.lengths(samples + 2 * self._padding)
            if {acoustic, -(-positions // self._every)} != {frames}:
                raise UnknownLayer("branches of different lengths")

    def __call__(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """float32 `[rows, 1, width]`, whole frames and zeros beyond each row's end, with int64
        `[rows]` lengths, to `[rows, frames, dim]` with zeros beyond its end, its frames, and how
        much normalisation has grown what rounding does."""
        # As transformers' feature extractor does: whole frames, the last filled up with zeros.
        filled = (lengths + self._hop - 1) // self._hop * self._hop
        hidden, known, condition = self._heard(samples, filled)
        semantic = hidden.transpose(1, 2)
        for step in self._semantic:
            semantic, known = step(semantic, known)
        acoustic, frames = self._acoustic(samples, filled)
        joined = self._joined(torch.cat([acoustic, semantic], dim=1).transpose(1, 2))
        own = inside(joined.shape[1], frames).transpose(1, 2)
        return joined.masked_fill(~own, 0.0), frames, condition

    def _heard(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the semantic model makes of them."""
        if self._resampling is not None:
            samples = self._resampling(samples)
            lengths = self._resampling.samples(lengths)
            samples = masked(samples, lengths)
        padded = functional.pad(samples[:, 0], (self._padding, self._padding))
        hidden, known, condition = self._hubert(padded, lengths + 2 * self._padding)
        return hidden[:, :: self._every], (known + self._every - 1) // self._every, condition


def _resampling(model: Any) -> Resampling | None:
    rate = int(model.config.sample_rate)
    wanted = int(getattr(model.config, "semantic_sample_rate", rate))
    device = next(model.parameters()).device
    return None if rate == wanted else Resampling(rate, wanted, device)


def _semantic_steps(encoder: Any) -> list[Step]:
    steps = [convolution(encoder.conv)]
    for block in encoder.conv_blocks:
        for unit in block.res_units:
            elu = pointwise(unit.activation)
            steps.append(residual(convolution(unit.conv1, elu), convolution(unit.conv2, elu)))
        steps.append(convolution(block.conv))
    return steps


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """A codebook, and what stands around it."""

    entries: torch.Tensor
    """float32 `[entries, dim]`"""
    half: torch.Tensor
    """`half_squares` of them"""
    before: Any = None
    """from a frame to what is compared with entries; None: itself"""
    behind: Any = None
    """from an entry to what is taken off the frame; None: itself"""
    gain: Any = 1.0
    """how far an error of a frame in a random direction comes through `before`"""


def _level(module: Any) -> Level:
    entries = module.codebook.embed.detach()
    half = half_squares(entries)
    if not hasattr(module, "project_in"):
        return Level(entries, half)
    gain = module.project_in.weight.detach().norm() / entries.shape[1] ** 0.5
    return Level(entries, half, module.project_in, module.project_out, gain)


def quantized(
    frames: torch.Tensor, levels: Sequence[Level], moved: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `tokenizer.codecs.encodec.quantizer.quantize`, of levels with something around them."""
    left, codes = frames, []
    certainty = torch.full((frames.shape[0],), torch.inf, device=frames.device)
    for level in levels:
        compared = left if level.before is None else level.before(left)
        chosen, sure = nearest(compared, level.entries, level.half, moved * level.gain)
        certainty = torch.minimum(certainty, sure)
        found = level.entries[chosen]
        left = left - (found if level.behind is None else level.behind(found))
        codes.append(chosen)
    return torch.stack(codes), certainty
