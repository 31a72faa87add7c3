"""What an audit is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.auditing.measure.registry import MEASURES, default_metrics
from pipelines.system.devices import require_known
from tokenizer.errors import UsageError

DEFAULT_SAMPLE = 20


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """Which recordings, which measures, which limits, and where to compute."""

    sample: int = DEFAULT_SAMPLE
    """recordings drawn in proportion over shards, lengths and loudness; a quarter as many of the
    worst come on top"""
    ids: tuple[str, ...] = ()
    """exactly these instead"""
    all: bool = False
    """all instead"""
    seed: int = 0
    metrics: tuple[str, ...] = default_metrics()
    """names in `measure.registry.MEASURES`"""
    reencode: bool = False
    """encode each source again and compare codes"""
    limits: Mapping[str, float] = field(default_factory=dict)
    """by metric: the mean over the recordings must be at least this; at most, for distances and the
    size of level differences"""
    page: bool = True
    """write audio, images and the page"""
    clip_seconds: float = 30.0
    """longest stretch of a recording that the page plays, around its worst chunk"""
    codec: str | None = None
    """where the codec lies now; None is where it lay then"""
    device: str = "auto"
    workers: int | None = 0
    """0 works in this process; otherwise on Ray: a number of cores, None for all"""
    gpus: int | None = None
    address: str | None = None
    decode_timeout: float = 120.0
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.sample < 1:
            raise UsageError(f"--sample {self.sample}: give 1 or more")
        if self.ids and self.all:
            raise UsageError("--ids and --all: give one of them")
        if not self.clip_seconds > 0:
            raise UsageError(f"--clip-seconds {self.clip_seconds}: give seconds above 0")
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers {self.workers}: give 0 or more")
        require_known(self.device)
        if not self.metrics:
            raise UsageError("--metrics: give one or more")
        for name in (*self.metrics, *self.limits):
            if name not in MEASURES:
                raise UsageError(f"--metrics {name}: choose from {', '.join(MEASURES)}")
        missing = [name for name in self.limits if name not in self.metrics]
        if missing:
            raise UsageError(f"a limit on {missing[0]} needs --metrics {missing[0]}")

    def fingerprint(self, stored: Mapping[str, Any]) -> str:
        """Hash of what decides one recording's result, with the corpus's stored configuration."""
        own = {
            name: getattr(self, name) for name in ("metrics", "reencode", "page", "clip_seconds")
        }
        text = json.dumps([own, stored], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
