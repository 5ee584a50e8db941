"""Is the cause of a change named right? Staged events on this machine, each in real sessions of cells that compute.

    python -m benchmarks.events_here --events 40 --output outputs/events-here

Six cells multiply matrices (`benchmarks/grinders.py`) on a board whose latencies are compared in seconds. A dozen
sessions make its past. Then one thing happens for three sessions, which are judged as nights and forgotten; in turn:

    clock cap   the kernel gives all processes of the session 60 to 75 % of a processor  machine
    torch       another version string, and every cell takes a third to two thirds more  method
    recipe      one cell's network is evaluated two to three times as often              method
    code        one cell sleeps as long or twice as long as its network computes         code

They are large, since it is asked for their cause and not whether they are found: the sessions are few and not quiet.

It is right where a latency or a status of its cells is told of and all such findings name its cause; one of another
cell must be called noise. Base and head are not compared side by side. The quota needs root and a control group that
can be written to; else that kind is left out, and said so. Killed, it goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import clones
from benchmarks.grinders import CELLS, PLAIN
from suite.command_line import command
from suite.history import ROOT, read_folder
from suite.judging.step_evidence import LENGTHS, MIN_PAST
from suite.nights.night import judge_session
from suite.records import Verdict

EXPECTED = {"clock cap": "machine", "torch": "method", "recipe": "method", "code": "code"}
PAST, NIGHTS = MIN_PAST + 2, LENGTHS[0]
BOARD = "events-here"
GRINDERS = Path("benchmarks") / "grinders.py"
OBJECT_MS = 30  # about, by one core
PERIOD_US = 5_000  # short beside an object
PATIENCE_S = 30.0
CPU_GROUPS = Path("/sys/fs/cgroup/cpu")  # version 1
TOLD = (Verdict.REGRESSED, Verdict.UNCERTAIN)


class NoQuota(RuntimeError):
    """Says why processes cannot be held to a share of a processor here."""


@contextlib.contextmanager
def quota(share: float) -> Iterator[Path]:
    """The file that a process writes its number into to be held to so much of a processor. NoQuota."""
    group = CPU_GROUPS / f"text3d-bench-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise NoQuota(f"no control group can be made in {CPU_GROUPS} ({error.strerror})") from None
    try:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(int(share * PERIOD_US)))
        yield group / "cgroup.procs"
    finally:
        deadline = time.monotonic() + PATIENCE_S
        while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.1)  # what a session started ends a moment after it
        group.rmdir()


class Stage:
    """A checkout, of which the events are commits, and the history of its quiet sessions."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.seed = folder, seed
        self.history, self.results = folder / "history", folder / "results.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self.root = folder / "checkout"
        if not self.root.is_dir():
            clones.clone(self.root)
        clones.reset(self.root)  # a killed event's commit
        self.text = (ROOT / GRINDERS).read_text(encoding="utf-8")

    def session(self, history: Path, procs: Path | None = None) -> None:
        """One session into that history; procs: of the control group that it runs in."""
        environment = {
            "HOME": os.environ.get("HOME", "/"),
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(self.root),
            "TEXT3D_BOARD": BOARD,
            "TEXT3D_EXTENSIONS": "benchmarks.grinders:ENTRIES",
            "TEXT3D_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        asked = [sys.executable, "-m", "pytest", "-q", "-m", "grinder and desk and reference"]
        asked += ["--quality-prompts", "0", "--time-budget", "0.5", "--benchmark-save=event"]
        asked += [f"--benchmark-storage=file://{history}", "suite/test_configurations.py"]
        inside = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(procs)] if procs else []
        done = subprocess.run([*inside, *asked], cwd=self.root, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"a session ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def past(self) -> None:
        while (done := len(read_folder(self.history).machines) if self.history.is_dir() else 0) < PAST:
            self.session(self.history)
            print(f"past: {done + 1} of {PAST}", flush=True)

    def event(self, number: int, kind: str) -> dict:
        """What is said of the newest session after an event of this kind."""
        chance = np.random.default_rng((self.seed, number))
        cell, size = int(chance.integers(1, CELLS + 1)), float(chance.uniform(1.0, 2.0))
        everywhere = dict.fromkeys(range(1, CELLS + 1), round(size / 3 * OBJECT_MS))
        lines = {
            "torch": f'torch.__version__ = "2.99.0"\nOVERHEAD = {everywhere}',
            "recipe": f"EVALUATIONS = {{{cell}: {round((1 + size) * PLAIN)}}}",
            "code": f"OVERHEAD = {{{cell}: {round(size * OBJECT_MS)}}}",
        }
        history = self.folder / "copy"
        shutil.rmtree(history, ignore_errors=True)
        shutil.copytree(self.history, history)
        try:
            if kind in lines:
                changed = self.text.replace("PLAIN, SIZE =", f"{lines[kind]}\nPLAIN, SIZE =")
                clones.rewrite(self.root, GRINDERS, changed, f"Event {number}: {kind}")
            with quota(1 / (1 + size / 3)) if kind == "clock cap" else contextlib.nullcontext() as procs:
                for _ in range(NIGHTS):
                    self.session(history, procs)
        finally:
            clones.reset(self.root)
        read = read_folder(history)
        unsteady = {session: "; ".join(m.unsteady) for (_, session), m in read.machines.items() if m.unsteady}
        report = judge_session(read.measurements, unsteady=unsteady, with_smallest=False)
        named = [f for f in report.findings if f.judged.verdict in TOLD or f.cause]
        return {
            "number": number,
            "kind": kind,
            "cell": None if kind in ("clock cap", "torch") else f"grinder-{cell}/fp32@desk",
            "size": size,
            "event": report.event,
            "told": [
                [f.configuration, f.quantity, f.judged.verdict.value, f.judged.rule, f.cause and f.cause.kind]
                for f in named
            ],
        }

    def done(self) -> dict[int, dict]:
        lines = self.results.read_text(encoding="utf-8").splitlines() if self.results.is_file() else []
        return {row["number"]: row for row in map(json.loads, lines)}

    def go_on(self, events: int, kinds: Sequence[str]) -> list[dict]:
        self.past()
        for number in range(events):
            if number in self.done():
                continue
            row = self.event(number, kinds[number % len(kinds)])
            with open(self.results, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(
                f"{number} {row['kind']}, {row['cell'] or 'all cells'}: {'right' if right(row) else row['told']}",
                flush=True,
            )
        return list(self.done().values())


def right(row: dict) -> bool:
    told = [(cell, cause) for cell, quantity, _, _, cause in row["told"] if quantity.startswith(("latency", "status"))]
    of = {row["cell"]} if row["cell"] else {cell for cell, _ in told}
    right_cause = [cause == (EXPECTED[row["kind"]] if cell in of else "noise") for cell, cause in told]
    return all(right_cause) and any(cell in of for cell, _ in told)


def table(rows: Sequence[dict]) -> str:
    """In Markdown."""
    lines = ["| event | cause | named right | of |", "|---|---|---|---|"]
    counts, hits = Counter(row["kind"] for row in rows), Counter(row["kind"] for row in rows if right(row))
    lines += [
        f"| {kind} | {cause} | {hits[kind]} | {counts[kind]} |" for kind, cause in EXPECTED.items() if counts[kind]
    ]
    return "\n".join(lines)


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.events_here", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=40, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "events-here", metavar="DIR")
    options = parser.parse_args(argv)
    kinds = list(EXPECTED)
    try:
        with quota(0.5):
            pass
    except NoQuota as error:
        print(f"no clock is capped: {error}", file=sys.stderr)
        kinds.remove("clock cap")
    print(table(Stage(options.output.absolute(), options.seed).go_on(options.events, kinds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
