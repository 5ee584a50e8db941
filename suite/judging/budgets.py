"""Budgets: limits that a configuration must keep, read from `suite/budgets/<device>.toml`.

    "point-e-nano-text/steps-16".latency_ratio = { limit = 0.39, source = "measured", reason = "..." }
    "point-e-nano-text/steps-16".r_precision = { source = "unset", reason = "no session scored all prompts" }
    "point-e-nano-text/original" = { unset = ["latency_ratio", "r_precision"], reason = "no session measured it" }

The last line is two budgets that are unset for one reason. Lines stand in any order, as TOML has it; a table
`["point-e-nano-text/steps-16"]` with a line a budget is the same, below all lines of the other kind.
A budget fails only when the whole 95 % interval lies beyond the limit; an overlap is `uncertain` and passes.
A limit on latency is not held where the machine computes the recipe's type of arithmetic slower than float32: it comes
from machines that have instructions for it, and no change of the code brings them.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from suite.judging.latency_units import relative_latency
from suite.judging.roofline import FLOAT32, lacking
from suite.records import Budget, Interval, Measurement, Status, Verdict, first_error
from suite.toml import tomllib

FOLDER = Path(__file__).parents[1] / "budgets"
KINDS = ("status", "latency_s", "latency_ratio", "peak_memory_bytes", "r_precision")
HIGHER_IS_BETTER = {"r_precision"}


class MalformedBudgets(ValueError):
    """Names the file, the line and the key."""


@dataclass(frozen=True)
class Judgement:
    budget: Budget
    verdict: Verdict | None  # None: nothing to hold against the limit
    value: Interval | None
    message: str


def load_budgets(path: Path) -> dict[str, tuple[Budget, ...]]:
    """Budgets by "model/optimization". MalformedBudgets where the file is not as this module's first lines show."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MalformedBudgets(f"{path}: {error.strerror}; `python -m suite.budgets propose` writes it") from None

    def malformed(message: str, *keys: str) -> MalformedBudgets:
        return MalformedBudgets(f"{path}:{_line_of(text, *keys)}: {message}")

    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MalformedBudgets(f"{path}: {error}") from None
    result = {}
    for name, table in tables.items():
        if not isinstance(table, dict) or name.count("/") != 1:
            raise malformed(f'key "{name}": expected a table ["model/optimization"]', name)
        if "unset" in table:
            if problem := _problem_of_unset(table):
                raise malformed(f'key "{name}"{problem}', name)
            table = {kind: {"source": "unset", "reason": table["reason"]} for kind in table["unset"]}
        budgets = []
        for kind, fields in table.items():
            if "/" in kind:
                raise malformed(f'key "{kind}": stands inside ["{name}"]; write it above all tables', name, kind)
            if kind not in KINDS:
                raise malformed(f'key "{name}".{kind}: {_unknown(kind, (*KINDS, "unset"))}', name, kind)
            if problem := _problem(kind, fields):
                raise malformed(f'key "{name}".{kind}{problem}', name, kind)
            budgets.append(Budget(name=kind, **fields))
        result[name] = tuple(budgets)
    return result


def _unknown(kind: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(kind, known, 1) or known
    return f"unknown budget; nearest: {', '.join(near)}"


def _problem_of_unset(table: dict[str, object]) -> str | None:
    """What is wrong with `{unset = [budgets], reason = ...}`, or None."""
    kinds, reason = table["unset"], table.get("reason")
    if more := table.keys() - {"unset", "reason"}:
        return f".{min(more)}: an entry with `unset` takes `reason` beside it, and nothing else"
    if not isinstance(kinds, list) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        return f".unset: expected the names of budgets, a list of {', '.join(KINDS)} (value: {kinds!r})"
    for kind in kinds:
        if kind not in KINDS:
            return f".unset: {kind!r}: {_unknown(kind, KINDS)}"
        if kinds.count(kind) > 1:
            return f".unset: {kind!r} stands there twice"
    if not isinstance(reason, str) or not reason:
        return f".reason: expected why there is no limit yet (value: {reason!r})"
    return None


def _problem(kind: str, fields: object) -> str | None:
    """What is wrong with one budget's fields, or None."""
    if not isinstance(fields, dict):
        return f": expected {{limit = ..., source = ..., reason = ...}}, got {fields!r}"
    if "name" in fields:
        return ".name: the key is the name"
    try:
        budget = Budget(name=kind, **fields)
    except ValidationError as error:
        return f".{first_error(error)} (value: {error.errors()[0]['input']!r})"
    wanted = "expect" if kind == "status" else "limit"
    if getattr(budget, "limit" if wanted == "expect" else "expect") is not None:
        return f": takes `{wanted}`"
    if (getattr(budget, wanted) is None) != (budget.source == "unset"):
        return f': give a {wanted}, or source = "unset" (and then none)'
    if budget.limit is not None and not math.isfinite(budget.limit):
        return f".limit: not a number (value: {budget.limit})"
    if budget.canary_s is not None and (kind != "latency_s" or not 0 < budget.canary_s < math.inf):
        return f".canary_s: belongs to latency_s, and is above 0 (value: {budget.canary_s})"
    return None


def _line_of(text: str, table: str, key: str | None = None) -> int:
    """The line of an entry or of a key in it: good enough for an error message."""
    lines = text.split("\n")  # as TOML counts them
    name = rf"""["']?{re.escape(table)}["']?"""
    start = next((n for n, line in enumerate(lines) if re.match(rf"\s*\[?{name}\s*[\].=]", line)), 0)
    if key is None or re.match(rf"\s*{name}\s*=", lines[start]):  # an inline table is one line
        return start + 1
    entry = re.compile(rf"""\s*({name}\s*\.\s*)?["']?{re.escape(key)}["']?\s*[.=]""")
    return next((n for n in range(start, len(lines)) if entry.match(lines[n])), start) + 1


def judge(budget: Budget, measurement: Measurement) -> Judgement:
    """Hold one measurement against one budget."""
    if budget.source == "unset":
        return Judgement(budget, None, None, f"{budget.name}: no budget yet: {budget.reason}")
    if budget.name == "status":
        kept = measurement.status == budget.expect
        return Judgement(
            budget,
            Verdict.PASS if kept else Verdict.OVER_BUDGET,
            None,
            f"status: expected {budget.expect.value}, got {measurement.status.value}",
        )
    value, limit = _measured(budget, measurement), _limit(budget, measurement)
    if value is None or limit is None:
        return Judgement(budget, None, None, f"{budget.name}: not measured ({_why_missing(budget, measurement)})")
    higher = budget.name in HIGHER_IS_BETTER
    # An interval without ends, of a single sample, holds every limit.
    low = -math.inf if value.low is None else value.low
    high = math.inf if value.high is None else value.high
    if higher:
        verdict = Verdict.OVER_BUDGET if high < limit else Verdict.PASS if low >= limit else Verdict.UNCERTAIN
    else:
        verdict = Verdict.OVER_BUDGET if low > limit else Verdict.PASS if high <= limit else Verdict.UNCERTAIN
    bound = "at least" if higher else "at most"
    return Judgement(
        budget,
        verdict,
        value,
        f"{budget.name}: {value.value:.6g} (95 % interval {low:.6g} to {high:.6g}), budget {bound} {limit:.6g} "
        f"[{budget.source}: {budget.reason}]",
    )


def _measured(budget: Budget, measurement: Measurement) -> Interval | None:
    if budget.name.startswith("latency") and (measurement.extrapolated or slow_arithmetic(measurement)):
        return None  # limits come from whole objects, and from machines with the recipe's arithmetic
    if budget.name == "latency_s":
        return measurement.latency and measurement.latency.median
    if budget.name == "latency_ratio":
        return relative_latency(measurement)
    if budget.name == "peak_memory_bytes":
        if measurement.memory is None:
            return None
        peak = measurement.memory.peak_memory_bytes  # one pass: its margin stands for an interval
        return Interval(value=peak, low=peak, high=peak)
    return measurement.quality and measurement.quality.r_precision


def slow_arithmetic(measurement: Measurement) -> str | None:
    """What this machine computes slower than float32 of what the recipe computes in, in words; None where nothing."""
    if measurement.cost is None or not (kinds := lacking(measurement.cost)):
        return None
    rates = measurement.cost.peak.flops_per_s
    return (
        f"limits are of machines with arithmetic in {kinds[0]}, and this one reaches "
        f"{rates[kinds[0]] / 1e9:.3g} GFLOP/s in it, {rates[FLOAT32] / 1e9:.3g} in {FLOAT32}"
    )


def _limit(budget: Budget, measurement: Measurement) -> float | None:
    """A limit in seconds from a reference machine is scaled by how much slower the canary runs here."""
    if budget.canary_s is None:
        return budget.limit
    return None if measurement.canary_s is None else budget.limit * measurement.canary_s / budget.canary_s


def _why_missing(budget: Budget, measurement: Measurement) -> str:
    if measurement.status != Status.OK:
        return f"status {measurement.status.value}: {measurement.reason}"
    if measurement.simulated and budget.name.startswith("latency"):
        return "a simulated recipe has no latency"
    if measurement.extrapolated and budget.name.startswith("latency"):
        return "extrapolated from a few evaluations"
    if budget.name.startswith("latency") and (slow := slow_arithmetic(measurement)):
        return slow
    if budget.name == "latency_ratio" and measurement.reference is None:
        return "no reference in this session"
    return "no value in this run"
