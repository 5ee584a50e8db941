"""How often `python -m suite.confirm --decide` is wrong, and how many pairs of processes it takes.

    python -m benchmarks.confirming --cases 2000

Made pairs whose ratio scatters, of equal code and of code that is 5 % slower, through the rules of the command itself.
The scatter has heavy tails (Student's t with 4 degrees of freedom), as a shared machine's has. Nothing is timed, so it
may run beside other work.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Sequence
from statistics import median

from suite.command_line import command
from suite.confirm.comparing import Found, Rules, enough, judged
from suite.records import Verdict

SCATTERS = (0.003, 0.01, 0.02, 0.03, 0.05)  # standard deviation of a pair's log ratio
SLOWER = 1.05
MOST_PAIRS = 60
FREEDOM = 4


def scattered(generator: random.Random) -> float:
    """Student's t of `FREEDOM` degrees, with a standard deviation of 1."""
    chi_squared = 2 * generator.gammavariate(FREEDOM / 2, 1)
    return generator.gauss(0, 1) * math.sqrt((FREEDOM - 2) / chi_squared)


def one(generator: random.Random, change: float, scatter: float) -> tuple[Verdict, int]:
    """The verdict and how many pairs it took."""
    found, rules = Found(), Rules(decide=True)
    while (stop := enough(found, rules)) is None and len(found.latency_ratios) < MOST_PAIRS:
        found.latency_ratios.append(change * math.exp(scatter * scattered(generator)))
    return judged("made", found, rules, stop or "time", None, 0.0).verdict, len(found.latency_ratios)


def row(change: float, scatter: float, cases: int) -> str:
    generator = random.Random(f"{change} {scatter}")
    verdicts, pairs = zip(*(one(generator, change, scatter) for _ in range(cases)))
    shares = [f"{verdicts.count(verdict) / cases:.2%}" for verdict in (Verdict.REGRESSED, Verdict.PASS)]
    return f"| ×{change:g} | {scatter:.1%} | " + " | ".join(shares) + f" | {median(pairs):g} |"


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.confirming", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000, help="a row (default: %(default)s)")
    options = parser.parse_args(argv)
    print("| head over base | pairs scatter by | regressed | pass | pairs, median |\n|---|---|---|---|---|")
    for change in (1.0, SLOWER):
        for scatter in SCATTERS:
            print(row(change, scatter, options.cases), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
