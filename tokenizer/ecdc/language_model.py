"""The original's language model, which predicts the codes of a frame from those before it.

Codes are found again only with the very same probabilities, so its operations are the original's,
one by one, on tensors of the same shapes, frame by frame: what is known beforehand is not used, nor
are keys and values kept. In floating point that makes a file readable where it was written. On
another processor, with another version of torch, or with other threads, a last bit of a softmax may
differ, and then the file cannot be read. The format has no remedy.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tokenizer.ecdc.arithmetic import upper_ends
from tokenizer.ecdc.models import ENTRIES, Model
from tokenizer.errors import CodecLoadError

_HEADS = 8
_PERIOD = 10_000
_PAST_SECONDS = 3.5
_NAMED_BY_HASH = re.compile(r"encodec_lm_\w+-([0-9a-f]{8})\.th")


class LanguageModel:
    """Weights of the original's class, on the CPU."""

    def __init__(self, weights: dict[str, Tensor], model: Model) -> None:
        """
        Raises:
            ValueError: weights of another class, or for another model's number of codebooks.
        """
        self.model = model
        codebooks = sum(1 for name in weights if re.fullmatch(r"emb\.\d+\.weight", name))
        if codebooks != model.codebooks:
            raise ValueError(
                f"is of {codebooks} codebooks, {model.name} has {model.codebooks}: give "
                f"{model.language_model}"
            )
        self._network = _Network(weights, codebooks, int(_PAST_SECONDS * model.frame_rate))

    def begin(self, n_q: int) -> Predictions:
        """Predict the first `n_q` codebooks of a chunk."""
        return Predictions(self._network, n_q)


class Predictions:
    """Of one chunk, frame by frame."""

    def __init__(self, network: _Network, n_q: int) -> None:
        self._network, self._offset = network, 0
        self._before = torch.zeros(1, n_q, 1, dtype=torch.long)
        """codes of the frame before, counted from 1; 0 is that there was none"""
        self._past: list[Tensor] | None = None

    def ends(self) -> NDArray[np.int64]:
        """The shares of the next frame's codes, `[n_q, 1024]` (`upper_ends`). To be called once for
        each frame.

        Raises:
            ValueError: the model does not give probabilities.
        """
        with torch.inference_mode():
            found, self._past = self._network(self._before, self._past, self._offset)
        self._offset += 1
        return upper_ends(np.ascontiguousarray(found[0, :, :, 0].numpy().T))

    def push(self, codes: NDArray[np.uint16]) -> None:
        """The codes of that frame, `[n_q]`."""
        self._before = 1 + torch.from_numpy(codes.astype(np.int64)).view(1, -1, 1)


def load_language_model(file: str | Path, model: Model) -> LanguageModel:
    """Weights as the original's authors publish them, `Model.language_model_url`: what `torch.save`
    has written of a state dictionary.

    Raises:
        CodecLoadError: no such file, or none of such weights.
    """
    path = Path(file)
    try:
        _require_hash(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(weights, dict) or not all(
            isinstance(one, Tensor) for one in weights.values()
        ):
            raise ValueError("holds something else than a state dictionary")
        return LanguageModel(weights, model)
    except FileNotFoundError as error:
        raise CodecLoadError(f"{file}: no such file; {_how_to_get(model)}") from error
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch goes on with how to run its code
            reason = "not what torch.save has written of tensors alone"
        raise CodecLoadError(
            f"{file}: no weights of a language model for {model.name} ({reason}); "
            f"{_how_to_get(model)}"
        ) from error


def _how_to_get(model: Model) -> str:
    return f"the original's are {model.language_model_url}"


def _require_hash(path: Path) -> None:
    """What the original is called ends with its hash.

    Raises:
        ValueError: it is another file.
    """
    named = _NAMED_BY_HASH.fullmatch(path.name)
    if named is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(named[1]):
        raise ValueError(f"its SHA-256 begins with {found[:8]}: the download is damaged")


class _Layer(nn.Module):
    """A layer of a transformer whose norms come after each half."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, _HEADS, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """One step `[1, 1, dim]` that looks at those before and itself, `seen` `[1, n, dim]`."""
        # Nothing is hidden; without a mask torch would choose another kernel than the original's.
        mask = torch.zeros(1, seen.shape[1], dtype=torch.bool)
        attended = self.self_attn(x, seen, seen, attn_mask=mask, need_weights=False)[0]
        x = self.norm1(x + attended)
        expanded = functional.gelu(self.linear1(x))
        normed: Tensor = self.norm2(x + self.linear2(expanded))
        return normed


class _Network(nn.Module):
    """Modules under the names that the original's weights have."""

    def __init__(self, weights: dict[str, Tensor], codebooks: int, past: int) -> None:
        super().__init__()
        self._most_past = past
        with torch.device("meta"):
            self._build(weights, codebooks)
        self.to_empty(device="cpu").float()
        self.load_state_dict(weights)
        if not all(torch.isfinite(one).all() for one in self.parameters()):
            raise ValueError("has weights that are no numbers")
        self.eval()

    def _build(self, weights: dict[str, Tensor], codebooks: int) -> None:
        dim = int(weights["transformer.norm_in.weight"].shape[0])
        hidden = int(weights["transformer.layers.0.linear1.weight"].shape[0])
        if dim % _HEADS or dim < 4:
            raise ValueError(f"has {dim} dimensions, which {_HEADS} heads cannot share")
        layers = {name.split(".")[2] for name in weights if name.startswith("transformer.layers.")}
        self.transformer = nn.ModuleDict(
            {
                "norm_in": nn.LayerNorm(dim),
                "layers": nn.ModuleList(_Layer(dim, hidden) for _ in layers),
            }
        )
        self.emb = nn.ModuleList(nn.Embedding(ENTRIES + 1, dim) for _ in range(codebooks))
        self.linears = nn.ModuleList(nn.Linear(dim, ENTRIES) for _ in range(codebooks))

    def forward(
        self, before: Tensor, past: list[Tensor] | None, offset: int
    ) -> tuple[Tensor, list[Tensor]]:
        """Probabilities of one frame.

        Args:
            before: codes of the frame before it, int64 `[1, n_q, 1]`, counted from 1.
            past: what each layer was given in the frames before, `[1, n, dim]`.
            offset: frames before it.

        Returns:
            float32 `[1, 1024, n_q, 1]`, and the past of the next frame.
        """
        x = self._embedded(before)
        x = self.transformer["norm_in"](x)
        x = x + _sinusoids(offset, x.shape[-1])
        layers: Any = self.transformer["layers"]
        if past is None:  # a step of silence, which the original begins with
            past = [torch.zeros_like(x) for _ in layers]
        kept = []
        for layer, held in zip(layers, past, strict=True):
            seen = torch.cat([held, x], dim=1)
            kept.append(seen[:, -self._most_past :])
            x = layer(x, seen)
        count = before.shape[1]
        logits = torch.stack([self.linears[k](x) for k in range(count)], dim=1)
        # Over a dimension that is not the last in memory, for which softmax has a kernel of its
        # own.
        return torch.softmax(logits.permute(0, 3, 1, 2), dim=1), kept

    def _embedded(self, before: Tensor) -> Tensor:
        total: Tensor = self.emb[0](before[:, 0])
        for k in range(1, before.shape[1]):
            total = total + self.emb[k](before[:, k])
        return total


def _sinusoids(position: int, dim: int) -> Tensor:
    """float32 `[1, 1, dim]`: cosines, then sines."""
    half = dim // 2
    periods = _PERIOD ** (torch.arange(half).view(1, 1, -1) / (half - 1))
    phases = torch.tensor(position).view(1, 1, 1) / periods
    return torch.cat([torch.cos(phases), torch.sin(phases)], dim=-1)
