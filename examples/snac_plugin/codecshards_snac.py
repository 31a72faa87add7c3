"""`snac`: the Multi-Scale Neural Audio Codec (https://github.com/hubertsiuzdak/snac) by its own
package. `$CODECSHARDS_SNAC` is a folder with its config.json and pytorch_model.bin, or a hub id.

The truth is `SNAC.encode` on one recording alone, so recordings are taken whole. Codes of what
the model pads them by are not kept, and decoding repeats the last frame in their place.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from numpy.typing import NDArray
from snac import SNAC as Model

from tokenizer.chunking import frames_of
from tokenizer.codecs.amounts import choose_codebooks, kbps
from tokenizer.codecs.base import ChunkCodes, Codec, CodecSpec
from tokenizer.codecs.codebooks.levels import first_levels
from tokenizer.codecs.devices import device_kind, resolve_device
from tokenizer.codecs.registry import Builtin
from tokenizer.errors import CodecLoadError

VARIABLE, PUBLISHED = "CODECSHARDS_SNAC", "hubertsiuzdak/snac_24khz"


def checkpoint() -> Path:
    name = os.environ.get(VARIABLE, PUBLISHED)
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=["config.json", "pytorch_model.bin"]))
    except Exception as error:
        raise CodecLoadError(f"codec snac: no {name}: set {VARIABLE} to a folder") from error


def describe(bandwidth: float | None, n_q: int | None = None) -> CodecSpec:
    folder = checkpoint()
    try:
        config = json.loads((folder / "config.json").read_text())
        weights = hashlib.sha256((folder / "pytorch_model.bin").read_bytes()).hexdigest()
        strides, size, rate = config["vq_strides"], config["codebook_size"], config["sampling_rate"]
        hop = int(np.prod(config["encoder_rates"])) * strides[0]
    except (OSError, ValueError, KeyError) as error:
        raise CodecLoadError(f"codec snac: {folder} is no checkpoint of SNAC: {error}") from error
    repeats = tuple(strides[0] // stride for stride in strides)
    rows = choose_codebooks("snac", [size] * sum(repeats), rate / hop, bandwidth, n_q, repeats)
    return CodecSpec(
        *("snac", None, weights, round(kbps([size] * rows, rate / hop), 6), rows, size),
        *(rate, 1, hop, None, None, False),  # neither chunks nor scales
        level_repeats=first_levels(repeats, rows),
    )


class SnacCodec(Codec):
    def __init__(self, bandwidth: float | None, device: str, n_q: int | None = None) -> None:
        self.device = resolve_device(device)
        self.spec = replace(describe(bandwidth, n_q), device=device_kind(self.device))
        self.model = Model.from_pretrained(str(checkpoint())).to(self.device)
        self.repeats = self.spec.level_repeats or ()

    def encode_chunks(self, chunks: Sequence[NDArray[np.float32]]) -> list[ChunkCodes]:
        return [ChunkCodes(self._encode(chunk), None) for chunk in chunks]

    def decode_chunks(self, chunks: Sequence[ChunkCodes]) -> list[NDArray[np.float32]]:
        return [self._decode(chunk.codes) for chunk in chunks]

    @torch.inference_mode()
    def _encode(self, samples: NDArray[np.float32]) -> NDArray[np.uint16]:
        frames = frames_of(samples.shape[1], self.spec.frame_length)
        levels = self.model.encode(torch.from_numpy(samples)[None].to(self.device))
        rows = [codes.view(-1, each).t() for codes, each in zip(levels, self.repeats, strict=False)]
        return torch.cat(rows)[:, :frames].cpu().numpy().astype(np.uint16)

    @torch.inference_mode()
    def _decode(self, codes: NDArray[np.uint16]) -> NDArray[np.float32]:
        step = self.model.vq_strides[0]  # latents of a frame, whatever levels there are
        window = math.lcm(self.model.attn_window_size or 1, step) // step
        rows = np.pad(codes.astype(np.int64), ((0, 0), (0, -codes.shape[1] % window)), mode="edge")
        each = torch.from_numpy(rows).to(self.device).split(first_levels(self.repeats, len(codes)))
        latents = sum(  # `from_codes`, of the levels that are given
            own.out_proj(own.decode_code(one.t().reshape(1, -1))).repeat_interleave(own.stride, -1)
            for own, one in zip(self.model.quantizer.quantizers, each, strict=False)
        )
        with torch.random.fork_rng():  # the decoder adds noise: the same each time
            torch.manual_seed(0)
            samples = self.model.decoder(latents)
        return samples[0, :, : codes.shape[1] * self.spec.frame_length].cpu().numpy()


SNAC = Builtin(describe, SnacCodec)
