"""The vectors that a codec's codes stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.lookup import BUNDLED, find_checkpoint, weights_files, weights_hash
from tokenizer.errors import CodecLoadError

_NAME = "quantizer.layers.{level}.codebook.embed"
"""in an EnCodec's safetensors"""


def codebook_vectors(spec: CodecSpec, n_q: int) -> list[NDArray[np.float32]] | None:
    """Of each of the first levels, float32 `[size, dims]`; None where the codec is no EnCodec, or
    its weights (those that made the codes, by their hash) are not on this machine. Fetches
    nothing."""
    try:
        checkpoint = find_checkpoint(spec.codec, _revision(spec)) if _local(spec) else None
        if checkpoint is None or weights_hash(checkpoint) != spec.weights_sha256:
            return None
        (path, *_) = weights_files(checkpoint)
        if path.suffix != ".safetensors":
            return None
        with safetensors.safe_open(path, "np") as file:
            return _read(file, spec.sizes[:n_q])
    except (CodecLoadError, OSError, safetensors.SafetensorError):
        return None


def _read(file: Any, sizes: tuple[int, ...]) -> list[NDArray[np.float32]] | None:
    names, found = set(file.keys()), []
    for level, size in enumerate(sizes):
        name = _NAME.format(level=level)
        if name not in names:
            return None
        vectors = np.asarray(file.get_tensor(name), np.float32)
        if vectors.ndim != 2 or len(vectors) != size or not np.isfinite(vectors).all():
            return None
        found.append(vectors)
    return found


def _revision(spec: CodecSpec) -> str | None:
    return None if spec.codec in BUNDLED else spec.revision


def _local(spec: CodecSpec) -> bool:
    """Whether asking for the checkpoint asks nobody else."""
    from pathlib import Path

    if spec.codec in BUNDLED or Path(spec.codec).is_dir():
        return True
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(spec.codec, "config.json", revision=spec.revision)
    return isinstance(found, str)
