"""Has a long recording of Mimi transformers' own bits, where it is computed in blocks?

    python -m benchmarks.mimi_blocks > benchmarks/results/mimi_blocks.md

Recordings of synthetic audio, of full size and seeded weights, at lengths around every remainder
that attention and products have; some are multiples of 512 samples, in which oneDNN sums in another
order on several threads. Codes, and what is quantized, are held against `MimiModel` on the whole.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import machine
from tokenizer import load_codec
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.seeded import synthetic_audio
from tokenizer.codecs.mimi.halves import EncoderHalf
from tokenizer.codecs.mimi.seeded import write_seeded_mimi
from tokenizer.codecs.pieces import Piece

HOP = 960
"""samples of a position of the transformer"""
COUNTS = (513, 514, 528, 560, 600, 767, 768, 771, 784, 850, 1_000, 1_025, 1_100, 1_279, 1_500)
"""positions; the first block has 512"""
KINDS = {"whole": 0, "a last one that is not full": -7}
N_Q = 8
Floats = NDArray[np.float32]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", default="full", help="default: %(default)s")
    parser.add_argument("--threads", type=int, action="append", help="default: 1 and 2")
    asked = parser.parse_args()
    print("# Long recordings of Mimi\n\n    python -m benchmarks.mimi_blocks", *sys.argv[1:])
    print(f"\n{machine()}; {torch.backends.cpu.get_cpu_capability()}. {asked.size} size.\n")
    print(
        "| threads | last position | recordings | codes | differ | frames | of other bits | which |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_seeded_mimi(folder, size=asked.size)
        contest = Contest(folder)
        for threads in asked.threads or (1, 2):
            torch.set_num_threads(threads)
            for kind, more in KINDS.items():
                row(contest, threads, kind, [HOP * count + more for count in COUNTS])
    return 0


def row(contest: Contest, threads: int, kind: str, lengths: list[int]) -> None:
    """All recordings of one kind."""
    codes = differ = frames = 0
    others: list[str] = []
    for length in lengths:
        torch.manual_seed(length)
        samples = 0.1 * synthetic_audio(1, 24_000, length // 24_000 + 1)[:, :length].numpy()
        found, latents = contest.ours(samples)
        expected, whole = contest.theirs(samples)
        codes, differ = codes + expected.size, differ + int((found != expected).sum())
        wrong = np.flatnonzero((latents != whole).any(0))
        frames += latents.shape[1]
        if len(wrong):
            others.append(f"{len(wrong)} of {latents.shape[1]} from {wrong[0]} on")
    which = "; ".join(others) or "none"
    count = sum(int(one.split()[0]) for one in others)
    print(
        f"| {threads} | {kind} | {len(lengths)} | {codes:,} | {differ} | {frames:,} | {count} "
        f"| {which} |",
        flush=True,
    )


class Contest:
    """transformers' model and our codec, and what each quantizes."""

    def __init__(self, folder: str) -> None:
        from transformers import MimiModel

        codec: Any = load_codec(folder, n_q=N_Q, device="cpu")
        loaded: Any = MimiModel.from_pretrained(folder)
        self._codec, self._model = codec, loaded.eval()
        self._seen: list[torch.Tensor] = []
        quantized = codec._network._quantized

        def look(latents: torch.Tensor, alone: bool) -> torch.Tensor:
            self._seen.append(latents[0])
            found: torch.Tensor = quantized(latents, alone)
            return found

        codec._network._quantized = look

    def ours(self, samples: Floats) -> tuple[NDArray[Any], Floats]:
        """Codes `[n_q, frames]` and float32 `[dim, frames]`."""
        self._seen.clear()
        codes = self._codec.encode_pieces([Piece(samples)])[0].codes
        return codes, torch.cat(self._seen, 1).numpy()

    @torch.inference_mode()
    def theirs(self, samples: Floats) -> tuple[NDArray[Any], Floats]:
        """Of the whole."""
        seen: list[torch.Tensor] = []
        handle = EncoderHalf.of(self._model).downsample.register_forward_hook(
            lambda _, __, out: seen.append(out)
        )
        with exact_float32():
            codes = self._model.encode(torch.from_numpy(samples)[None], num_quantizers=N_Q)
        handle.remove()
        return codes.audio_codes[0].numpy(), seen[0][0].numpy()


if __name__ == "__main__":
    sys.exit(main())
