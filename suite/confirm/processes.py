"""Processes that run `driver.py` with the code of a checkout: one runs at a time, the others are stopped."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

DRIVER = Path(__file__).resolve().with_name("driver.py")


class DriverFailed(RuntimeError):
    """Why a side cannot be timed."""


class TimeIsUp(Exception):
    """The configuration's time limit came first."""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    name: str  # "head" or "base"
    checkout: Path


class Driven:
    """A fresh process of one side. asked: what `driver.py` takes."""

    def __init__(self, side: Side, asked: dict[str, str]):
        self.side = side
        searched = os.pathsep.join(filter(None, [str(side.checkout), os.environ.get("PYTHONPATH")]))
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, str(DRIVER), json.dumps(asked)],
            cwd=side.checkout,
            env={**os.environ, "PYTHONPATH": searched},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,  # what it starts is stopped and ended with it
        )

    def ask(self, task: str) -> None:
        """Let it run until it has answered."""
        with contextlib.suppress(BrokenPipeError):  # the answer tells why
            self._process.stdin.write(f"{task}\n".encode())
            self._process.stdin.flush()
        self._signal(signal.SIGCONT)

    def answer(self, deadline: float) -> dict:
        """What it answers; it is stopped then. TimeIsUp at the deadline (of time.monotonic), DriverFailed."""
        left = max(0.0, deadline - time.monotonic())
        if not select.select([self._process.stdout], [], [], left)[0]:
            raise TimeIsUp
        line = self._process.stdout.readline()
        if not line:
            raise DriverFailed(f"{self.side.name}: {self._why_ended()}")
        self._signal(signal.SIGSTOP)
        answer = json.loads(line)
        if "failed" in answer:
            raise DriverFailed(f"{self.side.name}: {answer['failed']}")
        return answer

    def does(self, task: str, deadline: float) -> dict:
        self.ask(task)
        return self.answer(deadline)

    def end(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._said):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _signal(self, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, which)

    def _why_ended(self) -> str:
        code = self._process.wait()
        self._said.seek(0)
        last = (self._said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        if code >= 0:
            return f"its process ended with exit code {code}: {last}"
        name = signal.Signals(-code).name
        return f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else f": {last}")
