"""Connecting: a Ray of this run's own on this machine, or a cluster that runs already."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.job_config import JobConfig

from pipelines.cluster.deaths import last_line
from pipelines.cluster.local import HeadWatch, last_fatal, private_folder
from pipelines.cluster.token import require_token
from pipelines.system.machine import own_paths, usable_cores
from pipelines.system.places import store_environment
from pipelines.system.signals import kept_signals
from tokenizer.errors import CodecshardsError, UsageError

OBJECT_STORE_BYTES = 2 << 30
"""at least, where this run starts Ray"""
STORE_SHARE = 0.3
"""of a machine's memory that the object store may take with GPUs, as Ray has it by default"""
SHARED_MEMORY = Path("/dev/shm")
"""where the object store lies; it must fit in, or Ray moves it to a disk"""
CLIENT = "ray://"
CLIENT_PAUSES = (1.0, 5.0, 15.0)
"""seconds to wait before a head node is asked again that listens and cannot serve a client yet"""
KNOCK_SECONDS = 10.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What this run may use."""

    cores: int
    gpus: int
    local: bool
    most_cores: int | None = None
    """what was asked for; None takes all there are, and those of nodes that join"""
    most_gpus: int | None = None


class _OwnPaths(JobConfig):
    """A job whose workers do not search the driver's working folder, nor its script's, for modules:
    a user's `tokenizer.py` there would be run in place of this package."""

    def __init__(self) -> None:
        super().__init__(_py_driver_sys_path=own_paths())

    def _runtime_env_has_working_dir(self) -> bool:
        # Only then does Ray leave those two folders away.
        return True


@contextmanager
def connect(address: str | None, workers: int | None, gpus: int | None) -> Iterator[Cluster]:
    """Start Ray on this machine, or join a cluster, for the length of a `with` block.

    Raises:
        UsageError: no cluster answers at `address`, it lacks the GPUs asked for, or it fails in the
            block.
    """
    with (
        _without_the_raylet_s_words(),
        private_folder() if address is None else nullcontext() as folder,
    ):
        try:
            with (
                kept_signals()
            ):  # Ray's own handler would end the process with another exit code, and a stack trace
                _init(address, workers, gpus, folder)
        except CodecshardsError:
            raise
        # Ray's own, of any class: `Exception` itself where a busy machine lets it wait too long
        except Exception as error:
            place = (
                f"no Ray cluster at --address {address}"
                if address
                else "Ray could not start on this machine"
            )
            reason = last_fatal(folder) or _reason(error)
            raise UsageError(f"{place} ({reason})") from error
        # stopped half-way: what has been started must not outlive this process, nor crash it at its
        # end
        except BaseException:
            ray.shutdown()
            raise
        watch = _watch_head(address)
        try:
            yield _cluster(address, workers, gpus)
        except (RayError, ConnectionError) as error:
            raise UsageError(
                f"Ray failed ({last_line(error)}); run the same command again to go on"
            ) from error
        except KeyboardInterrupt:
            if watch is not None and watch.lost:
                raise UsageError(watch.message) from None
            raise
        finally:
            ray.shutdown()
            if watch is not None:
                watch.close()


@contextmanager
def _without_the_raylet_s_words() -> Iterator[None]:
    """Ray prints what its daemons say of a dead process, a thousand characters on standard output,
    though its logs are not asked for. What it means for the run is told in our words."""
    module, name = ray._private.worker, "print_to_stdstream"
    before = getattr(module, name, None)
    setattr(module, name, lambda *given, **more: None)
    try:
        yield
    finally:
        setattr(module, name, before)


def _watch_head(address: str | None) -> HeadWatch | None:
    """None for Ray's client, which has no connection to the head of its own, and notices by
    itself."""
    if address is not None and address.startswith(CLIENT):
        return None
    return HeadWatch(ray.get_runtime_context().gcs_address)


def _init(
    address: str | None, workers: int | None, gpus: int | None, folder: str | None = None
) -> None:
    if ray.is_initialized():  # a caller's own session, or the tests'
        raise RuntimeError("this process is connected to Ray already; call ray.shutdown() first")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray.client_builder").setLevel(logging.ERROR)
    if address:
        _knock(address)
        _join(address, quiet)
        return
    own: dict[str, Any] = {
        "address": "local",  # without it Ray joins whatever cluster it finds on this machine
        "num_cpus": workers or usable_cores(),
        "num_gpus": gpus,
        "include_dashboard": False,
        "object_store_memory": _store_bytes(gpus),
        "_temp_dir": folder,
        "_node_ip_address": LOOPBACK,
        **quiet,
    }
    with _on_loopback():
        try:
            ray.init(**own, job_config=_OwnPaths())
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()  # a busy machine: once more, now that its programs are in memory
            ray.init(**own, job_config=_OwnPaths())


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have a Ray that is started listen on this machine alone: on Linux it takes the address of the
    network otherwise."""
    constants, name = ray._private.ray_constants, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    before, environment = getattr(constants, "ENABLE_RAY_CLUSTER", None), os.environ.get(name)
    constants.ENABLE_RAY_CLUSTER = False
    os.environ[name] = "0"  # for the processes that it starts
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
        os.environ.pop(name)
        if environment is not None:
            os.environ[name] = environment


def _join(address: str, quiet: dict[str, Any]) -> None:
    """Connect to a running cluster. A busy head may need a while until it can start the process
    that serves a client."""
    client = address.startswith(CLIENT)
    if not client:  # a client's workers search no folder of this machine
        quiet = {**quiet, "job_config": _OwnPaths()}
    for pause in CLIENT_PAUSES if client else ():
        try:
            ray.init(address=address, **quiet)
            return
        except ConnectionError:
            time.sleep(pause)
    ray.init(address=address, **quiet)


def _store_bytes(gpus: int | None) -> int:
    """Room for the batches under way. Memory is taken as it is used, so that too much costs
    nothing."""
    if gpus == 0 or sys.platform == "darwin":  # where Ray allows no more
        return OBJECT_STORE_BYTES
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    shared = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    return max(OBJECT_STORE_BYTES, int(min(STORE_SHARE * memory, 0.9 * shared)))


def _knock(address: str) -> None:
    """See that something listens at `host:port`: where nothing does, Ray itself tries for six
    minutes."""
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not host or not port.isdigit():
        return  # `auto`, or a form that Ray checks
    with socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS):
        pass
    require_token(f"{host}:{port}", client=address.startswith(CLIENT))


def _cluster(address: str | None, workers: int | None, gpus: int | None) -> Cluster:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cores, cards = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    if gpus is not None and gpus > cards:
        raise UsageError(f"--gpus {gpus}: the cluster has {cards}")
    return Cluster(
        cores=min(cores, workers) if workers else max(cores, 1),
        gpus=cards if gpus is None else gpus,
        local=address is None,
        most_cores=workers,
        most_gpus=gpus,
    )


def recount(cluster: Cluster) -> Cluster:
    """What there is now: nodes may have come or gone. On one machine, and of what was asked for, no
    more than at the start."""
    if cluster.local:
        return cluster
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if cluster.most_cores:
        cores = min(cores, cluster.most_cores)
    if cluster.most_gpus is not None:
        gpus = min(gpus, cluster.most_gpus)
    if cluster.gpus:  # a run that began on GPUs stays there: other devices may have other codes
        return replace(cluster, cores=cores, gpus=max(gpus, 1))
    return replace(cluster, cores=cores)


def store_settings(cluster: Cluster) -> dict[str, Any]:
    """What actors on other machines need of this process's environment to reach the same stores."""
    variables = {} if cluster.local else store_environment()
    return {"runtime_env": {"env_vars": variables}} if variables else {}


def _reason(error: BaseException) -> str:
    """The first line of what Ray says; the last where the first only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if lines[0].endswith(":") else lines[0]
