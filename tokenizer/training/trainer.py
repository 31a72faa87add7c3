"""One training step, and everything that moves in it.

batch ──▶ scale ──▶ encoder ──▶ quantizer (straight through) ──▶ decoder ──▶ decoded
                                  │                                            │ losses' gradients
                                  └── commitment ──────┐                       ▼
one backward pass from both ◀──────────────────────────┴────────────────── balancer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.errors import CodecshardsError, OutputError
from tokenizer.training.balancer import Balancer
from tokenizer.training.checkpoints import TrainState, optimizer_tensors, restore_optimizer, under
from tokenizer.training.losses import MelLoss, complex_stft, relative_error, time_l1
from tokenizer.training.networks.adversarial import (
    discriminator_hinge,
    feature_matching,
    generator_hinge,
)
from tokenizer.training.networks.discriminator import MultiScaleDiscriminator
from tokenizer.training.networks.model import to_model_level, trained_parameters
from tokenizer.training.networks.quantizer import Quantized, QuantizerTrainer
from tokenizer.training.presets import ADVERSARIAL, Phase, TrainConfig
from tokenizer.training.workers import Workers

# Streams of random numbers that a step draws from: [seed, stream, step, ...].
_CHOICES, _MIX, _CODES, _DISCRIMINATOR = 1, 2, 3, 4

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Trainer:
    """Model, discriminator, optimisers and balancers of one run on one device."""

    def __init__(self, model: Any, config: TrainConfig, workers: Workers) -> None:
        self.config, self.workers = config, workers
        self.model = model.to(workers.device)
        preset = config.preset
        self.quantizer = QuantizerTrainer(self.model, decay=preset.codebook_decay)
        self._parameters = list(trained_parameters(self.model))
        self._optimizer = torch.optim.Adam(self._parameters, lr=1.0, betas=preset.betas)
        rate = int(self.model.config.sampling_rate)
        self._losses: dict[str, Loss] = {
            "time": time_l1,
            "relative_error": relative_error,
            "complex_stft": complex_stft,
            "mel": MelLoss(rate, preset.mel_windows),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed + _DISCRIMINATOR)
            self.discriminator = MultiScaleDiscriminator(rate, preset.discriminator_filters).to(
                workers.device
            )
        self._judge = torch.optim.Adam(self.discriminator.parameters(), lr=1.0, betas=preset.betas)
        self._balancers = {
            phase.name: Balancer(phase.weights, balanced=phase.balanced) for phase in preset.phases
        }
        self._bandwidths = [float(bandwidth) for bandwidth in self.model.config.target_bandwidths]

    def needs_codebooks(self, step: int) -> bool:
        """Whether the step is the first to use codebooks that nobody has initialised."""
        phase, within = self.config.preset.phase_at(step)
        return phase.quantised_share(within) > 0 and not self.quantizer.initialised

    @torch.no_grad()
    def initialise_codebooks(self, step: int, audio: list[NDArray[np.float32]]) -> None:
        """k-means over the embeddings of `audio`, batches `[n, channels, samples]`; the first
        device decides."""
        vectors = []
        for batch in audio:
            embeddings = self.model.encoder(to_model_level(self.model, self._on_device(batch)))
            vectors.append(embeddings.transpose(1, 2).reshape(-1, embeddings.shape[1]))
        per_step = len(vectors[0]) // len(audio[0]) * self.config.preset.batch * self.workers.count
        self.quantizer.initialise(torch.cat(vectors), self._generator(step), per_step)
        for buffer in self.model.quantizer.buffers():
            buffer.copy_(
                self.workers.sum(buffer if self.workers.first else torch.zeros_like(buffer))
            )

    def choices(self, step: int) -> tuple[float, bool]:
        """A step's bandwidth, and whether it updates the discriminator: the same on every
        device."""
        rng = np.random.default_rng([self.config.seed, _CHOICES, step])
        bandwidth = self._bandwidths[int(rng.integers(len(self._bandwidths)))]
        return bandwidth, bool(rng.random() < self.config.preset.discriminator_probability)

    def step(self, step: int, batch: NDArray[np.float32]) -> dict[str, float]:
        """Learn from one batch `[n, channels, samples]`.

        Returns:
            Losses and other numbers, for the logs.

        Raises:
            CodecshardsError: a loss that is not finite.
        """
        phase, within = self.config.preset.phase_at(step)
        rate = self.config.preset.learning_rate(step)
        bandwidth, judge_learns = self.choices(step)
        target = to_model_level(self.model, self._on_device(batch))
        with self._autocast():
            embeddings = self.model.encoder(target)
        quantized = self._quantize(embeddings, bandwidth, phase.quantised_share(within), step)
        with self._autocast():
            decoded = self.model.decoder(embeddings if quantized is None else quantized.output)
        decoded = decoded[..., : target.shape[-1]].float()

        output = decoded.detach().requires_grad_()
        losses = self._all_losses(output, target, phase)
        report = {name: float(loss.detach()) for name, loss in losses.items()}
        if not all(np.isfinite(value) for value in report.values()):
            raise diverged(step, f"a loss is not finite ({report})")
        gradient = self._balancers[phase.name].gradient(losses, output, self.workers)
        self._move(decoded, gradient, quantized, rate)
        report |= self._update_codebooks(embeddings, quantized, step)
        if ADVERSARIAL & set(phase.weights) and judge_learns:
            report["discriminator"] = self._teach_judge(output.detach(), target, rate)
        return {**report, "bandwidth": bandwidth, "learning_rate": rate}

    def _quantize(
        self, embeddings: torch.Tensor, bandwidth: float, share: float, step: int
    ) -> Quantized | None:
        if not share:
            return None
        rng = np.random.default_rng([self.config.seed, _MIX, step, self.workers.rank])
        mix = torch.from_numpy(rng.random(len(embeddings)) < share).to(embeddings.device)
        return self.quantizer(
            embeddings, self.quantizer.levels_at(bandwidth), None if share >= 1 else mix
        )

    def _all_losses(
        self, output: torch.Tensor, target: torch.Tensor, phase: Phase
    ) -> dict[str, torch.Tensor]:
        losses = {
            name: self._losses[name](output, target)
            for name in phase.weights
            if name not in ADVERSARIAL
        }
        if ADVERSARIAL & set(phase.weights):
            # The judge's own gradients are not wanted here; `autograd.grad` at the output leaves
            # them alone.
            with self._autocast():
                fake = self.discriminator(output)
                with torch.no_grad():
                    real = self.discriminator(target)
                adversarial = {
                    "adversarial": generator_hinge(fake),
                    "features": feature_matching(real, fake),
                }
            losses |= {name: loss for name, loss in adversarial.items() if name in phase.weights}
        return losses

    def _move(
        self,
        decoded: torch.Tensor,
        gradient: torch.Tensor,
        quantized: Quantized | None,
        rate: float,
    ) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        if quantized is None:
            torch.autograd.backward([decoded], [gradient])
        else:
            commitment = quantized.commitment * self.config.preset.commitment
            torch.autograd.backward([decoded, commitment], [gradient, torch.ones_like(commitment)])
        self.workers.average_gradients(self._parameters)
        _learn(self._optimizer, rate)

    def _update_codebooks(
        self, embeddings: torch.Tensor, quantized: Quantized | None, step: int
    ) -> dict[str, float]:
        if quantized is None:
            return {}
        replaced = self.quantizer.update(
            embeddings, quantized.codes, self._generator(step), self.workers
        )
        return {"commitment": float(quantized.commitment.detach()), "replaced": float(replaced)}

    def _teach_judge(self, decoded: torch.Tensor, target: torch.Tensor, rate: float) -> float:
        self._judge.zero_grad(set_to_none=True)
        with self._autocast():
            loss = discriminator_hinge(self.discriminator(target), self.discriminator(decoded))
        loss.backward()  # type: ignore[no-untyped-call]
        self.workers.average_gradients(self.discriminator.parameters())
        _learn(self._judge, rate)
        return float(loss.detach())

    def state(self, step: int, seconds: float, logs: Mapping[str, Any]) -> TrainState:
        """This moment, after `step` steps and `seconds` of training, with what `Logs.flush` says of
        the logs.

        Raises:
            CodecshardsError: weights that are not finite, which no later step would mend.
        """
        if not finite(self.model):
            raise diverged(step, "weights are not finite")
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {
            f"discriminator.{name}": tensor
            for name, tensor in self.discriminator.state_dict().items()
        }
        tensors |= optimizer_tensors(self._optimizer, "optimizer") | optimizer_tensors(
            self._judge, "judge"
        )
        balancers = {name: balancer.state() for name, balancer in self._balancers.items()}
        return TrainState(
            step,
            tensors,
            {
                "balancers": balancers,
                "seconds": seconds,
                "rescaled": self.quantizer.rescaled,
                "logs": logs,
            },
        )

    def restore(self, state: TrainState) -> None:
        """The inverse of `state`.

        Raises:
            OutputError: it is of other networks than these.
        """
        try:
            self.model.load_state_dict(under(state.tensors, "model"))
            self.discriminator.load_state_dict(under(state.tensors, "discriminator"))
        except RuntimeError as error:
            message = (
                "the run's state is of another version of codecshards, with other networks: start "
                "anew in another folder"
            )
            raise OutputError(message) from error
        self.quantizer.rescaled = bool(state.numbers.get("rescaled", True))
        restore_optimizer(self._optimizer, state.tensors, "optimizer")
        restore_optimizer(self._judge, state.tensors, "judge")
        balancers: Mapping[str, Any] = state.numbers["balancers"]
        for name, balancer in self._balancers.items():
            balancer.restore(balancers[name])

    def _on_device(self, batch: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(batch).to(self.workers.device)

    def _generator(self, step: int) -> torch.Generator:
        seed = int(np.random.default_rng([self.config.seed, _CODES, step]).integers(2**62))
        return torch.Generator().manual_seed(seed)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.workers.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"
        )


def finite(network: torch.nn.Module) -> bool:
    """Whether all weights are numbers."""
    return all(bool(torch.isfinite(one).all()) for one in network.parameters())


def diverged(step: int, what: str) -> CodecshardsError:
    """Told in a line. A run keeps its learning rate, so that it takes another folder."""
    return CodecshardsError(
        f"step {step}: {what}; train in another folder, with a lower --learning-rate (or in "
        "float32): this one keeps its last checkpoint"
    )


def _learn(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
