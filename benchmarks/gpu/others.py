"""The codecs without chunks on a card: are their codes transformers' own, and how fast are they?

Each has a section of its own. Whole recordings go in batches, and near ties are settled by
transformers' operations on the recording alone; of longer ones pieces follow each other, or windows
that are batched too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sounds import sound

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.speed import in_turns
from tokenizer.codecs.base import ChunkCodes, Codec
from tokenizer.codecs.dac.seeded import write_seeded_dac
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.codec import EncodecCodec
from tokenizer.codecs.encodec.gpu.pieces import BatchedPieces
from tokenizer.codecs.encodec.gpu.whole import WholeBatches
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.codecs.mimi.seeded import write_seeded_mimi
from tokenizer.codecs.pieces import Piece
from tokenizer.codecs.registry import load_codec
from tokenizer.codecs.semantic.seeded import write_seeded_semantic
from tokenizer.codecs.semantic.windows import WindowedCodec

Samples = NDArray[np.float32]
Codes = NDArray[np.int64]
LEAST = 40
"""seconds that must be left for a codec to begin: writing its weights takes the most of them"""
LEAST_OF_MANY_WEIGHTS = 120
"""likewise of a codec with half a billion of them"""


@dataclass(frozen=True)
class Kind:
    """A codec to measure."""

    write: Callable[[Path, str], object]
    """a seeded checkpoint into a folder, of a size"""
    transformers: str
    """the class of its model"""
    n_q: int
    options: Callable[[Codec], dict[str, Any]] = lambda codec: {}
    """of its `encode`"""
    least: int = LEAST
    like: str | None = None
    """another one that takes the same way, so that a toy run can do without this"""


def _semantic(model_type: str, n_q: int, least: int = LEAST, like: str | None = None) -> Kind:
    """Its codec has transformers' model."""

    def write(folder: Path, size: str) -> object:
        return write_seeded_semantic(folder, model_type=model_type, size=size)

    return Kind(write, "", n_q, least=least, like=like)


KINDS = {
    "EnCodec 24 kHz": Kind(
        lambda folder, size: write_seeded(folder, model="24khz", size=size),
        "EncodecModel",
        8,
        lambda codec: {"bandwidth": codec.spec.bandwidth},
    ),
    "EnCodec 32 kHz": Kind(
        lambda folder, size: write_seeded(folder, model="32khz", size=size),
        "EncodecModel",
        4,
        lambda codec: {"bandwidth": codec.spec.bandwidth},
    ),
    "Mimi": Kind(
        lambda folder, size: write_seeded_mimi(folder, size=size),
        "MimiModel",
        8,
        lambda codec: {"num_quantizers": codec.spec.n_q},
    ),
    "DAC 44.1 kHz": Kind(
        lambda folder, size: write_seeded_dac(folder, model="44khz", size=size), "DacModel", 9
    ),
    "X-Codec": _semantic("xcodec", 1),
    "Higgs Audio v2": _semantic("higgs_audio_v2_tokenizer", 1, like="X-Codec"),
    "X-Codec2": _semantic("xcodec2", 1, LEAST_OF_MANY_WEIGHTS),
    "NeuCodec": _semantic("neucodec", 1, LEAST_OF_MANY_WEIGHTS, like="X-Codec2"),
}


class Contest:
    """transformers' model and our codec, on one device."""

    def __init__(self, bench: Bench, kind: Kind, folder: Path) -> None:
        self._bench, self._kind = bench, kind
        kind.write(folder, "reduced" if bench.toy else "full")
        # On a CPU without what is faster there, which needs packages that a GPU does without.
        there = not bench.on_gpu
        self.codec = load_codec(
            str(folder), n_q=kind.n_q, device=str(bench.device), reference=there
        )
        self.model = self._loaded(folder)
        if there:
            as_on_a_card(self.codec, self.model)

    def _loaded(self, folder: Path) -> Any:
        import transformers

        if isinstance(self.codec, WindowedCodec):
            own: Any = self.codec
            return own._model
        load = getattr(transformers, self._kind.transformers).from_pretrained
        return load(folder).eval().requires_grad_(False).to(self._bench.device)

    @property
    def batches(self) -> list[WholeBatches]:
        """By the longest recording that each takes, rising."""
        codec: Any = self.codec
        if isinstance(codec, EncodecCodec):
            return [codec._network._short]
        return list(codec._batches) if isinstance(codec, WindowedCodec) else [codec._batches]

    @property
    def longest(self) -> int:
        """Samples of what is taken whole."""
        return self.batches[-1].longest

    @property
    def repeated(self) -> int:
        """Recordings so far that were settled."""
        return sum(one.repeated for one in self.batches)

    def alone(self, recordings: Sequence[Samples]) -> None:
        """Each by transformers' operations, side by side."""
        for i, batches in enumerate(self.batches):
            least = self.batches[i - 1].longest if i else 0
            some = [one for one in recordings if least < one.shape[1] <= batches.longest]
            batches._encode_alone(range(len(some)), some, {})

    def sounds(self, seconds: Sequence[float], seed: int = 0) -> list[Samples]:
        """Tones and noise, at least a sample of each."""
        rate = self.codec.sample_rate
        return [
            sound(max(round(one * rate), 1), self.codec.channels, rate, seed + i).samples
            for i, one in enumerate(seconds)
        ]

    def ours(self, recordings: Sequence[Samples]) -> list[Codes]:
        """As a worker encodes them."""
        found: list[Codes] = []
        for start in range(0, len(recordings), self.codec.batch_chunks):
            some = recordings[start : start + self.codec.batch_chunks]
            pieces = self.codec.encode_pieces([Piece(one) for one in some])
            found += [one.codes.astype(np.int64) for one in pieces]
        return found

    @torch.inference_mode()
    def theirs(self, samples: Samples) -> Codes:
        """`encode` of a recording alone, filled up to whole frames where its extractor does so."""
        if isinstance(self.codec, WindowedCodec):
            return self._window_by_window(samples)
        there = torch.from_numpy(samples)[None].to(self._bench.device)
        if self._kind.transformers == "DacModel":
            missing = -samples.shape[1] % self.codec.spec.frame_length
            there = torch.nn.functional.pad(there, (0, missing))
        with exact_float32():
            codes = self.model.encode(there, **self._kind.options(self.codec)).audio_codes
        codes = codes.reshape(-1, codes.shape[-1])[: self.codec.spec.n_q]
        found: Codes = codes.cpu().numpy()
        return found

    def _window_by_window(self, samples: Samples) -> Codes:
        codec: Any = self.codec
        batches, codec._batches = codec._batches, ()
        found: Codes = codec.encode_pieces([Piece(samples)])[0].codes.astype(np.int64)
        codec._batches = batches
        return found


def as_on_a_card(codec: Any, model: Any) -> None:
    """Let a codec on a CPU go the way that it takes on a GPU, but for graphs."""
    if isinstance(codec, EncodecCodec):
        modules = ReferenceModules(model, static=True)
        codec._network = codec._pieces = BatchedPieces(model, modules, codec.spec.n_q)
    else:
        codec._batches = codec._open_batches(model)


def run(bench: Bench, name: str) -> None:
    """One codec."""
    kind = KINDS[name]
    if bench.left() < kind.least and not bench.toy:
        bench.report.line("Not begun: too little time is left.")
        return
    if bench.toy and kind.like is not None:
        bench.report.line(f"Left out of a toy run: it goes the way of {kind.like}.")
        return
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(bench, kind, Path(folder))
    bench.report.line(
        f"{contest.codec.spec.describe()}; whole recordings up to "
        f"{contest.longest / contest.codec.sample_rate:.0f} s."
    )
    correctness(bench, contest)
    if bench.left() > 5:
        speed(bench, contest)


def correctness(bench: Bench, contest: Contest) -> None:
    """Against transformers on the same device, of each recording alone."""
    bench.report.table("recordings", "how many", "codes", "equal to transformers'", "settled")
    for name, recordings in kinds(bench, contest).items():
        if bench.left() < 5:
            bench.report.row(name, len(recordings), *["no time"] * 3)
            continue
        before = contest.repeated
        pairs = [
            (found, contest.theirs(one))
            for one, found in zip(recordings, contest.ours(recordings), strict=True)
        ]
        total = sum(theirs.size for _, theirs in pairs)
        differ = sum(int((mine != theirs).sum()) for mine, theirs in pairs)
        said = f"{differ} differ" if differ else "all"
        # Of those that are longer than a batch takes, near ties are not settled.
        bold = differ and not name.startswith("longer")
        again = contest.repeated - before
        bench.report.row(name, len(pairs), f"{total:,}", f"**{said}**" if bold else said, again)


def kinds(bench: Bench, contest: Contest) -> dict[str, list[Samples]]:
    """Recordings by what is special about them."""
    frame = contest.codec.spec.frame_length / contest.codec.sample_rate
    longest = contest.longest / contest.codec.sample_rate
    rng = np.random.default_rng(0)
    if bench.toy:
        short = contest.sounds([0.0, frame, 3.3 * frame])
        return {"short ones": short, "silence": [np.zeros_like(short[-1])]}
    flat = np.zeros((contest.codec.channels, 3 * contest.codec.sample_rate), np.float32)
    impulse = flat.copy()
    impulse[:, 12_345] = 0.7
    edges = [frame * n for n in (0, 0.1, 0.999, 1, 1.001, 2, 3.3, 7)]
    return {
        "from a sample on": contest.sounds(edges),
        "of random lengths": contest.sounds([float(n) for n in rng.uniform(0.1, longest, 24)]),
        "10 s": contest.sounds([10.0] * 16, 50),
        "silence, DC, an impulse": [flat, flat + 0.5, impulse],
        "longer than are taken whole": contest.sounds([longest + 7.0, 60.0], 90),
    }


def speed(bench: Bench, contest: Contest) -> None:
    """In turns: ours, ours without batches, and transformers'."""
    bench.report.table(
        "what", "ours", "each alone, side by side", "transformers", "ours / transformers"
    )
    rng = np.random.default_rng(1)
    feeds = {"clips of 1 to 8 s": [float(n) for n in rng.uniform(1, 8, 96)], "10 s": [10.0] * 32}
    if bench.toy:
        feeds = {"clips": [0.1, 0.2]}
    for name, seconds in feeds.items():
        if bench.left() < 10:
            bench.report.row(name, *["no time"] * 4)
            continue
        made = contest.sounds(seconds[:24])
        recordings = [made[i % len(made)] for i in range(len(seconds))]
        _encode_row(bench, contest, name, recordings)
    if bench.left() > 5:
        _decode_row(bench, contest)


def _encode_row(bench: Bench, contest: Contest, name: str, recordings: Sequence[Samples]) -> None:
    some, rate = recordings[: 2 if bench.toy else 12], contest.codec.sample_rate

    def seconds(of: Sequence[Samples]) -> float:
        return sum(one.shape[1] for one in of) / rate

    whole = all(one.shape[1] <= contest.longest for one in recordings)
    arms: dict[str, tuple[Callable[[], object], float]] = {
        "ours": (lambda: contest.ours(recordings), seconds(recordings)),
        "transformers": (lambda: [contest.theirs(one) for one in some], seconds(some)),
    }
    if whole:
        arms["alone"] = (lambda: contest.alone(recordings)), seconds(recordings)
    found = in_turns(bench, arms)
    bench.report.row(
        name,
        f"{found['ours']:,.0f}",
        f"{found['alone']:,.0f}" if whole else "",
        f"{found['transformers']:,.1f}",
        f"{found['ours'] / found['transformers']:.1f}",
    )


def _decode_row(bench: Bench, contest: Contest) -> None:
    seconds = 0.2 if bench.toy else 10.0
    recordings = contest.sounds([seconds] * (1 if bench.toy else 8))
    codes = [ChunkCodes(one.astype(np.uint16), None) for one in contest.ours(recordings)]
    found = in_turns(
        bench, {"ours": (lambda: contest.codec.decode_chunks(codes), seconds * len(codes))}
    )
    bench.report.row("decoding", f"{found['ours']:,.0f}", "", "", "")
