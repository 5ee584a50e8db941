"""What a worker is asked, and how it answers: plain data between processes (docs/worker.md). Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from suite.configurations import Configuration
from suite.judging.borrowing import Committed
from suite.judging.stopping import Stopping
from suite.records import Status


@dataclass(frozen=True)
class Job:
    configuration: Configuration
    weights: str
    quality_prompts: int  # 0: no quality
    samples: int = 1  # objects a prompt
    time_budget_s: float = 60.0  # of the latency rounds
    extrapolate: bool = False  # the latency, from a few network evaluations
    extra_stages: bool = True  # time and count other decodings too, which are outside the latency
    artefacts: Path | None = None  # folder of the contact sheet and of kept objects
    prompts: Path | None = None  # a user's own, instead of the model's prompt set
    judge: str | None = None  # another than the set's own
    committed: Committed | None = None  # an earlier quality, whose outcomes a slow recipe may take: see quality_pass
    stopping: Stopping | None = None  # score no more prompts than it takes to know


class Answers:
    """The worker's end of the pipe: ("phase", text, fraction or None), ("part", field, value), ("help",) when its
    helpers may start, ("reference",) when the process beside it may, ("end", status, reason)."""

    def __init__(self, pipe: Connection):
        self._pipe = pipe

    def phase(self, name: str, fraction: float | None = None) -> None:
        self._pipe.send(("phase", name, fraction))

    def part(self, field: str, value: object) -> None:
        self._pipe.send(("part", field, value))

    def call_for_help(self) -> None:
        self._pipe.send(("help",))

    def call_for_reference(self) -> None:
        self._pipe.send(("reference",))

    def end(self, status: Status, reason: str | None = None) -> None:
        self._pipe.send(("end", status, reason))
