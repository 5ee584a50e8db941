"""What a session keeps of its machine, as validated data: checks before it measures, and its condition at the start and
the end of each run.

A session is one run of pytest, or several where `--resume` went on with it. Times in seconds; what is not known is
None or absent.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import Field, StringConstraints

from suite.fields import FileName, LatencySeconds, UtcTime
from suite.records import SCHEMA_VERSION, Record

TEXT_LENGTH = 1000
Words = Annotated[str, StringConstraints(max_length=TEXT_LENGTH)]


class State(str, Enum):
    OK = "ok"
    WARN = "warn"  # figures may be off
    FAIL = "fail"  # nothing should be measured like this
    UNKNOWN = "unknown"  # cannot be told, or does not apply here


class Check(Record):
    """One thing that was looked at before anything was measured."""

    name: Words
    state: State
    found: Words  # what was seen
    advice: Words | None = None  # what to type or to do, where it is not ok
    device: FileName | None = None  # whose; None: of the whole machine


class Condition(Record):
    """What must not change while a session measures."""

    at: UtcTime
    clock_set_back_s: float = Field(
        default=0.0, ge=0, le=1e10
    )  # since this run of pytest began, against the clock that nobody sets
    boot_id: Words | None = None
    power_modes: dict[FileName, Words | None] = {}  # by device
    clocks: dict[FileName, Words | None] = {}  # by device
    canary_samples_s: list[LatencySeconds] = Field(default=[], max_length=1000)  # of the processor


class Run(Record):
    """One run of pytest."""

    start: Condition
    end: Condition | None = None  # None: it never came to its end
    checks: list[Check] = Field(default=[], max_length=1000)
    noticed: list[Words] = Field(default=[], max_length=1000)  # what changed between two cells


class SessionMachine(Record):
    """Of one session: the file `machine` in its journal, and the same under the key of its own in its file."""

    schema_version: int = SCHEMA_VERSION
    session: FileName
    board: FileName | None
    runs: list[Run] = Field(min_length=1, max_length=1000)  # oldest first
    unsteady: list[Words] = Field(default=[], max_length=1000)  # why its cells were not measured under one condition
