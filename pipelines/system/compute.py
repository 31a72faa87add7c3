"""Where and with how much a command computes: the settings that tokenizing and auditing share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from pipelines.system.devices import (
    DEVICE_HELP,
    gpus_to_ask_for,
    is_one_card,
    require_cluster_gpus,
    require_device,
    require_known,
)
from pipelines.system.settings import setting, settle
from tokenizer.errors import UsageError

DECODE_TIMEOUT = 120.0
"""seconds without progress after which a decoder is killed, unless something else is asked for"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Changes nothing of what is written."""

    workers: int | None = setting(
        None, "CPU cores to use (default: all; 0: no Ray, one process)", metavar="N"
    )
    gpus: int | None = setting(None, "GPUs to use (default: all)", metavar="N")
    address: str | None = setting(
        None, "Ray cluster to join: auto or ray://HOST:PORT (default: this machine)"
    )
    device: str = setting("auto", DEVICE_HELP)
    decode_timeout: float = setting(
        DECODE_TIMEOUT,
        "seconds without progress until a decoder is killed (default: %(default)s)",
        metavar="S",
    )
    quiet: bool = setting(False, "print nothing but errors")

    def __post_init__(self) -> None:
        settle(self)
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers {self.workers}: give 0 or more")
        if self.gpus is not None and self.gpus < 0:
            raise UsageError(f"--gpus {self.gpus}: give 0 or more")
        require_known(self.device)
        if self.on_ray and is_one_card(self.device):
            raise UsageError(
                f"--device {self.device}: Ray itself says which card is whose: use --device cuda "
                "with --gpus N, or --workers 0 to compute on this very card"
            )
        if not self.decode_timeout > 0:
            raise UsageError(f"--decode-timeout {self.decode_timeout}: give seconds above 0")

    @classmethod
    def of(cls, options: Any) -> Compute:
        """The part of an options dataclass that has all of these fields."""
        return cls(**{one.name: getattr(options, one.name) for one in fields(cls)})

    @property
    def on_ray(self) -> bool:
        """Whether Ray's processes compute, and not this one."""
        return self.workers != 0

    @property
    def cluster(self) -> str | None:
        """Address of a cluster that others have started; None when this machine computes."""
        return self.address if self.on_ray else None

    def require_here(self) -> None:
        """See that the GPUs are there, before anything is written; `require_on` says it of a
        cluster.

        Raises:
            UsageError: this machine is to compute, and torch cannot use what is asked for.
        """
        require_device(self.device, self.cluster, self.gpus)

    @property
    def ray_gpus(self) -> int | None:
        """What to tell Ray: `gpus_to_ask_for`."""
        return gpus_to_ask_for(self.device, self.address, self.gpus)

    def require_on(self, gpus: int) -> None:
        """See that a cluster with so many GPUs has what is asked for.

        Raises:
            UsageError: it has not.
        """
        require_cluster_gpus(self.device, gpus)
