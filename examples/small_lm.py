"""What the two training examples share: a small transformer over delayed codes, its training loop,
sampling."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional

from codecshards import Batch, CodesDataset, CodesLoader, Delay, load_codec

EXAMPLES = Path(__file__).resolve().parent
CODEC = "small"
"""what the examples use unless told otherwise: needs no download"""
SOME_FAILED = 3
"""exit code of `codecshards tokenize` that finished and listed recordings that failed"""


class CodesLM(nn.Module):
    """Each step's codes are embedded and added up; every codebook of the next step has a head of
    its own (MusicGen's shape)."""

    def __init__(
        self,
        n_q: int,
        codebook_size: int,
        dim: int = 128,
        layers: int = 3,
        longest: int = 1024,
        letters: int = 0,
        sizes: Sequence[int] | None = None,
    ) -> None:
        """`sizes` are entries of each codebook, where they differ; `codebook_size` is the
        largest."""
        super().__init__()
        self.n_q, self.pad = n_q, codebook_size
        each = torch.tensor([codebook_size] * n_q if sizes is None else sizes)
        self.outside = torch.arange(codebook_size) >= each[:, None, None]
        self.codes = nn.ModuleList(nn.Embedding(codebook_size + 1, dim) for _ in range(n_q))
        self.letters = nn.Embedding(letters, dim) if letters else None
        self.places = nn.Embedding(longest, dim)
        layer = nn.TransformerEncoderLayer(
            dim, 4, 4 * dim, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(
            layer, layers, nn.LayerNorm(dim), enable_nested_tensor=False
        )
        self.heads = nn.Linear(dim, n_q * codebook_size)
        for table in [*self.codes, self.places]:
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens: Tensor, text: Tensor | None = None) -> Tensor:
        """Tokens `[B, n_q, steps]`, text `[B, letters]`, both int64: logits of what follows, `[B,
        n_q, steps, codebook_size]`."""
        x = torch.stack([table(tokens[:, k]) for k, table in enumerate(self.codes)]).sum(0)
        if text is not None and self.letters is not None:
            x = torch.cat([self.letters(text), x], 1)
        x = x + self.places(torch.arange(x.shape[1]))
        causal = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        x = self.body(x, mask=causal, is_causal=True)[:, -tokens.shape[2] :]
        logits = self.heads(x).unflatten(-1, (self.n_q, self.pad)).transpose(1, 2)
        return logits.masked_fill(self.outside, -torch.inf)  # no codebook has such a code

    def loss(self, batch: Batch, text: Tensor | None = None) -> Tensor:
        """Mean nats per code, padding aside. The batch's first column is the model's first input
        (`Delay(begin=True)`)."""
        logits = self(batch.codes[:, :, :-1], text)
        wanted = batch.mask[:, :, 1:]
        return functional.cross_entropy(logits[wanted], batch.codes[:, :, 1:][wanted])

    @torch.no_grad()
    def sample(
        self, frames: int, temperature: float = 0.9, text: Tensor | None = None, seed: int = 0
    ) -> np.ndarray:
        """Draw a sequence: uint16 `[n_q, frames]`."""
        random = torch.Generator().manual_seed(seed)
        pattern = Delay(pad=self.pad, begin=True)
        tokens = torch.full((1, self.n_q, pattern.steps(self.n_q, frames)), self.pad)
        for step in range(1, tokens.shape[2]):
            logits = self(tokens[:, :, :step], text)[0, :, -1] / temperature
            drawn = torch.multinomial(logits.softmax(-1), 1, generator=random)[:, 0]
            for k in range(self.n_q):
                if 0 <= step - 1 - k < frames:
                    tokens[0, k, step] = drawn[k]
        return pattern.invert(tokens[0].numpy())


def unigram_entropy(loader: CodesLoader, size: int, batches: int = 60) -> float:
    """Mean nats per code of guessing by frequency alone, codebook by codebook: what a model must
    beat.

    Of codes as the loader gives them, not as the corpus holds them: a short silent recording comes
    as often as a long one, and its share of the batches alone would bring a model's loss below the
    entropy of the corpus.
    """
    counts = torch.zeros(1)
    begin = loader.state_dict()
    for batch in islice(loader, batches):
        level = torch.arange(batch.codes.shape[1])[None, :, None].expand_as(batch.codes)
        flat = (level * size + batch.codes)[batch.mask]
        counts = (
            counts
            + torch.bincount(flat, minlength=batch.codes.shape[1] * size).view(-1, size).double()
        )
    loader.load_state_dict(begin)
    share = counts / counts.sum(1, keepdim=True)
    return max(0.0, float(-torch.xlogy(share, share).sum(1).mean()))  # 0.0 has no sign


def train(
    model: CodesLM, batches: Iterator[tuple[Batch, Tensor | None]], steps: int, rate: float = 2e-3
) -> list[float]:
    """Adam with warm-up and cosine decay; the loss of every step."""
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.95), weight_decay=0.01)
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda at: (
            min(1.0, (at + 1) / warm)
            * (0.05 + 0.95 * (1 + np.cos(np.pi * min(1.0, at / steps))) / 2)
        ),
    )
    losses, begin = [], time.perf_counter()
    for step, (batch, text) in zip(range(steps), batches, strict=False):
        loss = model.loss(batch, text)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 25 == 0 or step == steps - 1:
            print(
                f"step {step:4d}  {np.mean(losses[-25:]):.3f} nats per code  "
                f"{time.perf_counter() - begin:.0f} s",
                flush=True,
            )
    return losses


def stream(loader: CodesLoader, letters: int = 0) -> Iterator[tuple[Batch, Tensor | None]]:
    """Batches, with their text as bytes where it is wanted: int64 `[B, letters]`."""
    for batch in loader:
        yield batch, spell(batch.text, letters) if letters else None


def spell(texts: Sequence[str | None], letters: int) -> Tensor:
    """Texts as bytes, cut or filled up with zeros: int64 `[B, letters]`."""
    rows = [(text or "").encode()[:letters].ljust(letters, b"\0") for text in texts]
    return torch.tensor([list(row) for row in rows])


def tokenized(out: Path, source: Path | None, part: str, codec: str, seconds: float) -> Path:
    """A data set of codes: of `source`, or of a part of the synthesised demo corpus; made once."""
    if source is None:
        source = out / "corpus" / part
        if not source.is_dir():
            make = [
                sys.executable,
                str(EXAMPLES / "make_demo_corpus.py"),
                str(out / "corpus"),
                "--seconds",
                str(seconds),
            ]
            subprocess.run(make, check=True)
            # Its one silent recording is there to be tokenized; a model that guesses silence right
            # has learned nothing.
            (out / "corpus" / "music" / "silence.wav").unlink()
    command = ["tokenize", str(source), str(out / "codes"), "--codec", codec, "--workers", "0"]
    code = subprocess.run([sys.executable, "-m", "pipelines", *command], check=False).returncode
    if code not in (0, SOME_FAILED):
        sys.exit(code)
    return out / "codes"


def opened(folder: Path, most: int) -> CodesDataset:
    """The data set with the first `most` codebooks, or as many as there are; of a codec whose
    levels run at different rates, whole levels."""
    spec = CodesDataset(folder).spec
    repeats = spec.level_repeats or (1,) * spec.n_q
    whole = [rows for rows in accumulate(repeats) if rows <= most]
    return CodesDataset(folder, n_q=whole[-1] if whole else repeats[0])


def write_sound(path: Path, codes: np.ndarray, data: CodesDataset, codec_name: str) -> float:
    """Write what codes `[n_q, frames]` sound like, at the corpus' median level, as the model has
    no scales; their seconds."""
    codec = load_codec(codec_name)  # as `tokenized` has it: with what is its default
    audio = codec.decode_codes(codes, scales=data.median_scale)
    soundfile.write(path, audio.samples.T, audio.sample_rate)
    return audio.seconds
