"""What measured sessions say a configuration's limits should be: pure rules, without a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from suite.configurations import Configuration
from suite.judging.budgets import slow_arithmetic
from suite.judging.intervals import proportion
from suite.judging.latency_units import Unit, latency_in, relative_latency
from suite.records import Budget, BudgetKind, Fingerprint, Measurement, Status

MIN_SESSIONS = 3
LATENCY_MARGIN, SLOWEST_MARGIN, MEMORY_MARGIN = 1.5, 1.25, 1.15
# A model's peak counts the pages of library code that it is the first to touch. How many the kernel maps at once hangs
# on the file: six recipes took 10 to 28 MB more with torch's CUDA build than with its CPU build, on one processor.
CODE_BYTES = 32_000_000
SAME_RECIPE = ("protocol", "weights_sha256", "gallery_sha256")
QUALITY_CONFIDENCE = 0.98  # two-sided: the lower end is a 99 % bound


def entry(configuration: Configuration, measurements: list[Measurement]) -> list[Budget]:
    """The budgets of one configuration, as far as the measurements go."""
    if configuration.unsupported:
        return [_unset("status", f"unsupported: {configuration.unsupported}")]
    good = [m for m in measurements if m.status == Status.OK]
    # Another network, board or library is another series: only the newest one's sessions say what noise is.
    newest = max(good, key=lambda m: m.measured_at).fingerprint if good else None
    series = [m for m in good if m.fingerprint == newest]
    elsewhere = [m for m in good if configuration.device.limits_travel and _same_recipe(m.fingerprint, newest)]
    kinds: list[BudgetKind] = (
        [] if configuration.optimization.simulated else [_latency_kind(configuration), "peak_memory_bytes"]
    )
    rules = {"peak_memory_bytes": _memory, "r_precision": _quality}
    return [rules.get(kind, _latency)(configuration, series, elsewhere) for kind in [*kinds, "r_precision"]]


def _same_recipe(printed: Fingerprint | None, newest: Fingerprint | None) -> bool:
    """Measured on another board or under other conditions, but with the same weights in the same gallery."""
    if printed is None or newest is None or printed == newest:
        return False
    return all(getattr(printed, name) == getattr(newest, name) for name in SAME_RECIPE)


def _too_few(kind: BudgetKind, found: list[Measurement]) -> Budget | None:
    """The budget that too few sessions have measured, unset; or None."""
    count = len({m.session for m in found})
    return None if count >= MIN_SESSIONS else _unset(kind, f"measured in {count} of at least {MIN_SESSIONS} sessions")


def _source(found: list[Measurement]) -> str:
    last = max(found, key=lambda m: m.measured_at)
    return f"{len({m.session for m in found})} sessions on {last.board}, {last.measured_at[:10]}, commit {last.commit}"


def _latency_kind(configuration: Configuration) -> BudgetKind:
    travels = configuration.device.limits_travel and not configuration.is_reference
    return "latency_ratio" if travels else "latency_s"


def _latency(configuration: Configuration, series: list[Measurement], elsewhere: list[Measurement]) -> Budget:
    kind = _latency_kind(configuration)
    timed = _timed(kind, series)
    found = [m for m in timed if slow_arithmetic(m) is None]
    if timed and not found:
        return _unset(kind, slow_arithmetic(timed[-1]))
    if unset := _too_few(kind, found):
        return unset
    if kind == "latency_ratio":
        others = {_ratio(m): m.board for m in _timed(kind, elsewhere) if slow_arithmetic(m) is None}
        limit, said = _limit([_ratio(m) for m in found], " of fp32", others)
        return _set(kind, limit, f"{said}; {_source(found)}")
    canaries = [m.canary_s for m in found if m.canary_s is not None]
    canary_s = round(median(canaries), 6) if canaries else None
    # Another board's seconds are worth what they are in its canary's.
    heard = [m for m in _timed(kind, elsewhere) if canary_s is not None and m.canary_s is not None]
    others = {m.latency.median.value * canary_s / m.canary_s: m.board for m in heard}
    limit, said = _limit([m.latency.median.value for m in found], " s", others)
    return _set(kind, limit, f"{said}; {_source(found)}", canary_s=canary_s)


def _timed(kind: BudgetKind, found: list[Measurement]) -> list[Measurement]:
    unit: Unit = "reference" if kind == "latency_ratio" else "second"
    return [m for m in found if latency_in(m, unit) is not None and not m.extrapolated]


def _ratio(m: Measurement) -> float:
    """Of one that was timed, and its reference too."""
    return relative_latency(m).value


def _limit(levels: list[float], unit: str, elsewhere: Mapping[float, str | None] = {}) -> tuple[float, str]:
    """The most that the noise between sessions explains, and how it was found. elsewhere: levels on other boards, or
    under other conditions, with the board."""
    middle, slowest = median(levels), max([*levels, *elsewhere])
    where = "" if slowest in levels else f", on {elsewhere[slowest]}"
    return _largest(
        {
            round(slowest * SLOWEST_MARGIN, 4): f"slowest session {slowest:.4f}{unit} × {SLOWEST_MARGIN}{where}",
            round(middle * LATENCY_MARGIN, 4): f"{middle:.4f}{unit} × {LATENCY_MARGIN}",
        }
    )


def _largest(limits: Mapping[float, str]) -> tuple[float, str]:
    """Of several limits the one that lets every one of them pass, and how it was found."""
    limit = max(limits)
    return limit, limits[limit]


def _memory(configuration: Configuration, series: list[Measurement], elsewhere: list[Measurement]) -> Budget:
    found = [m for m in series if m.memory is not None]
    if unset := _too_few("peak_memory_bytes", found):
        return unset
    peak = max(m.memory.peak_memory_bytes for m in found)
    limits: dict[float, str] = {round(peak * MEMORY_MARGIN): f"peak {peak} × {MEMORY_MARGIN}"}
    if configuration.device.limits_travel:
        limits[peak + CODE_BYTES] = f"peak {peak} + {CODE_BYTES} of another installation's code"
    for m in elsewhere:
        if m.memory is not None:
            other = m.memory.peak_memory_bytes
            limits[round(other * MEMORY_MARGIN)] = f"peak {other} × {MEMORY_MARGIN}, on {m.board}"
    limit, said = _largest(limits)
    return _set("peak_memory_bytes", limit, f"{said}; {_source(found)}")


def _quality(configuration: Configuration, series: list[Measurement], elsewhere: list[Measurement]) -> Budget:
    if unset := _too_few("r_precision", series):
        return unset
    scored = [m for m in [*series, *elsewhere] if m.quality is not None and not m.smoke]
    if not scored:
        return _unset("r_precision", "no session scored all prompts")
    # Start noise is fixed, so one full scoring says as much as three; the bound is over prompts.
    worst = min(scored, key=lambda m: m.quality.r_precision.value)
    prompts = len(worst.quality.outcomes)
    hits = sum(outcome.rank_153 == 0 for outcome in worst.quality.outcomes)
    where = f", on {worst.board}" if worst.fingerprint != series[-1].fingerprint else ""
    if not hits:  # a limit of 0 could not fail
        return _unset("r_precision", f"0 of {prompts} hits{where}: nothing to lose; {_source(series)}")
    bound = proportion(hits, prompts, QUALITY_CONFIDENCE).low
    return _set("r_precision", round(bound, 4), f"lower 99 % bound of {hits}/{prompts}{where}; {_source(series)}")


def _set(kind: BudgetKind, limit: float, reason: str, canary_s: float | None = None) -> Budget:
    return Budget(name=kind, limit=limit, canary_s=canary_s, source="measured", reason=reason)


def _unset(kind: BudgetKind, reason: str) -> Budget:
    return Budget(name=kind, source="unset", reason=reason)


def merged(new: Sequence[Budget], old: Sequence[Budget]) -> list[Budget]:
    """A new entry, in which a limit stays as it was where the new one would be unset, and so does an expected status.
    Kinds that the configuration no longer has (seconds where it is now a ratio, limits of what is unsupported) go."""
    before = {budget.name: budget for budget in old}
    status = before.pop("status", None)
    unsupported = [budget.name for budget in new] == ["status"]
    if status is not None and status.expect is not None:
        if unsupported and status.expect == Status.UNSUPPORTED:
            return [status]
        if not unsupported:
            return [status, *merged(new, list(before.values()))]
    return [before.get(budget.name, budget) if budget.source == "unset" else budget for budget in new]
