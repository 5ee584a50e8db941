"""What is known of a night: `night.json`, written as the night goes on, and the arithmetic of its verdict."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from suite.fields import UtcTime
from suite.history import UNREADABLE, parse
from suite.records import SCHEMA_VERSION, Record, Verdict
from suite.saving import write_atomically

GREEN, REGRESSED, NOT_MEASURED, ANOTHER_NIGHT = 0, 1, 2, 3  # exit statuses
TOLD = {GREEN: "green", REGRESSED: "regressed", NOT_MEASURED: "not measured"}
FILE = "night.json"
ABSENT = ("needs-weights:", "not-here:")  # a cell that fails so was not measured
SKIPPED = ("throttled:", "its reference ")
COUNTED = re.compile(r"--require-device \S+: (\d+) of its cells were skipped")  # suite/session/required.py
PYTEST_SAYS = {2: "it was interrupted", 3: "it could not keep everything", 4: "refused", 5: "no cell is selected"}
SAID_LINES = 40  # of a step
WORST_FIRST = {Verdict.REGRESSED.value: 0, Verdict.UNCERTAIN.value: 1}
NIGHT_SEES = 0.05  # a slowdown that no night of another commit may hide, as a fraction


class Step(Record):
    """One that came to its end. `exit_status` is that of its command (negative: the signal that ended it)."""

    ended_at: UtcTime
    exit_status: int
    said: list[str] = Field(default=[], max_length=SAID_LINES)


class NightRecord(Record):
    """The file night.json."""

    schema_version: int = SCHEMA_VERSION
    board: str
    device: str
    select: str
    pytest_options: list[str] = []
    history: str
    commit: str | None
    began_at: UtcTime
    began: str  # the same, as sessions' names begin with it
    steps: dict[Literal["preflight", "measure", "judge", "confirm", "publish"], Step] = {}
    running: str | None = None  # the step that is under way, or was when the night was killed
    session: str | None = None
    regressed: list[str] = []  # lines: what made the night red
    troubles: list[str] = []  # lines: why something was not measured, judged or kept
    uncertain: list[str] = []  # lines: what was not confirmed
    exit_status: int | None = None  # None: it never came to its end

    @property
    def cut_short(self) -> bool:
        """Killed before its end, or its session was: the next night goes on with it."""
        measured = self.steps.get("measure")
        return self.exit_status is None or (measured is not None and measured.exit_status < 0)

    def is_like(self, other: NightRecord) -> bool:
        """Asked for the same, of the same code on the same board."""
        names = ("board", "device", "select", "pytest_options", "history", "commit")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def write(self, folder: Path) -> None:
        """HistoryError where it cannot be."""
        write_atomically(folder / FILE, self.model_dump_json(indent=1) + "\n")


def read_night(folder: Path) -> NightRecord | None:
    """None where there is none that can be read: then nobody can go on with it."""
    try:
        return NightRecord.model_validate(parse((folder / FILE).read_text(encoding="utf-8")))
    except UNREADABLE:
        return None


def to_resume(results: Path, wanted: NightRecord) -> Path | None:
    """The folder of the newest night, where it was cut short and is like the wanted one."""
    folders = sorted(path.parent for path in results.glob(f"[0-9]*/{FILE}"))  # not `latest`, a link
    last = read_night(folders[-1]) if folders else None
    return folders[-1] if last is not None and last.cut_short and last.is_like(wanted) else None


def exit_status(regressed: Sequence[str], troubles: Sequence[str]) -> int:
    """Red before all else; never green where something was not measured, judged or kept."""
    return REGRESSED if regressed else NOT_MEASURED if troubles else GREEN


@dataclass(frozen=True)
class Cells:
    """Of a session's JUnit XML: a reason each, by configuration."""

    broken: dict[str, str]  # over a limit, or dead
    absent: dict[str, str]  # not here, without weights, or skipped
    unsupported: dict[str, str]  # this board cannot run them, which is an answer


def read_cells(junit: Path) -> Cells:
    """All are empty where it was not written: the session's exit status tells then."""
    try:
        cases = list(ElementTree.parse(junit).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        cases = []
    found = Cells({}, {}, {})
    for case in cases:
        name = case.get("name", "").removeprefix("test_configuration[").removesuffix("]")
        for node in [*case.iter("failure"), *case.iter("error")]:
            words = _words(node)
            if not words.startswith("contains "):  # pytest counts the failed subtests, which are said themselves
                (found.absent if words.startswith(ABSENT) else found.broken).setdefault(name, words)
        for words in map(_words, case.iter("skipped")):  # of subtests too: a limit that is not set is no skipped cell
            if words.startswith(("unsupported:", *SKIPPED)):
                (found.unsupported if words.startswith("unsupported:") else found.absent).setdefault(name, words)
    return found


def _words(node: ElementTree.Element) -> str:
    return (node.get("message") or "failed").removeprefix("Failed: ").splitlines()[0]


def of_measuring(status: int, said: Sequence[str], cells: Cells) -> tuple[list[str], list[str]]:
    """(lines that make the night red, lines why not all was measured), of how a session of pytest ended.

    `--require-device` minds every skip. A cell that this board cannot run is none here: the judge names it where it was
    measured before.
    """
    broken, troubles = ([f"{name}: {why}" for name, why in its.items()] for its in (cells.broken, cells.absent))
    unmet = [line.removeprefix("text3d-bench: ") for line in said if "--require-device" in line]
    counts = [int(found[1]) if (found := COUNTED.match(line)) else None for line in unmet]
    troubles += [line for line, count in zip(unmet, counts) if count is None or count != len(cells.unsupported)]
    if status not in (0, 1):
        why = PYTEST_SAYS.get(status) or f"it was ended by signal {-status}"
        troubles = [f"measure: {why} (pytest's exit status {status})", *said[-1:], *troubles]
    elif status == 1 and not (broken or troubles or unmet):
        troubles = ["measure: pytest ended with status 1; measure.log says why"]
    return broken, troubles


class Suspect(Record):
    """A cell whose latency is to be compared side by side with a commit."""

    configuration: str
    weights: str | None
    base: str | None  # None: no night before it says one


def suspects(reports: Iterable[dict], mode: str, base: str | None, differs: Callable[[str], bool]) -> list[Suspect]:
    """Worst first. reports: what `python -m suite.nights --json` wrote. mode: changed, suspicious, all, never.

    differs: whether tonight's code differs from a commit's. With `changed`, a figure that passed is compared too where
    it does and the series would not show `NIGHT_SEES` by itself."""
    rows = [row for report in reports for row in report["findings"] if row["quantity"].startswith("latency")]
    rows.sort(key=lambda row: (WORST_FIRST.get(row["verdict"], len(WORST_FIRST)), -_ratio(row)))
    found = {}
    for row in rows:
        good = base or (row["last_good_commit"] or "").removesuffix("+") or None
        wanted = {
            "all": True,
            "never": False,
            "suspicious": row["verdict"] in WORST_FIRST,
            "changed": row["verdict"] in WORST_FIRST or (good is not None and _blind(row) and differs(good)),
        }[mode]
        if wanted:
            found.setdefault(row["configuration"], Suspect(**_named(row), base=good))
    return list(found.values())


def _blind(row: dict) -> bool:
    """Whether a slowdown of `NIGHT_SEES` could hide in this series for three nights, or nothing is known of it yet."""
    smallest = row["smallest_change_in_3_nights"]
    return smallest is None or smallest > NIGHT_SEES


def _named(row: dict) -> dict:
    return {"configuration": row["configuration"], "weights": row["weights"]}


def _ratio(row: dict) -> float:
    change = row["change"]
    return change["value"] if change and math.isfinite(change["value"]) else 0.0


def judged_lines(reports: Iterable[dict], verdict: Verdict) -> list[str]:
    """A line for each finding with this verdict."""
    return [
        f"{row['configuration']}, {row['quantity']}: {row['reason']}"
        for report in reports
        for row in report["findings"]
        if row["verdict"] == verdict.value
    ]


def summary(night: NightRecord, judged: str | None) -> str:
    """Markdown for a job's page: the verdict in a line, why, then what the judge says."""
    mark = {GREEN: "🟢", REGRESSED: "🔴", NOT_MEASURED: "⚪"}.get(night.exit_status, "⏳")
    verdict = TOLD.get(night.exit_status, "under way")
    found = [f"## {mark} {verdict}: {night.device} on {night.board}, {night.began_at[:16]}, commit {night.commit}", ""]
    for title, lines in (("Red", night.regressed), ("Not in order", night.troubles)):
        found += [f"**{title}**", "", *(f"- {_plain(line)}" for line in lines), ""] if lines else []
    compared = night.steps["confirm"].said if "confirm" in night.steps else []
    for title, lines in (("Not confirmed, so not red", night.uncertain), ("Compared side by side", compared)):
        found += [f"**{title}**", "", *(f"- {_plain(line)}" for line in lines), ""] if lines else []
    return "\n".join([*found, judged or "Nothing was judged.", ""])


def _plain(line: str) -> str:
    """No markup of a name or a reason."""
    return json.dumps(line, ensure_ascii=False)[1:-1].replace("<", "&lt;").replace("|", "/")
