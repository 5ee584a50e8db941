"""Why did a figure change? Rules in a fixed order; the first that applies names the cause, and says by what evidence.

1. both commits are alike side by side         machine where something of it moved, else noise
2. the method differs: protocol, torch, Python, threads, settings, weights, gallery, or what the recipe
   computes     method
3. head is slower than base side by side       code
4. the machine differs (chip, driver, power mode, clocks), its canary moved the same way by half as much or more,
   most of the board moved together, the board held itself back, or the session was unsteady         machine
5. the commits differ                          code
6. nothing differs                             noise
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from suite.records import Fingerprint, Measurement, Status, Verdict

Kind = Literal["code", "method", "machine", "noise"]

METHOD = ("protocol", "torch", "python", "threads", "settings", "weights_sha256", "gallery_sha256")
MACHINE = ("board", "chip", "driver", "power_mode", "clocks")
CANARY_SHARE = 0.5  # of the change, in the logarithm
CANARY_LEAST = math.log(1.03)  # its own noise between sessions


@dataclass(frozen=True)
class Cause:
    kind: Kind
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Circumstances:
    """What is known beside the change itself. `confirmed` is the verdict of base and head side by side."""

    ratio: float  # of the change: now over then
    board_moved: bool = False
    unsteady: str | None = None
    canary_ratio: float | None = None
    confirmed: Verdict | None = None
    differences: tuple[str, ...] = field(default=())  # of what the recipe computes


def cause(then: Measurement | None, now: Measurement, seen: Circumstances) -> Cause:
    """Of a change from the newest night that was as before (None: not known) to a night that is not."""
    method = [*_differing(then, now, METHOD), *seen.differences]
    held_back = [str(now.reason)] if now.status == Status.THROTTLED else []
    machine = [*_differing(then, now, MACHINE), *_machine(seen), *held_back]
    if seen.confirmed == Verdict.PASS:
        alike = "base and head are alike side by side on this board"
        return Cause("machine", (alike, *machine)) if machine else Cause("noise", (alike,))
    if method:
        return Cause("method", tuple(method))
    commits = _commits(then, now)
    if seen.confirmed in (Verdict.REGRESSED, Verdict.IMPROVED):
        side = "slower" if seen.confirmed == Verdict.REGRESSED else "faster"
        return Cause("code", (f"head is {side} than base side by side on this board", *commits))
    if machine:
        return Cause("machine", tuple(machine))
    return Cause("code", commits) if commits else Cause("noise", ("neither code nor method nor machine differs",))


def computed_differently(then: Measurement | None, now: Measurement) -> tuple[str, ...]:
    """What the recipe computes and how often, where that differs: its definition was changed."""
    if then is None:
        return ()
    found = []
    for name in ("evaluations", "parameters", "output"):
        before, after = getattr(then, name), getattr(now, name)
        if before is not None and after is not None and before != after:
            found.append(f"{name} {before} then, {after} now")
    if then.cost is not None and now.cost is not None:
        before, after = ({n: s.total_flops for n, s in m.cost.stages.items()} for m in (then, now))
        if before != after:
            stages = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
            found.append(f"arithmetic of {', '.join(stages)} differs")
    return tuple(found)


def _differing(then: Measurement | None, now: Measurement, names: tuple[str, ...]) -> list[str]:
    here: Fingerprint | None = now.fingerprint
    there = then.fingerprint if then else None
    if here is None or there is None:
        return []
    pairs = [(name, getattr(there, name), getattr(here, name)) for name in names]
    return [f"{name} {before} then, {after} now" for name, before, after in pairs if before != after]


def _machine(seen: Circumstances) -> list[str]:
    found = []
    if seen.canary_ratio is not None:
        moved, canary = math.log(seen.ratio), math.log(seen.canary_ratio)
        if abs(canary) >= max(CANARY_LEAST, CANARY_SHARE * abs(moved)) and canary * moved > 0:
            found.append(f"the canary moved by ×{seen.canary_ratio:.3f}")
    if seen.board_moved:
        found.append("a large part of the board's cells moved together")
    if seen.unsteady:
        found.append(f"unsteady session: {seen.unsteady}")
    return found


def _commits(then: Measurement | None, now: Measurement) -> tuple[str, ...]:
    if then is None or then.commit == now.commit:
        return ()
    return (f"commits {then.commit or 'unknown'} to {now.commit or 'unknown'}",)
