"""The verdict on a series of nights: one figure of one cell on one board under one fingerprint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from suite.judging.baselines import MIN_SESSIONS, one_more
from suite.judging.intervals import CONFIDENCE
from suite.judging.step_evidence import ENOUGH, LENGTHS, Evidence, evidence, smallest_change, split, spread
from suite.records import Interval, Verdict

SURPRISING = 0.05  # a newest night with less chance than this is measured again before anybody believes it
RULE_STEP, RULE_NIGHT, RULE_NONE = "step", "surprising night", "none"


@dataclass(frozen=True)
class Judged:
    """`change` is the newest level over the past's; `smallest` are the smallest steps, as fractions, that this series
    shows within three and within ten nights (None: not even 60 %); `nights` is since when it is so."""

    verdict: Verdict
    rule: str
    reason: str
    change: Interval | None = None
    nights: int | None = None
    log_odds: float | None = None
    smallest: tuple[float | None, float | None] = (None, None)


def judge_nights(values: Sequence[float], *, with_smallest: bool = True) -> Judged:
    """Judge the newest of a series of positive values, oldest first, of which a higher one is worse."""
    if len(values) < ENOUGH:
        lacking = ENOUGH - len(values)
        reason = f"{len(values)} comparable nights; {lacking} more before a step can be told from noise"
        return Judged(Verdict.NO_BASELINE, RULE_NONE, reason)
    logs = [math.log(value) for value in values]
    up, down = evidence(logs), evidence([-log for log in logs])
    smallest: tuple[float | None, float | None] = (None, None)
    if with_smallest:
        smallest = smallest_change(logs, LENGTHS[0]), smallest_change(logs, LENGTHS[-1])
    if up.fires or down.fires:
        worse = up.fires and not (down.fires and down.log_odds > up.log_odds)
        return _stepped(Verdict.REGRESSED if worse else Verdict.IMPROVED, up if worse else down, smallest)
    if min(up.surprise, down.surprise) < SURPRISING:
        chance = min(up.surprise, down.surprise)
        reason = f"the newest night has a chance of {chance:.1%} if nothing changed: measure again"
        return Judged(Verdict.UNCERTAIN, RULE_NIGHT, reason, up.newest, 1, up.log_odds, smallest)
    reason = f"as in the {len(values) - 1} nights before"
    return Judged(Verdict.PASS, RULE_NONE, reason, up.change, None, up.log_odds, smallest)


def _stepped(verdict: Verdict, found: Evidence, smallest: tuple) -> Judged:
    change = found.change
    if verdict == Verdict.IMPROVED:  # its evidence is of the mirrored series
        change = Interval(value=1 / change.value, low=1 / change.high, high=1 / change.low)
    odds = math.exp(min(found.log_odds, 20))
    reason = (
        f"×{change.value:.3f} of the nights before (95 % interval ×{change.low:.3f} to ×{change.high:.3f}) for "
        f"{found.nights} nights, odds {odds:,.0f} to 1 (needed {math.exp(found.needed):.0f})"
    )
    return Judged(verdict, RULE_STEP, reason, change, found.nights, found.log_odds, smallest)


def past_band(values: Sequence[float]) -> Interval | None:
    """In which 19 of 20 nights lie if nothing changed, from a series' past: the nights that are not looked at for a
    step. From fewer nights it is the interval for one more (None below MIN_SESSIONS)."""
    if len(values) >= ENOUGH:
        past = np.log(np.asarray(values[: split(len(values))], dtype=float))
        middle, reach = float(np.median(past)), NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * spread(past)
        return Interval(value=math.exp(middle), low=math.exp(middle - reach), high=math.exp(middle + reach))
    return one_more(values[:-1]) if len(values) > MIN_SESSIONS else None
