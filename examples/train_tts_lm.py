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
import soundfile
import torch
from curve import draw_curve
from small_lm import CODEC, CodesLM, spell, stream, tokenized, train, unigram_entropy

from codecshards import Batch, Codes, CodesDataset, CodesLoader, Delay, load_codec

LETTERS = 32
"""of a text that the model reads"""
FRAMES_PER_WORD = 65
"""0.43 s, as the demo corpus speaks"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    data = CodesDataset(
        tokenized(options.out, options.source, "speech", options.codec, 12.0), n_q=2
    )
    size = data.spec.codebook_size
    pattern = Delay(pad=size, begin=True)
    # Whole utterances: a text is that of all of its recording, so the loader gives none beside a
    # crop.
    loader = CodesLoader(data, 8, pattern=pattern, fields=("text",), steps=options.steps)
    longest = max(pattern.steps(data.n_q, data.frames(number)) for number in range(len(data)))
    model = CodesLM(data.n_q, size, longest=max(longest, 1024) + LETTERS, letters=256)
    floor = unigram_entropy(loader, size)
    print(f"{data}: unigram entropy {floor:.3f} nats per code")
    losses = train(model, stream(loader, LETTERS), options.steps)
    draw_curve(options.out / "loss.png", losses, floor)
    own, other = compare_texts(
        model, CodesLoader(data, 8, pattern=pattern, fields=("text",), epochs=1)
    )
    print(f"nats per code given the utterance's own text {own:.3f}, given another's {other:.3f}")
    first, second = (speak(model, text) for text in options.say)
    print(
        f"said again: {same(first, speak(model, options.say[0])):.0%} of codes the same; other "
        f"words: {same(first, second):.0%}"
    )
    for text, codes in zip(options.say, (first, second), strict=True):
        write(options.out / f"{'_'.join(text.split())}.wav", codes, data, options.codec)
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


def speak(model: CodesLM, text: str) -> np.ndarray:
    """Codes for a text, uint16 `[n_q, frames]`; the same text gives the same codes."""
    frames = min(150, FRAMES_PER_WORD * max(1, len(text.split())))
    return model.sample(frames, 0.7, spell([text], LETTERS), seed=1)


def same(one: np.ndarray, other: np.ndarray) -> float:
    """Share of equal codes, as far as both go."""
    frames = min(one.shape[1], other.shape[1])
    return float((one[:, :frames] == other[:, :frames]).mean())


def write(path: Path, codes: np.ndarray, data: CodesDataset, codec_name: str) -> None:
    """What codes sound like, at the corpus' median level."""
    spec = data.spec
    scales = np.concatenate(
        [s for n in range(len(data)) if (s := data.read(n, None, ("scales",)).scales) is not None]
    )
    value = np.array([np.median(scales)], np.float32) if spec.has_scales else None
    frames = codes.shape[1]
    # One chunk that the recording ends with: with EnCodec at 48 kHz, at most one stride, so that no
    # second chunk begins.
    samples = min(frames * spec.frame_length, spec.chunk_stride or frames * spec.frame_length)
    kept = -(-samples // spec.frame_length)
    one = Codes(
        np.ascontiguousarray(codes[:, :kept]),
        value,
        np.array([kept], np.uint16),
        samples,
        spec.sample_rate,
    )
    audio = load_codec(codec_name, bandwidth=spec.bandwidth).decode(one)
    soundfile.write(path, audio.samples.T, audio.sample_rate)
    print(f"spoke {audio.seconds:.2f} s: {path}")


if __name__ == "__main__":
    sys.exit(main())
