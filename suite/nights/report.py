"""A night's report in lines for a terminal, in Markdown for a job's page, and as JSON for other programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from suite.nights.night import Finding, NightReport
from suite.records import Verdict

TOLD = (Verdict.REGRESSED, Verdict.UNCERTAIN, Verdict.IMPROVED)
MARKS = {Verdict.REGRESSED: "🔴", Verdict.UNCERTAIN: "🟡", Verdict.IMPROVED: "🟢", Verdict.PASS: "✅"}


def headline(report: NightReport) -> str:
    counts = Counter(finding.judged.verdict.value for finding in report.findings)
    told = ", ".join(f"{counts[verdict.value]} {verdict.value}" for verdict in Verdict if counts[verdict.value])
    return f"{report.board}, {report.measured_at[:16]}, commit {report.commit or 'unknown'}: {told or 'nothing judged'}"


def lines(report: NightReport) -> list[str]:
    """What needs somebody's eye, worst first; what passed is only counted."""
    found = [headline(report)]
    found += [f"  event: {report.event}"] if report.event else []
    found += [f"  unsteady session: {report.unsteady}"] if report.unsteady else []
    for verdict in TOLD:
        found += [line for finding in report.of(verdict) for line in _finding(finding)]
    found += [f"  missing: {name} was measured in the session before" for name in report.missing]
    found += [
        f"  new conditions: {f.configuration}, {f.quantity}: {f.judged.reason} ({'; '.join(f.cause.evidence)})"
        for f in report.of(Verdict.NO_BASELINE)
        if f.cause and f.cause.evidence
    ]
    return found


def _finding(finding: Finding) -> list[str]:
    judged = finding.judged
    found = [f"  {judged.verdict.value}: {finding.configuration}, {finding.quantity}: {judged.reason}"]
    if finding.cause:
        found.append(f"    cause: {finding.cause.kind} ({'; '.join(finding.cause.evidence)})")
    if finding.then is not None:
        found.append(
            f"    last good: {finding.then.measured_at[:16]}, commit {finding.then.commit or 'unknown'}; "
            f"first bad: by {finding.now.measured_at[:16]}, commit {finding.now.commit or 'unknown'}"
        )
    return found


def markdown(reports: Sequence[NightReport]) -> str:
    """A summary that is read in 20 seconds: one line a board, then a table of what is not as before."""
    found = []
    for report in reports:
        found += [f"### {MARKS.get(report.verdict, '⚪')} {headline(report)}", ""]
        found += [f"**{report.event}**", ""] if report.event else []
        found += [f"**unsteady session**: {report.unsteady}", ""] if report.unsteady else []
        told = [finding for verdict in TOLD for finding in report.of(verdict)]
        if told:
            found += ["| | cell | figure | change | cause | last good commit |", "|---|---|---|---|---|---|"]
        for f in told:
            change = f"{_change(f)}" if f.judged.change else f.judged.reason.replace("|", "/")
            kind = f"{f.cause.kind}: {'; '.join(f.cause.evidence)}".replace("|", "/") if f.cause else ""
            good = (f.then.commit if f.then else None) or ""
            found.append(
                f"| {MARKS[f.judged.verdict]} {f.judged.verdict.value} | {f.configuration} | {f.quantity} | {change} | "
                f"{kind} | {good} |"
            )
        found += ["", *(f"- not measured this time: {name}" for name in report.missing)] if report.missing else []
        found.append("")
    return "\n".join(found)


def _change(finding: Finding) -> str:
    change, points = finding.judged.change, finding.quantity == "r_precision"
    if points:
        return f"{100 * change.value:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f})"
    if change.low is None or change.high is None:
        return f"×{change.value:.3f}"
    return f"×{change.value:.3f} ({change.low:.3f} to {change.high:.3f})"


def as_json(reports: Sequence[NightReport]) -> str:
    """Every finding, those that passed too, with the smallest change that its series shows."""
    return json.dumps([_report(report) for report in reports], indent=1) + "\n"


def _report(report: NightReport) -> dict:
    return {
        "board": report.board,
        "session": report.session,
        "measured_at": report.measured_at,
        "commit": report.commit,
        "verdict": report.verdict.value,
        "event": report.event,
        "unsteady": report.unsteady,
        "missing": list(report.missing),
        "findings": [_row(finding) for finding in report.findings],
    }


def _row(finding: Finding) -> dict:
    judged = finding.judged
    return {
        "configuration": finding.configuration,
        "weights": finding.now.weights,
        "quantity": finding.quantity,
        "verdict": judged.verdict.value,
        "rule": judged.rule,
        "reason": judged.reason,
        "change": judged.change and judged.change.model_dump(),
        "nights": judged.nights,
        "smallest_change_in_3_nights": judged.smallest[0],
        "smallest_change_in_10_nights": judged.smallest[1],
        "cause": finding.cause and {"kind": finding.cause.kind, "evidence": list(finding.cause.evidence)},
        "last_good_commit": finding.then and finding.then.commit,
        "first_bad_commit": finding.now.commit,
    }
