"""Memory that was freed is used again, where the C library lets a program ask for that."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from tokenizer.allocator import keep_freed_memory
if sys.argv[1] != "as it is":
    assert keep_freed_memory(everything=sys.argv[1] == "keep all")
def work():
    for _ in range(50):
        held = [np.ones(100_000, np.float32) for _ in range(8)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked for it")
def test_arrays_are_no_longer_written_into_fresh_pages() -> None:
    pages = {
        how: int(subprocess.check_output([sys.executable, "-c", FAULTS, how]))
        for how in ("keep", "keep all", "as it is")
    }
    assert max(pages["keep"], pages["keep all"]) < 100 < 5_000 < pages["as it is"], pages


GIVEN_BACK = """
import os
from tokenizer.allocator import give_freed_memory_back, keep_freed_memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
assert keep_freed_memory()
held = [bytearray(10_000) for _ in range(20_000)]
last = bytearray(10_000)
del held
before = resident()
assert give_freed_memory_back()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked for it")
def test_what_is_kept_can_be_given_back() -> None:
    """Though what was allocated last is still in use."""
    assert int(subprocess.check_output([sys.executable, "-c", GIVEN_BACK])) > 100
