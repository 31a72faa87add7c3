"""Whether the device that was asked for is there: asked before anything is written or computed."""

from __future__ import annotations

import re

from tokenizer.errors import UsageError

DEVICES = ("auto", "cpu", "cuda")
DEVICE_HELP = "auto, cpu or cuda (default: %(default)s)"
_ONE_CARD = re.compile(r"cuda:(0|[1-9][0-9]{0,3})")


def require_known(device: str) -> None:
    """
    Raises:
        UsageError: neither one of `DEVICES` nor a card by its number, as "cuda:1".
    """
    if device not in DEVICES and not is_one_card(device):
        raise UsageError(f"--device {device}: choose one of {', '.join(DEVICES)}")


def is_one_card(device: str) -> bool:
    """Whether a device is one certain card, as "cuda:1", and not any."""
    return _ONE_CARD.fullmatch(device) is not None


def require_device(device: str, address: str | None = None, gpus: int | None = None) -> None:
    """See that this machine has the GPUs that are asked for; what a cluster at `address` has, the
    cluster says.

    Raises:
        UsageError: an unknown device, or a GPU is needed and torch can use none, or not this one.
    """
    require_known(device)
    on_gpu = device not in ("auto", "cpu")
    if on_gpu and gpus == 0:
        raise UsageError(f"--device {device} and --gpus 0: give one of them")
    wanted = (
        f"--device {device}" if on_gpu else f"--gpus {gpus}" if gpus and device == "auto" else None
    )
    if address is None and wanted is not None and not usable_gpu():
        raise UsageError(
            f"{wanted}: torch can use no GPU here; leave it out or use --device cpu, or a build of "
            "torch with CUDA"
        )
    if address is None and is_one_card(device) and int(device[5:]) >= (cards := gpu_count()):
        raise UsageError(
            f"{wanted}: torch sees {cards} GPU{'' if cards == 1 else 's'} here, counted from cuda:0"
        )


def gpus_to_ask_for(device: str, address: str | None, gpus: int | None) -> int | None:
    """What to tell Ray: None is all that it finds, and those that torch cannot use it must not
    find."""
    if gpus is None and (device == "cpu" or (address is None and not usable_gpu())):
        return 0
    return gpus


def require_cluster_gpus(device: str, gpus: int) -> None:
    """
    Raises:
        UsageError: a GPU is asked for, and the cluster has none.
    """
    if device == "cuda" and not gpus:
        raise UsageError("--device cuda: Ray sees no GPU; use --device cpu")


def usable_gpu() -> bool:
    """Whether torch can compute on a GPU of this machine: a build with CUDA, a driver, and a card
    that it sees."""
    import torch

    return torch.cuda.is_available()


def gpu_count() -> int:
    """Cards that torch sees on this machine."""
    import torch

    return torch.cuda.device_count()
