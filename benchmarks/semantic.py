"""How far a batch moves what X-Codec, Higgs, X-Codec2 and NeuCodec quantize, and how many
recordings it leaves in doubt.

    python -m benchmarks.semantic ../shared/audio/speech > benchmarks/results/semantic.md

Recordings share batches, as on a GPU, whose widths are those of `WholeBatches`, and are encoded by
transformers' own modules alone. A frame's move is the RMS of the difference of what is quantized,
as a share of the frame's RMS and of its recording's. Share of the bound: of a residual quantizer
how far the margins of its codes over the next nearest entries are apart, at all levels with the
codes that transformers gives, against what `NOISE` allows them; of a scalar one how far its numbers
are apart. A code is in doubt where its margin is less than the whole bound.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import machine
from tokenizer import load_codec, read_audio
from tokenizer.chunking import frames_of
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.certainty import CERTAIN, SCORE_NOISE
from tokenizer.codecs.encodec.gpu.graphs import Shape
from tokenizer.codecs.semantic.gpu import xcodec, xcodec2
from tokenizer.codecs.semantic.seeded import REDUCED, write_seeded_semantic
from tokenizer.errors import CodecshardsError

Samples = NDArray[np.float32]
ROWS = 4
LEVELS = (1, 4, 8)


@dataclass(slots=True)
class Seen:
    """Of recordings of one sort."""

    recordings: int = 0
    frames: int = 0
    by_frame: float = 0.0
    by_recording: float = 0.0
    bound: float = 0.0
    grown: float = 1.0
    differ: int = 0
    """codes that differ though they were beyond doubt"""
    settled: defaultdict[int, int] | None = None
    """recordings with a code in doubt, by the codebooks that are taken"""

    def add(self, frames: int, shares: Sequence[float]) -> None:
        self.recordings, self.frames = self.recordings + 1, self.frames + frames
        self.by_frame = max(self.by_frame, shares[0])
        self.by_recording = max(self.by_recording, shares[1])
        self.bound, self.grown = max(self.bound, shares[2]), max(self.grown, shares[3])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", help="recordings of speech, of which 3 to 10 s are taken")
    parser.add_argument("--clips", type=int, default=24, help="of speech (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="at most (default: 10)")
    parser.add_argument("--size", default="reduced", help="default: %(default)s")
    parser.add_argument("--kind", action="append", help="a model type (default: all)")
    options = parser.parse_args()
    print(f"# What a batch moves\n\n    python -m benchmarks.semantic {' '.join(sys.argv[1:])}\n")
    print(f"{machine()}\n\nSeeded checkpoints, {options.size}; batches of {ROWS} rows.\n")
    print(
        "| codec | recordings | how many | frames | of the frame's RMS | of the recording's "
        "| normalised times | of the bound | certain codes that differ | settled |\n"
        "|---|---|---|---|---|---|---|---|---|---|"
    )
    for kind in options.kind or REDUCED:
        with tempfile.TemporaryDirectory() as folder:
            write_seeded_semantic(folder, model_type=kind, size=options.size)
            report(kind, Path(folder), options)
    return 0


def report(kind: str, folder: Path, options: argparse.Namespace) -> None:
    codec: Any = load_codec(str(folder), device="cpu")
    codec._batches = codec._open_batches(codec._model, (ROWS,))
    named = list(sounds(codec, Path(options.folder), options.clips, options.seconds))
    random.Random(0).shuffle(named)
    found: dict[str, Seen] = defaultdict(Seen)
    with torch.inference_mode(), exact_float32():
        for start in range(0, len(named), ROWS):
            some = named[start : start + ROWS]
            compare(codec, some, found)
    for name, seen in sorted(found.items()):
        told = ", ".join(f"{n} with {levels}" for levels, n in (seen.settled or {}).items())
        print(
            f"| {kind} | {name} | {seen.recordings} | {seen.frames:,} | {seen.by_frame:.1e} "
            f"| {seen.by_recording:.1e} | {seen.grown:.1f} | {seen.bound:.4f} | {seen.differ} "
            f"| {told} |",
            flush=True,
        )


def sounds(codec: Any, speech: Path, clips: int, seconds: float) -> Iterator[tuple[str, Samples]]:
    """Names of sorts and samples at the codec's rate."""
    rate, hop = codec.sample_rate, codec.spec.frame_length
    paths = sorted(path for path in speech.rglob("*") if path.suffix in (".wav", ".flac"))
    random.Random(1).shuffle(paths)
    yield from islice(speech_of(paths, rate, seconds), clips)
    rng = np.random.default_rng(0)
    most = int(seconds * rate)
    lengths = (1, hop - 1, hop, 2 * hop + 3, rate // 2, rate + 7, 3 * rate, 7 * rate + 11)
    for length in (one for one in lengths if one <= most):
        yield "noise", (0.1 * rng.standard_normal((1, length))).astype(np.float32)
        yield "quiet noise", (1e-5 * rng.standard_normal((1, length))).astype(np.float32)
    for length in (one for one in (3 * hop + 5, 2 * rate, 5 * rate) if one <= most):
        at = np.arange(length)[None]
        yield "silence", np.zeros((1, length), np.float32)
        yield "constant", np.full((1, length), 0.5, np.float32)
        yield "impulse", np.float32(0.7) * (at == length // 3).astype(np.float32)
        square = 0.5 * np.sign(np.sin(2 * np.pi * 230 * at / rate))
        yield "square", square.astype(np.float32)


def speech_of(paths: Sequence[Path], rate: int, seconds: float) -> Iterator[tuple[str, Samples]]:
    """Stretches of 3 s or more, of what is long enough for one."""
    cuts = np.random.default_rng(2)
    for path in paths:
        try:
            samples = read_audio(str(path), rate, 1).samples
        except CodecshardsError:
            continue
        while samples.shape[1] >= 3 * rate:
            end = int(cuts.uniform(3, seconds) * rate)
            yield "speech of 3 to 10 s", np.ascontiguousarray(samples[:, :end])
            samples = samples[:, end:]


def compare(codec: Any, some: Sequence[tuple[str, Samples]], found: dict[str, Seen]) -> None:
    """A batch against each of its recordings alone."""
    together, hop = codec._batches[0]._together, codec.spec.frame_length
    longest = max(samples.shape[1] for _, samples in some)
    width = next(one for one in codec._batches[0]._widths if one >= longest)
    shape = Shape(ROWS, width, masked=True)
    inputs = [torch.empty(dims, dtype=dtype) for dims, dtype in together.layout(shape)]
    together.fill(inputs, [samples for _, samples in some])
    latents, frames, condition = latents_of(together, inputs)
    noise = xcodec2.NOISE if condition is None else xcodec.NOISE
    moved = noise.moved(latents, frames, condition)
    codes, _, near = together(*inputs)
    for row, (name, samples) in enumerate(some):
        count = frames_of(samples.shape[1], hop)
        alone, truth = alone_of(codec, samples)
        ours, theirs, allowed = latents[row, :count], alone[:count], moved[row, :count]
        difference = (ours - theirs).square().mean(1).sqrt()
        sizes = theirs.square().mean(1).sqrt()
        shares = [difference / sizes, difference / theirs.square().mean().sqrt()]
        bound, in_doubt = share_of_bound(together, ours, theirs, allowed)
        grown = 1.0 if condition is None else float(condition[row])
        seen = found[name]
        seen.add(count, [*(float(one.max()) for one in shares), bound, grown])
        seen.settled = seen.settled or defaultdict(int)
        for levels, doubt in in_doubt.items():
            seen.settled[levels] += int(doubt)
        if not near[row]:
            seen.differ += int((codes[:, row, :count].numpy() != truth).sum())


def latents_of(
    together: Any, inputs: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    if len(inputs) == 2:
        latents, frames, condition = together.latents(*inputs)
        return latents, frames, condition
    return together.latents(*inputs), inputs[2][:, 1], None


def alone_of(codec: Any, samples: Samples) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """What transformers quantizes, float32 `[frames, dim]`, and its codes."""
    model, kept = codec._model, []
    last = model.fc if hasattr(model, "fc") else model.fc_encoder
    handle = last.register_forward_hook(lambda _, __, out: kept.append(out[0]))
    codes = codec.encode_window(samples)
    handle.remove()
    return kept[0], codes.astype(np.int64)


def share_of_bound(
    together: Any, ours: torch.Tensor, theirs: torch.Tensor, moved: torch.Tensor
) -> tuple[float, dict[int, bool]]:
    """The largest, and whether so many codebooks leave a code in doubt."""
    if not hasattr(together, "_levels"):
        project = together._quantizer.project_in
        allowed = moved[:, None] * together._gains + xcodec2.TANH_NOISE
        share = (project(ours) - project(theirs)).abs() / allowed
        below, above = (together._codes(project(ours) + one * allowed) for one in (-1, 1))
        return float(share.max()), {1: bool((below != above).any())}
    largest, mine, left = 0.0, ours, theirs
    for level in together._levels:
        a, b = (one if level.before is None else level.before(one) for one in (mine, left))
        scores = level.half + b @ level.entries.t()
        best, second = scores.topk(2, dim=1).indices.unbind(1)
        apart = level.entries[best] - level.entries[second]
        bound = torch.hypot(moved * level.gain * apart.norm(dim=1), SCORE_NOISE * a.square().sum(1))
        share = 2 * ((a - b) * apart).sum(1).abs() / bound
        largest = max(largest, float(share.max()))
        taken = level.entries[best] if level.behind is None else level.behind(level.entries[best])
        mine, left = mine - taken, left - taken
    doubts = {
        n: bool((xcodec.quantized(ours, together._levels[:n], moved)[1] < CERTAIN).any())
        for n in LEVELS
    }
    return largest, doubts


if __name__ == "__main__":
    sys.exit(main())
