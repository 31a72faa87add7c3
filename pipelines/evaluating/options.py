"""What an evaluation is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipelines.evaluating.measuring import MEASURED
from pipelines.system.compute import Compute
from pipelines.system.settings import setting, settle, shared
from tokenizer.errors import UsageError

SHORTEST = 1.0
"""seconds of an excerpt, at the least"""
_COMPARED, _EXCERPTS, _MEASURES = "what is compared", "which excerpts", "what is measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """Systems, excerpts, measures, and where to compute."""

    codec: tuple[str, ...] = setting(
        ("small",),
        "a codec as `tokenize` takes it, or NAME=CODEC; give it once for each (default: small)",
        metavar="CODEC",
        repeated=True,
        group=_COMPARED,
    )
    against: tuple[str, ...] = setting(
        ("opus", "mp3", "aac"),
        "of opus, mp3, aac, speex, codec2, or NAME=PATH of a program: lyra=FOLDER, evs=FOLDER; "
        "'' is none (default: %(default)s)",
        metavar="A,B,…",
        commas=True,
        group=_COMPARED,
    )
    bandwidths: tuple[str, ...] = setting(
        ("3", "6", "12", "24"),
        "kbps, which systems come to as they are measured; a codec that has none of them is taken "
        "as it is by default (default: %(default)s)",
        metavar="KBPS,…",
        commas=True,
        group=_COMPARED,
    )
    report: str = setting(
        "eval",
        "folder for everything; run it again to go on, or with more systems (default: %(default)s)",
        metavar="DIR",
    )
    excerpts: int = setting(
        50, "of each domain (default: %(default)s)", metavar="N", group=_EXCERPTS
    )
    seconds: float = setting(
        5.0,
        "of an excerpt; shorter recordings are taken whole, from 1 s on (default: %(default)s)",
        metavar="S",
        group=_EXCERPTS,
    )
    seed: int = setting(
        0, "of excerpts and of the bootstrap (default: %(default)s)", group=_EXCERPTS
    )
    domain_column: str | None = setting(
        None,
        "column of the corpus that says what a recording is: speech, music … (default: the first "
        "folder in its id)",
        metavar="NAME",
        group=_EXCERPTS,
    )
    domains: tuple[str, ...] = setting(
        (), "only these (default: all)", metavar="A,B,…", commas=True, group=_EXCERPTS
    )
    speech: tuple[str, ...] = setting(
        ("speech",),
        "domains that are speech, of which STOI, PESQ and ViSQOL's speech mode say something "
        "(default: %(default)s)",
        metavar="A,B,…",
        commas=True,
        group=_MEASURES,
    )
    metrics: tuple[str, ...] = setting(
        tuple(MEASURED),
        f"of {', '.join(MEASURED)} (default: all)",
        metavar="A,B,…",
        commas=True,
        group=_MEASURES,
    )
    device: str = shared(Compute, "device")
    workers: int | None = shared(Compute, "workers", default=0, flag_default=None)
    """0 works in this process; otherwise on Ray: a number of cores, None for all"""
    gpus: int | None = shared(Compute, "gpus")
    address: str | None = shared(
        Compute,
        "address",
        help="Ray cluster to join: auto or ray://HOST:PORT; its nodes must see DIR (default: this "
        "machine)",
    )
    decode_timeout: float = shared(Compute, "decode_timeout")
    quiet: bool = shared(Compute, "quiet", help="no progress; the table is printed all the same")

    def __post_init__(self) -> None:
        if self.device is not None:  # torch has names of its own class
            object.__setattr__(self, "device", str(self.device))
        settle(self)
        Compute.of(self)
        if not self.codec and not self.against:
            raise UsageError("--codec and --against: give one at least")
        if self.excerpts < 1:
            raise UsageError(f"--excerpts {self.excerpts}: give 1 or more")
        if not SHORTEST <= self.seconds <= 60:
            raise UsageError(f"--seconds {self.seconds:g}: give {SHORTEST:g} to 60")
        for name in self.metrics:
            if name not in MEASURED:
                raise UsageError(f"--metrics {name}: choose from {', '.join(MEASURED)}")
        if not self.metrics:
            raise UsageError("--metrics: give one or more")
        _ = self.kbps

    @property
    def kbps(self) -> tuple[float, ...]:
        """The bandwidths as numbers, in order.

        Raises:
            UsageError: something else, or none.
        """
        found = set()
        for word in self.bandwidths:
            try:
                value = float(word)
            except ValueError:
                value = 0.0
            if not 0 < value <= 10_000:
                raise UsageError(f"--bandwidths {word}: give kbps above 0, as 6,12")
            found.add(value)
        if not found:
            raise UsageError("--bandwidths: give kbps, as 6,12")
        return tuple(sorted(found))

    @property
    def compute(self) -> Compute:
        """The part that tokenizing has too."""
        return Compute.of(self)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
