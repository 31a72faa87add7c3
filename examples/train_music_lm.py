"""A music language model over delayed codes, in minutes on a CPU: `python
examples/train_music_lm.py`.

Makes a corpus and tokenizes it (or takes yours: `--source FOLDER`), trains a small transformer,
draws its loss curve against the unigram entropy of the codes, samples codes from it and decodes
them to `music.wav`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
from curve import draw_curve
from small_lm import CODEC, CodesLM, stream, tokenized, train, unigram_entropy

from codecshards import Codes, CodesDataset, CodesLoader, Crop, Delay, load_codec


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo/music_lm"),
        help="where everything goes (default: %(default)s)",
    )
    parser.add_argument(
        "--source", type=Path, help="a folder of music (default: the synthesised demo corpus)"
    )
    parser.add_argument(
        "--codec",
        default=CODEC,
        help="as `codecshards tokenize --codec` takes it (default: %(default)s)",
    )
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="length of the demo corpus' pieces (default: %(default)s)",
    )
    options = parser.parse_args()
    torch.manual_seed(0)
    data = CodesDataset(
        tokenized(options.out, options.source, "music", options.codec, options.seconds), n_q=4
    )
    size = data.spec.codebook_size
    loader = CodesLoader(
        data, 8, crop=Crop(seconds=2), pattern=Delay(pad=size, begin=True), steps=options.steps
    )
    model = CodesLM(data.n_q, size)
    floor = unigram_entropy(loader, size)
    print(
        f"{data}: unigram entropy {floor:.3f} nats per code; "
        f"{sum(p.numel() for p in model.parameters()):,} parameters"
    )
    losses = train(model, stream(loader), options.steps)
    draw_curve(options.out / "loss.png", losses, floor)
    print(
        f"loss of the last steps {np.mean(losses[-20:]):.3f}, unigram entropy {floor:.3f}: "
        f"{options.out / 'loss.png'}"
    )
    decode(model, options.codec, data, options.out / "music.wav")
    return 0


def decode(model: CodesLM, codec_name: str, data: CodesDataset, path: Path) -> None:
    """Sample two chunks, and write what they sound like; scales are the corpus' median, as the
    model has none."""
    spec = data.spec
    stride, length = spec.chunk_stride or spec.sample_rate, spec.chunk_length or spec.sample_rate
    frames = [-(-length // spec.frame_length), -(-stride // spec.frame_length)]
    codes = model.sample(sum(frames))
    scales = np.concatenate(
        [s for n in range(len(data)) if (s := data.read(n, None, ("scales",)).scales) is not None]
    )
    values = np.full(2, np.median(scales), np.float32) if spec.has_scales else None
    sampled = Codes(codes, values, np.array(frames, np.uint16), 2 * stride, spec.sample_rate)
    audio = load_codec(codec_name, bandwidth=spec.bandwidth).decode(sampled)
    soundfile.write(path, audio.samples.T, audio.sample_rate)
    print(f"sampled {audio.seconds:.2f} s of music: {path}")


if __name__ == "__main__":
    sys.exit(main())
