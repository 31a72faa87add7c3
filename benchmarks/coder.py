"""What archives save, and how long they take: of recordings that the coder was not trained on.

    codecshards tokenize CORPUS codes --codec small --bandwidth 24
    codecshards train-coder codes run [--hold-out GLOB …] [--leave-out GLOB …]
    python -m benchmarks.coder codes --coder run [the same] > benchmarks/results/coder.md

Held out is what `train-coder` holds out, by the same rules. Order 0 and order 1 are counted on the
recordings that were trained on. All overheads of an archive are told: the whole file beside the
streams alone. Speed is CPU seconds of one thread, of the whole commands `compress` and `expand`
(reading and writing Parquet included), in turns.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from benchmarks.machine import machine
from codecshards import CodesDataset, compress_codes, expand_codes, filter_codes, reshard_codes
from pipelines.output.formats.coded.file import CodedFile
from pipelines.output.formats.coded.jobs import stretches
from pipelines.reshaping.archiving.coders import choose_coder
from pipelines.reshaping.archiving.entropy import bits_between, coder_bits
from pipelines.reshaping.parents import Parent
from tokenizer.coding.training.corpus import share_of

BANDWIDTHS = (6.0, 24.0)
ROUNDS = 3
SPEED_MINUTES = 3.0
"""of audio, that the speed is measured with"""
PAPER = "0.68 (EnCodec's own, one thread, 48 kHz, 'High Fidelity Neural Audio Compression', 2022)"
SEGMENT = 1024

Rows = list[list[NDArray[np.uint16]]]
"""of each recording its segments, `[n_q, frames]`"""


@dataclass(frozen=True, slots=True)
class Archived:
    """An archive's parts, in bytes."""

    whole: int
    streams: int
    checksums: int
    coder: int


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", help="folder of codes at the highest bandwidth")
    parser.add_argument("--coder", default="small", help="as `compress` has it")
    parser.add_argument("--hold-out", action="append", default=[], metavar="GLOB")
    parser.add_argument("--hold-out-share", type=float, default=0.05)
    parser.add_argument("--leave-out", action="append", default=[], metavar="GLOB")
    parser.add_argument("--speed-minutes", type=float, default=SPEED_MINUTES, metavar="M")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="coder-") as folder:
        for line in report(given, Path(folder)):
            print(line, flush=True)


def report(given: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The page, line by line."""
    held, known = split_ids(given)
    yield "# What archives save, and how long they take\n"
    yield f"    python -m benchmarks.coder {shlex.join(sys.argv[1:])}\n"
    yield f"{machine()}; torch {torch.__version__}, NumPy {np.__version__}, one thread\n"
    whole = str(folder / "held")
    filter_codes(given.out, whole, where=f"id in ({names_of(held)})")
    for bandwidth in BANDWIDTHS:
        out = folder / f"held-{bandwidth:g}"
        reshard_codes(whole, str(out), bandwidth=bandwidth)
        yield from savings(out, known, given, folder)
    few = f"id in ({names_of(short(whole, given.speed_minutes))})"
    for bandwidth in BANDWIDTHS:
        filter_codes(
            str(folder / f"held-{bandwidth:g}"), str(folder / f"few-{bandwidth:g}"), where=few
        )
    yield from speeds(folder, given.coder)


def names_of(ids: list[str]) -> str:
    """Ids as SQL has them."""
    return ", ".join("'" + id.replace("'", "''") + "'" for id in ids)


def short(out: str, minutes: float) -> list[str]:
    """Every so many recordings of a folder, up to so many minutes."""
    data = CodesDataset(out)
    found, left = [], minutes * 60
    for sample in [*data][:: max(1, len(data) // 20)]:
        found.append(sample.id)
        left -= sample.seconds
        if left <= 0:
            break
    return found


def split_ids(given: argparse.Namespace) -> tuple[list[str], Rows]:
    """Ids of what was held out, and the codes of the others."""
    held, known = [], []
    for sample in CodesDataset(given.out):
        if any(fnmatchcase(sample.id, glob) for glob in given.leave_out) or not sample.frames:
            continue
        if (
            any(fnmatchcase(sample.id, glob) for glob in given.hold_out)
            or share_of(sample.id) < given.hold_out_share
        ):
            held.append(sample.id)
        else:
            known.append(list(stretches(sample.codes, sample.chunk_frames, SEGMENT)))
    return held, known


def savings(out: Path, known: Rows, given: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Two tables of one bandwidth."""
    data = CodesDataset(out)
    rows = [list(stretches(one.codes, one.chunk_frames, SEGMENT)) for one in data]
    segments = [segment for row in rows for segment in row]
    codes = sum(segment.size for segment in segments)
    spec = data.spec
    yield f"\n## {spec.bandwidth:g} kbps: {spec.n_q} codebooks of {spec.codebook_size:,}\n"
    yield (
        f"{len(rows)} recordings, "
        f"{sum(one.num_samples for one in data) / spec.sample_rate / 60:.1f} minutes, "
        f"{len(segments):,} chunks, {codes:,} codes\n"
    )
    levels = [
        bits_between(picked(known, n), picked(rows, n), spec.sizes[n]) for n in range(spec.n_q)
    ]
    order = [sum(one[k] for one in levels) / codes for k in (0, 1)]
    predictor = choose_coder(Parent(str(out)), given.coder).predictor
    by_level = coder_bits(predictor, segments)
    parts = {}
    for coder in ("static", given.coder):
        parts[coder] = archived(out, coder, folder / f"{out.name}-{Path(coder).name}")
    parquet = sum(path.stat().st_size for path in (out / "data").iterdir())
    yield "| | bits a code | less than 10 bits |\n|---|---|---|"
    lines = [
        ("10 bits a code, as Parquet's dictionary has them, nothing else", 10.0),
        ("Parquet, the whole file", parquet * 8 / codes),
        ("zstd -19 of uint16, level after level", packed(rows) * 8 / codes),
        ("order 0, counted on what was trained on", order[0]),
        ("order 1 (the code before on its level), likewise", order[1]),
    ]
    for coder, one in parts.items():
        name = Path(coder).name
        lines += [
            (f"archive, {name}: streams", one.streams * 8 / codes),
            (f"archive, {name}: streams and checksums", (one.streams + one.checksums) * 8 / codes),
            (f"archive, {name}: the file but its coder", (one.whole - one.coder) * 8 / codes),
        ]
        if one.coder:
            more = f"(which is {one.coder / 1e6:.2f} MB, once a file)"
            lines[-1] = (f"{lines[-1][0]} {more}", lines[-1][1])
    for what, bits in lines:
        yield f"| {what} | {bits:.3f} | {100 - 10 * bits:.1f}% |"
    yield "\n| level | " + " | ".join(map(str, range(spec.n_q))) + " |"
    yield "|---|" + "---|" * spec.n_q
    for what, values in (
        ("order 0", [one[0] / one[2] for one in levels]),
        ("order 1", [one[1] / one[2] for one in levels]),
        (Path(given.coder).name, by_level.tolist()),
    ):
        yield f"| {what} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def picked(rows: Rows, level: int) -> list[list[NDArray[np.uint16]]]:
    """One level of every segment."""
    return [[segment[level] for segment in row] for row in rows]


def packed(rows: Rows) -> int:
    """Bytes of zstd at its highest usual level."""
    codes = np.concatenate([segment for row in rows for segment in row], axis=1)
    return len(pa.Codec("zstd", compression_level=19).compress(codes.tobytes(), asbytes=True))


def archived(out: Path, coder: str, new: Path) -> Archived:
    """Make an archive, and weigh its parts."""
    compress_codes(str(out), str(new), coder=coder, workers=0)
    whole = streams = checksums = inside = 0
    for path in (new / "data").iterdir():
        whole += path.stat().st_size
        with path.open("rb") as file:
            found = CodedFile(file)
            inside += found.coder_bytes
            for block in found.blocks:
                segments, section = found.segments(block)
                streams += section.size
                checksums += 4 * len(segments.crcs)
    return Archived(whole, streams, checksums, inside)


def speeds(folder: Path, coder: str) -> Iterator[str]:
    """Times real time of both ways, in turns."""
    yield "\n## Speed\n"
    yield "Times real time a core: seconds of audio by CPU seconds, median of rounds in turns.\n"
    yield "| bandwidth | coder | compress | expand |\n|---|---|---|---|"
    found: dict[tuple[float, str], list[tuple[float, float]]] = {}
    for number in range(ROUNDS + 1):
        for bandwidth in BANDWIDTHS:
            for one in ("static", coder):
                taken = turn(folder / f"few-{bandwidth:g}", one, folder / f"turn-{number}")
                if number:  # the first compiles
                    found.setdefault((bandwidth, Path(one).name), []).append(taken)
    for (bandwidth, name), times in found.items():
        there, back = (statistics.median(values) for values in zip(*times, strict=True))
        yield f"| {bandwidth:g} kbps | {name} | {there:.1f} | {back:.1f} |"
    yield f"| 6 to 24 kbps | the paper's | {PAPER} | |"


def turn(out: Path, coder: str, folder: Path) -> tuple[float, float]:
    """Times real time there and back."""
    data = CodesDataset(out)
    seconds = sum(one.num_samples for one in data) / data.spec.sample_rate
    there = folder / f"{out.name}-{Path(coder).name}"
    times: list[float] = []
    for work in (
        lambda: compress_codes(str(out), str(there), coder=coder, workers=0),
        lambda: expand_codes(str(there), f"{there}-back", workers=0),
    ):
        before = time.process_time()
        work()
        times.append(seconds / (time.process_time() - before))
    return times[0], times[1]


if __name__ == "__main__":
    main()
