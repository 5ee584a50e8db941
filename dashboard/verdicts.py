"""What is said of a night: the verdict on each figure of a cell, its cause, and what its series can show at all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from dashboard.changes import NAMES, Change, regressions
from dashboard.commits import told
from dashboard.history import QUALITY, Line, when
from dashboard.words import in_markdown
from suite.judging.step_evidence import LENGTHS, MIN_PAST, smallest_change
from suite.names import listed
from suite.nights.night import Finding, NightReport, judge_session
from suite.records import Measurement, Verdict

WORDS = {
    Verdict.REGRESSED: "worse",
    Verdict.UNCERTAIN: "uncertain, to be measured again",
    Verdict.IMPROVED: "better",
    Verdict.PASS: "as before",
    Verdict.NO_BASELINE: "nothing to judge by yet",
}
COLOURS = {Verdict.REGRESSED: "red", Verdict.UNCERTAIN: "orange", Verdict.IMPROVED: "green", Verdict.PASS: "green"}


def newest(measurements: Iterable[Measurement]) -> NightReport:
    """The newest session of a board, judged."""
    return judge_session(measurements, with_smallest=False)


def headline(report: NightReport, changes: Sequence[Change], missing: frozenset[str] = frozenset()) -> str:
    """The newest session of a board in a sentence or three (Markdown)."""
    counts = Counter(finding.judged.verdict for finding in report.findings)
    counted = ", ".join(f"{counts[verdict]} {WORDS[verdict]}" for verdict in WORDS if counts[verdict])
    said = (
        f"**Newest session: {WORDS[report.verdict]}**, {in_markdown(report.measured_at[:16].replace('T', ' '))} UTC, "
        f"commit {in_markdown(told(report.commit, missing))}. Figures: {counted or 'none judged'}."
    )
    if report.event:
        said += f" One event: {in_markdown(report.event)}."
    if report.missing:
        said += f" Not measured this time: {in_markdown(listed(report.missing))}."
    open_, healed = _counted(changes)
    plural = "regression that is" if open_ == 1 else "regressions that are"
    return said + f" In its past: {open_} {plural} still so, {healed} that healed."


def _counted(changes: Sequence[Change]) -> tuple[int, int]:
    found = regressions(changes)
    return sum(c.healed is None for c in found), sum(c.healed is not None for c in found)


def of_cell(report: NightReport, configuration: str, weights: str | None) -> list[Finding]:
    return [f for f in report.findings if (f.configuration, f.now.weights) == (configuration, weights)]


def sentence(finding: Finding, missing: frozenset[str] = frozenset()) -> str:
    """A finding with its reason, its cause, and the nights around the change (Markdown)."""
    judged = finding.judged
    name, colour = NAMES[finding.quantity], COLOURS.get(judged.verdict, "gray")
    said = f"**{name}**: :{colour}[**{WORDS[judged.verdict]}**], {in_markdown(judged.reason)}."
    if finding.cause is not None:
        said += f" Cause: {finding.cause.kind} ({in_markdown('; '.join(finding.cause.evidence))})."
    if finding.then is not None and judged.verdict not in (Verdict.PASS, Verdict.NO_BASELINE):
        good, bad = (in_markdown(told(m.commit, missing)) for m in (finding.then, finding.now))
        said += f" Last good commit {good} ({when(finding.then)}), judged at {bad} ({when(finding.now)})."
    return said


def smallest(line: Line) -> str:
    """The smallest change that this line's newest segment shows within three and within ten nights."""
    values = line.newest.values
    if line.quantity == QUALITY:
        return "A change of quality is told prompt by prompt, in one night."
    lacking = MIN_PAST + LENGTHS[0] - len(values)
    if lacking > 0:
        nights = "1 comparable night" if len(values) == 1 else f"{len(values)} comparable nights"
        return f"{nights}; {lacking} more before a change can be told from noise."
    logs = [math.log(value) for value in values]
    said = [(n, smallest_change(logs, n)) for n in (LENGTHS[0], LENGTHS[-1])]
    told_ = (f"{change:.0%} within {n} nights" if change is not None else f"none within {n}" for n, change in said)
    return f"Smallest change that would show: {', '.join(told_)}."
