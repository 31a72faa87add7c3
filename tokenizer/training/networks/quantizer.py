"""The training pass of the residual quantizer over transformers' own codebook buffers.

transformers has the inference path only. Here are EMA codebooks with k-means initialisation and
replacement of dead codes (van den Oord et al. 2017, appendix A; Dhariwal et al. 2020; Défossez et
al. 2022, section 3.2), written into the buffers `embed`, `embed_avg` and `cluster_size`, so that
`save_pretrained` gives an ordinary checkpoint at any moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, mse_loss

from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.errors import UsageError
from tokenizer.training.workers import Workers

DECAY = 0.99
_EPSILON = 1e-5
DEAD = 0.2
"""a code is dead below this share of the mean use. The paper's threshold of 2 vectors a batch is
this share at its batch of 64 s (9,600 vectors for 1,024 codes); as a number it would kill every
code at a batch of 4"""
KMEANS_ITERATIONS = 50
"""as the released quantizer has it (`kmeans_iters`)"""


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """One batch, quantized."""

    output: torch.Tensor
    """`[batch, dim, frames]` for the decoder; its gradient goes straight through to the encoder"""
    commitment: torch.Tensor
    """mean over levels of the squared distance between a residual and its code"""
    codes: torch.Tensor
    """int64 `[n_q, batch, frames]`"""


class QuantizerTrainer:
    """Trains the codebooks of an `EncodecModel` in place."""

    def __init__(self, model: Any, *, decay: float = DECAY, dead: float = DEAD) -> None:
        self._levels = [layer.codebook for layer in model.quantizer.layers]
        self._count_for = model.quantizer.get_num_quantizers_for_bandwidth
        self._decay, self._dead = decay, dead
        for codebook in self._levels:
            # Checkpoints that were shipped without their averages: every code counts as much as any
            # other.
            if bool(codebook.embed.any()) and not bool(codebook.cluster_size.any()):
                codebook.embed_avg.copy_(codebook.embed)
                codebook.cluster_size.fill_(1.0)
        self.rescaled = not self.initialised
        """whether use is counted in vectors of a step here; a checkpoint's was, of whatever its
        steps had"""

    @property
    def initialised(self) -> bool:
        """False while any level is as transformers makes it: all zeros."""
        return all(bool(codebook.embed.any()) for codebook in self._levels)

    def levels_at(self, bandwidth: float) -> int:
        """Codebooks that a bandwidth in kbps uses."""
        return min(int(self._count_for(bandwidth)), len(self._levels))

    @torch.no_grad()
    def initialise(
        self, vectors: torch.Tensor, generator: torch.Generator, batch_vectors: int
    ) -> None:
        """k-means, level by level: each level's codebook are the means of what the levels before it
        leave.

        Args:
            vectors: float32 `[n, dim]`, at least as many as a codebook has codes.
            generator: on the CPU; it decides everything.
            batch_vectors: how many a step will have; the averages start as if such steps had gone
                before.
        """
        residual = vectors.float()
        share = batch_vectors / len(vectors)
        for codebook in self._levels:
            means, counts = kmeans(residual, codebook.codebook_size, generator)
            codebook.embed.copy_(means)
            codebook.embed_avg.copy_(means * counts[:, None] * share)
            codebook.cluster_size.copy_(counts * share)
            residual = residual - means[nearest(residual, means)]

    def __call__(
        self, embeddings: torch.Tensor, n_q: int, mix: torch.Tensor | None = None
    ) -> Quantized:
        """Quantize with the first `n_q` levels; the codebooks stay as they are until `update`.

        Args:
            embeddings: `[batch, dim, frames]` from the encoder.
            n_q: levels.
            mix: bool `[batch]`, the examples whose quantized value goes on; the others pass
                unquantized. None is all.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.float()
            vectors = embeddings.transpose(1, 2)
            residual, total = vectors, torch.zeros_like(vectors)
            commitment = vectors.new_zeros(())
            codes = []
            for codebook in self._levels[:n_q]:
                index = nearest(
                    residual.detach().reshape(-1, residual.shape[-1]), codebook.embed
                ).view(vectors.shape[:-1])
                chosen = embedding(index, codebook.embed)
                commitment = commitment + mse_loss(residual, chosen)
                residual, total = residual - chosen, total + chosen
                codes.append(index)
            used = total if mix is None else torch.where(mix.view(-1, 1, 1), total, vectors)
            output = (vectors + (used - vectors).detach()).transpose(1, 2)
        return Quantized(output, commitment / n_q, torch.stack(codes))

    @torch.no_grad()
    def update(
        self,
        embeddings: torch.Tensor,
        codes: torch.Tensor,
        generator: torch.Generator,
        workers: Workers,
    ) -> int:
        """Move the codebooks that were used towards what they were used for, and replace dead
        codes.

        Args:
            embeddings: what was quantized, `[batch, dim, frames]`.
            codes: the result, int64 `[n_q, batch, frames]`.
            generator: on the CPU, the same on every device: draws replacements.
            workers: the devices that train together.

        Returns:
            How many codes were replaced.
        """
        residual = embeddings.detach().float().transpose(1, 2).reshape(-1, embeddings.shape[1])
        if not self.rescaled:
            self._rescale(float(workers.sum(residual.new_tensor(float(len(residual))))))
        replaced = 0
        for codebook, index in zip(self._levels, codes.reshape(len(codes), -1), strict=False):
            chosen = codebook.embed[index]
            size, dim = codebook.embed.shape
            # Counts and sums in one tensor: one reduction a level.
            stats = residual.new_zeros(size, dim + 1)
            stats.index_add_(
                0, index, torch.cat([residual, residual.new_ones(len(residual), 1)], dim=1)
            )
            stats = workers.sum(stats)
            self._move(codebook, stats[:, :dim], stats[:, dim])
            replaced += self._replace_dead(
                codebook, residual, float(stats[:, dim].sum()), generator, workers
            )
            residual = residual - chosen
        return replaced

    def _rescale(self, vectors: float) -> None:
        """Count every code's use in steps of `vectors`, in all of the levels, as the averages would
        after many such steps.

        The threshold below which a code is dead is a share of a step's vectors. A checkpoint that
        says 1.0 for each code would lose nearly all of them in the first step of more than a few
        vectors a code.
        """
        for codebook in self._levels:
            codebook.cluster_size.mul_(vectors / codebook.cluster_size.sum())
            codebook.embed_avg.copy_(codebook.embed * codebook.cluster_size[:, None])
        self.rescaled = True

    def _move(self, codebook: Any, sums: torch.Tensor, counts: torch.Tensor) -> None:
        codebook.cluster_size.lerp_(counts, 1.0 - self._decay)
        codebook.embed_avg.lerp_(sums, 1.0 - self._decay)
        sizes = codebook.cluster_size
        total = sizes.sum()
        # Laplace smoothing keeps codes that nothing chose from dividing by zero.
        smoothed = (sizes + _EPSILON) / (total + len(sizes) * _EPSILON) * total
        codebook.embed.copy_(codebook.embed_avg / smoothed[:, None])

    def _replace_dead(
        self,
        codebook: Any,
        residual: torch.Tensor,
        vectors: float,
        generator: torch.Generator,
        workers: Workers,
    ) -> int:
        threshold = self._dead * vectors / codebook.codebook_size
        dead = (codebook.cluster_size < threshold).nonzero()[:, 0]
        if not len(dead):
            return 0
        drawn = torch.randint(len(residual), (len(dead),), generator=generator)
        fresh = residual[drawn.to(residual.device)]
        # Every device draws from its own part of the batch; their mean would be no vector of it, so
        # one device decides.
        fresh = workers.sum(fresh if workers.first else torch.zeros_like(fresh))
        codebook.embed[dead] = fresh
        # At the threshold, so that a code survives if it is used as much as that, and its average
        # starts at its value.
        codebook.embed_avg[dead] = fresh * threshold
        codebook.cluster_size[dead] = threshold
        return len(dead)


def nearest(vectors: torch.Tensor, embed: torch.Tensor) -> torch.Tensor:
    """Index of the nearest row of `embed` `[size, dim]` for each of `vectors` `[n, dim]`, by
    squared distance.

    In float32 also where training computes in TF32: with its 10 bits the nearest is often another,
    and not the codec's.
    """
    with exact_float32():
        distance = embed.pow(2).sum(1) - 2.0 * vectors @ embed.T
        return distance.argmin(1)


def kmeans(
    vectors: torch.Tensor,
    size: int,
    generator: torch.Generator,
    iterations: int = KMEANS_ITERATIONS,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lloyd's algorithm from `size` distinct samples; a cluster that empties starts again at a
    random sample.

    Returns:
        Means `[size, dim]` and how many vectors each has `[size]`.

    Raises:
        UsageError: fewer vectors than clusters.
    """
    if len(vectors) < size:
        raise UsageError(
            f"k-means of {size} codes needs as many vectors, not {len(vectors)}: train on more or "
            "longer examples"
        )
    means = vectors[torch.randperm(len(vectors), generator=generator)[:size].to(vectors.device)]
    counts = vectors.new_zeros(size)
    for _ in range(iterations):
        index = nearest(vectors, means)
        counts = torch.bincount(index, minlength=size).to(vectors.dtype)
        sums = torch.zeros_like(means).index_add_(0, index, vectors)
        fresh = vectors[
            torch.randint(len(vectors), (size,), generator=generator).to(vectors.device)
        ]
        means = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], fresh)
    return means, counts
