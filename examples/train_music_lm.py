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
import torch
from curve import draw_curve
from small_lm import (
    CODEC,
    CodesLM,
    opened,
    stream,
    tokenized,
    train,
    unigram_entropy,
    write_sound,
)

from codecshards import CodesLoader, Crop, Delay


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
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
    data = opened(
        tokenized(options.out, options.source, "music", options.codec, options.seconds), 4
    )
    size, rate = data.spec.codebook_size, data.spec.frame_rate
    pattern = Delay(pad=size, begin=True)
    # Two seconds, or as many steps as the model has places for.
    seconds = min(2.0, 1_000 / rate)
    loader = CodesLoader(data, 8, crop=Crop(seconds=seconds), pattern=pattern, steps=options.steps)
    model = CodesLM(data.n_q, size, sizes=data.spec.sizes[: data.n_q])
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
    codes = model.sample(round(seconds * rate))
    length = write_sound(options.out / "music.wav", codes, data, options.codec)
    print(f"sampled {length:.2f} s of music: {options.out / 'music.wav'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
