"""How a codec sounds on recordings that its training held out, at each of its bandwidths, beside
Opus, and how its codebooks are used. `codecshards evaluate` compares codecs on any corpus, with
intervals; this knows what a training pack holds out, and what systems and measures it has are
those of `pipelines.evaluating`.

    codecshards train-codec CORPUS RUN --pack pack --pack-only [the hold-out options of the
    training] python -m benchmarks.codec_quality pack --codec small >
    benchmarks/results/codec_small.md

Takes stretches of 10 s, evenly spread over recordings that are longer, recordings of 1 s and more
as they are. Each goes through the codec as a user's would (chunks, scales, overlaps, exact length)
and through libopus. ViSQOL needs the extra `eval`; without it that column is left out.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.evaluating import measuring
from pipelines.evaluating.systems.base import NotReached
from pipelines.evaluating.systems.opus import Opus
from tokenizer import Codec, Codes, Waveform, load_codec
from tokenizer.codecs.encodec.checkpoint import find_encodec, read_config
from tokenizer.training.data.pack import Pack, PackedRecording
from tokenizer.training.evaluate import perplexity

OPUS_KBPS = (6.0, 12.0, 24.0)
"""libopus goes no lower than 6"""
SILENT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Audio to measure with."""

    name: str
    kind: str
    waveform: Waveform


@dataclass(frozen=True, slots=True)
class Figures:
    """One reconstruction against its source; None where a measure is not applicable."""

    kind: str
    kbps: float
    si_snr: float | None
    level: float | None
    mel: float | None
    visqol: float | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("pack", help="made by codecshards train-codec … --pack-only")
    parser.add_argument("--codec", default="small")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of a stretch (default: %(default)s)"
    )
    parser.add_argument(
        "--stretches",
        type=int,
        default=4,
        help="of one recording, at the most (default: %(default)s)",
    )
    parser.add_argument(
        "--recordings", type=int, default=60, help="of one kind, at the most (default: %(default)s)"
    )
    parser.add_argument("--no-visqol", action="store_true")
    options = parser.parse_args()
    stretches = list(held_out(Pack(options.pack), options))
    metrics = asked(options.no_visqol)
    highest = load_codec(
        options.codec, bandwidth=bandwidths(options.codec)[-1], device=options.device
    )
    encoded = [highest.encode(stretch.waveform) for stretch in progress("encode", stretches)]
    header(options, stretches)
    for kbps in bandwidths(options.codec):
        codec = load_codec(options.codec, bandwidth=kbps, device=options.device)
        decoded = (codec.decode(nested(codes, codec)).samples for codes in encoded)
        rows = [
            measure(s, d, kbps, metrics)
            for s, d in zip(progress(f"{kbps:g} kbps", stretches), decoded, strict=True)
        ]
        table(f"codec, {kbps:g}", rows)
    for kbps in OPUS_KBPS:
        rows = []
        for stretch in progress(f"opus {kbps:g}", stretches):
            try:
                passed = Opus().through(stretch.waveform, kbps)
            except NotReached as error:
                print(f"{stretch.name}: {error}", file=sys.stderr)
                continue
            achieved = passed.bits / stretch.waveform.seconds / 1000
            rows.append(measure(stretch, passed.samples, achieved, metrics))
        table(f"Opus, {kbps:g}", rows)
    codebooks(encoded, highest)
    silence(options.codec, options.device)
    return 0


def bandwidths(codec: str) -> list[float]:

    return sorted(float(kbps) for kbps in read_config(find_encodec(codec)).target_bandwidths)


def nested(codes: Codes, codec: Codec) -> Codes:
    """The same codes at a lower bandwidth: its first codebooks."""
    return replace(codes, codes=codes.codes[: codec.spec.n_q])


def held_out(pack: Pack, options: argparse.Namespace) -> Iterator[Stretch]:
    seen: dict[str, int] = {}
    for recording in pack.recordings:
        if (
            not recording.held_out
            or recording.num_samples < pack.sample_rate
            or recording.rms < 1e-4
        ):
            continue
        seen[recording.kind] = seen.get(recording.kind, 0) + 1
        if seen[recording.kind] <= options.recordings:
            yield from cut(pack, recording, options)


def cut(pack: Pack, recording: PackedRecording, options: argparse.Namespace) -> Iterator[Stretch]:
    length = min(recording.num_samples, round(options.seconds * pack.sample_rate))
    count = min(options.stretches, recording.num_samples // length)
    for number in range(count):
        # The middles of equal parts: not the silence that recordings begin and end with.
        start = round((number + 0.5) / count * recording.num_samples - length / 2)
        start = min(max(0, start), recording.num_samples - length)
        yield Stretch(
            recording.id,
            recording.kind,
            Waveform(pack.read(recording, start, length), pack.sample_rate),
        )


def measure(
    stretch: Stretch, decoded: NDArray[np.float32], kbps: float, metrics: Sequence[str]
) -> Figures:
    source, rate = stretch.waveform.samples, stretch.waveform.sample_rate
    found = measuring.measure(source, decoded, rate, metrics, speech=False)
    figures = {name: figure.value for name, figure in found.items()}
    return Figures(
        stretch.kind,
        kbps,
        figures["si-snr"],
        figures["level"],
        figures["mel"],
        figures.get("visqol"),
    )


def asked(no_visqol: bool) -> tuple[str, ...]:
    missing = measuring.missing(["visqol"])
    for error in missing.values() if not no_visqol else ():
        print(f"ViSQOL is left out: {error}", file=sys.stderr)
    return ("si-snr", "level", "mel", *(() if no_visqol or missing else ("visqol",)))


def header(options: argparse.Namespace, stretches: Sequence[Stretch]) -> None:
    command = shlex.join(["python", "-m", "benchmarks.codec_quality", *sys.argv[1:]])
    print(f"`{command}`\n\ntorch {torch.__version__}, Python {platform.python_version()}\n")
    for kind in kinds(stretches):
        parts = [stretch for stretch in stretches if stretch.kind == kind]
        seconds = sum(stretch.waveform.seconds for stretch in parts)
        print(
            f"- {kind}: {len({part.name for part in parts})} recordings held out, {len(parts)} "
            f"stretches, {seconds:.0f} s"
        )
    print(
        "\nSI-SNR in dB, the median (the mean) over stretches; ViSQOL (audio mode, MOS-LQO) the "
        "mean; log-mel distance in dB,"
    )
    print(
        "the mean; level of the reconstruction over the source's in dB, the mean (and the 5% and "
        "95% quantiles).\n"
    )
    print("| | kind | kbps | SI-SNR | ViSQOL | mel | level |\n|---|---|---|---|---|---|---|")


def kinds(rows: Sequence[Stretch] | Sequence[Figures]) -> list[str]:
    return sorted({row.kind for row in rows})


def table(name: str, rows: Sequence[Figures]) -> None:
    for kind in kinds(rows):
        mine = [row for row in rows if row.kind == kind]
        ratio, level, mel, score = (
            [value for row in mine if (value := getattr(row, field)) is not None]
            for field in ("si_snr", "level", "mel", "visqol")
        )
        low, high = np.quantile(level, [0.05, 0.95])
        print(
            f"| {name} | {kind} | {statistics.mean(row.kbps for row in mine):.1f} "
            f"| {statistics.median(ratio):.2f} ({statistics.mean(ratio):.2f}) "
            f"| {f'{statistics.mean(score):.2f}' if score else ''} | {statistics.mean(mel):.2f} "
            f"| {statistics.mean(level):+.2f} ({low:+.1f} to {high:+.1f}) |",
            flush=True,
        )


def codebooks(encoded: Sequence[Codes], codec: Codec) -> None:
    size = codec.spec.codebook_size
    used = np.concatenate([np.asarray(codes.codes, np.int64) for codes in encoded], axis=1)
    counts = torch.from_numpy(
        np.stack([np.bincount(level, minlength=size) for level in used])
    ).double()
    print(f"\nCodebooks over all of it, {used.shape[1]} frames, {size} codes each:\n")
    print("| level | perplexity | codes used |\n|---|---|---|")
    for number, (even, row) in enumerate(zip(perplexity(counts).tolist(), counts, strict=True), 1):
        print(f"| {number} | {even:.0f} | {float((row > 0).double().mean()):.1%} |")


def silence(name: str, device: str) -> None:
    print("\nDigital silence comes back at:", end=" ")
    found = []
    for kbps in bandwidths(name):
        codec = load_codec(name, bandwidth=kbps, device=device)
        quiet = Waveform(
            np.zeros((codec.channels, round(SILENT_SECONDS * codec.sample_rate)), np.float32),
            codec.sample_rate,
        )
        power = float(np.square(codec.decode(codec.encode(quiet)).samples, dtype=np.float64).mean())
        found.append(f"{10 * np.log10(power + 1e-30):.1f} dBFS at {kbps:g} kbps")
    print(", ".join(found))


def progress(what: str, parts: Sequence[Stretch]) -> Iterator[Stretch]:
    for number, part in enumerate(parts, 1):
        print(
            f"\r{what}: {number} of {len(parts)}   ",
            end="" if number < len(parts) else "\n",
            file=sys.stderr,
            flush=True,
        )
        yield part


if __name__ == "__main__":
    sys.exit(main())
