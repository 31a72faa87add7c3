"""The C library's allocator, told to keep what is freed.

By default glibc gives the memory of a few freed arrays back to the system, so that each second of
audio is written into fresh pages, which the system must first fill with zeros: more work than
converting the samples.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's names for them in malloc.h"""
LARGEST_KEPT = 32 << 20
"""bytes: the most that glibc allows"""
MOST_KEPT = 128 << 20
"""bytes that may lie unused at the end of the heap"""


def keep_freed_memory() -> bool:
    """Have this process use freed memory again. True where that could be arranged: with glibc,
    which is Linux but Alpine."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGEST_KEPT) and mallopt(_TRIM_THRESHOLD, MOST_KEPT))
