"""The time, also where somebody sets the clock back while a session measures."""

from __future__ import annotations

import time
from datetime import datetime, timezone

_STARTED_S, _STARTED_MONOTONIC_S = time.time(), time.monotonic()


def now() -> str:
    """In UTC. A clock that is set back moves no row before those of earlier cells: then the time is told from that of
    this process's start, by the clock that nobody sets."""
    return datetime.fromtimestamp(max(time.time(), _unset_s()), timezone.utc).isoformat(timespec="milliseconds")


def set_back_s() -> float:
    """Seconds by which the clock was set back since this process started; 0 where it was not."""
    return max(0.0, _unset_s() - time.time())


def _unset_s() -> float:
    return _STARTED_S + time.monotonic() - _STARTED_MONOTONIC_S
