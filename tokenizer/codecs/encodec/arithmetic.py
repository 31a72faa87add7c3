"""How torch computes in float32. Its settings belong to the whole process, so one thread at a time
works under them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock
from typing import Any

import torch

MOST_MORE = 30 << 30
"""bytes that libraries may take on a GPU beyond those that torch holds"""
_LOCK = RLock()


@contextmanager
def exact_float32() -> Iterator[None]:
    """float32 arithmetic as IEEE has it for the length of a `with` block: no TF32 in products,
    convolutions or LSTMs.

    cuDNN uses TF32 for convolutions and recurrent nets unless told not to; it changes codes.
    """
    with arithmetic("exact"):
        yield


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """How torch computes for the length of a `with` block; other threads wait at theirs until it
    ends.

    "exact" is float32 as IEEE has it, everywhere. "fast" lets cuDNN use TF32 for convolutions and
    LSTMs; products, which means the quantizer's, stay exact: nearest entries found with 10 bits of
    mantissa are often not the nearest.

    A GPU's kernels are chosen when they are launched, and in a graph when it is captured: what was
    started in the block may be waited for outside.
    """
    # The lock comes first: settings read while another thread has its own would be restored for
    # good.
    with _LOCK, ExitStack() as settings:
        if hasattr(torch.backends.cudnn, "conv"):  # from torch 2.9 on
            settings.enter_context(_by_operation("tf32" if precision == "fast" else "ieee"))
        else:
            settings.enter_context(_by_library(precision == "fast"))
        yield


@contextmanager
def _by_operation(cudnn: str) -> Iterator[None]:
    """Every operation's own setting, since one that is not set takes a more general one, which a
    caller may have set."""
    backends: Any = torch.backends
    parents = [(backends.cudnn, cudnn), (backends.mkldnn, "ieee")]
    wanted = [
        (getattr(parent, kind), parent, value)
        for parent, value in parents
        for kind in ("conv", "rnn")
    ]
    wanted += [
        (backends.cuda.matmul, backends.cudnn, "ieee"),
        (backends.mkldnn.matmul, backends.mkldnn, "ieee"),
    ]
    before = [(place, parent, place.fp32_precision) for place, parent, _ in wanted]
    chosen = ("enabled", True), ("benchmark", False), ("deterministic", True)
    flags = [(name, getattr(backends.cudnn, name)) for name, _ in chosen]
    try:
        # Algorithms that are chosen by a race, or that add as it comes, would round differently
        # from one process to the next.
        for name, flag in chosen:
            setattr(backends.cudnn, name, flag)
        for place, _, value in wanted:
            place.fp32_precision = value
        yield
    finally:
        for name, flag in flags:
            setattr(backends.cudnn, name, flag)
        for place, parent, value in before:
            # What followed its parent goes on following it.
            place.fp32_precision = "none" if value == parent.fp32_precision else value


@contextmanager
def _by_library(tf32: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def modest_memory(device: torch.device) -> Iterator[None]:
    """Refuse a GPU's libraries workspaces that most cards have no memory for, for the length of a
    `with` block in one of `arithmetic`.

    cuDNN convolves EnCodec's last layer by Fourier transforms wherever it gets 35 GB for them: on
    an H200 33,000 kernels and 0.24 s for one chunk, and rounded otherwise than in a process, or on
    a card, that has less. Where memory is refused, torch tries what needs less.
    """
    if device.type != "cuda":
        yield
        return
    cuda = torch.cuda
    card = cuda.current_device() if device.index is None else device.index
    limit = getattr(cuda, "get_per_process_memory_fraction", lambda card: 1.0)(card)
    wanted = cuda.memory_reserved(card) + MOST_MORE
    share = min(wanted / cuda.get_device_properties(card).total_memory, limit)
    cuda.set_per_process_memory_fraction(share, card)
    try:
        yield
    finally:
        cuda.set_per_process_memory_fraction(limit, card)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch splits a long sum over its threads, and rounds it differently for each number of
    them."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
