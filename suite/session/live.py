"""The live line: what runs now, how far, and how long the rest may take."""

from __future__ import annotations

import time
from statistics import fmean

import pytest

from suite.records import Measurement, Quality, Status
from suite.session import summary
from suite.session.voice import Voice


class LiveLine:
    """A line for each finished cell, with the time left; between them, on a terminal, one that is rewritten."""

    def __init__(self, config: pytest.Config, total: int):
        self._voice = Voice(config)
        self._reporter = self._voice.reporter
        self.total, self.done = total, 0
        self._durations_s: list[float] = []  # not of cells that an earlier process measured
        self._runs = False
        self._started = self._shown_at = 0.0
        self._width = 0
        self.enabled = bool(self._reporter) and self._reporter.isatty and total > 0
        self._told = self._reporter is None or self._reporter.verbosity >= 0

    def start(self) -> None:
        self._started, self._runs = time.monotonic(), False

    def finish(self, measurement: Measurement | None = None, reference: Quality | None = None) -> None:
        """The cell that was started last has ended. reference: the quality that its own is paired with."""
        self.done = min(self.done + 1, self.total)  # a rerun is no other cell
        if self._runs or measurement is None or measurement.status != Status.OK:
            self._durations_s.append(time.monotonic() - self._started)
        self._write("")
        if self._told and measurement is not None:
            left = self._left(0.0) if self.done < self.total else ""
            self._voice.say(f"[{self.done}/{self.total}] {summary.line(measurement, reference)}{left}")

    def show(self, configuration: str, phase: str, fraction: float | None) -> None:
        self._runs = True
        now = time.monotonic()
        if not self.enabled or now - self._shown_at < 0.2:
            return
        self._shown_at = now
        part = "" if fraction is None else f" {fraction:.0%}"
        self._write(f"[{self.done + 1}/{self.total}] {configuration}: {phase}{part}{self._left(now - self._started)}")

    def _left(self, spent_s: float) -> str:
        """spent_s: on the cell that is running."""
        if not self._durations_s:
            return ""
        seconds = max(0.0, fmean(self._durations_s) * (self.total - self.done) - spent_s)
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"

    def _write(self, text: str) -> None:
        if not self.enabled:
            return
        text = text[: self._reporter._tw.fullwidth - 1]  # a line that wraps cannot be written over
        with self._voice.undisturbed():
            file = self._reporter._tw._file
            file.write("\r" + text.ljust(self._width) + ("" if text else "\r"))
            file.flush()
        self._width = len(text)
