"""One session of a board, held against the nights before it: a finding for every figure of every cell."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from suite.judging.baselines import BROKEN, MIN_SESSIONS, one_more
from suite.judging.cause import Cause, Circumstances, cause, computed_differently
from suite.judging.latency_change import judge_ratio
from suite.judging.nights import RULE_NIGHT, RULE_NONE, RULE_STEP, Judged, judge_nights
from suite.judging.paired_quality import SIGNIFICANCE, difference, looked_at, mcnemar_p
from suite.judging.step_evidence import ENOUGH
from suite.judging.together import moved_together, survivors
from suite.nights.series import Series, cells, series_of
from suite.records import NOT_RUN, Interval, Measurement, Status, Verdict

RULE_FEW, RULE_STATUS, RULE_PAIRED, RULE_BOARD = "few nights", "status", "prompt by prompt", "board moved"
VOTING = 5  # earlier nights whose majority says whether a prompt was hit


class NoSession(ValueError):
    """Says what there is instead."""


@dataclass(frozen=True)
class Finding:
    """`then` is the newest comparable night before the change, `now` the judged one."""

    quantity: str
    judged: Judged
    now: Measurement
    then: Measurement | None = None
    cause: Cause | None = None

    @property
    def configuration(self) -> str:
        return self.now.configuration


@dataclass(frozen=True)
class NightReport:
    board: str
    session: str
    measured_at: str
    commit: str | None
    findings: tuple[Finding, ...]
    event: str | None = None  # where a large part of the board moved together
    missing: tuple[str, ...] = field(default=())  # measured in the session before, and not in this one
    unsteady: str | None = None  # why it was not all measured under one condition

    @property
    def verdict(self) -> Verdict:
        """The worst that needs somebody's eye. Only `regressed` is red."""
        found = {finding.judged.verdict for finding in self.findings}
        order = (Verdict.REGRESSED, Verdict.UNCERTAIN, Verdict.IMPROVED, Verdict.PASS)
        return next((verdict for verdict in order if verdict in found), Verdict.NO_BASELINE)

    def of(self, verdict: Verdict) -> list[Finding]:
        return [finding for finding in self.findings if finding.judged.verdict == verdict]


def judge_session(
    measurements: Iterable[Measurement],
    session: str | None = None,
    confirmed: Mapping[str, Verdict] | None = None,
    unsteady: Mapping[str, str] | None = None,
    with_smallest: bool = True,
) -> NightReport:
    """Judge the newest session of a board, or the named one, by its own and all earlier ones. `confirmed` holds what
    base and head side by side gave, by configuration. `unsteady` holds why, by session: such a one is no past of
    others. NoSession when there is nothing to judge. The smallest change that each series shows takes most of the time;
    `with_smallest` leaves it out."""
    everything = sorted(measurements, key=lambda m: m.measured_at)
    if not everything:
        raise NoSession("nothing was measured")
    session = session or everything[-1].session
    tonight = [m for m in everything if m.session == session]
    if not tonight:
        raise NoSession(f"no session {session!r}; the newest is {everything[-1].session!r}")
    unsteady = unsteady or {}
    everything = [m for m in everything if m.session == session or m.session not in unsteady]
    until = tonight[-1].measured_at
    by_cell = {key: its for key, its in cells(m for m in everything if m.measured_at <= until).items()}
    found = [finding for its in by_cell.values() if its[-1].session == session for finding in _cell(its, with_smallest)]
    found = _corrected(found)
    way = moved_together([_direction(f) for f in found if f.quantity.startswith("latency")])
    canaries = _canaries(everything)
    found = [_explained(_as_event(f, way), confirmed or {}, unsteady.get(session), canaries) for f in found]
    told = {1: "worse", -1: "better"}
    return NightReport(
        board=str(tonight[-1].board),
        session=session,
        measured_at=until,
        commit=tonight[-1].commit,
        findings=tuple(found),
        event=f"a large part of the board's latencies got {told[way]} together" if way else None,
        missing=_missing(by_cell.values(), session),
        unsteady=unsteady.get(session),
    )


def _cell(its: Sequence[Measurement], with_smallest: bool) -> list[Finding]:
    """The findings of one cell, whose measurements are oldest first and end with the judged one."""
    now = its[-1]
    good = [m for m in its[:-1] if m.status == Status.OK]
    if now.status != Status.OK:
        if now.status in NOT_RUN or not good:
            return []
        verdict = Verdict.REGRESSED if now.status in BROKEN else Verdict.UNCERTAIN
        reason = f"{now.status.value}, where it ended well before: {now.reason}"
        return [Finding("status", Judged(verdict, RULE_STATUS, reason), now, good[-1])]
    found = [_series(series, with_smallest) for series in series_of(its)]
    return found + ([paired] if (paired := quality_finding(good, now)) else [])


def _series(series: Series, with_smallest: bool) -> Finding:
    values, nights = series.values, series.nights
    enough = len(values) >= ENOUGH
    judged = judge_nights(values, with_smallest=with_smallest) if enough else _few(values)
    since = judged.nights or 1
    if judged.rule in (RULE_NIGHT, RULE_FEW):
        since = _as_far_back(values, since)
    night = nights[-1 - since] if len(nights) > since else series.before
    then = None if night is None else night.measurement
    if judged.verdict == Verdict.NO_BASELINE and series.before is not None:
        moved = series.newest.value / series.before.value
        judged = replace(judged, reason=f"{judged.reason}; ×{moved:.3f} of the last night under other conditions")
        then = series.before.measurement
    return Finding(series.quantity, judged, series.newest.measurement, then)


def _as_far_back(values: Sequence[float], since: int) -> int:
    """How many last nights lie where the newest does, rather than where most do: a change that was noticed in one night
    may have begun in one before it, whose commit and conditions are the ones to look at."""
    halfway = math.sqrt(values[-1] * median(values))
    while since < len(values) - 1 and (values[-1 - since] - halfway) * (values[-1] - halfway) > 0:
        since += 1
    return since


def _few(values: Sequence[float]) -> Judged:
    """From a handful of nights nothing is red: a figure outside the interval for one more night is measured again."""
    if len(values) <= MIN_SESSIONS:
        reason = f"{len(values)} comparable nights; {MIN_SESSIONS + 1 - len(values)} more before one can be judged"
        return Judged(Verdict.NO_BASELINE, RULE_NONE, reason)
    level = one_more(values[:-1])
    ratio = values[-1] / level.value
    change = Interval(value=ratio, low=values[-1] / level.high, high=values[-1] / level.low)
    verdict = judge_ratio(change)
    reason = f"×{ratio:.3f} of {len(values) - 1} nights (95 % interval ×{change.low:.3f} to ×{change.high:.3f})"
    if verdict in (Verdict.REGRESSED, Verdict.IMPROVED):
        return Judged(Verdict.UNCERTAIN, RULE_FEW, reason + ": measure again", change, 1)
    inside = f"{reason}; {ENOUGH - len(values)} more nights before a step can be told from noise"
    return Judged(Verdict.PASS, RULE_FEW, inside, change)


def quality_finding(good: Sequence[Measurement], now: Measurement) -> Finding | None:
    """Prompt by prompt: tonight's hit against the majority of the nights before."""
    if now.quality is None:
        return None
    like = (now.quality.judge, now.fingerprint and now.fingerprint.gallery_sha256)
    earlier = [
        m for m in good if m.quality and (m.quality.judge, m.fingerprint and m.fingerprint.gallery_sha256) == like
    ]
    if not earlier:
        return Finding("r_precision", Judged(Verdict.NO_BASELINE, RULE_NONE, "no earlier night scored it so"), now)
    votes: Counter[str] = Counter()
    for m in earlier[-VOTING:]:
        votes.update({o.prompt: 1 if o.rank_153 == 0 else -1 for o in m.quality.outcomes})
    pairs = [(o.rank_153 == 0, votes[o.prompt] > 0) for o in now.quality.outcomes if o.prompt in votes]
    if not pairs:
        return Finding("r_precision", Judged(Verdict.NO_BASELINE, RULE_NONE, "no prompt was scored before"), now)
    anytime = looked_at(now.quality)
    change, p = difference(pairs, anytime=anytime), mcnemar_p(pairs, anytime=anytime)
    won, lost = sum(h and not t for h, t in pairs), sum(t and not h for h, t in pairs)
    reason = f"{won} prompts won, {lost} lost of {len(pairs)} (exact McNemar p = {p:.2g})"
    judged = Judged(Verdict.PASS, RULE_PAIRED, reason, change, log_odds=-math.log(p))
    if p < SIGNIFICANCE:
        judged = replace(judged, verdict=Verdict.REGRESSED if change.value < 0 else Verdict.IMPROVED, nights=1)
    return Finding("r_precision", judged, now, earlier[-1])


def _corrected(found: Sequence[Finding]) -> list[Finding]:
    """Reds that do not outlive looking at so many figures are measured again first."""
    red = [f.judged.log_odds if f.judged.verdict == Verdict.REGRESSED else None for f in found]
    stepped = [odds if f.judged.rule == RULE_STEP else None for f, odds in zip(found, red)]
    outlive = survivors(stepped)
    paired = sum(f.judged.rule == RULE_PAIRED for f in found)  # by Bonferroni: a p value is no odds
    corrected = []
    for finding, odds, kept in zip(found, red, outlive):
        if finding.judged.rule == RULE_PAIRED and odds is not None:
            kept = odds > math.log(paired / SIGNIFICANCE)
        elif finding.judged.rule != RULE_STEP:
            kept = True
        reason = f"{finding.judged.reason}; too weak among {len(found)} figures: measure again"
        corrected.append(finding if odds is None or kept else _judged(finding, Verdict.UNCERTAIN, reason))
    return corrected


def _judged(finding: Finding, verdict: Verdict, reason: str, rule: str | None = None) -> Finding:
    judged = replace(finding.judged, verdict=verdict, reason=reason, rule=rule or finding.judged.rule)
    return replace(finding, judged=judged)


def _direction(finding: Finding) -> int:
    judged = finding.judged
    if judged.change is None or judged.rule not in (RULE_STEP, RULE_NIGHT, RULE_FEW):
        return 0
    if judged.verdict in (Verdict.PASS, Verdict.NO_BASELINE):
        return 0
    return 1 if judged.change.value > 1 else -1


def _as_event(finding: Finding, way: int) -> Finding:
    """A cell that moved with the board is part of one event, which is measured again before anything is red."""
    if not way or not finding.quantity.startswith("latency") or _direction(finding) != way:
        return finding
    verdict = Verdict.UNCERTAIN if way > 0 else finding.judged.verdict
    return _judged(finding, verdict, f"{finding.judged.reason}; with a large part of the board", RULE_BOARD)


def _explained(
    finding: Finding, confirmed: Mapping[str, Verdict], unsteady: str | None, canaries: Mapping[str, float]
) -> Finding:
    """With its cause, and with what the comparison side by side said."""
    judged, latency = finding.judged, finding.quantity.startswith("latency")
    answer = confirmed.get(finding.configuration) if latency else None
    changed = judged.verdict in (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.UNCERTAIN)
    if not (changed or answer == Verdict.REGRESSED or _other_conditions(finding)):
        return finding
    seen = Circumstances(
        ratio=judged.change.value if judged.change and judged.change.value > 0 else 1.0,
        board_moved=judged.rule == RULE_BOARD,
        unsteady=unsteady,
        canary_ratio=_canary_ratio(finding, canaries) if latency else None,
        confirmed=answer,
        differences=computed_differently(finding.then, finding.now),
    )
    explained = replace(finding, cause=cause(finding.then, finding.now, seen))
    if answer == Verdict.PASS and judged.verdict in (Verdict.REGRESSED, Verdict.UNCERTAIN):
        return _judged(explained, Verdict.PASS, f"{judged.reason}; base and head are alike side by side")
    if answer == Verdict.REGRESSED:
        return _judged(explained, Verdict.REGRESSED, f"{judged.reason}; confirmed side by side")
    return explained


def _other_conditions(finding: Finding) -> bool:
    then, now = finding.then, finding.now
    return then is not None and then.fingerprint != now.fingerprint


def _canaries(measurements: Iterable[Measurement]) -> dict[str, float]:
    """The canary's median seconds in each session: only references run it, and it is of the whole session."""
    found: dict[str, list[float]] = defaultdict(list)
    for m in measurements:
        if m.canary_s is not None:
            found[m.session].append(m.canary_s)
    return {session: median(seconds) for session, seconds in found.items()}


def _canary_ratio(finding: Finding, canaries: Mapping[str, float]) -> float | None:
    then = None if finding.then is None else canaries.get(finding.then.session)
    now = canaries.get(finding.now.session)
    return None if then is None or now is None else now / then


def _missing(by_cell: Iterable[Sequence[Measurement]], session: str) -> tuple[str, ...]:
    """Cells that the session before measured well and this one did not start."""
    every = list(by_cell)
    earlier = sorted({(m.measured_at, m.session) for its in every for m in its if m.session != session})
    if not earlier:
        return ()
    before = earlier[-1][1]
    found = []
    for its in every:
        was = any(m.session == before and m.status == Status.OK for m in its)
        is_now = any(m.session == session and m.status not in NOT_RUN for m in its)
        if was and not is_now:
            found.append(its[-1].configuration)
    return tuple(sorted(found))
