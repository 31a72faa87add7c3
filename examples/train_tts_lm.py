"""Text to speech codes, in minutes on a CPU: `python examples/train_tts_lm.py`.

Synthesises short utterances of five words and tokenizes them (or takes yours: `--source FOLDER`,
with `NAME.txt` beside `NAME.wav`), trains a small transformer that reads the text before the codes,
and says whether the text matters: the loss of every utterance given its own text, and given
another's. Then it speaks the same words twice and other words once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from curve import draw_curve
from small_lm import (
    CODEC,
    CodesLM,
    opened,
    spell,
    stream,
    tokenized,
    train,
    unigram_entropy,
    write_sound,
)

from codecshards import Batch, CodesLoader, Delay

LETTERS = 32
"""of a text that the model reads"""
SECONDS_PER_WORD = 0.43
"""as the demo corpus speaks"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo/tts_lm"),
        help="where everything goes (default: %(default)s)",
    )
    parser.add_argument(
        "--source", type=Path, help="a folder of speech with transcripts (default: the demo corpus)"
    )
    parser.add_argument(
        "--codec",
        default=CODEC,
        help="as `codecshards tokenize --codec` takes it (default: %(default)s)",
    )
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument(
        "--say",
        nargs=2,
        default=["one five", "three two"],
        help="two texts to speak (default: %(default)s)",
    )
    options = parser.parse_args()
    torch.manual_seed(0)
    data = opened(tokenized(options.out, options.source, "speech", options.codec, 12.0), 2)
    size = data.spec.codebook_size
    pattern = Delay(pad=size, begin=True)
    # Whole utterances: a text is that of all of its recording, so the loader gives none beside a
    # crop.
    loader = CodesLoader(data, 8, pattern=pattern, fields=("text",), steps=options.steps)
    longest = max(pattern.steps(data.n_q, data.frames(number)) for number in range(len(data)))
    sizes = data.spec.sizes[: data.n_q]
    model = CodesLM(data.n_q, size, longest=max(longest, 1024) + LETTERS, letters=256, sizes=sizes)
    floor = unigram_entropy(loader, size)
    print(f"{data}: unigram entropy {floor:.3f} nats per code")
    losses = train(model, stream(loader, LETTERS), options.steps)
    draw_curve(options.out / "loss.png", losses, floor)
    own, other = compare_texts(
        model, CodesLoader(data, 8, pattern=pattern, fields=("text",), epochs=1)
    )
    print(f"nats per code given the utterance's own text {own:.3f}, given another's {other:.3f}")
    rate = data.spec.frame_rate
    first, second = (speak(model, text, rate) for text in options.say)
    print(
        f"said again: {same(first, speak(model, options.say[0], rate)):.0%} of codes the same; "
        f"other words: {same(first, second):.0%}"
    )
    for text, codes in zip(options.say, (first, second), strict=True):
        path = options.out / f"{'_'.join(text.split())}.wav"
        print(f"spoke {write_sound(path, codes, data, options.codec):.2f} s: {path}")
    return 0


@torch.no_grad()
def compare_texts(model: CodesLM, loader: CodesLoader) -> tuple[float, float]:
    """Mean loss over an epoch with the right texts, and with texts of other utterances."""
    own, other = [], []
    for batch in loader:
        if not isinstance(batch, Batch):
            continue
        text = spell(batch.text, LETTERS)
        # The next utterance's text, or the next that differs: an utterance of the same words says
        # nothing.
        turned = [
            next((t for t in [*batch.text[i:], *batch.text[:i]] if t != batch.text[i]), None)
            for i in range(len(batch))
        ]
        own.append(model.loss(batch, text).item())
        other.append(model.loss(batch, spell(turned, LETTERS)).item())
    return float(np.mean(own)), float(np.mean(other))


def speak(model: CodesLM, text: str, rate: float) -> np.ndarray:
    """Codes for a text, uint16 `[n_q, frames]`, at most a second of them; the same text gives the
    same codes."""
    frames = max(1, round(rate * min(1.0, SECONDS_PER_WORD * max(1, len(text.split())))))
    return model.sample(frames, 0.7, spell([text], LETTERS), seed=1)


def same(one: np.ndarray, other: np.ndarray) -> float:
    """Share of equal codes, as far as both go."""
    frames = min(one.shape[1], other.shape[1])
    return float((one[:, :frames] == other[:, :frames]).mean())


if __name__ == "__main__":
    sys.exit(main())
