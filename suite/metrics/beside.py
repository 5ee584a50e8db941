"""The reference's objects beside a cell's rounds: made in turn with them, by a process of its own.

A shared processor is another one a minute later: of `shap-e-nano-text/fp32`, timed every five minutes, an object took
1.41 to 1.57 s, and one of a recipe that does the same work 1.02 s between two such timings. What is made in turn meets
the same neighbours, so the ratio holds where the seconds do not (docs/results.md). An object and the rounds just before
it are a pair, whose ratio knows nothing of what the machine did in other minutes. Without torch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from statistics import geometric_mean

from suite.judging.intervals import latency_interval
from suite.metrics.latency import MIN_ROUNDS
from suite.records import Interval

CALM_S = 0.02  # after an object: OpenMP's threads look for more for some milliseconds, and would disturb the other's
PATIENCE_S = 300.0  # with the other process, to load its model and for each object


class Beside:
    """The cell's end of the pipe to that process. Where nobody answers it has the samples so far, perhaps none."""

    def __init__(self, other: Connection):
        self._other = other
        self.samples_s: list[float] = []
        self._ratios: list[float] = []  # of the pairs: the cell's seconds over the reference's
        self._paired = 0  # of the cell's rounds, those that are in a pair

    def wait(self) -> None:
        """Until the other process has loaded its model, which would disturb what is timed here meanwhile."""
        self._answer()

    def keep_up(self, rounds_s: Sequence[float], time_s: float) -> None:
        """One object, which makes a pair with the rounds that are new: while there are fewer than a cell has rounds at
        least, as far as they took no longer than time_s in all, and as long as they took no longer than the rounds."""
        new_s, spent_s = rounds_s[self._paired :], sum(self.samples_s)
        few = len(self.samples_s) < MIN_ROUNDS and spent_s < time_s
        if new_s and (few or spent_s <= sum(rounds_s)) and (seconds := self._make()) is not None:
            self.samples_s.append(seconds)
            self._ratios.append(geometric_mean(new_s) / seconds)
            self._paired = len(rounds_s)

    def finish(self) -> None:
        """The other process may end."""
        self._other.close()

    def latency_ratio(self) -> Interval | None:
        """The cell's latency over the reference's: the median over the pairs, with the interval of their mean log.
        None where there are fewer than a latency has rounds at least."""
        return latency_interval(self._ratios) if len(self._ratios) >= MIN_ROUNDS else None

    def _make(self) -> float | None:
        if not self._other.closed:
            time.sleep(CALM_S)
            try:
                self._other.send(None)
            except OSError:
                self._other.close()
        return self._answer()

    def _answer(self) -> float | None:
        try:
            if not self._other.closed and self._other.poll(PATIENCE_S):
                return self._other.recv()
        except (EOFError, OSError):
            pass
        self._other.close()
        return None
