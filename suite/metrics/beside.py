"""The reference's objects beside a cell's rounds: made in turn with them, by a process of its own.

A shared processor is another one a minute later: of `shap-e-nano-text/fp32`, timed every five minutes, an object took
1.41 to 1.57 s, and one of a recipe that does the same work 1.02 s between two such timings. What is made in turn meets
the same neighbours, so the ratio holds where the seconds do not (docs/results.md). Without torch.
"""

from __future__ import annotations

import time
from multiprocessing.connection import Connection

from suite.metrics.latency import MIN_ROUNDS

CALM_S = 0.02  # after an object: OpenMP's threads look for more for some milliseconds, and would disturb the other's
PATIENCE_S = 300.0  # with the other process, to load its model and for each object


class Beside:
    """The cell's end of the pipe to that process. Where nobody answers it has the samples so far, perhaps none."""

    def __init__(self, other: Connection):
        self._other = other
        self.samples_s: list[float] = []

    def wait(self) -> None:
        """Until the other process has loaded its model, which would disturb what is timed here meanwhile."""
        self._answer()

    def keep_up(self, spent_s: float) -> None:
        """One object, unless those so far took longer than the cell's own did, which are spent_s."""
        if sum(self.samples_s) <= spent_s:
            self._make()

    def finish(self, time_s: float) -> None:
        """As many objects as a cell has at least, as far as they take no longer than time_s in all; then the other
        process may end."""
        while not self._other.closed and len(self.samples_s) < MIN_ROUNDS and sum(self.samples_s) < time_s:
            self._make()
        self._other.close()

    def _make(self) -> None:
        if not self._other.closed:
            time.sleep(CALM_S)
            try:
                self._other.send(None)
            except OSError:
                self._other.close()
        if (seconds := self._answer()) is not None:
            self.samples_s.append(seconds)

    def _answer(self) -> float | None:
        try:
            if not self._other.closed and self._other.poll(PATIENCE_S):
                return self._other.recv()
        except (EOFError, OSError):
            pass
        self._other.close()
        return None
