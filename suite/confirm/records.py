"""What a confirmation answers, as `--json` writes it."""

from __future__ import annotations

from typing import Literal

from suite.records import SCHEMA_VERSION, Interval, Record, Verdict

Quantity = Literal["latency_s", "peak_memory_bytes"]
StopReason = Literal["precision", "decided", "time", "failed"]


class Compared(Record):
    """One quantity, head against base."""

    quantity: Quantity
    verdict: Verdict
    ratio: Interval | None  # head over base, over pairs of processes
    tolerance: float
    head: float | None  # the median over processes
    base: float | None


class Confirmed(Record):
    """One configuration."""

    configuration: str
    verdict: Verdict  # the worst of its quantities
    stop_reason: StopReason
    reason: str | None = None  # why it could not go on, or not begin
    pairs: int = 0  # of processes
    turns: int = 0  # of both sides
    elapsed_s: float = 0.0
    compared: list[Compared] = []
    stage_ratios: dict[str, float] = {}  # head over base of each stage, the median over pairs
    weights_differ: bool = False  # the two sides do not have the same weights


class Confirmation(Record):
    """All that were asked for."""

    schema_version: int = SCHEMA_VERSION
    head: str  # a commit's hash, or "working tree at HASH", with a "+" where it is not clean
    base: str
    board: str
    precision: float
    time_limit_s: float
    verdict: Verdict
    configurations: list[Confirmed]
