"""What a recipe freed, handed back to the system: glibc keeps it for the process, whose memory would seem no smaller."""

from __future__ import annotations

import ctypes
import gc


def hand_back() -> None:
    """Give free pages back, where the C library can. https://man7.org/linux/man-pages/man3/malloc_trim.3.html"""
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
