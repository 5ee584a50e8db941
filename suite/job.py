"""What a worker is asked to measure: plain data that travels to another process. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suite.configurations import Configuration
from suite.judging.borrowing import Committed


@dataclass(frozen=True)
class Job:
    configuration: Configuration
    weights: str
    quality_prompts: int  # 0: no quality
    time_budget_s: float = 60.0  # of the latency rounds
    extrapolate: bool = False  # the latency, from a few network evaluations
    extra_stages: bool = True  # time and count other decodings too, which are outside the latency
    artefacts: Path | None = None  # folder of the contact sheet
    prompts: Path | None = None  # a user's own, instead of the model's prompt set
    judge: str | None = None  # another than the set's own
    committed: Committed | None = None  # an earlier quality, whose outcomes a slow recipe may take: see quality_pass
