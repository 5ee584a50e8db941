"""Judge a night: `python -m suite.nights [--history DIR] [--board NAME] [--session NAME]`

Holds the newest session of each board against the nights before it (docs/nights.md), and says what got worse, what it
thinks the cause is, and how small a change each series can show. The exit status is 1 when something regressed, 0 when
nothing did, and 2 when nothing could be judged.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from suite.command_line import command
from suite.history import COMMITTED, LOCAL, History, HistoryError
from suite.index.reading import read_indexed
from suite.names import unknown
from suite.nights.night import NoSession, judge_session
from suite.nights.report import as_json, lines, markdown
from suite.records import Measurement, Verdict
from suite.saving import write_atomically


class MalformedConfirmation(ValueError):
    """Names the file and the key."""


def read_confirmations(path: Path) -> dict[str, Verdict]:
    """Verdicts by configuration, of what `python -m suite.confirm --json` wrote."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {row["configuration"]: Verdict(row["verdict"]) for row in found["configurations"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"{path}: no confirmation that can be read ({type(error).__name__}: {error})"
        raise MalformedConfirmation(what) from None


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m suite.nights", description=__doc__.split("\n")[0])
    parser.add_argument("--history", type=Path, action="append", metavar="DIR", help="instead of this checkout's runs")
    parser.add_argument("--board", help="only this one; default: each that was measured")
    parser.add_argument("--session", help="instead of the newest")
    parser.add_argument("--confirmed", type=Path, metavar="FILE", help="what `python -m suite.confirm --json` wrote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every finding there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the summary for a job's page there")
    options = parser.parse_args(argv)
    by_board: dict[str, list[Measurement]] = defaultdict(list)
    history = History()
    for folder in options.history or [COMMITTED, LOCAL]:
        if folder.is_dir():
            history.extend(read_indexed(folder))
    for problem in history.problems:
        print(f"warning: history file {problem}", file=sys.stderr)
    for m in history.measurements:
        if m.board is not None:
            by_board[m.board].append(m)
    try:
        if options.board is not None and options.board not in by_board:
            raise NoSession(str(unknown("board", options.board, by_board)) if by_board else "nothing was measured")
        confirmed = read_confirmations(options.confirmed) if options.confirmed else {}
        boards = [options.board] if options.board else _with_session(by_board, options.session)
        reports = [
            judge_session(by_board[board], options.session, confirmed, _unsteady(history, board)) for board in boards
        ]
        if not reports:
            raise NoSession(f"no session {options.session!r}" if options.session else "nothing was measured")
        for path, text in ((options.json, as_json(reports)), (options.markdown, markdown(reports))):
            if path:
                write_atomically(path, text)
    except (NoSession, MalformedConfirmation, HistoryError) as error:
        print(f"python -m suite.nights: {error}", file=sys.stderr)
        return 2
    for report in reports:
        print("\n".join(lines(report)))
    return 1 if any(report.verdict == Verdict.REGRESSED for report in reports) else 0


def _unsteady(history: History, board: str) -> dict[str, str]:
    """Why sessions of a board were not measured under one condition, by session."""
    its = {session: machine for (where, session), machine in history.machines.items() if where == board}
    return {session: "; ".join(machine.unsteady) for session, machine in its.items() if machine.unsteady}


def _with_session(by_board: dict[str, list[Measurement]], session: str | None) -> list[str]:
    return [board for board, its in by_board.items() if session is None or any(m.session == session for m in its)]


if __name__ == "__main__":
    sys.exit(main())
