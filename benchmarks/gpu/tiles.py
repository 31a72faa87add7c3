"""Which tiles are fastest for each kernel of our own, on this card.

    PYTHONPATH=.:tests python -m benchmarks.gpu.tiles [--write] [--processes 8]

With `--write` the table in `tokenizer/codecs/encodec/gpu/direct/tiles.py` becomes what was found.
Kernels are built by several processes first, which takes far longer than to time them.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tokenizer.codecs.encodec.gpu.direct import tiles
from tokenizer.codecs.encodec.gpu.direct.tiles import Tile

ROWS, SAMPLES, ROUNDS = 128, 48_000, 3


@dataclass(frozen=True)
class Layer:
    """Something that runs by tiles."""

    table: str
    """the one in `tokenizer.codecs.encodec.gpu.direct.tiles` that its tile belongs in"""
    key: object
    """there"""
    owner: Any
    """whose attribute `tile` is taken"""
    call: Callable[[], object]
    candidates: list[Tile]
    at_once: int = 4
    """calls that are timed together: few enough to be launched while the card is kept waiting"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.tiles")
    parser.add_argument("--write", action="store_true", help="into the table")
    parser.add_argument("--processes", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--build", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build is not None:
        build(options.build, options.processes)
        return 0
    command = [sys.executable, "-m", "benchmarks.gpu.tiles", "--processes", str(options.processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    together = [
        subprocess.Popen([*command, "--build", str(number)], env=environment)
        for number in range(options.processes)
    ]
    for process in together:
        process.wait()
    found = measured()
    if options.write:
        write(found)
    return 0


def build(number: int, processes: int) -> None:
    """A share of all kernels, into Triton's cache."""
    jobs = [(layer, tile) for layer in layers(rows=1) for tile in layer.candidates]
    for layer, tile in jobs[number::processes]:
        attempt(layer, tile)


def attempt(layer: Layer, tile: Tile) -> bool:
    """Run a layer by a tile; False: the card has too little for it."""
    layer.owner.tile = tile
    try:
        layer.call()
    except Exception:  # of several kinds: shared memory, registers, what the compiler refuses
        return False
    return True


def measured() -> dict[str, dict[object, Tile]]:
    """The fastest of every layer, which are printed with the next and the last."""
    found: dict[str, dict[object, Tile]] = {}
    total = 0.0
    print(f"{torch.cuda.get_device_name()}, {ROWS} rows, ms: the best two, and the worst\n")
    for layer in layers(ROWS):
        times = sorted(
            (seconds(layer) * 1000, astuple(tile))
            for tile in layer.candidates
            if attempt(layer, tile)
        )
        if not times:
            print(f"{layer.table} {layer.key}: none fits", flush=True)
            continue
        total += times[0][0]
        said = " | ".join(f"{taken:.3f} {tile}" for taken, tile in (*times[:2], times[-1]))
        print(f"{layer.table} {layer.key}: {said}", flush=True)
        found.setdefault(layer.table, {})[layer.key] = Tile(*times[0][1])
    print(f"\nall of them, exact and fast: {total:.2f} ms")
    return found


def seconds(layer: Layer) -> float:
    """Of one call, once warm."""
    times = []
    for _ in range(ROUNDS):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda._sleep(3_000_000)  # so that launches do not wait for the host
        began.record()
        for _ in range(layer.at_once):
            layer.call()
        ended.record()
        ended.synchronize()
        times.append(began.elapsed_time(ended) / 1000 / layer.at_once)
    return statistics.median(times)


@torch.inference_mode()
def layers(rows: int) -> Iterator[Layer]:
    """Of the published architecture, exact and fast."""
    from transformers import EncodecConfig, EncodecModel

    from tokenizer.codecs.encodec.seeded import MODELS

    model = EncodecModel(EncodecConfig(**MODELS["48khz"])).eval().cuda()
    for exact in (True, False):
        yield from convolutions(model, exact, rows)
        yield from recurrence(model, exact, rows)
        yield quantizer(exact, rows)


def convolutions(model: Any, exact: bool, rows: int) -> Iterator[Layer]:
    """Each with what comes into it."""
    keys = set()
    for layer, parts, elu in seen(model, exact, rows):
        sizes = layer.channels_in, layer.channels_out
        key = (exact, *sizes, layer.geometry.taps)
        if key not in keys:
            keys.add(key)
            call = partial(layer, parts, elu)
            yield Layer("CONVOLUTIONS", key, layer, call, candidates(exact, *sizes))


def seen(model: Any, exact: bool, rows: int) -> list[tuple[Any, Any, bool]]:
    """Every convolution of an encoder with what it is called with, of which noise takes the place:
    building kernels to make it would take longer than to build those that are measured."""
    from tokenizer.codecs.encodec.gpu.direct.convolution import Convolution, Product
    from tokenizer.codecs.encodec.gpu.direct.encoder import DirectEncoder
    from tokenizer.codecs.encodec.gpu.direct.recurrence import Recurrence

    found: list[tuple[Any, Any, bool]] = []

    def convolved(self: Any, parts: Any, elu: bool) -> tuple[torch.Tensor, torch.Tensor]:
        found.append((self, parts, elu))
        width = self.geometry.frames(parts.width)
        return torch.randn(parts.rows, width, self.channels_out, device="cuda"), torch.empty(1)

    def normalised(self: Any, parts: Any, tiles: torch.Tensor) -> Any:
        ones = torch.ones(parts.rows, self.product.channels_out, device="cuda")
        return replace(parts, scales=(ones,), shifts=(ones,))

    with ExitStack() as patches:
        for owner, name, stub in (
            (Product, "__call__", convolved),
            (Convolution, "_normalised", normalised),
            (Recurrence, "__call__", lambda self, parts: parts.plain(parts.whole())),
        ):
            patches.enter_context(patch.object(owner, name, stub))
        samples = torch.randn(rows, 2, SAMPLES, device="cuda") * 0.1
        DirectEncoder(model.encoder, exact).conditioned(samples, None)
    return found


def candidates(exact: bool, channels_in: int, channels_out: int) -> list[Tile]:
    """That are worth a try."""
    if channels_out < 64:
        terms = min(max(channels_in, 16), 32)
        shapes = ((64, 4, 2), (64, 4, 3), (128, 8, 2), (128, 4, 2), (256, 8, 2))
        return [Tile(frames, channels_out, terms, warps, st) for frames, warps, st in shapes]
    found = [
        Tile(frames, channels, 32, warps, stages)
        for (frames, warps), channels, stages in product(((128, 8), (64, 4)), (64, 128), (2, 3))
        if channels <= channels_out
    ]
    if channels_in >= 64:
        found.append(Tile(128, min(channels_out, 128), 64, 8, 2))
    if channels_out >= 256 and not exact:
        found.append(Tile(128, 256, 32, 8, 3))
    return found


def recurrence(model: Any, exact: bool, rows: int) -> Iterator[Layer]:
    """A few steps, and the product with what comes in."""
    from tokenizer.codecs.encodec.gpu.direct.parts import Parts
    from tokenizer.codecs.encodec.gpu.direct.recurrence import Recurrence

    lstm = next(one for one in model.encoder.modules() if isinstance(one, torch.nn.LSTM))
    layer, size = Recurrence(lstm, exact), int(lstm.hidden_size)
    frames = torch.randn(rows, 150, size, device="cuda")
    of_few = torch.randn(2 * rows, 2 if rows == 1 else 30, size, device="cuda")
    lengths = torch.full((2 * rows,), of_few.shape[1], device="cuda")
    some = [
        Tile(of_rows, units, terms, warps, stages)
        for of_rows, units, warps in ((64, 32, 4), (64, 32, 8), (128, 16, 8), (64, 16, 4))
        for terms, stages in ((32, 3), (32, 4))
    ]
    parts = Parts((of_few,), (), (), lengths)
    yield Layer("RECURRENCE", exact, layer, lambda: layer(parts), some, at_once=1)
    key = (exact, size, 4 * size, 1)
    some = candidates(exact, size, 4 * size)
    yield Layer("CONVOLUTIONS", key, layer.projection, lambda: layer._projected(frames), some)


def quantizer(exact: bool, rows: int) -> Layer:
    from tokenizer.codecs.encodec.gpu.direct.quantizer import DirectQuantizer
    from tokenizer.codecs.encodec.quantizer import half_squares

    books = [torch.randn(1024, 128, device="cuda") for _ in range(4)]
    layer = DirectQuantizer(books, [half_squares(book) for book in books], exact)
    frames = torch.randn(rows * 150, 128, device="cuda")
    moved = torch.rand(rows * 150, device="cuda")
    some = [
        Tile(frames, entries, 32, warps, stages)
        for (frames, warps), entries, stages in product(((64, 4), (128, 8)), (64, 128), (2, 3))
    ]
    return Layer("QUANTIZER", exact, layer, lambda: layer(frames, moved), some)


def write(found: dict[str, dict[object, Tile]]) -> None:
    """The tables, in their module."""
    path = Path(tiles.__file__)
    text = path.read_text(encoding="utf-8")
    for table, entries in found.items():
        rows = "".join(f"    {key!r}: Tile{astuple(tile)},\n" for key, tile in entries.items())
        pattern = rf"(?ms)^({table}: [^=]*= )\{{.*?\}}$"
        text = re.sub(pattern, lambda match, rows=rows: f"{match[1]}{{\n{rows}}}", text)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
