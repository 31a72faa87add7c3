"""What an audit is asked for."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.auditing.measure.registry import MEASURES, Better, default_metrics
from pipelines.system.compute import Compute
from pipelines.system.settings import setting, settle, shared
from tokenizer.errors import UsageError

DEFAULT_SAMPLE = 20


_CHOSEN, _MEASURED = "which recordings", "what is measured"
"""groups of flags in the command's help"""


def _metrics_help() -> str:
    names = (f"{row.name} ({row.hint})" if row.hint else row.name for row in MEASURES.values())
    return f"of {', '.join(names)} (default: %(default)s)"


def _limit_flags() -> dict[str, tuple[str, str]]:
    """Name and help of the flag of each measure's limit: lower bounds first."""
    flags = {}
    for row in sorted(MEASURES.values(), key=lambda row: row.better is not Better.HIGHER):
        what = " of its size" if row.better is Better.ZERO else ""
        beyond = "below" if row.better is Better.HIGHER else "above"
        flags[row.name] = row.limit_option, f"exit code 1 when the mean{what} is {beyond} X"
    return flags


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """Which recordings, which measures, which limits, and where to compute."""

    sample: int = setting(
        DEFAULT_SAMPLE,
        "default: %(default)s, and N/4 of the worst on top",
        metavar="N",
        group=_CHOSEN,
    )
    """recordings drawn in proportion over shards, lengths and loudness"""
    seed: int = setting(0, "of the sample (default: %(default)s)", group=_CHOSEN)
    ids: tuple[str, ...] = setting((), "exactly these", metavar="ID", group=_CHOSEN)
    all: bool = setting(False, "all of them", group=_CHOSEN)
    metrics: tuple[str, ...] = setting(
        default_metrics(),
        _metrics_help,
        metavar="A,B,…",
        commas=True,
        group=_MEASURED,
    )
    reencode: bool = setting(
        False, "encode each source again, compare codes, name what is wrong", group=_MEASURED
    )
    limits: Mapping[str, float] = setting(
        {},
        "exit code 1 when the mean is beyond it",
        metavar="X",
        members=_limit_flags,
        group=_MEASURED,
    )
    """by metric: the mean over the recordings must be at least this; at most, for distances and the
    size of level differences"""
    page: bool = setting(True, "figures only: no audio, no images, no page")
    clip_seconds: float = setting(
        30.0, "longest stretch to listen to (default: %(default)s)", metavar="S"
    )
    """around the recording's worst chunk"""
    codec: str | None = setting(
        None, "where the codec lies now, if it has moved (its weights must be the same)"
    )
    moved: tuple[str, ...] = setting(
        (),
        "if the corpus has moved: how its names began, and how they begin now",
        metavar="OLD=NEW",
    )
    device: str = shared(Compute, "device")
    workers: int | None = shared(Compute, "workers", default=0, flag_default=None)
    """0 works in this process; otherwise on Ray: a number of cores, None for all"""
    gpus: int | None = shared(Compute, "gpus")
    address: str | None = shared(Compute, "address")
    decode_timeout: float = shared(
        Compute, "decode_timeout", internal="files that were read once are read again"
    )
    quiet: bool = shared(Compute, "quiet", help="no progress; the figures are printed all the same")

    def __post_init__(self) -> None:
        if self.device is not None:  # torch has names of its own class
            object.__setattr__(self, "device", str(self.device))
        settle(self)
        Compute.of(self)
        if self.sample < 1:
            raise UsageError(f"--sample {self.sample}: give 1 or more")
        if self.ids and self.all:
            raise UsageError("--ids and --all: give one of them")
        if not 0 < self.clip_seconds < math.inf:
            raise UsageError(f"--clip-seconds {self.clip_seconds}: give seconds above 0")
        if not self.metrics:
            raise UsageError("--metrics: give one or more")
        for name in (*self.metrics, *self.limits):
            if name not in MEASURES:
                raise UsageError(f"--metrics {name}: choose from {', '.join(MEASURES)}")
        for name, limit in self.limits.items():
            if not math.isfinite(limit):
                raise UsageError(f"--{MEASURES[name].limit_option} {limit}: give a number")
        missing = [name for name in self.limits if name not in self.metrics]
        if missing:
            raise UsageError(f"a limit on {missing[0]} needs --metrics {missing[0]}")

    @property
    def compute(self) -> Compute:
        """The part that tokenizing has too."""
        return Compute.of(self)

    def fingerprint(self, stored: Mapping[str, Any]) -> str:
        """Hash of what decides one recording's result, with the corpus's stored configuration."""
        own = {
            name: getattr(self, name)
            for name in ("metrics", "reencode", "page", "clip_seconds", "moved")
        }
        text = json.dumps([own, stored], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
