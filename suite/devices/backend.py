"""What every device backend offers: finding the board (without torch), then measuring on it (with torch)."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from suite.catalogue.devices import DEVICES, Device
from suite.catalogue.extensions import extensions
from suite.devices.health import Health
from suite.devices.waits import Waits
from suite.records import Energy, Memory

BOARD_VARIABLE = "TEXT3D_BOARD"


class NotHere(RuntimeError):
    """This machine has no such device; says what was looked for and found."""


@dataclass(frozen=True)
class Board:
    """One machine of a device's kind."""

    id: str  # a directory name: chip and serial
    chip: str
    driver: str | None = None
    power_mode: str | None = None
    clocks: str | None = None
    passing: str | None = None  # why nothing lasting tells it from others: then it is a board of this boot only


class MemoryGauge(Protocol):
    """Peaks of one process, from before a model is loaded."""

    def loaded(self) -> None:
        """The model is loaded: keep the load peak apart."""

    def restart(self) -> None:
        """Begin a new peak (of a stage)."""

    def peak_bytes(self) -> int:
        """The highest level since the last restart, above the level before loading; 0 and less where it is below."""

    def level_bytes(self) -> int:
        """The level now, above the level before loading."""

    def record(self, stages: dict[str, int]) -> Memory | None:
        """The peaks, of each stage too; None where nothing was seen, which is no peak of 0."""


class EnergyMeter(Protocol):
    """Made before a model is loaded, while the board is idle; counts from `start` to `read`."""

    reason: str | None  # why `read` gave None

    def start(self) -> None: ...
    def read(self) -> Energy | None:
        """Energy since `start`, or None where it is not known."""


class Backend(Protocol):
    device: Device

    def find_board(self) -> Board:
        """The board, without torch. NotHere when this machine is another."""

    def torch_device(self):  # torch.device
        """The device to load models on, ready: settings of the reference applied, one real kernel run."""

    def scoring_processes(self) -> int:
        """How many processes may make objects side by side, where nothing is timed."""

    def synchronize(self) -> None: ...
    def memory_gauge(self) -> MemoryGauge: ...
    def energy_meter(self) -> EnergyMeter | None:
        """None where the board counts no energy."""

    def throttle_marks(self) -> dict[str, int]:
        """Counters that grow when the board slows itself down: events, or microseconds (names in `_us`)."""

    def health(self) -> Health:
        """What the board says of itself just now; cheap, read between samples."""

    # A backend of another's may lack these.

    def waits(self) -> Waits:
        """How long others kept the processor from this process so far. Left out where its work is done elsewhere."""

    def other_processes(self) -> list[str] | None:
        """Others that use the device, in words; None where nobody lists them."""


def memory_of(
    kind: str, peak_bytes: int, load_peak_bytes: int | None, process_peak_bytes: int, stages: dict[str, int]
) -> Memory | None:
    """The record of what a gauge saw. A level not above the one before loading tells nothing: it is left out."""
    seen = {name: peak for name, peak in stages.items() if peak > 0}
    peak = max(seen.values()) if seen else peak_bytes
    if peak <= 0:
        return None
    return Memory(
        kind=kind,
        peak_memory_bytes=peak,
        load_peak_memory_bytes=load_peak_bytes if load_peak_bytes and load_peak_bytes > 0 else None,
        process_peak_memory_bytes=process_peak_bytes if process_peak_bytes > 0 else None,
        stage_peak_memory_bytes=seen,
    )


def is_processor(device: Device) -> bool:
    """Whether its work is done by the processor, whose clocks and neighbours are those of the machine."""
    return device.kind == "cpu"


def backend_of(device: Device) -> Backend:
    module, name = device.backend.split(":")
    return getattr(importlib.import_module(module), name)(device)


@cache
def board_of(device: str) -> Board | str:
    """The board of a device on this machine, or why it is not here."""
    try:
        return backend_of(DEVICES[device]).find_board()
    except NotHere as reason:
        return str(reason)
    except Exception as error:  # noqa: BLE001 - another's device ends no session of ours
        if not extensions().has(DEVICES[device]):
            raise
        return f"{device}: its backend failed: {type(error).__name__}: {error}"


def machine_board() -> str:
    """The board that names this machine in the history: its accelerator when it has one, else its processor."""
    found = {name: board for name in DEVICES if isinstance(board := board_of(name), Board)}
    return next((board.id for name, board in found.items() if DEVICES[name].kind != "cpu"), found["cpu"].id)


def passing_line(device: str, board: Board) -> str:
    """What to say of a board that nothing lasting tells from others."""
    return (
        f"nothing lasting tells this machine from others ({board.passing}): "
        f"its {device} rows stand on board {board.id}, "
        f"of this boot only; {BOARD_VARIABLE}=NAME gives it a name that stays"
    )


def given_name() -> str | None:
    """The board's name that the user gave, for machines that nothing lasting tells from others (containers)."""
    return os.environ.get(BOARD_VARIABLE) or None


def board_id(chip: str, serial: str) -> str:
    """A directory name for a board: what TEXT3D_BOARD names, else its chip and a hash of what tells it from others."""
    if name := given_name():
        return slug(name) or f"board-{hashlib.sha256(name.encode()).hexdigest()[:6]}"  # a name in another script
    return f"{slug(chip)}-{hashlib.sha256(serial.encode()).hexdigest()[:6]}"


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def read_text(path: Path) -> str | None:
    """A small kernel file, stripped of white space and zeros, or None."""
    try:
        return path.read_text(errors="replace").strip().strip("\0").strip() or None
    except OSError:
        return None


def read_number(path: Path) -> int | None:
    """The whole number in a small kernel file, or None where there is none."""
    try:
        return int(read_text(path) or "")
    except ValueError:
        return None
