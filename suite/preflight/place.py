"""What a check looks at, and the words for what it found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suite.devices.backend import Backend, Board
from suite.machine import TEXT_LENGTH, Check, State


@dataclass(frozen=True)
class Place:
    """One device of this machine."""

    backend: Backend
    board: Board

    @property
    def name(self) -> str:
        return self.backend.device.name


@dataclass(frozen=True)
class Site:
    """This machine as a session uses it."""

    history: Path  # the folder of its board
    checkout: Path
    root: Path = Path("/")


def told(name: str, state: State, found: str, advice: str | None = None, device: str | None = None) -> Check:
    """A check's answer. Advice is for what is not ok."""
    advice = None if state in (State.OK, State.UNKNOWN) else advice
    return Check(name=name, state=state, found=found[:TEXT_LENGTH], advice=advice, device=device)


def graded(bad: bool, dire: bool = False) -> State:
    return State.FAIL if dire else State.WARN if bad else State.OK
