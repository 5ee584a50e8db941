"""What the C library does with freed memory, where it is glibc: by itself it keeps some, and how much depends on the
order in which threads allocated. Peaks of the same cell then spread from 34 to 51 MB; with freed pages returned, from
37.7 to 38.3 MB (`docs/measuring.md`). https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

from __future__ import annotations

import ctypes
import gc

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h
# glibc's first threshold, and the highest that it would find by itself (mallopt(3), M_MMAP_THRESHOLD).
RETURNED_FROM_BYTES, KEPT_TO_BYTES = 128 * 2**10, 32 * 2**20


def release_freed_memory() -> None:
    """Give free pages back, where the C library can. https://man7.org/linux/man-pages/man3/malloc_trim.3.html"""
    gc.collect()
    if (trim := _glibc("malloc_trim")) is not None:
        trim(0)


def return_what_is_freed() -> None:
    """From now on large blocks go back to the system when they are freed, so that the resident set is what is used."""
    _set_thresholds(RETURNED_FROM_BYTES)
    release_freed_memory()


def keep_what_is_freed() -> None:
    """As a long-running process: blocks are kept for the next of their size, which takes no page faults then."""
    _set_thresholds(KEPT_TO_BYTES)


def _set_thresholds(mapped_from_bytes: int) -> None:
    if (mallopt := _glibc("mallopt")) is not None:
        mallopt(MMAP_THRESHOLD, mapped_from_bytes)
        mallopt(TRIM_THRESHOLD, 2 * mapped_from_bytes)


def _glibc(name: str):
    return getattr(ctypes.CDLL(None), name, None)
