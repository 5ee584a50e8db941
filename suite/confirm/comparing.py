"""One configuration, head against base: pairs of processes in turn, until it is known or the time is up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from suite.catalogue.devices import Device
from suite.confirm.processes import Driven, DriverFailed, Side, TimeIsUp
from suite.confirm.records import Compared, Confirmed, Quantity, StopReason
from suite.confirm.turns import (
    MIN_PAIRS,
    MIN_TURNS,
    decided,
    narrow,
    over_pairs,
    pair_is_known,
    pair_ratio,
    turns_each,
)
from suite.judging.baselines import MEMORY_TOLERANCE, overall
from suite.judging.latency_change import judge_ratio
from suite.prompts import timing_prompt
from suite.records import Interval, Verdict
from suite.session.planning import Plan


@dataclass(frozen=True)
class Rules:
    """When to stop, and what counts as a change."""

    precision: float = 0.01  # half the interval's width in the logarithm
    tolerance: float = 0.02  # of latency
    time_limit_s: float = 600.0
    min_pairs: int = MIN_PAIRS
    memory: bool = False
    decide: bool = False  # the verdict is enough: stop when it is sure


@dataclass
class Found:
    """What the pairs of one configuration have given so far; [pairs] each."""

    latency_ratios: list[float] = field(default_factory=list)
    memory_ratios: list[float] = field(default_factory=list)
    stage_ratios: dict[str, list[float]] = field(default_factory=dict)
    levels: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # by quantity and side
    turns: int = 0
    weights: dict[str, str | None] = field(default_factory=dict)  # their hash by side


def why_not(plan: Plan) -> str | None:
    """Why a cell has no latency that two commits could be compared by."""
    if plan.unsupported is not None:
        return f"unsupported: {plan.unsupported}"
    if plan.configuration.optimization.simulated:
        return "its arithmetic is simulated: it has no latency of its own"
    if plan.extrapolated:
        return "its latency is extrapolated, and whole objects would take hours"
    if plan.configuration.device.launcher != Device.launcher:
        return f"its workers come to life elsewhere ({plan.configuration.device.launcher})"
    return None


def compare(plan: Plan, head: Side, base: Side, rules: Rules, progress: Callable[[int, Interval], None]) -> Confirmed:
    """The verdict on one configuration. progress is told the pairs so far and their ratio of latency."""
    if (reason := why_not(plan)) is not None:
        return failed(plan.configuration.id, reason)
    started, found = time.monotonic(), Found()
    asked = {
        "configuration": plan.configuration.id,
        "weights": plan.weights,
        "prompt": timing_prompt(plan.configuration.model.prompts),
    }
    deadline, longest_s = started + rules.time_limit_s, 0.0
    try:
        while True:
            began = time.monotonic()
            if began + longest_s > deadline:
                raise TimeIsUp
            # Each side is as often the first.
            sides = (base, head) if len(found.latency_ratios) % 2 else (head, base)
            one_pair(found, sides, asked, rules.tolerance if rules.decide else rules.precision, deadline)
            longest_s = max(longest_s, time.monotonic() - began)
            progress(len(found.latency_ratios), over_pairs(found.latency_ratios))
            if (stop := enough(found, rules)) is not None:
                break
    except TimeIsUp:
        stop = "time"
    except DriverFailed as error:
        stop, reason = "failed", str(error)
    return judged(plan.configuration.id, found, rules, stop, reason, time.monotonic() - started)


def enough(found: Found, rules: Rules) -> StopReason | None:
    """Why no more pairs are needed; None where they are."""
    judged_by = [(found.latency_ratios, rules.tolerance)]
    if rules.memory:
        judged_by.append((found.memory_ratios, MEMORY_TOLERANCE))
    known = [narrow(ratios, rules.precision, rules.min_pairs) for ratios, _ in judged_by]
    if all(known):
        return "precision"
    sure = [rules.decide and decided(ratios, tolerance, rules.min_pairs) for ratios, tolerance in judged_by]
    return "decided" if all(map(any, zip(known, sure))) else None


def failed(configuration: str, reason: str) -> Confirmed:
    """Of a configuration that was not compared."""
    return Confirmed(configuration=configuration, verdict=Verdict.UNCERTAIN, stop_reason="failed", reason=reason)


def one_pair(found: Found, sides: tuple[Side, Side], asked: dict[str, str], precision: float, deadline: float) -> None:
    """A fresh process of each side, loaded, and their turns. What is not finished at the deadline does not count."""
    started = time.monotonic()
    with contextlib.ExitStack() as ends:
        pair = []
        for side in sides:
            pair.append(Driven(side, asked))
            ends.callback(pair[-1].end)
        for driven in pair:
            driven.ask("import")  # beside each other: nothing is timed
        for driven in pair:
            driven.answer(deadline)
        loaded = {driven.side.name: driven.does("load", deadline) for driven in pair}
        loading_s = time.monotonic() - started
        turns: dict[str, list[dict]] = {side.name: [] for side in sides}
        seconds: dict[str, list[float]] = {side.name: [] for side in sides}  # of an object, [turns]
        done, wanted, started = 0, MIN_TURNS, time.monotonic()
        while done < wanted and not pair_is_known(seconds["head"], seconds["base"], precision):
            for driven in reversed(pair) if done % 2 else pair:
                turn = driven.does("turn", deadline)
                turns[driven.side.name].append(turn)
                seconds[driven.side.name].append(median(turn["samples_s"]))
            done += 1
            if done == MIN_TURNS:
                wanted = turns_each(loading_s, (time.monotonic() - started) / MIN_TURNS)
    add(found, loaded, turns, seconds)


def add(found: Found, loaded: dict[str, dict], turns: dict[str, list[dict]], seconds: dict[str, list[float]]) -> None:
    """A finished pair, by side; loaded and turns as the driver told them."""
    found.latency_ratios.append(pair_ratio(seconds["head"], seconds["base"]))
    found.turns += sum(map(len, turns.values()))
    for name in turns:
        found.levels.setdefault(("latency_s", name), []).append(median(seconds[name]))
        found.weights[name] = loaded[name]["weights_sha256"]
    peaks = {name: side["peak_memory_bytes"] for name, side in loaded.items()}
    if all(peaks.values()):
        found.memory_ratios.append(peaks["head"] / peaks["base"])
        for name, peak in peaks.items():
            found.levels.setdefault(("peak_memory_bytes", name), []).append(peak)
    head, base = turns["head"][0]["stage_samples_s"], turns["base"][0]["stage_samples_s"]
    for stage in head.keys() & base.keys():
        of = {name: median(median(turn["stage_samples_s"][stage]) for turn in side) for name, side in turns.items()}
        if of["base"] > 0 and of["head"] > 0:
            found.stage_ratios.setdefault(stage, []).append(of["head"] / of["base"])


def judged(
    configuration: str, found: Found, rules: Rules, stop: StopReason, reason: str | None, elapsed_s: float
) -> Confirmed:
    """The verdict of what was found, whether or not it came to its end."""
    compared = []
    quantities: list[tuple[Quantity, list[float], float]] = [("latency_s", found.latency_ratios, rules.tolerance)]
    if rules.memory:
        quantities.append(("peak_memory_bytes", found.memory_ratios, MEMORY_TOLERANCE))
    for quantity, ratios, tolerance in quantities:
        ratio = over_pairs(ratios)
        sure = ratio is not None and stop != "failed"
        compared.append(
            Compared(
                quantity=quantity,
                verdict=judge_ratio(ratio, tolerance) if sure else Verdict.UNCERTAIN,
                ratio=ratio,
                tolerance=tolerance,
                head=_median(found.levels.get((quantity, "head"))),
                base=_median(found.levels.get((quantity, "base"))),
            )
        )
    return Confirmed(
        configuration=configuration,
        verdict=overall(quantity.verdict for quantity in compared),
        stop_reason=stop,
        reason=reason,
        pairs=len(found.latency_ratios),
        turns=found.turns,
        elapsed_s=elapsed_s,
        compared=compared,
        stage_ratios={stage: median(ratios) for stage, ratios in found.stage_ratios.items()},
        weights_differ=len(set(found.weights.values())) > 1,
    )


def _median(values: list[float] | None) -> float | None:
    return median(values) if values else None
