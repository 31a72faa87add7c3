"""Bytes and operations of encoding on a GPU, counted without one: what a change has to improve
before it is written.

    python -m benchmarks.roofline > benchmarks/results/roofline.md

The work of a batch runs on torch's meta device, which has shapes and no values. Every operation is
counted: what it reads and writes in the card's memory, each tensor once (no cache is thought of,
and no time between kernels), and its multiplications and additions. A step takes the longer of what
its bytes and its operations take at the card's rates; a design takes the sum of its steps.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from tokenizer.codecs.encodec.checkpoint import load_encodec
from tokenizer.codecs.encodec.gpu.batched import EncodeWork
from tokenizer.codecs.encodec.gpu.fused import Fused
from tokenizer.codecs.encodec.gpu.graphs import Shape, Work
from tokenizer.codecs.encodec.gpu.masked import Convolution
from tokenizer.codecs.encodec.seeded import write_seeded

RATE = 48_000
N_Q = 16


@dataclass(frozen=True, slots=True)
class Card:
    """Rates that large copies and products reach."""

    name: str
    bytes_a_second: float
    """a copy between two places of its memory, counted both ways, as measured"""
    float32: float
    """operations a second without tensor cores, by the datasheet"""
    tf32: float
    """with them, dense, by the datasheet"""


CARDS = (Card("H100", 3.0e12, 67e12, 494e12), Card("H200", 4.3e12, 67e12, 494e12))
_VIEWS = {
    "view", "_unsafe_view", "reshape", "transpose", "permute", "expand", "slice", "select", "t",
    "unsqueeze", "squeeze", "detach", "alias", "unbind", "split", "as_strided", "empty",
    "empty_like", "new_empty", "empty_strided", "_reshape_alias", "lift_fresh",
}  # fmt: skip
_STEPS = {
    "convolution": "convolutions",
    "lstm": "LSTM",
    "mm": "quantizer's products",
    "addmm": "quantizer's products",
    "bmm": "quantizer's products",
}


@dataclass
class Count:
    """Of one kind of step."""

    bytes: float = 0.0
    operations: float = 0.0
    calls: int = 0


@dataclass
class Counted:
    """What a batch costs, by kind of step, and what it is worth."""

    seconds: float
    """of audio"""
    steps: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))

    def megabytes(self) -> float:
        """For a second of audio."""
        return sum(one.bytes for one in self.steps.values()) / 1e6 / self.seconds

    def gigaflop(self) -> float:
        """Likewise."""
        return sum(one.operations for one in self.steps.values()) / 1e9 / self.seconds

    def times_real(self, card: Card, tensor_cores: bool) -> float:
        """How many seconds of audio a second has time for at most."""
        taken = 0.0
        for name, one in self.steps.items():
            fast = tensor_cores and name in ("convolutions", "LSTM")
            rate = card.tf32 if fast else card.float32
            taken += max(one.bytes / card.bytes_a_second, one.operations / rate)
        return self.seconds / taken


class Counting(TorchDispatchMode):
    """Adds up what operations read, write and compute."""

    def __init__(self, counted: Counted) -> None:
        super().__init__()
        self.counted, self.region = counted, ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket._qualified_op_name.split("::")[-1]
        if name != "lstm":  # of which libraries have kernels
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if name in _VIEWS:
            return result
        step = self.region or _STEPS.get(name.rstrip("_"), _of_kind(name))
        one = self.counted.steps[step]
        one.operations += _operations(func, args, kwargs, result)
        if not self.region:
            one.calls += 1
            one.bytes += _size(args) + _size(kwargs) + _size(result)
        return result

    @contextmanager
    def kernel(self, step: str, *read: Any) -> Iterator[list[Any]]:
        """What goes on inside is one kernel: it reads these, and writes what is put into the
        list."""
        written: list[Any] = []
        before, self.region = self.region, self.region or step
        try:
            yield written
        finally:
            self.region = before
        if not before:
            one = self.counted.steps[step]
            one.calls += 1
            one.bytes += _size(read) + _size(written)


def _of_kind(name: str) -> str:
    if name in ("var_mean", "sum", "mean", "square", "all", "isfinite", "amin", "max", "topk"):
        return "sums and searches"
    if name in ("flip", "gather", "scatter_", "scatter", "copy_", "zero_", "clone", "cat", "index"):
        return "padding and copies"
    return "element by element"


def _size(tree: Any) -> float:
    """Bytes of all tensors in it, a broadcast one as it lies in memory."""
    total = 0.0
    for leaf in tree_leaves(tree):
        if isinstance(leaf, torch.Tensor):
            there = 1
            for length, stride in zip(leaf.shape, leaf.stride(), strict=True):
                there *= length if stride else 1
            total += there * leaf.element_size()
    return total


def _operations(func: Any, args: Any, kwargs: Any, result: Any) -> float:
    name = func.overloadpacket._qualified_op_name.split("::")[-1]
    counter = flop_registry.get(func.overloadpacket)
    if counter is not None:
        return float(counter(*args, **kwargs, out_val=result))
    if name == "lstm":
        x, _, weights = args[0], args[1], args[2]
        own = sum(weight.numel() for weight in weights if weight.dim() == 2)
        return 2.0 * own * x.shape[0] * x.shape[1]
    leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    return float(sum(leaf.numel() for leaf in leaves))


class FusedOnce(Fused):
    """Every fused function as one kernel."""

    def __init__(self, mode: Counting) -> None:
        super().__init__(None)
        for name in ("_written", "_padded", "_padded_by_row", "_normalisation"):
            setattr(self, name, self._counted(mode, getattr(self, name)))

    @staticmethod
    def _counted(mode: Counting, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with mode.kernel("fused", *arguments) as written:
                result = function(*arguments)
                written.append(result)
            return result

        return call


def count(model: Any, shape: Shape, seconds: float, design: str) -> Counted:
    """What a batch of a shape costs, that holds so many seconds of audio."""
    counted = Counted(seconds)
    mode = Counting(counted)
    fused = FusedOnce(mode) if design != "as it is" else None
    work = EncodeWork(model, N_Q, True, fused)
    inputs = [torch.empty(dims, dtype=dtype, device="meta") for dims, dtype in work.layout(shape)]
    with torch.inference_mode(), mode:
        if design != "a kernel a convolution":
            work(*inputs)
            return counted
        plain = Convolution.__call__

        def call(self: Convolution, signal: Any) -> Any:
            read = (signal.parts, self._weight, self._bias)
            with mode.kernel("convolutions", *read) as written:
                found = plain(self, signal)
                written += [found.terms[-1], found.scales, found.shift]
            return found

        with patch.object(Convolution, "__call__", call):
            work(*inputs)
    return counted


def count_rows(work: Work, shape: Shape, seconds: float) -> Counted:
    """What a batch of any work costs as it is."""
    counted = Counted(seconds)
    inputs = [torch.empty(dims, dtype=dtype, device="meta") for dims, dtype in work.layout(shape)]
    with torch.inference_mode(), Counting(counted):
        work(*inputs)
    return counted


def others() -> Iterator[tuple[str, Work, Shape, float]]:
    """Of each codec without chunks: its name, its work, a batch of 10 s clips (of DAC 4 s), and the
    seconds of audio in it. No weights are needed for shapes."""
    from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel

    from tokenizer.codecs.dac import gpu as dac
    from tokenizer.codecs.dac.seeded import MODELS as DACS
    from tokenizer.codecs.encodec.gpu.pieces import EncodeRows
    from tokenizer.codecs.encodec.seeded import MODELS
    from tokenizer.codecs.mimi import gpu as mimi

    with torch.device("meta"):
        for name, n_q in (("24khz", 8), ("32khz", 4)):
            model: Any = EncodecModel(EncodecConfig(**MODELS[name]))
            rate = model.config.sampling_rate
            label = f"EnCodec {name}, {n_q} codebooks"
            yield label, EncodeRows(model, n_q), Shape(32, 10 * rate, True), 320.0
        model = MimiModel(MimiConfig())
        yield "Mimi, 8 codebooks", mimi.EncodeRows(model, 8), Shape(32, 240_000, True), 320.0
        model = DacModel(DacConfig(**DACS["44khz"]))
        width, hop = 4 * 44_100 // 512 * 512, 512
        yield (
            "DAC 44khz, 9 codebooks",
            dac.EncodeRows(model, 9, hop),
            Shape(64, width, True),
            64 * width / 44_100,
        )


def print_others(details: dict[str, Counted]) -> None:
    """Their table; what was counted is added to `details`."""
    cards = " | ".join(f"{card.name} exact" for card in CARDS)
    print(
        "\nCodecs without chunks, as they are: whole clips of 10 s (DAC: of 4 s) in masked rows.\n"
    )
    print(f"| codec | rows | MB a second | GFLOP a second | kernels | {cards} |")
    print("|" + "---|" * (5 + len(CARDS)))
    for name, work, shape, seconds in others():
        found = details[name] = count_rows(work, shape, seconds)
        calls = sum(one.calls for one in found.steps.values())
        ceilings = " | ".join(f"{found.times_real(card, False):,.0f}" for card in CARDS)
        facts = f"{shape.rows} | {found.megabytes():,.0f} | {found.gigaflop():.2f} | {calls}"
        print(f"| {name} | {facts} | {ceilings} |")


DESIGNS = ("as it is", "fused between convolutions", "a kernel a convolution")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=256, help="of a batch (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_seeded(Path(folder), size="full")
        model = load_encodec(folder, torch.device("cpu")).to("meta")
    rows = options.rows
    shapes = {
        "full chunks": (Shape(rows, RATE), rows * 1.0),
        "tails of 0.5 to 1 s": (Shape(rows, RATE, masked=True), rows * 0.75),
    }
    print("# What a GPU has to do\n\n    python -m benchmarks.roofline\n")
    print(
        f"Encoding at 24 kbps in batches of {rows} rows, full-size EnCodec 48 kHz, counted with "
        f"torch {torch.__version__} on its meta device; near ties, launches and the LSTM's serial "
        "steps are not in it, so that the figures are ceilings. Rates: "
        + "; ".join(
            f"{card.name} {card.bytes_a_second / 1e12:g} TB/s as measured by a copy, "
            f"{card.float32 / 1e12:g} TFLOP/s float32 and {card.tf32 / 1e12:g} TF32 by its sheet"
            for card in CARDS
        )
        + ".\n"
    )
    names = [f"{card.name} {kind}" for card in CARDS for kind in ("exact", "fast")]
    print("| batch | design | MB a second | GFLOP a second | kernels |", " | ".join(names), "|")
    print("|" + "---|" * (5 + len(names)))
    details: dict[str, Counted] = {}
    for what, (shape, seconds) in shapes.items():
        for design in DESIGNS:
            found = details[f"{what}, {design}"] = count(model, shape, seconds, design)
            calls = sum(one.calls for one in found.steps.values())
            ceilings = [
                f"{found.times_real(card, fast):,.0f}" for card in CARDS for fast in (False, True)
            ]
            facts = f"{found.megabytes():,.0f} | {found.gigaflop():.2f} | {calls}"
            print(f"| {what} | {design} | {facts} | {' | '.join(ceilings)} |")
    print_others(details)
    print("\nTimes real time at most. By kind of step, for a second of audio:\n")
    print("| batch and design | step | kernels | MB | GFLOP |\n|---|---|---|---|---|")
    for name, found in details.items():
        for step, one in sorted(found.steps.items(), key=lambda item: -item[1].bytes):
            print(
                f"| {name} | {step} | {one.calls} | {one.bytes / 1e6 / found.seconds:,.1f} | "
                f"{one.operations / 1e9 / found.seconds:.3f} |"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
