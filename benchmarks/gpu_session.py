"""The most that a few minutes on a borrowed GPU can tell, the most worthwhile first. Not run on a GPU yet.

    python -m benchmarks.gpu_session --minutes 8                    # on the GPU; the same command again goes on
    python -m benchmarks.gpu_session --wheels BUNDLE --minutes 8    # where packages are missing, without network
    python -m benchmarks.gpu_session --device cpu --dry             # the same plan with the smallest cells, anywhere

Parity, latency and floor of one evaluation at the published sizes under each recipe, with weights of seeded noise;
gaps between launches; quality of the embedded models. Each cell is journalled as it ends, a JSON object a line. What
began is stopped at the deadline, and is not journalled as done. Only the standard library here: the machine's Python
and torch are its own, and what else `benchmarks.gpu_cells` needs may come from wheels (`make bundle KEEP=torch,numpy`).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESERVE_S = 3.0  # of the session's time, to stop a worker and to say what was found
PATIENCE = 5  # times a cell's estimate, after which it is taken to hang
SLOWEST_START_S = 60.0  # of a worker: torch from a cold disk, and a GPU's context
FINAL = ("ok", "unsupported", "failed", "crashed", "timed-out")  # such a cell is not begun again
LAST_WORDS = 2000  # characters of a worker's errors that a journal keeps


@dataclass(frozen=True)
class Cell:
    """One thing to find out. `seconds`: a guess for a GPU, by which what does not fit any more is left out."""

    kind: str  # a function of `benchmarks.gpu_cells`
    subject: str = ""
    recipe: str = ""
    seconds: float = 5.0

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.kind, self.subject, self.recipe)))


def _evaluations(subjects: Sequence[str], recipes: Sequence[str], seconds: float) -> list[Cell]:
    return [Cell("evaluation", subject, recipe, seconds) for recipe in recipes for subject in subjects]


# Most worthwhile first: is the arithmetic right, how far is it from the floor, what do launches cost, is quality kept.
PLAN = (
    Cell("machine"),
    *_evaluations(["base40M", "upsample", "base300M"], ["fp32", "fp16"], 10),
    Cell("gaps", "base40M", "fp32"),
    Cell("gaps", "base40M", "fp16"),
    *_evaluations(["base40M", "upsample", "base300M"], ["bf16", "cuda-graphs"], 8),
    *_evaluations(["base40M"], ["fp16+cuda-graphs", "compile", "fp16+compile", "int8-torchao-linear"], 30),
    Cell("quality", "point-e-nano-text", "fp32", 30),
    Cell("quality", "shap-e-nano-text", "fp32", 30),
    Cell("quality", "point-e-nano-text", "fp16", 30),
    *_evaluations(["shap-e-text"], ["fp32", "fp16", "bf16", "cuda-graphs"], 10),
    *_evaluations(["upsample", "base300M"], ["compile", "int8-torchao-linear"], 30),
    Cell("quality", "point-e-nano-text", "distilled-2+copied-points", 10),
    Cell("gaps", "upsample", "fp16"),
    Cell("gaps", "base300M", "fp16"),
)


class Journal:
    """What is known, a line a cell. Torn lines, of a machine that died while it wrote, are read over."""

    def __init__(self, path: Path, device: str, dry: bool):
        self.path, self.conditions = path, {"device": device, "dry": dry}

    def read(self) -> dict[str, dict]:
        """By cell, the newest of the same device and size."""
        found = {}
        if not self.path.exists():
            return found
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                if {key: entry[key] for key in self.conditions} == self.conditions:
                    found[entry["cell"]] = entry
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def write(self, cell: Cell, outcome: dict) -> None:
        entry = {"cell": cell.name, **self.conditions, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        with self.path.open("a", encoding="utf-8") as file:
            torn = file.tell() and not self._ends_whole()
            file.write("\n" * bool(torn) + json.dumps(entry | outcome, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"

    @contextmanager
    def held(self) -> Iterator[None]:
        """By one session at a time. BlockingIOError where another has it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield


class Worker:
    """A process that takes cells by name and answers each with a line; another takes its place where it dies."""

    def __init__(self, options: argparse.Namespace, packages: Path | None):
        self.errors = tempfile.TemporaryFile()
        path = [str(ROOT), *([str(packages)] if packages else []), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu_cells", str(os.getpid()), options.device, *["--dry"] * options.dry],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            encoding="utf-8",
        )
        self.fresh = True
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def ask(self, cell: Cell, patience_s: float) -> dict | None:
        """Its answer; None when it took longer. A worker that ended without one has crashed."""
        patience_s += SLOWEST_START_S * self.fresh
        self.fresh = False
        try:
            self.process.stdin.write(json.dumps([cell.kind, cell.subject, cell.recipe]) + "\n")
            self.process.stdin.flush()
            line = self._lines.get(timeout=max(0.0, patience_s))
        except queue.Empty:
            return None
        except BrokenPipeError:
            line = None
        if line is None:
            code = self.process.wait()
            return {"status": "crashed", "reason": f"exit code {code}: {self.last_words()}"}
        return json.loads(line)

    def last_words(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")[-LAST_WORDS:].strip()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.errors.close()


def run(options: argparse.Namespace, plan: Sequence[Cell] = PLAN) -> int:
    """All cells that fit the time. 0 where each has its line or the time was up, 1 where another has the journal."""
    deadline = time.monotonic() + options.minutes * 60 - RESERVE_S
    journal = Journal(options.journal, options.device, options.dry)
    try:
        with journal.held():
            packages = unpacked(options.wheels, options.journal.parent) if options.wheels else None
            left = measure(options, plan, journal, deadline, packages)
    except BlockingIOError:
        print(f"another session writes {options.journal}", file=sys.stderr)
        return 1
    found = journal.read()
    counted = {status: sum(entry["status"] == status for entry in found.values()) for status in FINAL}
    print(", ".join(f"{count} {status}" for status, count in counted.items() if count) or "nothing measured")
    if left:
        print(f"{len(left)} left for want of time; the same command goes on: {', '.join(left)}")
    print(options.journal)
    return 0


def measure(
    options: argparse.Namespace, plan: Sequence[Cell], journal: Journal, deadline: float, packages: Path | None
) -> list[str]:
    """Journals each cell as it ends; returns those that the time did not reach."""
    done = {name for name, entry in journal.read().items() if entry["status"] in FINAL}
    worker, left = None, []
    try:
        for cell in plan:
            if cell.name in done:
                continue
            remaining_s = deadline - time.monotonic()
            if remaining_s < (0 if options.dry else cell.seconds):
                left.append(cell.name)
                continue
            worker = worker or Worker(options, packages)
            started, hangs_s = time.monotonic(), PATIENCE * cell.seconds
            start_s = SLOWEST_START_S * worker.fresh
            outcome = worker.ask(cell, min(hangs_s, remaining_s - start_s))
            if outcome is None or outcome["status"] == "crashed":
                worker.stop()
                worker = None
            if outcome is None and time.monotonic() >= deadline - 0.1:
                left.append(cell.name)
                continue
            outcome = outcome or {"status": "timed-out", "reason": f"longer than {hangs_s + start_s:.0f} s"}
            journal.write(cell, outcome | {"took_s": round(time.monotonic() - started, 3)})
            print(f"{cell.name}: {words(outcome)}", flush=True)
    finally:
        if worker is not None:
            worker.stop()
    return left


def words(outcome: dict) -> str:
    """An outcome in a line."""
    if outcome["status"] != "ok":
        return f"{outcome['status']}: {' '.join(outcome.get('reason', '').split())[-200:]}"
    shown = {key: value for key, value in outcome.items() if key != "status" and value is not None}
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items()
    )


def unpacked(wheels: Path, beside: Path) -> Path:
    """A folder to import from, of a bundle's wheels, whose checksums are held first. Made once for each bundle."""
    sums = (wheels / "SHA256SUMS").read_text(encoding="utf-8")
    into = beside / f"packages-{hashlib.sha256(sums.encode()).hexdigest()[:12]}"
    if into.is_dir():
        return into
    for line in sums.splitlines():
        digest, name = line.split(maxsplit=1)
        if hashlib.sha256((wheels / name).read_bytes()).hexdigest() != digest:
            raise SystemExit(f"{wheels / name} is not what it was bundled as: copy the bundle again")
    with tempfile.TemporaryDirectory(dir=beside, prefix=".packages-") as part:
        whole = Path(part) / "whole"
        for wheel in sorted(wheels.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(whole)
        for library in whole.glob("*.data/*lib"):  # purelib and platlib, which an installer puts beside the others
            for path in library.iterdir():
                path.rename(whole / path.name)
        whole.rename(into)
    return into


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="in all (default: %(default)s)")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--dry", action="store_true", help="the same plan with the smallest cells")
    parser.add_argument("--journal", type=Path, default=ROOT / ".benchmarks" / "gpu-session.jsonl", metavar="FILE")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="a bundle to import from, without installing it")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run(parse()))
