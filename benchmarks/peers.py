"""Alarms by other projects' own code, run by a Python that has them: `pip install apache-otava asv` elsewhere.

`python -m benchmarks.judging --peers PYTHON` calls it. It reads JSON from standard input: the rule, the nights of the
past, and series of logarithms of which a higher one is worse. It answers on which night after the past each series
first alarms, or null. A change counts where it is upwards and began within the last ten nights. Nothing of the suite is
imported: it need not be installed there.
"""

from __future__ import annotations

import json
import math
import sys

LAST = 10  # nights


def otava(values: list[float]) -> bool:
    """Apache Otava's change points with its default options."""
    from otava.series import Metric, Series

    series = Series("night", None, list(range(len(values))), {"value": Metric(-1)}, {"value": values}, {})
    found = series.analyze().change_points["value"]
    return any(c.index >= len(values) - LAST and c.mean_after() > c.mean_before() for c in found)


def asv(values: list[float]) -> bool:
    """asv's step detection and its regressions, at its default threshold of 5 %."""
    from asv.step_detect import detect_regressions, detect_steps

    _, _, places = detect_regressions(detect_steps(values), threshold=0.05)
    return any(before >= len(values) - LAST - 1 for before, *_ in places or ())


RULES = {"Apache Otava": otava, "asv": asv}


def first_alarm(rule, nights: list[float], past: int) -> int | None:
    values = [math.exp(night) for night in nights]
    for t in range(past, len(values)):
        if rule(values[: t + 1]):
            return t - past + 1
    return None


def main() -> None:
    asked = json.load(sys.stdin)
    json.dump([first_alarm(RULES[asked["rule"]], nights, asked["past"]) for nights in asked["nights"]], sys.stdout)


if __name__ == "__main__":
    main()
