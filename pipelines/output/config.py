"""What a run was asked to do: one frozen value that decides every code and every file name.

`TokenizeConfig` is what is stored beside the shards and compared on resume. `RunOptions` only says
how fast and where; changing it never changes a row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pipelines.output.formats import format_names
from pipelines.system.devices import require_known
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.precision import PRECISIONS
from tokenizer.errors import UsageError

SPEC_FACTS_OF_THE_MACHINE = frozenset({"device", "revision", "codec"})
"""Fields of a `CodecSpec` that may differ between two runs over the same folder: the weights' hash
says it all."""


_UNSAID = {"codec.precision": "exact", "config.allow_damaged": False, "config.follow_links": False}
"""what a setting is where a stored form does not have it"""


@dataclass(frozen=True, slots=True)
class TokenizeConfig:
    """Source, codec, layout and policies of one output folder."""

    source: str
    """what was given on the command line, as `pipelines.corpus.sources.open_source` reads it"""
    codec: str = "facebook/encodec_48khz"
    """hub id, folder written by `save_pretrained`, or the name of a codec that ships with the
    package"""
    revision: str | None = None
    """hub commit, tag or branch"""
    bandwidth: float = 6.0
    """kbps"""
    format: str = "parquet"
    """one of `pipelines.output.formats.format_names`"""
    shard_hours: float = 2.0
    """audio hours that a shard is planned to hold"""
    split: str = "train"
    """first part of the shards' names"""
    downmix: bool = False
    """mix more than two channels down (ITU); False makes them failures"""
    allow_truncated: bool = False
    """keep what is there of files that end early, flagged in `meta`"""
    allow_damaged: bool = False
    """keep files in which something is missing or does not decode, with silence there and the
    places in `meta`"""
    max_chunk_seconds: float = 300.0
    """longest recording for codecs without windows, which encode a recording in one piece"""
    precision: str = "exact"
    """a row of `tokenizer.codecs.precision.PRECISIONS`; here and not in `RunOptions`, since "fast"
    has some other codes"""

    follow_links: bool = False
    """read also what links and paths in the data lead to outside of the source; False makes them
    failures"""

    layout: str | None = None
    """a row of `pipelines.corpus.layouts.LAYOUTS`; "folder" is none; None is as recognised"""
    layout_split: str | None = None
    """one split of a layout; None is all of them"""
    map: str | None = None
    """columns of a table, `text=sentence,speaker=client_id`"""
    audio_root: str | None = None
    """folder of relative paths in a table"""
    delimiter: str | None = None
    """of a table; None is as found"""

    def __post_init__(self) -> None:
        if self.format not in format_names():
            raise UsageError(
                f"--format {self.format}: choose one of {', '.join(sorted(format_names()))}"
            )
        if not 0 < self.shard_hours <= 1000:
            raise UsageError(
                f"--shard-hours {self.shard_hours}: give a number above 0 and at most 1000"
            )
        if not self.bandwidth > 0:
            raise UsageError(f"--bandwidth {self.bandwidth}: give kbps above 0")
        if not self.split or not all(c.isalnum() or c == "_" for c in self.split):
            raise UsageError(
                f"--split {self.split!r}: use letters, digits and underscores, as the Hub does"
            )
        if self.precision not in PRECISIONS:
            raise UsageError(f"--precision {self.precision}: choose one of {', '.join(PRECISIONS)}")
        if not self.max_chunk_seconds > 0:
            raise UsageError(f"--max-chunk-seconds {self.max_chunk_seconds}: give seconds above 0")
        # 24 and 24.0 are one setting, and must not be two in what is stored and hashed.
        for name in ("bandwidth", "shard_hours", "max_chunk_seconds"):
            object.__setattr__(self, name, float(getattr(self, name)))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TokenizeConfig:
        """The inverse of `to_dict`; fields of other versions are a `UsageError`."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(
                f"configuration has unknown settings ({', '.join(unknown)}): written by another "
                "version of codecshards"
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError(f"configuration cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run: never changes what is written."""

    workers: int | None = None
    """CPU cores to use; None is all of them, 0 runs everything in this process without Ray"""
    gpus: int | None = None
    """encoders that hold a GPU each; None is all there are"""
    address: str | None = None
    """Ray cluster to join: "auto" or "ray://host:port"; None starts one on this machine"""
    device: str = "auto"
    """ "auto", "cpu" or "cuda" """
    max_failures: int | None = None
    """stop when more recordings than this have failed"""
    decode_timeout: float = 120.0
    """seconds without progress after which a decoder is killed"""
    quiet: bool = False
    reference: bool = False
    """compute with transformers' own modules"""
    audit: float | None = None
    """share of the recordings that are decoded and measured in passing; None is none"""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers {self.workers}: give 0 or more")
        if self.gpus is not None and self.gpus < 0:
            raise UsageError(f"--gpus {self.gpus}: give 0 or more")
        require_known(self.device)
        if self.max_failures is not None and self.max_failures < 0:
            raise UsageError(f"--max-failures {self.max_failures}: give 0 or more")
        if self.audit is not None and not 0 < self.audit <= 1:
            raise UsageError(f"--audit {self.audit}: give a share above 0 and at most 1")
        if not self.decode_timeout > 0:
            raise UsageError(f"--decode-timeout {self.decode_timeout}: give seconds above 0")


def stored_form(config: TokenizeConfig, spec: CodecSpec, version: str) -> dict[str, Any]:
    """The JSON value that is written to `OUT/manifest/config.json`."""
    return {"config": config.to_dict(), "codec": asdict(spec), "version": version}


def fingerprint(stored: Mapping[str, Any]) -> str:
    """Hash of everything in a stored form that decides rows and names, its plan included (16 hex
    digits)."""
    identity = _identity(stored)
    if "plan" in stored:
        identity["plan"] = stored["plan"]["sha256"]
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """One line for each setting in which two stored forms would write other rows; empty when they
    agree."""
    before, now = _identity(stored), _identity(wanted)
    return [
        f"{name}: {before.get(name, _UNSAID.get(name))!r} there, "
        f"{now.get(name, _UNSAID.get(name))!r} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def spec_from_dict(values: Mapping[str, Any]) -> CodecSpec:
    """The `CodecSpec` of a stored form; a `UsageError` where it lacks something."""
    known = {f.name for f in fields(CodecSpec)}
    try:
        return CodecSpec(**{name: value for name, value in values.items() if name in known})
    except TypeError as error:
        raise UsageError(f"description of a codec cannot be read: {error}") from error


def with_device(spec: CodecSpec, device: str) -> CodecSpec:
    """The same codec as it runs on another kind of device; weight-free codecs stay as they are."""
    return spec if spec.device == "none" else replace(spec, device=device)


def _identity(stored: Mapping[str, Any]) -> dict[str, Any]:
    flat = {f"config.{name}": value for name, value in stored["config"].items()}
    if not flat.get("config.allow_damaged"):  # as it was before there was a choice
        flat.pop("config.allow_damaged", None)
    # A checkpoint may lie in another folder next time, or be given by another name: its weights are
    # what matters. What precision there was, its spec says.
    for name in ("codec", "revision", "precision"):
        flat.pop(f"config.{name}", None)
    flat |= {
        f"codec.{name}": value
        for name, value in stored["codec"].items()
        if name not in SPEC_FACTS_OF_THE_MACHINE
    }
    if not flat.get("config.follow_links"):
        flat.pop("config.follow_links", None)
    for name in ("layout", "layout_split", "map", "audio_root", "delimiter"):
        if flat.get(f"config.{name}") is None:
            flat.pop(f"config.{name}", None)
    if flat.get("codec.precision") == "exact":  # as it was before there was a choice
        del flat["codec.precision"]
    return flat
