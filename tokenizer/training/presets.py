"""What is trained and how: presets, and the frozen configuration of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from tokenizer.errors import UsageError
from tokenizer.training.losses import MEL_WINDOWS
from tokenizer.training.workers import PRECISIONS

LOSSES = ("time", "relative_error", "complex_stft", "mel", "adversarial", "features")
STARTS = ("random", "transform")
"""drawn as PyTorch does, or a block transform coder (`transform`)"""
ADVERSARIAL = frozenset({"adversarial", "features"})


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of steps with one set of losses."""

    name: str
    steps: int
    weights: Mapping[str, float]
    """of the rows of `LOSSES` that are computed"""
    balanced: bool = True
    """weights are shares of the gradient (`balancer`); otherwise they multiply the losses"""
    ease: tuple[float, float] = (0.0, 0.0)
    """parts of the phase at which the first and all examples pass through the quantizer; (1, 1)
    leaves it out"""
    learning_rate: float = 1.5e-4

    def __post_init__(self) -> None:
        unknown = sorted(set(self.weights) - set(LOSSES))
        if unknown or not self.weights:
            raise UsageError(
                f"phase {self.name}: losses {unknown or 'none'}: choose from {', '.join(LOSSES)}"
            )
        if (
            self.steps < 0
            or not self.learning_rate > 0
            or not 0 <= self.ease[0] <= self.ease[1] <= 1
        ):
            raise UsageError(
                f"phase {self.name}: steps below 0, no learning rate, or easing beyond the phase"
            )

    def quantised_share(self, step: int) -> float:
        """Probability that an example of the phase's step `step` passes through the quantizer."""
        begin, end = self.ease[0] * self.steps, self.ease[1] * self.steps
        if self.ease[0] >= 1.0:
            return 0.0
        if step >= end:
            return 1.0
        return max(0.0, (step - begin) / (end - begin))


@dataclass(frozen=True, slots=True)
class Preset:
    """An architecture and its schedule."""

    name: str
    architecture: Mapping[str, Any]
    """arguments of transformers' `EncodecConfig`"""
    phases: tuple[Phase, ...]
    batch: int
    """examples a step and device"""
    total_batch: int | None = None
    """examples a step over all devices, of which each has its share: `batch` where this is given"""
    start: str = "random"
    """initial weights: a row of `STARTS`"""
    betas: tuple[float, float] = (0.5, 0.9)
    """of Adam; the paper's"""
    commitment: float = 1.0
    """weight of the commitment loss, beside the balancer"""
    codebook_decay: float = 0.99
    """of the codebooks' moving averages; short runs need a shorter memory to find dead codes in
    time"""
    warmup: int = 0
    """steps over which the learning rate rises"""
    cooldown: float = 0.0
    """part of all steps, at their end, over which it falls to zero"""
    discriminator_filters: int = 32
    discriminator_probability: float = 0.5
    """that a step updates the discriminator; the paper's at 48 kHz"""
    mel_windows: tuple[int, ...] = MEL_WINDOWS
    kmeans_seconds: float = 60.0
    """audio whose embeddings initialise the codebooks"""
    evaluate_every: int = 2000
    """steps between evaluations on held-out audio: the paper's epoch"""
    evaluation_seconds: int = 60

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def on(self, world: int) -> Preset:
        """The preset on a number of devices.

        Raises:
            UsageError: they cannot share its batch.
        """
        if self.total_batch is None:
            return self
        if self.total_batch % world:
            raise UsageError(
                f"preset {self.name} has a batch of {self.total_batch}, which {world} devices "
                "cannot share: give --batch"
            )
        return replace(self, batch=self.total_batch // world)

    def phase_at(self, step: int) -> tuple[Phase, int]:
        """The phase of a step, and the step's number within it."""
        for phase in self.phases[:-1]:
            if step < phase.steps:
                return phase, step
            step -= phase.steps
        return self.phases[-1], step

    def learning_rate(self, step: int) -> float:
        """Of a step: the phase's, rising at the beginning of the run and falling at its end."""
        phase, _ = self.phase_at(step)
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        falling = self.cooldown * self.steps
        fall = min(1.0, (self.steps - step) / falling) if falling else 1.0
        return phase.learning_rate * rise * max(fall, 0.0)

    def scaled(self, steps: int) -> Preset:
        """The same phases, in proportion, over another number of steps."""
        if steps < 1:
            raise UsageError(f"--steps {steps}: give at least 1")
        total, done, before, phases = self.steps, 0, 0, []
        for phase in self.phases:
            before += phase.steps
            end = round(before * steps / total)
            phases.append(replace(phase, steps=end - done))
            done = end
        return replace(self, phases=tuple(phases))

    def extended(self, steps: int) -> Preset:
        """A run that ends at another step: its last phase is longer or shorter, the phases before
        it stay."""
        last = self.phases[-1]
        if steps < self.steps - last.steps:
            raise UsageError(
                f"--steps {steps}: this run's phase {last.name} begins at step "
                f"{self.steps - last.steps}"
            )
        return replace(
            self, phases=(*self.phases[:-1], replace(last, steps=last.steps + steps - self.steps))
        )


_48KHZ = {
    "sampling_rate": 48_000,
    "audio_channels": 2,
    "target_bandwidths": [3.0, 6.0, 12.0, 24.0],
    "normalize": True,
    "chunk_length_s": 1.0,
    "overlap": 0.01,
    "use_causal_conv": False,
    "norm_type": "time_group_norm",
}
_PAPER_WEIGHTS = {"time": 0.1, "mel": 1.0, "adversarial": 4.0, "features": 4.0}

PAPER = Preset(
    name="paper",
    architecture=_48KHZ,
    phases=(Phase("all", 600_000, _PAPER_WEIGHTS),),
    batch=64,
    total_batch=64,
)
"""Défossez et al. 2022 at 48 kHz: 300 epochs of 2,000 updates of 64 examples, which all devices
share"""

FINETUNE = Preset(
    name="finetune",
    architecture=_48KHZ,
    phases=(Phase("all", 20_000, _PAPER_WEIGHTS, learning_rate=5e-5),),
    batch=16,
    warmup=500,
    cooldown=0.3,
)
"""the paper's losses from somebody's weights; its architecture is the checkpoint's (`--init`)"""

SMALL = Preset(
    name="small",
    architecture={
        **_48KHZ,
        "num_filters": 12,
        "hidden_size": 56,
        "num_lstm_layers": 1,
        "upsampling_ratios": [2, 4, 5, 8],
        "num_residual_layers": 0,
        "norm_type": "weight_norm",
    },
    phases=(
        Phase(
            "waveform",
            10_000,
            {"relative_error": 1.0, "complex_stft": 1.0},
            ease=(0.05, 0.1),
            learning_rate=1e-3,
        ),
        Phase("mel", 20_000, {"relative_error": 1.0, "mel": 3.0}, learning_rate=1e-3),
        Phase(
            "adversarial",
            10_000,
            {"relative_error": 1.0, "mel": 3.0, "adversarial": 1.0, "features": 1.0},
            learning_rate=3e-4,
        ),
    ),
    batch=8,
    start="transform",
    commitment=200.0,
    codebook_decay=0.98,
    betas=(0.8, 0.99),
    warmup=200,
    cooldown=0.2,
    discriminator_filters=8,
    mel_windows=MEL_WINDOWS[1:],
)
"""The codec that ships: waveform first, then mel, the discriminator at the end.

On a CPU the layers at the full rate are bound by memory, so the encoder divides the rate by 8 at
once and has no residual blocks. One thread of a shared 2-core machine, process time: best of 8
forward passes of encoder and decoder on 1 s, and of 3 training passes (forward and backward, no
losses) on 4 s; transformers 5.23, torch 2.13.

    architecture                                     float16 checkpoint   forward   training
    published (32 filters, 2/4/5/8 downsampling)               38.1 MB     363 ms
    8 filters, 64 dims, 1 LSTM layer, same order                5.7 MB      51 ms    142 ms
    16 filters, 32 dims, 8/5/4/2, no residual blocks            5.4 MB      29 ms     71 ms
    12 filters, 56 dims, 8/5/4/2, no residual blocks            5.7 MB      21 ms     51 ms (this)

That table is with `time_group_norm`, as the published model has it. Weight norm lets the network
start as a transform coder (`transform`): held-out SI-SNR at 24 kbps, median of 60 s, was 9.5 dB
after 500 steps, against 3.5 dB after 2,500 from random weights. Without a norm only the commitment
loss bounds the embeddings; at weight 1 it rose from 0.2 to 96 within 250 steps.
"""

SMALL_CPU = replace(
    SMALL,
    name="small-cpu",
    phases=(
        replace(SMALL.phases[0], steps=3000),
        replace(SMALL.phases[1], steps=4000),
    ),
    cooldown=0.4,
    mel_windows=MEL_WINDOWS[3:],
    evaluate_every=500,
)
"""the same codec in an hour or so on two cores: no discriminator, whose steps cost seven times as
much there"""

TINY = Preset(
    name="tiny",
    architecture={
        **_48KHZ,
        "num_filters": 8,
        "hidden_size": 16,
        "num_lstm_layers": 1,
        "upsampling_ratios": [8, 5, 8],
        "codebook_size": 64,
        "target_bandwidths": [0.9, 1.8],
        "num_residual_layers": 0,
    },
    phases=(
        Phase(
            "waveform",
            60,
            {"relative_error": 1.0, "complex_stft": 1.0},
            ease=(0.5, 0.7),
            learning_rate=5e-3,
        ),
        Phase("mel", 20, {"relative_error": 1.0, "mel": 1.0}, learning_rate=1e-3),
        Phase(
            "adversarial",
            20,
            {"time": 0.1, "mel": 1.0, "adversarial": 4.0, "features": 4.0},
            learning_rate=3e-4,
        ),
    ),
    batch=4,
    betas=(0.8, 0.99),
    codebook_decay=0.9,
    warmup=10,
    discriminator_filters=2,
    mel_windows=(256, 1024),
    kmeans_seconds=8.0,
    evaluate_every=50,
    evaluation_seconds=4,
)
"""a minute on a CPU, through every phase: for tests and for trying a corpus; the sound is poor"""

PRESETS = {preset.name: preset for preset in (PAPER, SMALL, SMALL_CPU, FINETUNE, TINY)}


def find_preset(name: str) -> Preset:
    """A row of `PRESETS`.

    Raises:
        UsageError: no such preset.
    """
    if name not in PRESETS:
        raise UsageError(f"preset {name}: choose one of {', '.join(sorted(PRESETS))}")
    return PRESETS[name]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides what a run computes; stored in its folder and compared on resume."""

    preset: Preset
    init: str | None = None
    """checkpoint to start from (hub id or folder); None starts from seeded random weights"""
    seed: int = 0
    precision: str = "float32"
    """of the networks: a row of `PRECISIONS`; quantizer and losses are always float32"""
    reverb: float = 0.0
    """probability of reverberation"""
    world: int = 1
    """devices that train together: with others, batches and thresholds would be others"""
    pack: Mapping[str, Any] = field(default_factory=dict)
    """facts of the pack: hours, recordings"""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"--precision {self.precision}: choose one of {', '.join(PRECISIONS)}")
        if not 0.0 <= self.reverb <= 1.0:
            raise UsageError(f"--reverb {self.reverb}: give a probability, 0 to 1")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: give 0 or more")

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The inverse of `to_dict`, also after JSON.

        Raises:
            UsageError: written by another version.
        """
        try:
            preset = dict(values["preset"])
            preset["phases"] = tuple(
                Phase(**{**phase, "ease": tuple(phase["ease"])}) for phase in preset["phases"]
            )
            preset["betas"], preset["mel_windows"] = (
                tuple(preset["betas"]),
                tuple(preset["mel_windows"]),
            )
            return cls(**{**values, "preset": Preset(**preset)})
        except (KeyError, TypeError) as error:
            raise UsageError(
                f"the run's configuration is of another version of codecshards: {error}"
            ) from error


def differences(stored: TrainConfig, wanted: TrainConfig) -> list[str]:
    """One line for each setting in which two configurations would compute other losses, the number
    of steps aside."""
    before, now = _flat(stored), _flat(wanted)
    return [
        f"{name}: {before[name]!r} there, {now[name]!r} now"
        for name in before
        if before[name] != now[name]
    ]


def _flat(config: TrainConfig) -> dict[str, Any]:
    flat = {name: value for name, value in config.to_dict().items() if name != "preset"}
    for item in fields(Preset):
        flat[item.name] = getattr(config.preset, item.name)
    flat["phases"] = [asdict(replace(phase, steps=0)) for phase in config.preset.phases]
    return flat
