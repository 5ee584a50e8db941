"""A board's health over a timed span: did it slow itself down? Looked at between samples, never inside one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from suite.devices.waits import Waits, taken

SLOWED_SHARE = 0.01  # of the span: less moves no median by more than the ±2 % that rounds stop at
CLOCK_SLACK = 0.02  # drivers round what was asked for to steps of their clock tree


SENSORS = {"temperature_c": "the temperature", "gpu_hz": "the GPU's clock", "gpu_limit_hz": "the GPU's limit"}


@dataclass(frozen=True)
class Health:
    """What a board says of itself at one moment; empty or None where it does not say."""

    temperature_c: float | None = None
    slows_at_c: float | None = None  # the temperature from which it is held back
    gpu_hz: int | None = None
    gpu_limit_hz: int | None = None  # what it may run at just now
    pinned_hz: int | None = None  # what it must run at, where lowest and highest are set to be equal
    slowing: tuple[str, ...] = ()  # parts that are held back just now


class Watched(Protocol):
    def throttle_marks(self) -> dict[str, int]: ...
    def health(self) -> Health: ...


@dataclass
class Watch:
    """From when it is made until it is asked, without the spans that `set_aside` and `elsewhere` forget."""

    backend: Watched
    seen: list[Health] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.look()
        self.marks = self.backend.throttle_marks()
        self.started = time.monotonic()
        self._forgotten: list[tuple[dict[str, int], float]] = []  # growth of the marks, seconds
        self._before, self._span_s, self._last_marks = (self.marks, Waits()), 0.0, self.marks

    def look(self) -> None:
        """Between two samples."""
        self.seen.append(self.backend.health())

    def begin(self) -> None:
        """Just before a sample."""
        waits = getattr(self.backend, "waits", Waits)  # a device whose work is done elsewhere has none
        self._before = (self.backend.throttle_marks(), waits())

    def disturbed(self, seconds: float) -> str | None:
        """Just after a sample of so many seconds: what others took from it, or how the board was held back."""
        waits = getattr(self.backend, "waits", Waits)
        marks, waited = self._before
        found = taken(waited, waits(), seconds)  # first, since to look takes processor time too
        self.look()
        self._last_marks = self.backend.throttle_marks()
        found += [*grown(marks, self._last_marks, seconds), *held_back([self.seen[0], self.seen[-1]])]
        self._span_s = seconds
        return "; ".join(found) or None

    def set_aside(self) -> None:
        """The last sample is not kept: what the board did in it says nothing of the others."""
        self.seen.pop()
        marks, after = self._before[0], self._last_marks
        self._forgotten.append(({name: after.get(name, 0) - marks[name] for name in marks}, self._span_s))

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Between two samples another process computes: what the board does meanwhile says nothing of the samples."""
        marks, started = self.backend.throttle_marks(), time.monotonic()
        yield
        after = self.backend.throttle_marks()
        grown_by = {name: after.get(name, 0) - marks[name] for name in marks}
        self._forgotten.append((grown_by, time.monotonic() - started))

    def throttled(self) -> str | None:
        """Why a timing cannot be trusted, or None."""
        seconds = time.monotonic() - self.started - sum(seconds for _, seconds in self._forgotten)
        before = {name: self.marks[name] + sum(g.get(name, 0) for g, _ in self._forgotten) for name in self.marks}
        self._last_marks = self.backend.throttle_marks()
        reasons = [*grown(before, self._last_marks, seconds), *held_back(self.seen)]
        if not reasons:
            return None
        notes = "".join(f"; {note}" for note in self.notes())
        return f"the board throttled itself while it was timed ({', '.join(reasons)}{notes})"

    def notes(self) -> list[str]:
        """Temperature and lowest clock, in plain words; nothing where the board does not say. And what stopped saying
        anything half way."""
        parts = []
        if temperatures := [health.temperature_c for health in self.seen if health.temperature_c is not None]:
            parts.append(f"{temperatures[0]:.1f} °C before and {max(temperatures):.1f} °C at most")
        if clocks := [health.gpu_hz for health in self.seen[1:] if health.gpu_hz]:
            parts.append(f"GPU clock {min(clocks) / 1e6:.0f} MHz at the lowest")
        first, last = self.seen[0], self.seen[-1]
        gone = [w for n, w in SENSORS.items() if getattr(first, n) is not None and getattr(last, n) is None]
        gone += sorted(self.marks.keys() - self._last_marks.keys())
        lost = [f"{', '.join(gone)} could no longer be read at the end"] if gone else []
        return ([f"health: {', '.join(parts)}"] if parts else []) + lost


def grown(before: dict[str, int], after: dict[str, int], seconds: float) -> list[str]:
    """Counters that say the board slowed down: any event, or (names in `_us`) over 1 % of the time."""
    found = []
    for name in before:
        growth = after.get(name, 0) - before[name]
        if not name.endswith("_us"):
            found += [f"{name} +{growth}"] if growth > 0 else []
        elif growth > SLOWED_SHARE * seconds * 1e6:
            found.append(f"{name.removesuffix('_us')} for {growth / 1e6:.3g} s of {seconds:.3g} s")
    return found


def held_back(seen: list[Health]) -> list[str]:
    """Parts held back, a limit that fell, and a pinned clock that did not hold. A clock that is free to follow the
    load proves nothing when it is low, and 0 is a GPU asleep between samples."""
    found = [f"{part} is held back" for part in dict.fromkeys(part for health in seen for part in health.slowing)]
    limits = [health.gpu_limit_hz for health in seen if health.gpu_limit_hz]
    if limits and min(limits) < limits[0] * (1 - CLOCK_SLACK):
        found.append(f"GPU limit fell from {limits[0] / 1e6:.0f} to {min(limits) / 1e6:.0f} MHz")
    pinned, clocks = seen[0].pinned_hz, [health.gpu_hz for health in seen if health.gpu_hz]
    if pinned and clocks and min(clocks) < pinned * (1 - CLOCK_SLACK):
        found.append(f"GPU at {min(clocks) / 1e6:.0f} MHz, pinned to {pinned / 1e6:.0f}")
    return found
