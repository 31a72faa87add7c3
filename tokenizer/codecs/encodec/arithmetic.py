"""How torch computes in float32. Its settings belong to the whole process, so one thread at a time
works under them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock
from typing import Any

import torch

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
    enabled, benchmark = backends.cudnn.enabled, backends.cudnn.benchmark
    try:
        # Algorithms chosen by a race would round differently from one process to the next.
        backends.cudnn.enabled, backends.cudnn.benchmark = True, False
        for place, _, value in wanted:
            place.fp32_precision = value
        yield
    finally:
        backends.cudnn.enabled, backends.cudnn.benchmark = enabled, benchmark
        for place, parent, value in before:
            # What followed its parent goes on following it.
            place.fp32_precision = "none" if value == parent.fp32_precision else value


@contextmanager
def _by_library(tf32: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


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
