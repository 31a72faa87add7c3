"""The original tool, the PyPI package `encodec` 0.1.1, as a process that takes jobs: an oracle for
`benchmarks.ecdc` and the source of the golden files in `tests/tokenizer/ecdc/golden`.

Runs in an environment of its own, with NumPy, torch, torchaudio, safetensors, soundfile, einops and
encodec, and nothing of this project. Its models are built with `pretrained=False` and given the
weights of a checkpoint of transformers, whose names differ and whose numbers do not.

    python benchmarks/ecdc_original.py serve --checkpoint encodec_24khz=FOLDER …   # jobs on stdin
    python benchmarks/ecdc_original.py coder encodec_24khz --seed 0 WEIGHTS.th
    python benchmarks/ecdc_original.py golden FOLDER
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import encodec
import numpy as np
import soundfile
import torch
from encodec.compress import MODELS, compress, decompress
from encodec.model import EncodecModel, LMModel
from encodec.quantization.ac import ArithmeticCoder, build_stable_quantized_cdf
from encodec.utils import convert_audio
from safetensors.torch import load_file

CLASSES = {
    "encodec_24khz": EncodecModel.encodec_model_24khz,
    "encodec_48khz": EncodecModel.encodec_model_48khz,
}
GOLDEN = {
    "encodec_24khz": (24_001, {1.5: 2, 3: 4, 6: 8, 12: 16, 24: 32}),
    "encodec_48khz": (48_961, {3: 2, 6: 4, 12: 8, 24: 16}),
}
"""samples, and codebooks by bandwidth"""
CERTAIN = [1.0, 6.1e-8, 0.0, 0.0]
"""probabilities whose shares add up to more than the whole, by rounding; the last one has none"""
CODED = {"encodec_24khz": (6_401, 3), "encodec_48khz": (47_999, 2)}
"""the same of the golden files with a language model: samples and codebooks"""


def original_name(name: str) -> str:
    """The original's name of a weight of transformers' `EncodecModel`."""
    if name.startswith("quantizer"):
        return name.replace("quantizer.layers.", "quantizer.vq.layers.").replace(
            ".codebook.", "._codebook."
        )
    name = name.replace(".layers.", ".model.", 1)
    if ".lstm." in name:
        return name
    shared = "convtr" if is_transposed(name) else "conv"
    for theirs, own in (
        (".conv.parametrizations.weight.original0", f".{shared}.{shared}.weight_g"),
        (".conv.parametrizations.weight.original1", f".{shared}.{shared}.weight_v"),
        (".conv.weight", f".{shared}.{shared}.weight"),
        (".conv.bias", f".{shared}.{shared}.bias"),
        (".norm.weight", f".{shared}.norm.weight"),
        (".norm.bias", f".{shared}.norm.bias"),
    ):
        if name.endswith(theirs):
            return name.removesuffix(theirs) + own
    raise ValueError(name)


def is_transposed(name: str) -> bool:
    parts = name.split(".")
    return parts[0] == "decoder" and parts[2] in ("3", "6", "9", "12")


def load_model(name: str, folder: str) -> EncodecModel:
    model = CLASSES[name](pretrained=False)
    model.name = name
    weights = load_file(Path(folder) / "model.safetensors")
    model.load_state_dict({original_name(key): value for key, value in weights.items()})
    return model.eval()


def new_coder(model: EncodecModel, **small: Any) -> LMModel:
    settings: dict[str, Any] = {"num_layers": 5, "dim": 200, **small}
    past = int(3.5 * model.frame_rate)
    return LMModel(model.quantizer.n_q, model.quantizer.bins, past_context=past, **settings).eval()


def seeded_coder(model: EncodecModel, seed: int) -> LMModel:
    """A coder that is not trained, with probabilities from nearly 0 to nearly 1."""
    torch.manual_seed(seed)
    coder = new_coder(model)
    with torch.no_grad():
        for linear in coder.linears:
            linear.weight *= 6.0
    return coder


def numbered_weights(coder: LMModel) -> None:
    """Weights that every machine draws alike: by their names, from NumPy's generator."""
    for name, value in coder.state_dict().items():
        draw = np.random.default_rng(zlib.crc32(name.encode()))
        scale = 1.0 if name.startswith("linears") else 0.3
        drawn = draw.standard_normal(tuple(value.shape), dtype=np.float32) * np.float32(scale)
        value.copy_(torch.from_numpy(drawn))


def golden_codes(model: str, n_q: int, frames: int) -> np.ndarray:
    draw = np.random.default_rng(zlib.crc32(f"{model} {n_q}".encode()))
    return draw.integers(0, 1024, (n_q, frames))


def golden_frames(model: EncodecModel, samples: int, n_q: int) -> list[Any]:
    """What `EncodecModel.encode` returns: chunks of those codes, and scales."""
    stride = model.segment_stride or samples
    length = model.segment_length or samples
    starts = range(0, samples, stride)
    counts = [-(-min(length, samples - start) // 320) for start in starts]
    codes = torch.from_numpy(golden_codes(model.name, n_q, sum(counts)))[None]
    scales = [torch.tensor([[0.1 + chunk / 7]]) for chunk in range(len(counts))]
    parts = torch.split(codes, counts, dim=2)
    normalize = model.normalize
    return [(part, scale if normalize else None) for part, scale in zip(parts, scales, strict=True)]


def golden_probabilities(symbols: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Distributions whose numbers every machine has alike, multiples of 2**-20, in every third of
    which one symbol has nearly all; and symbols."""
    draw = np.random.default_rng(symbols)
    weights = draw.integers(1, 1 << 20, (steps, symbols)) >> draw.integers(0, 20, (steps, symbols))
    weights[:, 0] += 1
    weights[::3, symbols // 3] += 1 << 40
    parts = (weights << 20) // weights.sum(1, keepdims=True)
    return (parts / (1 << 20)).astype(np.float32), draw.integers(0, symbols, steps)


def write_golden_arithmetic(file: Path) -> None:
    held = io.BytesIO()
    for symbols, steps in ((1024, 200), (3, 2000)):
        coder = ArithmeticCoder(held)
        for row, symbol in zip(*golden_probabilities(symbols, steps), strict=True):
            shares = build_stable_quantized_cdf(torch.from_numpy(row), coder.total_range_bits)
            coder.push(int(symbol), shares)
        coder.flush()
    coder = ArithmeticCoder(held)
    for symbol in np.random.default_rng(4).integers(0, 3, 100):
        shares = build_stable_quantized_cdf(
            torch.tensor(CERTAIN), coder.total_range_bits, check=False
        )
        coder.push(int(symbol), shares)
    coder.flush()
    file.write_bytes(held.getvalue())


def write_golden(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_golden_arithmetic(folder / "arithmetic.bin")
    for name, (samples, bandwidths) in GOLDEN.items():
        model = CLASSES[name](pretrained=False)
        model.name = name
        for n_q in bandwidths.values():
            write_one(folder / f"{name}-{n_q}.ecdc", model, samples, n_q, None)
        samples, n_q = CODED[name]
        coder = new_coder(model, dim=16, num_layers=2)
        numbered_weights(coder)
        write_one(folder / f"{name}-{n_q}-lm.ecdc", model, samples, n_q, coder)
        indices = torch.from_numpy(golden_codes(name, n_q, 1))[None] + 1
        with torch.no_grad():
            _, states, offset = coder(torch.zeros(1, n_q, 1, dtype=torch.long))
            second, _, _ = coder(indices, states, offset)
        np.save(folder / f"{name}-{n_q}-lm.npy", second[0, :, :, 0].numpy())


def write_one(file: Path, model: EncodecModel, samples: int, n_q: int, coder: Any) -> None:
    frames = golden_frames(model, samples, n_q)
    model.encode = lambda wav: frames
    model.get_lm_model = lambda: coder
    wav = torch.zeros(model.channels, samples)
    file.write_bytes(compress(model, wav, use_lm=coder is not None))


class Server:
    def __init__(self, checkpoints: dict[str, str]) -> None:
        self.models = {name: load_model(name, folder) for name, folder in checkpoints.items()}
        self.coders: dict[str, LMModel] = {}
        for name, model in self.models.items():
            MODELS[name] = lambda model=model: model
            model.get_lm_model = lambda name=name: self.coders[name]

    def coder(self, name: str, file: str) -> None:
        self.coders[name] = new_coder(self.models[name])
        self.coders[name].load_state_dict(torch.load(file))

    def encode(self, model: str, wav: str, bandwidth: float, lm: bool, out: str) -> None:
        net = self.models[model]
        net.set_target_bandwidth(bandwidth)
        samples, rate = soundfile.read(wav, dtype="float32", always_2d=True)
        given = torch.from_numpy(samples.T.copy())
        converted = convert_audio(given, rate, net.sample_rate, net.channels)
        Path(out).write_bytes(compress(net, converted, use_lm=lm))

    def decode(self, file: str, out: str) -> None:
        found, _ = decompress(Path(file).read_bytes())
        np.save(out, found.numpy())


def serve(checkpoints: dict[str, str]) -> None:
    server = Server(checkpoints)
    print(json.dumps({"version": encodec.__version__}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            getattr(server, job.pop("do"))(**job)
            answer = {}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("serve")
    one.add_argument("--checkpoint", action="append", metavar="MODEL=FOLDER", required=True)
    one.add_argument("--threads", type=int, default=1)
    one = commands.add_parser("coder")
    one.add_argument("model", choices=sorted(CLASSES))
    one.add_argument("file")
    one.add_argument("--seed", type=int, default=0)
    one = commands.add_parser("golden")
    one.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "serve":
        torch.set_num_threads(options.threads)
        serve(dict(given.split("=", 1) for given in options.checkpoint))
    elif options.command == "coder":
        coder = seeded_coder(CLASSES[options.model](pretrained=False), options.seed)
        held = io.BytesIO()
        torch.save(coder.state_dict(), held)
        Path(options.file).write_bytes(held.getvalue())
    else:
        write_golden(options.folder)


if __name__ == "__main__":
    main()
