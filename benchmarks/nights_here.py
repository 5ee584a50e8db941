"""Real nights of `scripts/nightly`, unchanged ones and ones of a commit that made one stage slower, in turn.

    python -m benchmarks.nights_here --nights 20 --percent 5 --output outputs/nights-here

The models sleep (`benchmarks/sleepers.py`), so this asks whether the night as a whole finds, confirms and names a
change, and keeps still where there is none; how noisy real cells are is `benchmarks/judging.py`'s subject. A clone
measures a few nights first. Then an unchanged night is added to that history, and a night of a commit by which one cell
of three sleeps longer is held against a copy of it, and so on in turn. Killed, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import clones
from suite.command_line import command
from suite.history import ROOT

CELL = "sleeper-3/fp32@cpu"
CELLS = "sleeper-1 or sleeper-3 or sleeper-5"
PAST = 5  # nights before the first one that counts
BOARD = "nights-here"
SLEEPERS = Path("benchmarks") / "sleepers.py"
BUILDER = 'builder="benchmarks.sleepers:build"'
SLOW_BUILDER = 'builder="benchmarks.sleepers:build" + ("_slow" if number == 3 else "")'
SLOW = """

def build_slow(weights: str, device: torch.device) -> Sleeper:
    slow = Sleeper()
    slow.make = lambda prompts, sample, stage: slower(slow, prompts, sample, stage)
    return slow


def slower(slow: Sleeper, prompts, sample, stage):
    with stage("sleep"):
        time.sleep(OBJECT_S * {factor})
    return torch.zeros(len(prompts), 8, 6)


ENTRIES = ["""


class Trial:
    """Two checkouts, of the code as it is and of the slow commit on top; a history that grows by unchanged nights."""

    def __init__(self, folder: Path, percent: float):
        self.folder, self.percent = folder, percent
        self.history, self.results = folder / "history", folder / "results.jsonl"
        folder.mkdir(parents=True, exist_ok=True)

    def checkout(self, name: str) -> Path:
        root = self.folder / name
        if not root.is_dir():
            clones.clone(root)
            if name == "slow":
                self._slow_down(root)
        return root

    def _slow_down(self, root: Path) -> None:
        text = (root / SLEEPERS).read_text(encoding="utf-8")
        slow = SLOW.replace("{factor}", repr(1 + self.percent / 100))
        changed = text.replace(BUILDER, SLOW_BUILDER).replace("\n\nENTRIES = [", slow)
        assert changed.count("build_slow") == 1 and SLOW_BUILDER in changed
        clones.rewrite(root, SLEEPERS, changed, "One cell sleeps longer")

    def night(self, name: str, history: Path, number: int) -> dict:
        """One night of a checkout; what it said."""
        root, results = self.checkout(name), self.folder / f"{name}-{number:02}"
        environment = {
            "HOME": os.environ.get("HOME", "/"),
            "PATH": "/usr/bin:/bin",
            "TEXT3D_BOARD": BOARD,
            "TEXT3D_EXTENSIONS": "benchmarks.sleepers:ENTRIES",
            "TEXT3D_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        asked = ["--device", "cpu", "--select", "sleeper and reference", "--history", history, "--results", results]
        measured = ["-k", CELLS, "--quality-prompts", "0", "--time-budget", "0.5"]
        night = [root / "scripts" / "nightly", *asked, "--", *measured]
        shutil.rmtree(results, ignore_errors=True)
        began = time.monotonic()
        done = subprocess.run(
            [*map(str, night)], cwd="/", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        record = json.loads((results / "latest" / "night.json").read_text(encoding="utf-8"))
        judged = results / "latest" / "judged.json"
        findings = (
            [f for report in json.loads(judged.read_text()) for f in report["findings"]] if judged.is_file() else []
        )
        told = [f for f in findings if f["verdict"] in ("regressed", "uncertain", "improved")]
        return {
            "night": name,
            "number": number,
            "exit_status": done.returncode,
            "took_s": round(time.monotonic() - began, 1),
            "load_1min": os.getloadavg()[0],
            "confirmed": record["steps"].get("confirm", {}).get("said", []),
            "regressed": record["regressed"],
            "uncertain": record["uncertain"],
            "troubles": record["troubles"],
            "told": [
                {key: finding.get(key) for key in ("configuration", "quantity", "verdict", "rule", "cause")}
                for finding in told
            ],
        }

    def done(self) -> dict[tuple[str, int], dict]:
        lines = self.results.read_text(encoding="utf-8").splitlines() if self.results.is_file() else []
        return {(row["night"], row["number"]): row for row in map(json.loads, lines)}

    def go_on(self, nights: int) -> list[dict]:
        for number in range(-PAST, nights):
            for name in ("unchanged", "slow") if number >= 0 else ("unchanged",):
                if (name, number) in self.done():
                    continue
                history = self.history
                if name == "slow":
                    history = self.folder / "copy"
                    shutil.rmtree(history, ignore_errors=True)
                    shutil.copytree(self.history, history)
                row = self.night(name, history, number)
                with open(self.results, "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{name} {number}: exit status {row['exit_status']}, {row['took_s']} s {told(row)}", flush=True)
        return [row for row in self.done().values() if row["number"] >= 0]


def told(row: dict) -> str:
    return "; ".join([*row["regressed"], *row["uncertain"], *row["troubles"]])


def table(rows: Sequence[dict]) -> str:
    """How many nights ended how, in Markdown."""
    lines = ["| | nights | red | the slow cell alone, as code | green | not measured |", "|---|---|---|---|---|---|"]
    for name in ("unchanged", "slow"):
        of = [row for row in rows if row["night"] == name]
        red = [row for row in of if row["exit_status"] == 1]
        counts = [len(of), len(red), sum(map(named, red)), *(sum(r["exit_status"] == s for r in of) for s in (0, 2))]
        lines.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


def named(row: dict) -> bool:
    """Whether a red night named the cell that was slowed, no other, and said that code is the cause."""
    red = [finding for finding in row["told"] if finding["verdict"] == "regressed"]
    return bool(red) and all(f["configuration"] == CELL and (f["cause"] or {}).get("kind") == "code" for f in red)


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nights_here", description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=20, help="of each kind (default: %(default)s)")
    parser.add_argument("--percent", type=float, default=5.0, help="how much slower (default: %(default)g)")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "nights-here", metavar="DIR")
    options = parser.parse_args(argv)
    print(table(Trial(options.output.absolute(), options.percent).go_on(options.nights)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
