"""The loss balancer of Défossez et al. 2022 (section 3.4): a loss's weight is its share of the
gradient.

Each loss `i` has a gradient `g_i` with respect to the decoded audio. With `n_i` the running mean of
its norm, the model gets

    sum over i of  (w_i / sum of w)  *  g_i / n_i

so weights 3 and 1 give gradients of norms 3 : 1, whatever the losses' scales are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tokenizer.errors import UsageError
from tokenizer.training.workers import Workers

DECAY = 0.999
_EPSILON = 1e-12


class Balancer:
    """Combines gradients of losses at the model's output; its state is two numbers a loss."""

    def __init__(
        self, weights: Mapping[str, float], *, balanced: bool = True, decay: float = DECAY
    ) -> None:
        """Weights by name; without balancing they multiply the losses as they are."""
        if (
            not weights
            or any(weight < 0 for weight in weights.values())
            or not sum(weights.values()) > 0
        ):
            raise UsageError(
                f"loss weights {dict(weights)}: give at least one above 0 and none below"
            )
        self.weights = dict(weights)
        self._balanced, self._decay = balanced, decay
        self._sums: dict[str, float] = {}
        self._fixes: dict[str, float] = {}

    def gradient(
        self, losses: Mapping[str, torch.Tensor], output: torch.Tensor, workers: Workers
    ) -> torch.Tensor:
        """The gradient to send into the model at `output`, a leaf `[batch, channels, samples]` that
        `losses` depend on."""
        total = torch.zeros_like(output)
        share = sum(self.weights[name] for name in losses)
        for name, loss in losses.items():
            # Adversarial losses share the judges' graph, so it is kept.
            (gradient,) = torch.autograd.grad(loss, [output], retain_graph=True)
            factor = self.weights[name]
            if self._balanced:
                factor /= share * (self._running_norm(name, gradient, workers) + _EPSILON)
            total += factor * gradient
        return total

    def _running_norm(self, name: str, gradient: torch.Tensor, workers: Workers) -> float:
        """Mean over examples of the gradient's norm, averaged over steps; the first steps are not
        pulled towards zero."""
        norm = gradient.flatten(1).norm(dim=1).mean()
        value = float(workers.sum(norm.detach())) / workers.count
        self._sums[name] = self._sums.get(name, 0.0) * self._decay + value
        self._fixes[name] = self._fixes.get(name, 0.0) * self._decay + 1.0
        return self._sums[name] / self._fixes[name]

    def state(self) -> dict[str, dict[str, float]]:
        """What a resumed run needs, as JSON values."""
        return {"sums": dict(self._sums), "fixes": dict(self._fixes)}

    def restore(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """The inverse of `state`."""
        self._sums, self._fixes = dict(state["sums"]), dict(state["fixes"])
