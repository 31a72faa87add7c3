"""Are all codes of a folder of recordings equal to transformers' own? Every chunk, every level,
tails included.

    python -m benchmarks.equality FOLDER --codec codec --bandwidth 24 >
    benchmarks/results/equality.md

The truth is `EncodecModel.encode` on one recording alone, unpadded; for recordings at which it
raises (tails of 1 to 160 samples after two chunks), upstream's own work on each chunk. Files are
spread over a process a core. Exit code 1: a code differs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.encode import card
from benchmarks.machine import machine
from tokenizer import Codec, Waveform, load_codec, read_audio
from tokenizer.chunking import chunk_spans
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.checkpoint import load_encodec
from tokenizer.errors import RecordingError


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file."""

    path: str
    """in the folder"""
    read: bool = False
    seconds: float = 0.0
    chunks: int = 0
    partial: int = 0
    """chunks that are shorter than a full one"""
    by_chunk: bool = False
    """upstream's `encode` raises on it"""
    codes: int = 0
    differing: int = 0
    settled: int = 0
    """chunks that were near enough to a tie for the reference to settle them"""


_state: dict[str, Any] = {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder")
    parser.add_argument(
        "--codec",
        required=True,
        help="a checkpoint folder (python -m tokenizer.codecs.encodec.seeded FOLDER)",
    )
    parser.add_argument("--bandwidth", type=float, default=24.0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--processes", type=int, help="default: one a core; one on a GPU")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth file")
    options = parser.parse_args()
    root = Path(options.folder)
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())[
        :: options.every
    ]
    processes = options.processes or (1 if options.device == "cuda" else os.cpu_count() or 1)
    began, found = time.monotonic(), []
    with multiprocessing.get_context("spawn").Pool(processes, prepare, (options,)) as pool:
        for outcome in pool.imap_unordered(compare, files):
            found.append(outcome)
            if len(found) % 50 == 0:
                print(
                    f"{len(found)} of {len(files)} files, {sum(one.differing for one in found)} "
                    "codes differ",
                    file=sys.stderr,
                )
    report(options, found, time.monotonic() - began)
    return 1 if any(one.differing for one in found) else 0


def prepare(options: argparse.Namespace) -> None:
    """In each process, once."""
    codec = load_codec(options.codec, bandwidth=options.bandwidth, device=options.device, threads=1)
    _state.update(
        options=options,
        codec=codec,
        model=load_encodec(options.codec, torch.device(options.device)),
    )


def compare(name: str) -> Outcome:
    """Encode one file both ways."""
    options, codec = _state["options"], _state["codec"]
    try:
        waveform = read_audio(Path(options.folder, name), codec.sample_rate, codec.channels)
        before = repeated(codec)
        ours = codec.encode(waveform)
    except RecordingError:
        return Outcome(name)
    expected = card(_state["model"], waveform, options)
    by_chunk = expected is None
    if expected is None:
        expected = upstream_by_chunk(_state["model"], codec, waveform, options)
    spans = chunk_spans(waveform.num_samples, codec.spec.chunk_length, codec.spec.chunk_stride)
    return Outcome(
        path=name,
        read=True,
        seconds=waveform.seconds,
        chunks=len(ours.chunk_frames),
        partial=sum(stop - start < (codec.spec.chunk_length or 0) for start, stop in spans),
        by_chunk=by_chunk,
        codes=expected.size,
        differing=int((ours.codes != expected).sum()),
        settled=repeated(codec) - before,
    )


def repeated(codec: Codec) -> int:
    """Chunks that its network has had settled so far."""
    return int(getattr(getattr(codec, "_network", None), "repeated", 0))


def upstream_by_chunk(
    model: Any, codec: Codec, waveform: Waveform, options: argparse.Namespace
) -> np.ndarray:
    codes = []
    for start, stop in chunk_spans(
        waveform.num_samples, codec.spec.chunk_length, codec.spec.chunk_stride
    ):
        samples = torch.from_numpy(waveform.samples[None, :, start:stop]).to(options.device)
        with torch.inference_mode(), exact_float32():
            codes.append(model._encode_frame(samples, options.bandwidth)[0][0].cpu().numpy())
    return np.concatenate(codes, axis=1)


def report(options: argparse.Namespace, found: list[Outcome], taken: float) -> None:
    device = torch.cuda.get_device_name() if options.device == "cuda" else machine()
    every = f" --every {options.every}" if options.every > 1 else ""
    print("# Equality with transformers on a folder of recordings\n")
    given = f"--codec CODEC --bandwidth {options.bandwidth:g} --device {options.device}{every}"
    print(f"    python -m benchmarks.equality FOLDER {given}\n")
    print(f"{device}; torch {torch.__version__}; weights {_weights(options)}; {taken:.0f} s.\n")
    print(
        "| in | files | readable | audio, min | chunks | partial | codes | differing | settled "
        "chunks |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    folders: defaultdict[str, list[Outcome]] = defaultdict(list)
    for one in found:
        folders["/".join(Path(one.path).parts[:-1][:2]) or "."].append(one)
    for name, some in [*sorted(folders.items()), ("all", found)]:
        figures = [
            sum(getattr(one, what) for one in some)
            for what in ("chunks", "partial", "codes", "differing", "settled")
        ]
        minutes = sum(one.seconds for one in some) / 60
        print(f"| {name} | {len(some)} | {sum(one.read for one in some)} | {minutes:.1f} |", end="")
        print("".join(f" {figure:,} |" for figure in figures))
    raising = sum(one.by_chunk for one in found)
    print(
        "\nFiles at which transformers' `encode` raises, compared chunk by chunk with its own "
        f"work on each: {raising}."
    )
    for one in sorted((one for one in found if one.differing), key=lambda one: -one.differing)[:20]:
        print(f"\n`{one.path}`: {one.differing} of {one.codes} codes differ.")


def _weights(options: argparse.Namespace) -> str:
    from tokenizer.codecs import describe_codec

    return describe_codec(options.codec, bandwidth=options.bandwidth).weights_sha256[:16]


if __name__ == "__main__":
    sys.exit(main())
