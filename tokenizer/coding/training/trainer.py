"""One step of training a coder, and where it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.coding.training.corpus import Segments
from tokenizer.coding.training.presets import CoderConfig
from tokenizer.coding.transformer.network import Network

_LEVELS = 0x6C65766C
_CLIP = 1.0


def new_network(
    config: CoderConfig, train: Segments, codebooks: Sequence[NDArray[np.float32]] | None
) -> Network:
    """Seeded; it begins by saying how often each code occurs, whatever came before.

    Args:
        config: of the run.
        train: what is counted.
        codebooks: the codec's own vectors of each level's codes, `[size, dims]`, where they are
            known: codes that sound alike then begin near each other.
    """
    torch.manual_seed(config.seed)
    network = Network(config.shape)
    with torch.no_grad():
        for level, prior in enumerate(network.priors):
            counts = train.counts(level) + 1.0
            prior.copy_(torch.from_numpy(np.log(counts / counts.sum())).float())
        if codebooks is not None:
            _begin_as(network, codebooks)
    return network


def _begin_as(network: Network, codebooks: Sequence[NDArray[np.float32]]) -> None:
    table = network.shape.table
    unit = max(float(codebooks[0].std()), 1e-6)
    for entries, outputs, vectors in zip(network.entries, network.outputs, codebooks, strict=False):
        found = torch.from_numpy(_fitted(vectors, table)).float()
        entries.copy_(found / unit)
        outputs.copy_(found / (float(vectors.std()) + 1e-6) / math.sqrt(table))


def _fitted(vectors: NDArray[np.float32], table: int) -> NDArray[np.float32]:
    """As many numbers a code as the tables have: zeros behind, or a projection that is the same for
    all levels (they are sums of each other)."""
    dims = vectors.shape[1]
    if dims <= table:
        return np.pad(vectors, ((0, 0), (0, table - dims)))
    turned = np.random.default_rng(0).standard_normal((dims, table)) / math.sqrt(table)
    found: NDArray[np.float32] = (vectors @ turned).astype(np.float32)
    return found


class Trainer:
    """A network and its optimiser."""

    def __init__(self, network: Network, config: CoderConfig, device: torch.device) -> None:
        self.network, self._config, self._device = network.to(device), config, device
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )

    def step(self, step: int, train: Segments) -> tuple[float, int]:
        """Do a step: bits a code, and of how many levels."""
        config = self._config
        draw = float(np.random.default_rng([config.seed, _LEVELS, step]).random())
        n_q = config.levels_at(step, draw)
        codes, valid = padded(train.draw(config.batch, config.seed, step), n_q, self._device)
        self.network.quantised = config.quantised_at(step)
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate_at(step)
        loss = torch.stack(self.network.losses(codes, valid)).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimizer.step()
        return float(loss.detach()) / math.log(2), n_q


def padded(
    segments: Sequence[NDArray[np.uint16]], n_q: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """int64 `[B, n_q, T]` and bool `[B, T]`, what is there."""
    longest = max(one.shape[1] for one in segments)
    codes = np.zeros((len(segments), n_q, longest), np.int64)
    valid = np.zeros((len(segments), longest), bool)
    for place, one in enumerate(segments):
        codes[place, :, : one.shape[1]] = one[:n_q]
        valid[place, : one.shape[1]] = True
    return torch.from_numpy(codes).to(device), torch.from_numpy(valid).to(device)
