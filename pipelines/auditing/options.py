"""What an audit is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.auditing.measure.measures import CHEAP
from pipelines.auditing.results import HIGHER_IS_BETTER, Metric, RecordingAudit
from pipelines.system.compute import Compute
from pipelines.system.settings import setting, shared
from pipelines.system.words import fixed
from tokenizer.errors import UsageError

DEFAULT_SAMPLE = 20


LIMITS = {
    "si-snr": "min",
    "visqol": "min",
    "stoi": "min",
    "level": "max",
    "convergence": "max",
    "mel": "max",
}
"""measures by the side on which a limit makes sense"""
_CHOSEN, _MEASURED = "which recordings", "what is measured"
"""groups of flags in the command's help"""


def _limit_flag(metric: str, side: str) -> tuple[str, str]:
    """Name and help of the flag of a measure's limit."""
    what = " of its size" if metric == "level" else ""
    beyond = "below" if side == "min" else "above"
    return f"{side}-{metric}", f"exit code 1 when the mean{what} is {beyond} X"


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
        tuple(metric.value for metric in CHEAP),
        "of si-snr, level, convergence, mel, visqol (needs visqol-python), stoi (speech) "
        "(default: %(default)s)",
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
        members={metric: _limit_flag(metric, side) for metric, side in LIMITS.items()},
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
        Compute.of(self)
        if self.sample < 1:
            raise UsageError(f"--sample {self.sample}: give 1 or more")
        if self.ids and self.all:
            raise UsageError("--ids and --all: give one of them")
        if not self.clip_seconds > 0:
            raise UsageError(f"--clip-seconds {self.clip_seconds}: give seconds above 0")
        if not self.metrics:
            raise UsageError("--metrics: give one or more")
        known = [metric.value for metric in Metric]
        for name in (*self.metrics, *self.limits):
            if name not in known:
                raise UsageError(f"--metrics {name}: choose from {', '.join(known)}")
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
            name: getattr(self, name) for name in ("metrics", "reencode", "page", "clip_seconds")
        }
        text = json.dumps([own, stored], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LimitMissed:
    """A limit that the recordings did not keep."""

    metric: str
    limit: float
    mean: float | None
    """over the recordings where the measure applies; None when it applied to none"""
    worst: str | None
    """id of the worst one"""

    def describe(self) -> str:
        """One line."""
        side = "at least" if Metric(self.metric) in HIGHER_IS_BETTER else "at most"
        what = "in the mean of its size" if self.metric == Metric.LEVEL else "in the mean"
        mean = (
            "not applicable to any recording"
            if self.mean is None
            else f"{fixed(self.mean, 3)} {what}"
        )
        return f"{self.metric}: {mean}, {side} {self.limit:g} was asked for" + (
            f"; worst: {self.worst}" if self.worst else ""
        )


def badness(metric: str, value: float) -> float:
    """A value as something that grows as quality falls."""
    if metric == Metric.LEVEL:
        return abs(value)
    return -value if Metric(metric) in HIGHER_IS_BETTER else value


def missed_limits(options: AuditOptions, recordings: Sequence[RecordingAudit]) -> list[LimitMissed]:
    """The limits that are not kept, by the mean over recordings; a limit on a measure that applied
    to none is missed."""
    missed = []
    for metric, limit in options.limits.items():
        known = [
            (recording.figures[metric].value, recording.id)
            for recording in recordings
            if metric in recording.figures
        ]
        values = [(badness(metric, value), value, id) for value, id in known if value is not None]
        if not values:
            missed.append(LimitMissed(metric, limit, None, None))
        elif not sum(bad for bad, _, _ in values) / len(values) <= badness(
            metric, limit
        ):  # not by a NaN either
            mean = sum(
                abs(value) if metric == Metric.LEVEL else value for _, value, _ in values
            ) / len(values)
            missed.append(LimitMissed(metric, limit, mean, max(values)[2]))
    return missed
