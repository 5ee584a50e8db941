"""A board's health over a timed span: did it slow itself down? Looked at between samples, never inside one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

SLOWED_SHARE = 0.01  # of the span: less moves no median by more than the ±2 % that rounds stop at
CLOCK_SLACK = 0.02  # drivers round what was asked for to steps of their clock tree


@dataclass(frozen=True)
class Health:
    """What a board says of itself at one moment; empty or None where it does not say."""

    temperature_c: float | None = None
    gpu_hz: int | None = None
    gpu_limit_hz: int | None = None  # what it may run at just now
    pinned_hz: int | None = None  # what it must run at, where lowest and highest are set to be equal
    slowing: tuple[str, ...] = ()  # parts that are held back just now


class Watched(Protocol):
    def throttle_marks(self) -> dict[str, int]: ...
    def health(self) -> Health: ...


@dataclass
class Watch:
    """From when it is made until it is asked."""

    backend: Watched
    seen: list[Health] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.look()
        self.marks = self.backend.throttle_marks()
        self.started = time.monotonic()

    def look(self) -> None:
        """Between two samples."""
        self.seen.append(self.backend.health())

    def throttled(self) -> str | None:
        """Why a timing cannot be trusted, or None."""
        seconds = time.monotonic() - self.started
        reasons = [*grown(self.marks, self.backend.throttle_marks(), seconds), *held_back(self.seen)]
        if not reasons:
            return None
        notes = "".join(f"; {note}" for note in self.notes())
        return f"the board throttled itself while it was timed ({', '.join(reasons)}{notes})"

    def notes(self) -> list[str]:
        """Temperature and lowest clock, in plain words; nothing where the board does not say."""
        parts = []
        if temperatures := [health.temperature_c for health in self.seen if health.temperature_c is not None]:
            parts.append(f"{temperatures[0]:.1f} °C before and {max(temperatures):.1f} °C at most")
        if clocks := [health.gpu_hz for health in self.seen[1:] if health.gpu_hz]:
            parts.append(f"GPU clock {min(clocks) / 1e6:.0f} MHz at the lowest")
        return [f"health: {', '.join(parts)}"] if parts else []


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
