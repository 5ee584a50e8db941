"""Did a configuration get worse than its baseline: an earlier, pinned measurement of it on the same board?

`suite/baselines/<board>.json` holds a board's baselines, written by `python -m suite.baselines pin`. Only measurements
with an equal fingerprint are compared. What varies between fresh processes is known from at least three sessions and
enters the interval: one noisy session is `uncertain`, not `regressed`.

    latency       the ratio to the level over the sessions, in a prediction interval for one more; tolerance 5 %
    peak memory   the same; tolerance 2 %
    quality       prompt by prompt: exact McNemar test for a difference, and equality within 5 points for a pass

Latency is in seconds on named boards. On `cpu`, which others may share, it is divided by the reference of the same
session, and the reference's own by the canary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev

from pydantic import Field, ValidationError

from suite.judging.intervals import relative_half_width, student_t
from suite.judging.latency_change import TOLERANCE as LATENCY_TOLERANCE
from suite.judging.latency_change import judge_ratio
from suite.judging.latency_units import Unit, latency_in
from suite.judging.paired_quality import SIGNIFICANCE, difference, looked_at, mcnemar_p
from suite.records import SCHEMA_VERSION, Fingerprint, Interval, Measurement, Record, Status, Verdict, first_error

FOLDER = Path(__file__).parents[1] / "baselines"
MIN_SESSIONS = 3
MEMORY_TOLERANCE = 0.02  # allocators round and libraries load differently
QUALITY_TOLERANCE = 0.05  # what 153 prompts can show to be equal
BROKEN = (Status.CRASHED, Status.OUT_OF_MEMORY, Status.TIMED_OUT)


class MalformedBaselines(ValueError):
    """Names the file and the key."""


class PinnedSession(Record):
    """What one session measured of the configuration."""

    session: str
    measured_at: str
    commit: str | None = None
    source: str  # the file it was read from
    log_samples: list[float] = []  # of the latency in seconds
    unit_s: float | None = None  # what its latency is divided by, so that the ratio is that of the session
    peak_memory_bytes: int | None = None


class PinnedQuality(Record):
    """Which prompts hit, of the session that scored all of them. Start noise is fixed, so one session says it."""

    judge: str
    session: str
    prompts: list[str]
    hits: str  # one character a prompt: 1 or 0


class Baseline(Record):
    """A configuration's pinned measurement."""

    configuration: str
    weights: str | None
    fingerprint: Fingerprint  # only an equal one may be compared
    latency_per: Unit
    latency: Interval | None = None  # level over the sessions in that unit, with the interval for one more session
    peak_memory_bytes: Interval | None = None
    sessions: list[PinnedSession] = Field(min_length=MIN_SESSIONS)
    quality: PinnedQuality | None = None


class Baselines(Record):
    """One board's file."""

    schema_version: int = SCHEMA_VERSION
    board: str
    baselines: list[Baseline]

    def of(self, measurement: Measurement) -> Baseline | None:
        """The baseline of a measurement's configuration and weights, comparable or not."""
        key = (measurement.configuration, measurement.weights)
        return next((b for b in self.baselines if (b.configuration, b.weights) == key), None)


@dataclass(frozen=True)
class Change:
    """The verdict on one quantity. `value` is now over then, or for quality now minus then."""

    quantity: str
    verdict: Verdict
    value: Interval | None
    reason: str


def load_baselines(board: str, folder: Path = FOLDER) -> Baselines | None:
    """A board's pinned baselines; None when nothing was pinned for it."""
    path = folder / f"{board}.json"
    if not path.is_file():
        return None
    try:
        found = Baselines.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise MalformedBaselines(f"{path}: {first_error(error)}") from None
    if found.board != board:
        raise MalformedBaselines(f"{path}: board: it is of {found.board}")
    return found


def one_more(levels: Sequence[float]) -> Interval:
    """The median of the sessions' levels, with the interval in which one more session's level lies 19 times of 20: a
    Student-t prediction interval of the logarithm, widened to hold the median."""
    logs = [math.log(level) for level in levels]
    reach = student_t(len(logs) - 1) * stdev(logs) * math.sqrt(1 + 1 / len(logs))
    middle = median(levels)
    low, high = math.exp(fmean(logs) - reach), math.exp(fmean(logs) + reach)
    return Interval(value=middle, low=min(low, middle), high=max(high, middle))


def latency_levels(sessions: Sequence[PinnedSession], per: Unit) -> list[float]:
    """Each session's median in the unit, of the sessions that have both."""
    return [
        math.exp(median(s.log_samples)) / (1.0 if per == "second" else s.unit_s)
        for s in sessions
        if s.log_samples and (per == "second" or s.unit_s is not None)
    ]


def judge(measurement: Measurement, baseline: Baseline | None) -> list[Change]:
    """The verdict on each quantity that was measured now or is pinned."""
    if baseline is None:
        return [Change("all", Verdict.NO_BASELINE, None, "nothing is pinned for this configuration and these weights")]
    if measurement.fingerprint is None:
        reason = f"ended as {measurement.status.value} before its conditions were known: measure again"
        return [Change("all", Verdict.UNCERTAIN, None, reason)]
    if differing := _differences(measurement.fingerprint, baseline.fingerprint):
        return [Change("all", Verdict.NO_BASELINE, None, f"pinned under other conditions: {differing}")]
    if measurement.status != Status.OK:
        broken = measurement.status in BROKEN
        reason = f"{measurement.status.value}, where the baseline ended well: {measurement.reason}"
        return [Change("status", Verdict.REGRESSED if broken else Verdict.UNCERTAIN, None, reason)]
    found = [_latency(measurement, baseline), _memory(measurement, baseline), _quality(measurement, baseline)]
    return [change for change in found if change is not None]


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict of several: the worst that needs somebody's eye."""
    found = set(verdicts)
    order = (Verdict.REGRESSED, Verdict.UNCERTAIN, Verdict.IMPROVED, Verdict.PASS)
    return next((verdict for verdict in order if verdict in found), Verdict.NO_BASELINE)


def _differences(now: Fingerprint, then: Fingerprint) -> str:
    """The fields that forbid a comparison, or nothing."""
    here, there = now.model_dump(), then.model_dump()
    return ", ".join(f"{name} {there[name]} then, {here[name]} now" for name in here if here[name] != there[name])


def _latency(m: Measurement, baseline: Baseline) -> Change | None:
    name = "latency_ratio" if baseline.latency_per == "reference" else "latency_s"
    if m.latency is None or m.simulated:
        return None
    if m.extrapolated:
        return Change(name, Verdict.NO_BASELINE, None, "extrapolated, where the baseline timed whole objects")
    if baseline.latency is None:
        return Change(name, Verdict.NO_BASELINE, None, "no latency is pinned")
    latency = latency_in(m, baseline.latency_per)
    if latency is None:
        return Change(name, Verdict.UNCERTAIN, None, f"this session has no {baseline.latency_per} to compare by")
    own = relative_half_width(latency)
    return _ratio(name, latency.value, baseline.latency, own, LATENCY_TOLERANCE, baseline)


def _memory(m: Measurement, baseline: Baseline) -> Change | None:
    if m.memory is None or m.simulated:
        return None
    name, pinned = "peak_memory_bytes", baseline.peak_memory_bytes
    if pinned is None:
        return Change(name, Verdict.NO_BASELINE, None, "no peak memory is pinned")
    return _ratio(name, m.memory.peak_memory_bytes, pinned, 0.0, MEMORY_TOLERANCE, baseline)


def _ratio(name: str, now: float, level: Interval, own: float, tolerance: float, baseline: Baseline) -> Change:
    """Now over then. The spread between sessions and this session's own (half a width, in the logarithm) add up."""
    if not math.isfinite(own):
        return Change(name, Verdict.UNCERTAIN, Interval(value=now / level.value), "one sample has no interval")
    value = now / level.value
    up, down = math.hypot(math.log(level.value / level.low), own), math.hypot(math.log(level.high / level.value), own)
    change = Interval(value=value, low=value * math.exp(-down), high=value * math.exp(up))
    verdict = judge_ratio(change, tolerance)
    reason = (
        f"×{value:.3f} of the level of {len(baseline.sessions)} sessions (95 % interval ×{change.low:.3f} to "
        f"×{change.high:.3f}, tolerance {tolerance:.0%})"
    )
    return Change(name, verdict, change, reason + ": measure again" * (verdict == Verdict.UNCERTAIN))


def _quality(m: Measurement, baseline: Baseline) -> Change | None:
    name, pinned = "r_precision", baseline.quality
    if m.quality is None:
        return None
    if pinned is None:
        return Change(name, Verdict.NO_BASELINE, None, "no quality is pinned")
    if pinned.judge != m.quality.judge:
        return Change(name, Verdict.NO_BASELINE, None, f"judged by {pinned.judge} then, by {m.quality.judge} now")
    known = dict(zip(pinned.prompts, pinned.hits))
    pairs = [(o.rank_153 == 0, known[o.prompt] == "1") for o in m.quality.outcomes if o.prompt in known]
    if not pairs:
        return Change(name, Verdict.NO_BASELINE, None, "no prompt was scored both then and now")
    anytime = looked_at(m.quality)
    change, p = difference(pairs, anytime=anytime), mcnemar_p(pairs, anytime=anytime)
    if p < SIGNIFICANCE:
        verdict = Verdict.REGRESSED if change.value < 0 else Verdict.IMPROVED
    else:
        equal = -QUALITY_TOLERANCE <= change.low and change.high <= QUALITY_TOLERANCE
        verdict = Verdict.PASS if equal else Verdict.UNCERTAIN
    won, lost = sum(h and not t for h, t in pairs), sum(t and not h for h, t in pairs)
    reason = (
        f"{won} prompts won, {lost} lost of {len(pairs)} (exact McNemar p = {p:.2g}; difference "
        f"{100 * change.value:+.1f} points, 95 % interval {100 * change.low:+.1f} to {100 * change.high:+.1f}, "
        f"tolerance {100 * QUALITY_TOLERANCE:.0f})"
    )
    return Change(name, verdict, change, reason + ": score more prompts" * (verdict == Verdict.UNCERTAIN))
