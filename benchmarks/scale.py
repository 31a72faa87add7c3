"""How cost grows with a corpus, and what many GPUs would wait for.

    python -m benchmarks.scale > benchmarks/results/scale.md

The first table is measured: listing, planning, committing and resuming corpora of many tiny
recordings, without decoding or encoding them. The second is a simulation of 1 to 64 GPUs from stage
times that are measured in place on one core, but for the encoder's speed on a GPU, which is given
(`--encode-speed`). Shards go from one driver to runners, as many as `pipelines.cluster.driver`
starts; a runner decodes a batch, hands it to any encoder, keeps as many under way as it does there,
and writes its shard at the end. A GPU's process takes a batch over and fills it into pinned memory
while the GPU computes another. Disks, networks and chunks that are encoded a second time are not in
it.
"""

from __future__ import annotations

import argparse
import heapq
import json
import platform
import resource
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.machine import machine
from pipelines.cluster.connect import connect
from pipelines.cluster.driver import BATCHES_AHEAD, WINDOW_BYTES
from pipelines.corpus.sources import open_source
from pipelines.output.config import TokenizeConfig
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row
from pipelines.output.manifest.commits import CommitRecord, Manifest, pack_counts
from pipelines.output.manifest.names import hash_file
from pipelines.output.plan import Plan, make_plan
from pipelines.output.storage import open_storage
from pipelines.output.stored_run import StoredRun
from pipelines.tokenizing.jobs import ShardJob
from tokenizer.allocator import keep_freed_memory
from tokenizer.audio import stream_audio
from tokenizer.codecs import batch_chunks
from tokenizer.codecs.encodec.gpu.graphs import fill
from tokenizer.codecs.mulaw import describe_mulaw
from tokenizer.types import Codes, Recording

BATCH = batch_chunks("cuda")
CHUNK_BYTES = 2 * 48_000 * 4
STRIDE = 0.99
"""seconds of audio that a chunk adds"""
SONG = 180
"""seconds of a recording that stage times are measured on"""


@dataclass(frozen=True, slots=True)
class Stages:
    """Seconds of one core or GPU."""

    decode: float
    """for a second of audio: decode, resample and hash"""
    hand_over: float
    """for a second of audio, on the runner's core: chunks into the object store"""
    take_over: float
    """for a second of audio, in the encoder's process: chunks out of the object store"""
    fill: float
    """for a second of audio, in the encoder's process: into pinned memory"""
    write: float
    """for a second of audio: Parquet and its hash"""
    driver: float
    """for a shard: sending its job, taking its result"""
    encode: float
    """for a second of audio, on a GPU"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--records", type=int, nargs="+", default=[1_000, 10_000, 50_000], help="sizes of corpora"
    )
    parser.add_argument(
        "--encode-speed",
        type=float,
        default=5000.0,
        help="of one GPU, x real time: an assumption, not measured",
    )
    parser.add_argument("--cores", type=int, default=16, help="for each GPU")
    parser.add_argument(
        "--hours", type=float, default=1000.0, help="of audio for each GPU in the simulation"
    )
    parser.add_argument("--shard-hours", type=float, default=2.0)
    parser.add_argument(
        "--format",
        default="mp3",
        choices=("mp3", "flac", "wav"),
        help="of the recording that is decoded",
    )
    options = parser.parse_args()
    keep_freed_memory()
    print("# Scale\n")
    print(
        f"    python -m benchmarks.scale --records {' '.join(map(str, options.records))}", end=" "
    )
    print(
        f"--encode-speed {options.encode_speed:g} --cores {options.cores} --hours "
        f"{options.hours:g} --format {options.format}\n"
    )
    print(f"{machine()}, Python {platform.python_version()}.\n\n## Growing corpora, measured\n")
    print(
        "| recordings | list, s | plan, s | store plan, s | read it, s | commit, ms a shard | "
        "resume, s | plan, MB | peak MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for count in options.records:
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            print(growth(Path(folder), count), flush=True)
    print(
        "\nShards hold 200 recordings. Resuming reads the configuration, the plan and every commit "
        "record."
    )
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        stages = measure_stages(Path(folder), options)
    simulate_all(stages, options)
    return 0


def empty_files(corpus: Path, count: int) -> Path:
    """Names to list, a thousand in a folder."""
    for number in range(count):
        place = corpus / f"{number // 1000:04d}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        (place / f"{number:07d}.wav").touch()
    return corpus


def growth(folder: Path, count: int) -> str:
    """One row of the first table."""
    corpus = empty_files(folder / "corpus", count)
    source = open_source(str(corpus))
    listing, recordings = timed(lambda: list(source.scan()))
    planning, plan = timed(lambda: make_plan(recordings, shard_hours=200 * 0.1 / 3600))
    storing, content = timed(plan.to_bytes)
    reading, _ = timed(lambda: Plan.from_bytes(content))
    manifest = Manifest(open_storage(str(folder / "out")))
    manifest.begin(
        StoredRun(TokenizeConfig(str(folder / "corpus")), describe_mulaw(6.0), "1"), plan
    )
    counts = pack_counts(np.random.default_rng(0).integers(0, 5000, (4, 1024)))
    form = shard_format("parquet")

    def commit() -> None:
        for shard in plan.shards:
            rows = len(shard.recordings)
            record = CommitRecord(
                shard.name,
                "parquet",
                "0" * 16,
                rows,
                1,
                1,
                1,
                0,
                None,
                None,
                (),
                codebook_counts=counts,
            )
            manifest.publish(record, form)

    committing, _ = timed(commit)

    def resume() -> None:
        fresh = Manifest(open_storage(str(folder / "out")))
        fresh.read_config()
        done = fresh.committed()
        if [shard for shard in fresh.read_plan().shards if shard.name not in done]:
            raise SystemExit("a committed shard is missing")

    resuming, _ = timed(resume)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"| {count:,} | {listing:.2f} | {planning:.2f} | {storing:.2f} | {reading:.2f} "
        f"| {1000 * committing / len(plan.shards):.1f} | {resuming:.2f} | {len(content) / 1e6:.2f} "
        f"| {peak:.0f} |"
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def busy(work: Callable[[], Any], rounds: int = 3) -> float:
    """Fewest seconds of this process's CPU time that it took."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def measure_stages(folder: Path, options: argparse.Namespace) -> Stages:
    rng = np.random.default_rng(0)
    path = folder / f"song.{options.format}"
    time_axis = np.arange(SONG * 44_100) / 44_100
    tones = sum(np.sin(2 * np.pi * f * time_axis) for f in rng.uniform(60, 3000, 4))
    samples = 0.1 * np.stack([tones, np.roll(tones, 200)], axis=1) + 0.01 * rng.standard_normal(
        (len(time_axis), 2)
    )
    soundfile.write(path, samples, 44_100)

    def decode() -> None:
        hash_file(str(path))
        for block in stream_audio(str(path), 48_000, 2):
            block.tobytes()

    frames = [150] * round(SONG / STRIDE)
    codes = Codes(
        codes=rng.integers(0, 1024, (4, sum(frames))).astype(np.uint16),
        scales=np.ones(len(frames), np.float32),
        chunk_frames=np.array(frames, np.uint16),
        num_samples=(len(frames) - 1) * 47_520 + 48_000,
        sample_rate=48_000,
    )
    rows = [
        Row(str(i), codes, 2, "u", 44_100, 2, "0" * 64, None, None, None, {}) for i in range(10)
    ]

    def write() -> None:
        shard_format("parquet").write(str(folder / "shard.parquet"), iter(rows), {})
        hash_file(str(folder / "shard.parquet"))

    chunks = [rng.standard_normal((2, 48_000), dtype=np.float32) for _ in range(64)]
    batch, lengths = torch.empty(64, 2, 48_000), torch.empty(64, dtype=torch.int64)
    torch.set_num_threads(1)
    audio = 64 * STRIDE
    given, taken, driver = through_ray(chunks)
    return Stages(
        decode=busy(decode) / SONG,
        hand_over=given / audio,
        take_over=taken / audio,
        fill=busy(lambda: fill(batch, lengths, chunks)) / audio,
        write=busy(write) / (len(rows) * SONG),
        driver=driver,
        encode=1 / options.encode_speed,
    )


def through_ray(chunks: list[np.ndarray]) -> tuple[float, float, float]:
    """CPU seconds to put a batch into the object store and to get it out; seconds for a shard's job
    and its result."""
    import ray

    job = ShardJob(
        "train-00000-of-00001",
        tuple(Recording(f"{i:07d}.wav", f"/c/{i:07d}.wav", seconds=10.0) for i in range(720)),
    )
    with connect(None, 1, 0):
        kept: list[Any] = []
        given = busy(lambda: kept.append(ray.put(chunks)))
        taken = busy(lambda: [chunk.sum() for chunk in ray.get(kept[-1])]) - busy(
            lambda: [chunk.sum() for chunk in chunks]
        )
        nothing: Any = ray.remote(num_cpus=0)(_Nothing)
        actor = nothing.remote()
        ray.get(actor.run.remote(job))
        began = time.perf_counter()
        for _ in range(50):
            ray.get(actor.run.remote(job))
        return given, max(taken, 0.0), (time.perf_counter() - began) / 50


class _Nothing:
    """An actor that takes a shard's job and does nothing with it."""

    def run(self, job: ShardJob) -> str:
        return job.name


def simulate_all(stages: Stages, options: argparse.Namespace) -> None:
    """The second table."""
    own = (
        f"{options.cores} cores and {options.hours:g} h for each GPU, shards of "
        f"{options.shard_hours:g} h."
    )
    print(f"\n## Many GPUs, simulated\n\n{own} Stage times, measured here")
    print(
        f"(a core, {options.format} at 44.1 kHz) but for the encoder's speed of "
        f"{options.encode_speed:g} x, which is assumed, in"
    )
    print("microseconds for a second of audio (driver: for a shard):\n")
    print(
        "    "
        + json.dumps({name: round(value * 1e6, 1) for name, value in asdict(stages).items()})
        + "\n"
    )
    print(
        "| GPUs | x real time | of all GPUs' own speed | GPUs busy | cores busy | driver busy | "
        "busiest |"
    )
    print("|---|---|---|---|---|---|---|")
    for gpus in (1, 2, 4, 8, 16, 32, 64):
        shards = round(gpus * options.hours / options.shard_hours)
        taken, work = simulate(
            stages, gpus, gpus * options.cores, shards, options.shard_hours * 3600
        )
        speed = shards * options.shard_hours * 3600 / taken
        servers = {"GPUs": gpus, "cores": gpus * options.cores, "driver": 1}
        shares = {name: work[name] / (taken * count) for name, count in servers.items()}
        most = max(shares, key=lambda name: shares[name])
        row = "".join(f" {shares[name]:.1%} |" for name in servers)
        print(f"| {gpus} | {speed:,.0f} | {speed * stages.encode / gpus:.0%} |{row} {most} |")
    print(
        "\nOf the cores, one for each GPU serves its process; what else is left idle of the "
        "busiest is the start and the end."
    )


def simulate(
    stages: Stages, gpus: int, cores: int, shards: int, shard_seconds: float
) -> tuple[float, Counter[str]]:
    """Seconds that all shards take, and the seconds of work that each kind of server did. Event by
    event, without chance."""
    seconds = BATCH * STRIDE
    batches = max(1, round(shard_seconds / seconds))
    on_gpu = seconds * max(stages.encode, stages.fill + stages.take_over)
    on_core = seconds * (stages.decode + stages.hand_over)
    runners = max(cores - gpus, 1)
    window = min(
        BATCHES_AHEAD * gpus, max(WINDOW_BYTES * gpus // (runners * BATCH * CHUNK_BYTES), 1)
    )
    work = Counter[str]()
    gpu_free, driver_free, todo = [0.0] * gpus, 0.0, shards
    # (time at which the runner is next free, runner, batches still to decode, when its batches
    # under way come back)
    events: list[tuple[float, int, int, deque[float]]] = [
        (0.0, runner, -1, deque()) for runner in range(runners)
    ]
    end = 0.0
    while events:
        now, runner, left, under_way = heapq.heappop(events)
        if left < 0:
            if not todo:
                continue
            todo -= 1
            driver_free = max(driver_free, now) + stages.driver
            work["driver"] += stages.driver
            heapq.heappush(events, (driver_free + on_core, runner, batches, deque()))
            work["cores"] += on_core
        elif left > 0:
            free = heapq.heappop(gpu_free)
            done = max(free, now) + on_gpu
            heapq.heappush(gpu_free, done)
            work["GPUs"] += on_gpu
            under_way.append(done)
            begin = max(now, under_way.popleft()) if len(under_way) >= window else now
            more = on_core if left > 1 else 0.0
            work["cores"] += more
            heapq.heappush(events, (begin + more, runner, left - 1, under_way))
        else:
            written = max([now, *under_way]) + shard_seconds * stages.write
            work["cores"] += shard_seconds * stages.write
            end = max(end, written)
            heapq.heappush(events, (written, runner, -1, deque()))
    return end, work


if __name__ == "__main__":
    sys.exit(main())
