"""The garbage collector, held back where so much is made that it would look through it again and again."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Records and rows hold no circles. Looking through them while a hundred thousand are made takes as long as making
    them. Whoever comes in while it is paused leaves it paused."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
