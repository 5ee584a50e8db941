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

from suite.judging.latency_units import MIN_PAIRS
from suite.metrics.latency import may_set_aside

CALM_S = 0.02  # after an object: OpenMP's threads look for more for some milliseconds, and would disturb the other's
PATIENCE_S = 300.0  # with the other process, to load its model and for each object
NEARLY = 0.7  # of the last object's time: beside a recipe of the reference's own speed each round has its object
TOGETHER = 4  # rounds of a fast cell to an object: so MIN_PAIRS are within latency's MAX_ROUNDS


class Beside:
    """The cell's end of the pipe to that process. Where nobody answers it has the samples so far, perhaps none."""

    def __init__(self, other: Connection):
        self._other = other
        self.samples_s: list[float] = []
        self.after_rounds: list[int] = []
        self._set_aside = 0
        self._last_s = self._spent_s = 0.0

    def wait(self) -> None:
        """Until the other process has loaded its model, which would disturb what is timed here meanwhile."""
        self._answer()

    def keep_up(self, rounds_s: Sequence[float], time_s: float) -> None:
        """One object, once the rounds since the last one took NEARLY as long as it did, or are TOGETHER: else a fast
        cell would wait most of the time, and compute with cold caches. A disturbed one is set aside as a round is. None
        is begun once all took longer than time_s, and than the rounds by as much."""
        new_s = rounds_s[self.after_rounds[-1] if self.after_rounds else 0 :]
        due = bool(new_s) and (sum(new_s) >= NEARLY * self._last_s or len(new_s) >= TOGETHER)
        if not due or self._spent_s >= max(time_s, sum(rounds_s) / NEARLY) or (made := self._make()) is None:
            return
        self._last_s, why = made
        self._spent_s += self._last_s
        if why is not None and may_set_aside(self._set_aside, len(self.samples_s), self._spent_s, time_s):
            self._set_aside += 1
            return
        self.samples_s.append(self._last_s)
        self.after_rounds.append(len(rounds_s))

    def has_enough(self, time_s: float) -> bool:
        """Whether there are pairs enough, or will be no more."""
        return len(self.samples_s) >= MIN_PAIRS or self._spent_s >= time_s or self._other.closed

    def finish(self) -> None:
        """The other process may end."""
        self._other.close()

    def _make(self) -> tuple[float, str | None] | None:
        """Seconds of an object, and what disturbed it."""
        if not self._other.closed:
            time.sleep(CALM_S)
            try:
                self._other.send(None)
            except OSError:
                self._other.close()
        return self._answer()

    def _answer(self) -> tuple[float, str | None] | None:
        try:
            if not self._other.closed and self._other.poll(PATIENCE_S):
                return self._other.recv()
        except (EOFError, OSError):
            pass
        self._other.close()
        return None
