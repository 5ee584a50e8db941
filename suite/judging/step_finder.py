"""Where did a series step, in all of its past? It annotates a history, and never makes a night red.

Binary segmentation (Scott and Knott 1974): the split that leaves the least absolute deviation from the medians of its
two sides is a step where these lie far apart in the noise of a median; then both sides are searched in turn. Medians
and absolute deviations, so that single wild nights count for little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from suite.judging.step_evidence import spread

SHORTEST = 5  # nights that a level lasts
FAR = 5.0  # standard errors of the difference of two medians
LEAST = math.log(1.02)


@dataclass(frozen=True)
class Step:
    night: int  # place in the series of the first night at the new level
    ratio: float  # new level over old


def steps(values: Sequence[float]) -> list[Step]:
    """The steps of a series of positive values, oldest first."""
    logs = np.log(np.asarray(values, dtype=float))
    borders = sorted(_borders(logs, 0))
    levels = [float(np.median(part)) for part in np.split(logs, borders)]
    return [Step(night, math.exp(after - before)) for night, before, after in zip(borders, levels, levels[1:])]


def _borders(logs: np.ndarray, offset: int) -> list[int]:
    if len(logs) < 2 * SHORTEST:
        return []
    places = range(SHORTEST, len(logs) - SHORTEST + 1)
    k = min(places, key=lambda k: _deviation(logs[:k]) + _deviation(logs[k:]))
    if _distance(logs[:k], logs[k:]) < FAR:
        return []
    return [*_borders(logs[:k], offset), offset + k, *_borders(logs[k:], offset + k)]


def _deviation(logs: np.ndarray) -> float:
    return float(np.abs(logs - np.median(logs)).sum())


def _distance(before: np.ndarray, after: np.ndarray) -> float:
    moved = abs(float(np.median(after) - np.median(before)))
    if moved < LEAST:
        return 0.0
    residuals = np.concatenate([before - np.median(before), after - np.median(after)])
    return moved / (spread(residuals) * math.sqrt(math.pi / 2 * (1 / len(before) + 1 / len(after))))
