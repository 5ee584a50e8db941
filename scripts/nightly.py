"""One night on this board: look at the machine, measure, judge, confirm side by side, publish.

Started by `scripts/nightly`, from any folder and also by cron. docs/nightly.md says what each step does.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

from scripts import night_record
from scripts.night_record import ANOTHER_NIGHT, NOT_MEASURED, TOLD, NightRecord, Step, Suspect
from suite.catalogue.devices import find_device
from suite.command_line import command, positive
from suite.confirm.checkouts import Repository
from suite.devices.backend import machine_board
from suite.history import COMMITTED, LOCAL, ROOT, HistoryError, read_session
from suite.names import UnknownName
from suite.preflight.clock import SESSION_TIME
from suite.records import Verdict
from suite.saving import write_atomically
from suite.session.run_lock import BoardBusy, RunLock
from suite.worker.execution import commit

NIGHTS = ROOT / "outputs" / "nights"
CONFIRM_LIMIT_S, CONFIRM_CELL_S = 3600.0, 600.0
TAIL_LINES = 15
JUNIT, LATEST = "junit.xml", "latest"
SAID = ("text3d-bench: ", "unsteady: ", "ERROR: ")  # lines of pytest that a person should see
PR_SET_PDEATHSIG = 1  # prctl(2)
LIBC = ctypes.CDLL(None)
EXIT_SAID = (
    "Exit status: 0 green: all was measured and nothing regressed; 1 regressed: slower, larger, worse, dead or over a "
    "limit; 2 not measured, judged or kept as a whole (machine not in order, a cell skipped, history not writable), or "
    "a wrong option; 3 another night is running on this board."
)


class Ended(Exception):
    """The night cannot go on; its record says why."""


class Night:
    """One night in its folder. Each step writes night.json before and after."""

    def __init__(self, folder: Path, record: NightRecord, options: argparse.Namespace, resumed: bool):
        self.folder, self.record, self.options, self.resumed = folder, record, options, resumed

    def update(self, **fields) -> None:
        self.record = self.record.model_copy(update=fields)
        self.record.write(self.folder)

    def run(self, log: str, *words: str) -> tuple[int, list[str]]:
        """A command's exit status and its lines; all that it says goes into the log."""
        path = self.folder / log
        with open(path, "ab") as file:
            start = file.tell()
            done = subprocess.run(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=_end_with_us,
            )
        with open(path, "rb") as file:
            file.seek(start)
            return done.returncode, file.read().decode(errors="replace").splitlines()

    def begin(self, step: str) -> None:
        self.update(running=step)

    def end(self, step: str, status: int, said: Sequence[str] = ()) -> None:
        kept = list(said)[-night_record.SAID_LINES :]
        ended = Step(ended_at=datetime.now(timezone.utc).isoformat(timespec="seconds"), exit_status=status, said=kept)
        self.update(running=None, steps={**self.record.steps, step: ended})
        print("\n  ".join([f"{step}: exit status {status}", *kept]), flush=True)

    def trouble(self, *lines: str) -> None:
        self.update(troubles=list(dict.fromkeys([*self.record.troubles, *lines])))

    # The steps.

    @property
    def cells(self) -> list[str]:
        """Which cells: the same for looking and measuring."""
        asked = self.record
        expression = f"{asked.device} and ({asked.select})"
        return [
            "pytest",
            "-m",
            expression,
            "--require-device",
            asked.device,
            f"--benchmark-storage=file://{self.history}",
        ]

    @property
    def history(self) -> Path:
        return Path(self.record.history)

    def preflight(self) -> None:
        """Ended where a check fails: nothing that is measured so would be worth keeping."""
        self.begin("preflight")
        status, lines = self.run("preflight.txt", *self.cells, "--preflight", *self.record.pytest_options)
        states = [line for line in lines if line.startswith(("warn ", "fail "))]
        self.end("preflight", status, states or (_tail(lines) if status else ()))
        if status:
            self.trouble(f"preflight: {night_record.PYTEST_SAYS.get(status, 'a check failed')}", *states)
            raise Ended

    def measure(self) -> None:
        """One session of pytest, which goes on with the one that was cut short."""
        done = self.record.steps.get("measure")
        if done is not None and done.exit_status >= 0:
            print("measure: done before the night was cut short", flush=True)
        else:
            self.begin("measure")
            print(f"measure: {self.folder / 'measure.log'}", flush=True)
            kept = [f"--junitxml={self.folder / JUNIT}", "--benchmark-save=nightly"]
            resume = ["--resume"] if self.resumed else []
            status, lines = self.run("measure.log", *self.cells, *kept, *resume, *self.record.pytest_options)
            self.update(session=self._session())
            said = [line.strip("! ") for line in lines if any(word in line for word in SAID)]
            self.end("measure", status, said or _tail(lines))
        ended = self.record.steps["measure"]
        broken, troubles = night_record.of_measuring(ended.exit_status, ended.said, self.cells_told)
        self.update(regressed=broken)
        self.trouble(*troubles)

    @property
    def cells_told(self) -> night_record.Cells:
        return night_record.read_cells(self.folder / JUNIT)

    def _session(self) -> str | None:
        """The newest that began in this night: its journal is named by its time."""
        names = sorted(path.name for path in (self.history / self.record.board / "journal").glob("*"))
        return names[-1] if names and names[-1] >= self.record.began else None

    def judge(self, *more: str) -> list[dict]:
        """What the judge found; nothing where it could not judge."""
        if self.record.session is None:
            self.trouble("nothing was measured")
            raise Ended
        self.begin("judge")
        found = self.folder / "judged.json"
        found.unlink(missing_ok=True)
        folders = [word for folder in (COMMITTED, self.history) for word in ("--history", str(folder))]
        names = ["--board", self.record.board, "--session", self.record.session]
        files = ["--json", str(found), "--markdown", str(self.folder / "judged.md")]
        status, lines = self.run("judge.log", "suite.nights", *folders, *names, *files, *more)
        self.end("judge", status, lines)
        if status not in (0, 1):
            self.trouble(f"judge: {(lines or ['no word'])[-1]}")
            return []
        reports = json.loads(found.read_text(encoding="utf-8"))
        unsupported = self.cells_told.unsupported
        lost = [name for report in reports for name in report["missing"] if name in unsupported]
        self.trouble(*(f"{name}: measured the night before, and now {unsupported[name]}" for name in lost))
        return reports

    def confirm(self, reports: Sequence[dict]) -> list[str]:
        """Cells beside their last good commit, worst first; the options with the answers for the judge. A cell that was
        compared before the night was cut short is not compared again."""
        cells = night_record.suspects(reports, self.options.confirm, self.options.base, cache(Repository(ROOT).differs))
        if not cells:
            return []
        self.begin("confirm")
        answers, said, left_s = [], [], self.options.confirm_time_limit
        for number, cell in enumerate(cells, 1):
            row, line = self._compared(f"[{number}/{len(cells)}]", cell, left_s)
            said.append((row is not None and row["verdict"] == Verdict.PASS.value, f"{cell.configuration}: {line}"))
            if row is not None:
                answers.append(row)
                left_s -= row["elapsed_s"]
        file = self.folder / "confirmed.json"
        write_atomically(file, json.dumps({"configurations": answers}, indent=1) + "\n")
        # A record keeps the last lines of a step: those that are no plain pass.
        self.end("confirm", 0, [line for _, line in sorted(said, key=lambda alike: not alike[0])])
        return ["--confirmed", str(file)]

    def _compared(self, title: str, cell: Suspect, left_s: float) -> tuple[dict | None, str]:
        """The row of one cell, None where it could not even be begun; and a line."""
        if cell.base is None:
            return None, "not compared: no earlier night names a good commit"
        file = self.folder / "confirm" / f"{cell.configuration.replace('/', '--')}-{cell.base[:10]}.json"
        if not file.is_file() and left_s <= 0:
            return None, "not compared: the time for confirming was up (--confirm-time-limit)"
        if not file.is_file():
            print(f"confirm: {title} {cell.configuration} beside {cell.base}", flush=True)
            file.parent.mkdir(exist_ok=True)
            limit = ["--time-limit", f"{min(left_s, CONFIRM_CELL_S):g}"]
            asked = ["--base", cell.base, "--decide", *limit, "--weights", cell.weights or "auto", "--json", str(file)]
            _, lines = self.run("confirm.log", "suite.confirm", *asked, cell.configuration)
            if not file.is_file():
                return None, f"not compared: {(lines or ['no word'])[-1]}"
        (row,) = json.loads(file.read_text(encoding="utf-8"))["configurations"]
        ratio = next((c["ratio"] for c in row["compared"] if c["ratio"]), None)
        told = f", ×{ratio['value']:.3f} of {cell.base[:10]}" if ratio else ""
        return row, row["verdict"] + told + (f": {row['reason']}" if row["reason"] else "")

    def publish(self) -> None:
        """Tables of all that is known, and this session's files as `leaderboards merge` takes them."""
        self.begin("publish")
        source = ["--include-local"] if self.history == LOCAL else ["--history", str(self.history)]
        tables = str(self.folder / "tables")
        status, lines = self.run("publish.log", "leaderboards", "publish", *source, "--output", tables)
        self.end("publish", status, _tail(lines) if status else ())
        if status:
            self.trouble(f"publish: {(lines or ['no word'])[-1]}")
        if not self._keep():
            self.trouble("publish: the session has no file in the history")

    def _keep(self) -> int:
        """How many files of this night's session were copied."""
        kept = self.folder / "history" / self.record.board
        kept.mkdir(parents=True, exist_ok=True)
        copied = 0
        for path in sorted((self.history / self.record.board).glob("[0-9]*.json")):
            with contextlib.suppress(HistoryError):  # the reader of the history has said so
                if any(m.session == self.record.session for m in read_session(path).measurements):
                    shutil.copy(path, kept)
                    copied += 1
        return copied

    def whole(self) -> int:
        """All steps; the exit status."""
        self.update(regressed=[], troubles=[], uncertain=[], exit_status=None)
        with contextlib.suppress(Ended):
            self.preflight()
            self.measure()
            reports = self.judge()
            if answers := self.confirm(reports):
                reports = self.judge(*answers)
            red = night_record.judged_lines(reports, Verdict.REGRESSED)
            uncertain = night_record.judged_lines(reports, Verdict.UNCERTAIN)
            self.update(regressed=[*self.record.regressed, *red], uncertain=uncertain)
            self.publish()
        status = night_record.exit_status(self.record.regressed, self.record.troubles)
        self.update(exit_status=status, running=None)
        judged = self.folder / "judged.md"
        text = judged.read_text(encoding="utf-8") if judged.is_file() else None
        write_atomically(self.folder / "summary.md", night_record.summary(self.record, text))
        for line in [*self.record.regressed, *self.record.troubles]:
            print(f"  {line}")
        print(f"{TOLD[status]}: {self.folder}", flush=True)
        return status


def _end_with_us() -> None:
    """In a child: a night that is killed leaves nothing behind that still measures."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _tail(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line.strip()][-TAIL_LINES:]


def open_night(options: argparse.Namespace) -> Night:
    """The last one where it was cut short, of the same code and the same cells; else a new one."""
    now = datetime.now(timezone.utc)
    wanted = NightRecord(
        board=machine_board(),
        device=options.device,
        select=options.select,
        pytest_options=options.pytest_options,
        history=str(options.history.absolute()),
        commit=commit(),
        began_at=now.isoformat(timespec="seconds"),
        began=now.strftime(SESSION_TIME),
    )
    results = options.results.absolute()
    folder = night_record.to_resume(results, wanted)
    if folder is not None:
        record = night_record.read_night(folder)
        print(f"going on with the night of {record.began_at}, which was cut short: {folder}", flush=True)
        return Night(folder, record, options, resumed=True)
    folder = results / wanted.began
    wanted.write(folder)
    with contextlib.suppress(FileNotFoundError):
        (results / LATEST).unlink()
    (results / LATEST).symlink_to(folder.name)
    return Night(folder, wanted, options, resumed=False)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="scripts/nightly", description=__doc__.splitlines()[0], epilog=EXIT_SAID)
    found.add_argument("--device", required=True, help="whose cells, such as orin or cpu; it must be here")
    found.add_argument("--select", default="nightly", metavar="EXPR", help="pytest's marks (default: %(default)s)")
    found.add_argument(
        "--base", metavar="COMMIT", help="compare with this one (default: the last good commit of each finding)"
    )
    found.add_argument(
        "--confirm",
        choices=("changed", "suspicious", "all", "never"),
        default="changed",
        help="which latencies are compared side by side with the base. suspicious: regressed or uncertain ones. "
        "changed (default): where the code differs from the base's also those in whose past "
        f"{night_record.NIGHT_SEES:.0%}% would not show",
    )
    found.add_argument(
        "--confirm-time-limit",
        type=positive("seconds"),
        default=CONFIRM_LIMIT_S,
        metavar="SECONDS",
        help=f"for all of them, at most {CONFIRM_CELL_S:.0f} each (default: {CONFIRM_LIMIT_S:.0f})",
    )
    found.add_argument("--results", type=Path, default=NIGHTS, metavar="DIR", help="a folder a night (%(default)s)")
    found.add_argument("--history", type=Path, default=LOCAL, metavar="DIR", help="where sessions lie (%(default)s)")
    found.add_argument("pytest_options", nargs="*", metavar="-- PYTEST OPTIONS", help="such as -- --quality-prompts 32")
    return found


@command
def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    lock = RunLock(f"night-{machine_board()}", options.results.absolute())
    try:
        find_device(options.device)
        lock.acquire(0.0, print)
        return open_night(options).whole()
    except BoardBusy:
        print(f"scripts/nightly: another night is running on {machine_board()}", file=sys.stderr)
        return ANOTHER_NIGHT
    except BrokenPipeError:
        raise
    except (UnknownName, HistoryError, OSError) as error:
        print(f"scripts/nightly: not measured: {error}", file=sys.stderr)
        return NOT_MEASURED
    finally:
        lock.release()


if __name__ == "__main__":
    sys.exit(main())
