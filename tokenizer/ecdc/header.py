"""What an `.ecdc` file begins with: four letters, a version, and JSON."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from tokenizer.ecdc.models import BITS, MODELS, Model
from tokenizer.errors import FailureKind, RecordingError

MAGIC, VERSION = b"ECDC", 0
_FIXED = struct.Struct("!4sBI")
_LARGEST_JSON = 1 << 16
"""bytes; the original writes about 60"""
SCALE = struct.Struct("!f")
_FEWEST_BITS_A_CODE = 0.00017
"""that entropy coding can come to: a probability of at most 1 - 1023 * 2 / 2**24"""


@dataclass(frozen=True, slots=True)
class Header:
    """All that a file says of itself."""

    model: Model
    num_samples: int
    """a channel, at the model's rate"""
    n_q: int
    """codebooks"""
    entropy_coded: bool
    """whether codes were coded with a language model, or in 10 bits each"""

    def dumps(self) -> bytes:
        """The bytes, as the original writes them."""
        said = {
            "m": self.model.name,
            "al": self.num_samples,
            "nc": self.n_q,
            "lm": self.entropy_coded,
        }
        text = json.dumps(said).encode()
        return _FIXED.pack(MAGIC, VERSION, len(text)) + text

    def chunk_bytes(self, frames: int) -> int:
        """Of a chunk of so many frames, its scale included; not for codes that are entropy
        coded."""
        return self.scale_bytes + -(-frames * self.n_q * BITS // 8)

    @property
    def scale_bytes(self) -> int:
        return SCALE.size if self.model.has_scales else 0


def read_header(file: BinaryIO, size: int, name: str) -> Header:
    """Read a file's header, and hold what it claims against the file's size, before anything is
    made that is as long as it claims.

    Args:
        file: at its beginning; left where the first chunk begins.
        size: bytes of the whole file.
        name: what errors call it.

    Raises:
        RecordingError: not such a file (NOT_AUDIO), one that is of another version or model or
            says what cannot be (BAD_HEADER), or that is cut off (TRUNCATED) or longer than it says
            (DAMAGED).
    """
    start = file.read(_FIXED.size)
    if not start.startswith(MAGIC):
        raise RecordingError(FailureKind.NOT_AUDIO, f"{name}: not an .ecdc file", "open")
    if len(start) < _FIXED.size:
        raise cut_off(name, f"its header ends after {len(start)} bytes")
    _, version, length = _FIXED.unpack(start)
    if version != VERSION:
        raise _impossible(name, f"is of version {version}, not {VERSION}")
    if length > _LARGEST_JSON:
        raise _impossible(name, f"has a header that claims {length:,} bytes of JSON")
    text = file.read(length)
    if len(text) < length:
        raise cut_off(name, f"its header ends after {len(text)} of {length} bytes")
    header = _understood(text, name)
    _require_size(header, size - _FIXED.size - length, name)
    return header


def cut_off(name: str, where: str) -> RecordingError:
    return RecordingError(FailureKind.TRUNCATED, f"{name}: the file is cut off, {where}", "decode")


def _impossible(name: str, what: str) -> RecordingError:
    return RecordingError(FailureKind.BAD_HEADER, f"{name}: {what}", "open")


def _understood(text: bytes, name: str) -> Header:
    try:
        said: Any = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise _impossible(name, "has a header that is no JSON") from error
    if not isinstance(said, dict):
        raise _impossible(name, "has a header that is no JSON object")
    missing = [key for key in ("m", "al", "nc", "lm") if key not in said]
    if missing:
        raise _impossible(name, f"has a header without {', '.join(missing)}")
    model = MODELS.get(said["m"]) if isinstance(said["m"], str) else None
    if model is None:
        raise _impossible(
            name, f"is of the model {str(said['m'])[:40]!r}; known are {', '.join(MODELS)}"
        )
    if not isinstance(said["lm"], bool):
        raise _impossible(name, f"says lm {str(said['lm'])[:40]!r}, neither true nor false")
    samples = _integer(said["al"], "al", 1, (1 << 63) - 1, name)
    n_q = _integer(said["nc"], "nc", 1, model.codebooks, name)
    return Header(model, samples, n_q, said["lm"])


def _integer(value: object, key: str, least: int, most: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        try:
            shown = str(value)[:40]
        except ValueError:  # an integer of thousands of digits
            shown = "a number"
        raise _impossible(name, f"says {key} {shown}, which is not within {least} to {most}")
    return value


def _require_size(header: Header, left: int, name: str) -> None:
    """The bytes behind the header are those of as many samples as it says; of codes that are
    entropy coded, they can be."""
    chunks = header.model.chunks(header.num_samples)
    if header.entropy_coded:
        frames = header.num_samples / header.model.layout.frame_length
        least = chunks * header.scale_bytes + frames * header.n_q * _FEWEST_BITS_A_CODE / 8
        if left < least:
            raise _too_short(header, left, name)
        return
    whole = header.chunk_bytes(header.model.layout.full) if chunks > 2 else 0
    most = max(0, chunks - 2)
    rest = header.num_samples - most * header.model.layout.stride
    expected = most * whole + sum(map(header.chunk_bytes, header.model.chunk_frames(rest)))
    if left < expected:
        raise _too_short(header, left, name)
    if left > expected:
        raise RecordingError(
            FailureKind.DAMAGED,
            f"{name}: {left - expected:,} bytes more than its {header.num_samples:,} samples have",
            "open",
        )


def _too_short(header: Header, left: int, name: str) -> RecordingError:
    return cut_off(
        name, f"{left:,} bytes of codes are too few for the {header.num_samples:,} samples it says"
    )
