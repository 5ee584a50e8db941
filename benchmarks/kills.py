"""Sessions that are killed at random moments: what is lost, what is counted wrongly, what lives on.

    python -m benchmarks.kills --points 200               # cells that sleep
    python -m benchmarks.kills --points 20 --real         # the embedded networks, a few steps each

Each point kills pytest's process (SIGKILL: no cleaning up) at a moment drawn evenly over what a whole session took. The
next session resumes, and is killed in turn, until one comes to its end; then a new one begins. After each it counts

    lost        cells that were journalled before and are not read any more
    unfinished  cells that are read as ok and have no latency
    twice       cells that a session has more than once in what is read
    orphans     processes of the killed session that live on after 15 s
    unreadable  files of the history that cannot be read
    mute        sessions that could not go on: an exit status other than success

All should be 0. Prints the counts with the number of points, and the seed that repeats the moments.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from suite.history import read_folder
from suite.records import Measurement, Status
from suite.saving import open_journals

ROOT = Path(__file__).parents[1]
FAST = ["--quality-prompts", "0", "--time-budget", "0.1", "-q"]
SLEEPING = ["-m", "sleeper and cpu and reference", "suite/test_configurations.py"]
REAL = ["-m", "cpu and smoke", "-k", "steps-16 or distilled or one-evaluation", "--extrapolate", "always"]
PATIENCE_S = 15.0
TOKEN = "TEXT3D_KILLS"  # in the environment of all that a session starts


class Sessions:
    """Of one board, in a history of its own."""

    def __init__(self, folder: Path, real: bool):
        self.folder, self.board = folder, f"kills-{os.getpid()}"
        self.cells = REAL if real else SLEEPING
        self.environment = os.environ | {
            TOKEN: self.board,
            "TEXT3D_BOARD": self.board,
            "TEXT3D_THREADS": "1",
            "TEXT3D_EXTENSIONS": "" if real else "benchmarks.sleepers:ENTRIES",
        }

    def start(self) -> subprocess.Popen:
        storage = f"--benchmark-storage=file://{self.folder}"
        command = [sys.executable, "-m", "pytest", *self.cells, *FAST, "--resume", "--benchmark-save=run", storage]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def read(self) -> tuple[list[Measurement], list[str]]:
        history = read_folder(self.folder)
        return history.measurements, history.problems

    def alive(self) -> list[int]:
        """Processes that carry the token, but this one."""
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if self._ours(path)]

    def _ours(self, process: Path) -> bool:
        try:
            carries = f"{TOKEN}={self.board}".encode() in (process / "environ").read_bytes()
            return (
                carries and process.name != str(os.getpid()) and b"\nState:\tZ" not in (process / "status").read_bytes()
            )
        except OSError:
            return False


def key(m: Measurement) -> tuple[str, str, str]:
    return m.session, m.configuration, m.measured_at


def counted(before: set, measurements: list[Measurement], problems: list[str]) -> Counter:
    """What went wrong, after a session ended however it did."""
    cells = Counter((m.session, m.configuration) for m in measurements)
    return Counter(
        lost=len(before - {key(m) for m in measurements}),
        unfinished=sum(m.status == Status.OK and m.latency is None for m in measurements),
        twice=sum(count - 1 for count in cells.values()),
        unreadable=len(problems),
    )


def whole_session_s(sessions: Sessions) -> float:
    started = time.monotonic()
    run = sessions.start()
    said, _ = run.communicate()
    if run.returncode:
        sys.exit(f"a session that nobody killed failed:\n{said[-2000:]}")
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--real", action="store_true", help="the embedded networks instead of cells that sleep")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments, totals = random.Random(options.seed), Counter()
    with tempfile.TemporaryDirectory() as folder:
        sessions = Sessions(Path(folder), options.real)
        usual_s = whole_session_s(sessions)
        print(f"a whole session takes {usual_s:.1f} s", flush=True)
        ended = 0
        for point in range(1, options.points + 1):
            before = {key(m) for m in sessions.read()[0]}
            run = sessions.start()
            try:
                run.communicate(timeout=moments.uniform(0, 1.05 * usual_s))
                ended += 1
                totals["mute"] += run.returncode != 0
            except subprocess.TimeoutExpired:
                run.kill()
                run.communicate()
            deadline = time.monotonic() + PATIENCE_S
            while (alive := sessions.alive()) and time.monotonic() < deadline:
                time.sleep(0.1)
            totals["orphans"] += len(alive)
            totals += counted(before, *sessions.read())
            if point % 10 == 0:
                print(f"{point} points, {ended} came to their end first: {dict(totals)}", flush=True)
        whole_session_s(sessions)
        left = len(open_journals(sessions.folder / sessions.board))
        measurements, _ = sessions.read()
    kinds = ("lost", "unfinished", "twice", "orphans", "unreadable", "mute")
    print(f"{options.points} kill points (seed {options.seed}), {ended} sessions came to their end before theirs")
    print(
        f"{len(measurements)} measurements in {len({m.session for m in measurements})} sessions, {left} journals open"
    )
    print(", ".join(f"{kind} {totals[kind]}" for kind in kinds))
    sys.exit(1 if any(totals[kind] for kind in kinds) or left else 0)


if __name__ == "__main__":
    main()
