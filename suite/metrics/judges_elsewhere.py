"""A judge in a Python of its own, whose packages need not get along with the suite's.

The other Python runs `judge_server.py` by its path, which needs numpy and the judge's own package and nothing of the
suite. What goes to and fro are a line of JSON and an array as numpy writes it.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path

import numpy as np
from torch import Tensor

SERVER = Path(__file__).with_name("judge_server.py")


class JudgeAbsent(RuntimeError):
    """A judge that cannot be asked, and what to do."""


class Elsewhere:
    """Asked like a judge in this process. Its process ends with this one."""

    def __init__(self, variable: str, builder: str, judge: str):
        """variable: names the Python. JudgeAbsent where it does not, or where the judge does not load there."""
        self._judge = judge
        python = os.environ.get(variable)
        if not python:
            raise JudgeAbsent(f"{judge} runs in a Python of its own: set {variable} to that of its environment")
        try:
            self._process = subprocess.Popen(
                [python, str(SERVER), builder, judge, str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except OSError as error:
            raise JudgeAbsent(f"{judge}: {variable} is {python!r}, which does not start: {error.strerror}") from None
        told = self._heard()
        self.name, self.size_px = str(told["name"]), int(told["size_px"])

    def captions(self, captions: list[str]) -> np.ndarray:
        """[T] -> vectors [T, width]."""
        self._say({"captions": captions})
        return self._vectors()

    def views(self, views: Tensor) -> np.ndarray:
        """Pictures [B, V, 3, size, size], fractions 0-1 -> vectors [B, width]."""
        array = io.BytesIO()
        np.save(array, views.float().cpu().numpy(), allow_pickle=False)
        self._say({"bytes": array.tell()}, array.getvalue())
        return self._vectors()

    def _vectors(self) -> np.ndarray:
        content = self._process.stdout.read(int(self._heard()["bytes"]))
        try:
            return np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise JudgeAbsent(f"{self._judge}: its answer is no array: {error}") from None

    def _say(self, task: dict, array: bytes = b"") -> None:
        try:
            self._process.stdin.write(json.dumps(task).encode() + b"\n" + array)
            self._process.stdin.flush()
        except OSError:
            raise JudgeAbsent(f"{self._judge}: its process ended; what it said last stands above") from None

    def _heard(self) -> dict:
        line = self._process.stdout.readline()
        try:
            told = json.loads(line)
        except ValueError:
            end = "its process ended" if not line else f"it said {line[:80]!r}"
            raise JudgeAbsent(f"{self._judge}: {end}, and no answer; what it said last stands above") from None
        if "failed" in told:
            raise JudgeAbsent(f"{self._judge}: {told['failed']}")
        return told
