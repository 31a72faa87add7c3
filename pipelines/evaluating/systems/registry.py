"""Systems by name. One that stands in a file of this folder is a row."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import PurePath
from typing import cast

from pipelines.evaluating.folder import REFERENCE, safe_name
from pipelines.evaluating.systems.base import System
from pipelines.evaluating.systems.binary import open_program
from pipelines.evaluating.systems.codec import CodecSystem
from tokenizer.errors import UsageError

BASELINES: dict[str, str] = {
    "opus": "opus:Opus",
    "mp3": "mp3:Mp3",
    "aac": "aac:Aac",
    "speex": "speex:Speex",
    "codec2": "codec2:Codec2",
}
"""`module:class`"""
_COMMON = ("checkpoint", "model", "codec", "export", "final", "best", "last", "latest")
"""names of folders that say nothing of what lies in them"""


def open_systems(
    codecs: Sequence[str], against: Sequence[str], device: str
) -> tuple[list[CodecSystem], list[System]]:
    """Codecs, and what they are compared with.

    Args:
        codecs: as `load_codec` takes them, or `NAME=` before that.
        against: rows of `BASELINES`, or `NAME=PATH` of programs.
        device: for codecs.

    Raises:
        UsageError: there is no such thing, or a name twice.
    """
    taken = {REFERENCE}
    own = []
    for spec in codecs:
        name, place = _named(spec)
        own.append(CodecSystem(_free(name, taken), place, device))
    others = [_baseline(spec, taken) for spec in against]
    return own, others


def _named(spec: str) -> tuple[str, str]:
    given, is_named, place = spec.partition("=")
    if is_named and "/" not in given:
        if not given or not place:
            raise UsageError(f"--codec {spec}: give a codec, or NAME=CODEC")
        return safe_name(given), place
    parts = [part for part in PurePath(spec).parts if part not in ("/", ".", "..")]
    while len(parts) > 1 and parts[-1].lower() in _COMMON:
        parts.pop()
    return safe_name(parts[-1] if parts else spec), spec


def _baseline(spec: str, taken: set[str]) -> System:
    name, is_program, path = spec.partition("=")
    if is_program:
        if not name or not path:
            raise UsageError(f"--against {spec}: give NAME=PATH")
        return open_program(_free(safe_name(name), taken), path)
    if name not in BASELINES:
        raise UsageError(
            f"--against {spec}: choose of {', '.join(BASELINES)}, or give NAME=PATH of a program"
        )
    if name in taken:
        raise UsageError(f"--against {name}: once is enough")
    module, kind = BASELINES[name].split(":")
    found = getattr(import_module(f"pipelines.evaluating.systems.{module}"), kind)
    return cast(System, found()) if _free(name, taken) else found


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken."""
    free = name
    count = 2
    while free.lower() in {one.lower() for one in taken}:
        free, count = f"{name}-{count}", count + 1
    taken.add(free)
    return free
