"""What the files in `golden` were made from; `benchmarks/ecdc_original.py` has the same for the
original tool, which made them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokenizer.chunking import runs_of
from tokenizer.ecdc.models import MODELS, Model
from tokenizer.types import Codes

FOLDER = Path(__file__).with_name("golden")
PLAIN = [("encodec_24khz", 24_001, n_q) for n_q in (2, 4, 8, 16, 32)] + [
    ("encodec_48khz", 48_961, n_q) for n_q in (2, 4, 8, 16)
]
CERTAIN = np.array([1.0, 6.1e-8, 0.0, 0.0], np.float32)
"""probabilities whose shares add up to more than the whole, by rounding"""
CODED = [("encodec_24khz", 6_401, 3), ("encodec_48khz", 47_999, 2)]
"""with a language model: model, samples, codebooks"""
DIM, LAYERS = 16, 2


def codes_of(name: str, samples: int, n_q: int) -> Codes:
    model = MODELS[name]
    frames = list(model.chunk_frames(samples))
    draw = np.random.default_rng(zlib.crc32(f"{name} {n_q}".encode()))
    codes = draw.integers(0, 1024, (n_q, sum(frames))).astype(np.uint16)
    scales = np.array([0.1 + chunk / 7 for chunk in range(len(frames))], np.float32)
    return Codes(
        codes,
        scales if model.has_scales else None,
        np.array(frames if model.has_scales else runs_of(frames[0]), np.uint16),
        samples,
        model.sample_rate,
        model.layout,
    )


def coder_weights(model: Model, dim: int = DIM, layers: int = LAYERS) -> dict[str, torch.Tensor]:
    """Of a small coder: drawn by their names, alike on every machine."""
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.norm_in.weight": (dim,),
        "transformer.norm_in.bias": (dim,),
    }
    for layer in range(layers):
        at = f"transformer.layers.{layer}"
        shapes |= {
            f"{at}.self_attn.in_proj_weight": (3 * dim, dim),
            f"{at}.self_attn.in_proj_bias": (3 * dim,),
            f"{at}.self_attn.out_proj.weight": (dim, dim),
            f"{at}.self_attn.out_proj.bias": (dim,),
            f"{at}.linear1.weight": (4 * dim, dim),
            f"{at}.linear1.bias": (4 * dim,),
            f"{at}.linear2.weight": (dim, 4 * dim),
            f"{at}.linear2.bias": (dim,),
        }
        for norm in ("norm1", "norm2"):
            shapes |= {f"{at}.{norm}.weight": (dim,), f"{at}.{norm}.bias": (dim,)}
    for k in range(model.codebooks):
        shapes[f"emb.{k}.weight"] = (1025, dim)
        shapes |= {f"linears.{k}.weight": (1024, dim), f"linears.{k}.bias": (1024,)}
    return {name: _drawn(name, shape) for name, shape in shapes.items()}


def _drawn(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    draw: Any = np.random.default_rng(zlib.crc32(name.encode()))
    scale = np.float32(1.0 if name.startswith("linears") else 0.3)
    return torch.from_numpy(draw.standard_normal(shape, dtype=np.float32) * scale)


def probabilities(symbols: int, steps: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    draw = np.random.default_rng(symbols)
    weights = draw.integers(1, 1 << 20, (steps, symbols)) >> draw.integers(0, 20, (steps, symbols))
    weights[:, 0] += 1
    weights[::3, symbols // 3] += 1 << 40
    parts = (weights << 20) // weights.sum(1, keepdims=True)
    return (parts / (1 << 20)).astype(np.float32), draw.integers(0, symbols, steps)
