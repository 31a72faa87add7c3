"""Every family of codecs beside transformers: speed, and how many codes are equal, in one run.

    python -m benchmarks.codecs --family dac-44khz > benchmarks/results/codecs_dac-44khz.md
    python -m benchmarks.codecs --family encodec-24khz --audio FOLDER --seconds 10 --seconds 600

A checkpoint of the published architecture is written with seeded weights. In every round ours and
transformers' own model encode the same recordings, in turns, one recording at a time; ours also all
of them at once, where there are several. Codes are compared with transformers' in that very round.

transformers takes a recording whole, and of ten minutes some 7 to 30 GB. So of one longer than
`--whole` it is given parts of that length, each as a recording of its own, and the codes of the
first part are compared, but for its last second, which knows what follows.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import machine
from tokenizer import Codec, Waveform, load_codec, read_audio
from tokenizer.codecs.dac.seeded import write_seeded_dac
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.seeded import synthetic_audio, write_seeded
from tokenizer.codecs.mimi.seeded import write_seeded_mimi
from tokenizer.errors import RecordingError

SHORT = 60.0
"""seconds; of a longer length there is one recording"""
EDGE_SECONDS = 1
"""of a part's end, whose codes are not those of the longer recording"""
Oracle = Callable[[NDArray[np.float32]], NDArray[np.int64]]


@dataclass(frozen=True)
class Family:
    """How to write a full-size checkpoint, and how transformers encodes with it."""

    write: Callable[[str], object]
    settings: dict[str, Any]
    """for `load_codec`"""
    oracle: Callable[[str, Codec], Oracle]


def by_encodec(folder: str, codec: Codec) -> Oracle:
    from transformers import EncodecModel

    model: Any = EncodecModel.from_pretrained(folder).eval()  # type: ignore[no-untyped-call]
    kbps = codec.spec.bandwidth

    def encode(samples: NDArray[np.float32]) -> NDArray[np.int64]:
        codes = model.encode(torch.from_numpy(samples)[None], bandwidth=kbps).audio_codes
        found: NDArray[np.int64] = codes[0, 0].numpy()
        return found

    return encode


def by_dac(folder: str, codec: Codec) -> Oracle:
    from transformers import DacModel

    model: Any = DacModel.from_pretrained(folder).eval()  # type: ignore[no-untyped-call]

    def encode(samples: NDArray[np.float32]) -> NDArray[np.int64]:
        padded = np.pad(samples, ((0, 0), (0, -samples.shape[1] % codec.spec.frame_length)))
        found: NDArray[np.int64] = model.encode(torch.from_numpy(padded)[None]).audio_codes[0]
        return found

    return encode


def by_mimi(folder: str, codec: Codec) -> Oracle:
    from transformers import MimiModel

    model: Any = MimiModel.from_pretrained(folder).eval()  # type: ignore[no-untyped-call]

    def encode(samples: NDArray[np.float32]) -> NDArray[np.int64]:
        codes = model.encode(torch.from_numpy(samples)[None], num_quantizers=codec.spec.n_q)
        found: NDArray[np.int64] = codes.audio_codes[0].numpy()
        return found

    return encode


FAMILIES: dict[str, Family] = {
    **{
        f"encodec-{rate}": Family(
            lambda folder, rate=rate: write_seeded(folder, model=rate),  # type: ignore[misc]
            {"bandwidth": kbps},
            by_encodec,
        )
        for rate, kbps in (("24khz", 6.0), ("32khz", 2.2))
    },
    **{
        f"dac-{rate}": Family(
            lambda folder, rate=rate: write_seeded_dac(folder, model=rate, size="full"),  # type: ignore[misc]
            {},
            by_dac,
        )
        for rate in ("16khz", "24khz", "44khz")
    },
    "mimi": Family(lambda folder: write_seeded_mimi(folder, size="full"), {"n_q": 8}, by_mimi),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--family", required=True, choices=FAMILIES)
    parser.add_argument("--seconds", type=float, action="append", help="10 and 600 by default")
    parser.add_argument(
        "--clips", type=int, default=6, help="recordings of a short length (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of short recordings; of others one")
    parser.add_argument("--audio", help="a folder of recordings, joined, instead of synthetic ones")
    parser.add_argument(
        "--whole", type=float, default=SHORT, help="seconds that transformers gets at once at most"
    )
    parser.add_argument("--codec", help="a checkpoint that is there already")
    options = parser.parse_args()
    family = FAMILIES[options.family]
    with tempfile.TemporaryDirectory() as temporary, exact_float32(), torch.inference_mode():
        folder = options.codec or str(Path(temporary) / "codec")
        if not options.codec:
            family.write(folder)
        codec = load_codec(folder, device="cpu", **family.settings)
        oracle = family.oracle(folder, codec)
        heading(options, codec)
        for seconds in options.seconds or (10.0, 600.0):
            rounds = options.rounds if seconds <= SHORT else 1
            clips = options.clips if seconds <= SHORT else 1
            waveforms = recordings(codec, seconds, clips, options.audio)
            compare(codec, oracle, waveforms, rounds, int(options.whole * codec.sample_rate))
    return 0


def heading(options: argparse.Namespace, codec: Codec) -> None:
    spec = codec.spec
    print(f"# {options.family}: ours beside transformers\n")
    print(f"    python -m benchmarks.codecs {' '.join(sys.argv[1:])}\n")
    print(
        f"{machine()}; torch {torch.__version__} with {torch.get_num_threads()} threads. Full "
        f"size, seeded weights; {spec.n_q} codebooks of {spec.codebook_size:,}, "
        f"{spec.sample_rate:,} Hz. "
        "Times real time, and the median of the rounds' ratios.\n"
    )
    print(
        "| recordings | transformers | ours, one at a time | ratio | ours, together | ratio ",
        end="",
    )
    print("| codes compared | different |\n|---|---|---|---|---|---|---|---|", flush=True)


def recordings(codec: Codec, seconds: float, count: int, folder: str | None) -> list[Waveform]:
    """Of that length each, and of a number that is no whole frame."""
    rate = codec.sample_rate
    length = int(seconds * rate) + 17
    if folder is None:
        torch.manual_seed(7)
        audio = 0.2 * synthetic_audio(codec.channels, rate, int(count * (seconds + 1))).numpy()
    else:
        audio = joined(folder, codec, count * length)
    return [Waveform(audio[:, i * length : (i + 1) * length].copy(), rate) for i in range(count)]


def joined(folder: str, codec: Codec, samples: int) -> NDArray[np.float32]:
    """Recordings one after the other, over and over, in an order drawn once."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    order = np.random.default_rng(1).permutation(len(paths))
    parts: list[NDArray[np.float32]] = []
    have = 0
    while have < samples:
        before = have
        for i in order:
            try:
                found = read_audio(paths[i], codec.sample_rate, codec.channels).samples
            except RecordingError:
                continue
            parts.append(found)
            have += found.shape[1]
            if have >= samples:
                break
        if have == before:
            raise SystemExit(f"{folder}: no audio in it")
    return np.concatenate(parts, axis=1)


def compare(
    codec: Codec, oracle: Oracle, waveforms: Sequence[Waveform], rounds: int, whole: int
) -> None:
    """Print a row; transformers gets `whole` samples at once at most."""
    whole = max(whole, codec.spec.frame_length) // codec.spec.frame_length * codec.spec.frame_length
    edge = math.ceil(EDGE_SECONDS * codec.spec.frame_rate)
    seconds = sum(one.seconds for one in waveforms)
    codec.encode(waveforms[0])  # compiles
    oracle(waveforms[0].samples[:, : 2 * codec.sample_rate])
    times: dict[str, list[float]] = {"theirs": [], "alone": [], "together": []}
    compared = different = 0
    for _ in range(rounds):
        began = time.perf_counter()
        expected = [in_parts(oracle, one.samples, whole, edge) for one in waveforms]
        times["theirs"].append(time.perf_counter() - began)
        began = time.perf_counter()
        alone = [codec.encode(one).codes for one in waveforms]
        times["alone"].append(time.perf_counter() - began)
        ways = [alone]
        if len(waveforms) > 1:
            began = time.perf_counter()
            ways.append([one.codes for one in codec.encode_batch(waveforms)])
            times["together"].append(time.perf_counter() - began)
        for found in ways:
            for ours, theirs in zip(found, expected, strict=True):
                compared += theirs.size
                different += int((ours[:, : theirs.shape[1]] != theirs).sum())
    count = f"{len(waveforms)} of {waveforms[0].seconds:.0f} s"
    speed = {name: seconds / statistics.median(each) for name, each in times.items() if each}
    cells = [count, f"{speed['theirs']:.2f}"]
    for name in ("alone", "together"):
        if name not in speed:
            cells += ["", ""]
            continue
        ratios = [theirs / ours for theirs, ours in zip(times["theirs"], times[name], strict=True)]
        cells += [f"{speed[name]:.2f}", f"{statistics.median(ratios):.2f}"]
    print(f"| {' | '.join(cells)} | {compared:,} | {different:,} |", flush=True)


def in_parts(
    oracle: Oracle, samples: NDArray[np.float32], whole: int, edge: int
) -> NDArray[np.int64]:
    """Codes of a recording, or of the first of its parts without the last `edge` frames; all of
    them are computed."""
    starts = range(0, max(samples.shape[1] - whole // 2, 1), whole)
    ends = [*starts[1:], samples.shape[1]]
    codes = [np.asarray(oracle(samples[:, at:end])) for at, end in zip(starts, ends, strict=True)]
    return codes[0] if len(codes) == 1 else codes[0][:, :-edge]


if __name__ == "__main__":
    sys.exit(main())
