"""How much memory a process held, over the time of one object: looked at now and then by a thread of its own.

The peak is the gauge's, which misses nothing. The timeline shows when it was reached, and what the rest of the object
needs. It runs in the memory pass alone, which times nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from suite.records import MemoryPoint

EVERY_S = 0.005  # at first
MOST_POINTS = 200  # then every second one goes, and the looks become half as frequent


class Timeline:
    """`with Timeline(level_bytes) as timeline: …`, then `timeline.points`; none where there is no level to look at."""

    def __init__(self, level_bytes: Callable[[], int] | None):
        self.points: list[MemoryPoint] = []
        self._level_bytes, self._every_s = level_bytes, EVERY_S
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="memory timeline")

    def __enter__(self) -> Timeline:
        self._started = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        if self._level_bytes is None:
            return
        with contextlib.suppress(Exception):  # a level that cannot be read any more ends the timeline, not the cell
            while not self._ended.wait(self._every_s if self.points else 0):
                self._look(self._level_bytes())
            self._look(self._level_bytes())

    def _look(self, level: int) -> None:
        at_s = time.perf_counter() - self._started
        self.points.append(MemoryPoint(at_s=round(at_s, 4), level_bytes=max(level, 0)))
        if len(self.points) > MOST_POINTS:
            self.points, self._every_s = thinned(self.points), 2 * self._every_s


def thinned(points: list[MemoryPoint]) -> list[MemoryPoint]:
    """Of each two the higher: a peak stays."""
    pairs = [points[k : k + 2] for k in range(0, len(points), 2)]
    return [max(pair, key=lambda point: point.level_bytes) for pair in pairs]
