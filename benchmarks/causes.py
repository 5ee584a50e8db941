"""Is the cause of a change named right? Staged events in made-up histories, judged as a night is.

    python -m benchmarks.causes --events 100

Six cells of a board have 30 quiet nights of 1 to 3 % noise. Then one thing happens for three nights, each kind in turn:

    clock cap   every cell and the canary take 10 to 30 % longer                     machine
    torch       the version is another, and every cell takes 5 to 15 % longer        method
    recipe      one cell makes 10 to 30 % more evaluations, and takes as much longer method
    code        one cell takes 8 to 30 % longer at a new commit                      code
    neighbour   one cell takes 30 % longer for a night; base and head are alike      noise

Prints how often the finding of an affected cell names the cause, and the misses. It tries the rules, not a machine: the
histories are arithmetic, and what base and head side by side say is given.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import numpy as np

from suite.command_line import command
from suite.judging.intervals import latency_interval
from suite.nights.night import judge_session
from suite.records import Fingerprint, Latency, Measurement, Status, Verdict

RECIPES = ("fp32", "steps-16", "steps-4", "dpmpp-16", "bf16", "int8-w8")
EXPECTED = {"clock cap": "machine", "torch": "method", "recipe": "method", "code": "code", "neighbour": "noise"}
PAST, CANARY_S = 30, 0.010


def cell(
    recipe: str, night: int, seconds: float, canary_s: float, torch: str, evaluations: int, commit: str
) -> Measurement:
    samples = [seconds * (1 + 0.005 * (k - 2)) for k in range(5)]
    return Measurement(
        configuration=f"point-e-nano-text/{recipe}@orin",
        model="point-e-nano-text",
        optimization=recipe,
        device="orin",
        board="orin-desk",
        status=Status.OK,
        session=f"night-{night}",
        measured_at=(datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(days=night)).isoformat(),
        commit=commit,
        weights="embedded",
        evaluations=evaluations,
        canary_s=canary_s,
        latency=Latency(
            samples_s=samples,
            stage_samples_s={},
            first_call_s=None,
            median=latency_interval(samples),
            stop_reason="interval",
        ),
        fingerprint=Fingerprint(
            device="orin", board="orin-desk", chip="Orin", python="3.10.12", torch=torch, threads=12
        ),
    )


def staged(kind: str, chance: np.random.Generator) -> str:
    """The cause that is named for the affected cell after an event of this kind; "none" where nothing is."""
    noise, affected = chance.uniform(0.01, 0.03), RECIPES[chance.integers(len(RECIPES))]
    size = {"torch": chance.uniform(1.05, 1.15), "code": chance.uniform(1.08, 1.3), "neighbour": 1.3}
    ratio = size.get(kind, chance.uniform(1.1, 1.3))
    nights = 1 if kind == "neighbour" else 3
    history = []
    for night in range(PAST + nights):
        now = night >= PAST
        for k, recipe in enumerate(RECIPES):
            hit = now and (recipe == affected or kind in ("clock cap", "torch"))
            history.append(
                cell(
                    recipe,
                    night,
                    (1.0 + k) * float(np.exp(chance.normal(0, noise))) * (ratio if hit else 1.0),
                    CANARY_S * float(np.exp(chance.normal(0, 0.01))) * (ratio if now and kind == "clock cap" else 1.0),
                    "2.14.0" if now and kind == "torch" else "2.13.0",
                    round(64 * ratio) if hit and kind == "recipe" else 64,
                    "bad0000000" if now and kind in ("recipe", "code") else "good000000",
                )
            )
    name = f"point-e-nano-text/{affected}@orin"
    confirmed = {"neighbour": {name: Verdict.PASS}, "code": {name: Verdict.REGRESSED}}.get(kind, {})
    report = judge_session(history, confirmed=confirmed)
    (found,) = [f for f in report.findings if f.configuration == name and f.quantity == "latency_s"]
    return found.cause.kind if found.cause else "none"


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes", description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    chance = np.random.default_rng(options.seed)
    kinds = [list(EXPECTED)[n % len(EXPECTED)] for n in range(options.events)]
    named = Counter((kind, staged(kind, chance)) for kind in kinds)
    for kind, expected in EXPECTED.items():
        its = {name: count for (k, name), count in named.items() if k == kind}
        misses = ", ".join(f"{count} {name}" for name, count in its.items() if name != expected)
        print(
            f"{kind:10} {expected:8} {its.get(expected, 0)} of {sum(its.values())}"
            + f"  (else {misses})" * bool(misses)
        )
    right = sum(count for (kind, name), count in named.items() if EXPECTED[kind] == name)
    print(f"right: {right} of {options.events}, seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
