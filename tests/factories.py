"""Measurements and session files for tests, without measuring."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from suite.catalogue.optimizations import OPTIMIZATIONS
from suite.judging.intervals import latency_interval, proportion
from suite.records import (
    Fingerprint,
    Interval,
    Latency,
    Measurement,
    Memory,
    PromptOutcome,
    PublishedRow,
    Quality,
    Reference,
    Status,
)


def quality(
    hits: int | Collection[int], prompts: int = 153, judge: str = "clip-nano-judge", large: bool = True
) -> Quality:
    """Outcomes of `prompts` prompts; the first `hits` of them hit, or those whose numbers are given.

    large: whether their set has a gallery of 3,001."""
    numbers = set(range(hits)) if isinstance(hits, int) else set(hits)
    outcomes = [
        PromptOutcome(
            prompt=f"prompt {n}",
            rank_153=0 if n in numbers else 1 + n % 9,
            rank_3001=(0 if n in numbers and n % 3 else 2 + n % 50) if large else None,
            margin_153=0.1 if n in numbers else -0.1,
            margin_3001=(0.05 if n in numbers else -0.2) if large else None,
        )
        for n in range(prompts)
    ]
    return Quality(
        judge=judge,
        outcomes=outcomes,
        r_precision=proportion(sum(o.rank_153 == 0 for o in outcomes), prompts),
        r_precision_3001=proportion(sum(o.rank_3001 == 0 for o in outcomes), prompts) if large else None,
    )


def latency(seconds: float, spread: float = 0.01, samples: int = 9) -> Latency:
    """Evenly spread samples around a median, so many per cent up and down."""
    middle = samples // 2
    values = [seconds * (1 + spread * (n - middle) / max(middle, 1)) for n in range(samples)]
    return Latency(
        samples_s=values,
        stage_samples_s={"base diffusion": values},
        first_call_s=seconds * 1.5,
        median=latency_interval(values),
        stop_reason="interval",
    )


def measurement(
    configuration_id: str = "point-e-nano-text/fp32@cpu",
    *,
    seconds: float | None = 2.0,
    spread: float = 0.01,
    samples: int = 9,
    memory: int | None = 60_000_000,
    hits: int | Collection[int] | None = 130,
    prompts: int = 153,
    reference_s: float | None = None,
    status: Status = Status.OK,
    board: str = "laptop",
    weights: str | None = "embedded",
    session: str = "first",
    measured_at: str = "2026-11-23T04:00:00Z",
    threads: int = 1,
    settings: str | None = None,
    torch: str = "2.13.0",
    weights_sha256: str = "a" * 64,
    gallery_sha256: str = "b" * 64,
    **others: Any,
) -> Measurement:
    """One measurement as a worker would give it; one that is not ok has only a status and a reason."""
    recipe, device = configuration_id.split("@")
    model, optimization = recipe.split("/")
    simulated = optimization in OPTIMIZATIONS and OPTIMIZATIONS[optimization].simulated
    ok = status == Status.OK
    fields: dict[str, Any] = {
        "configuration": configuration_id,
        "model": model,
        "optimization": optimization,
        "device": device,
        "board": board,
        "status": status,
        "reason": None if ok else f"made to be {status.value}",
        "session": session,
        "measured_at": measured_at,
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "weights": weights,
        "output": "point cloud of 256 points",
        "simulated": simulated,
        "fingerprint": Fingerprint(
            device=device,
            board=board,
            chip="Test chip",
            python="3.11.7",
            torch=torch,
            threads=threads,
            settings=settings,
            weights_sha256=weights_sha256,
            gallery_sha256=gallery_sha256,
        ),
    }
    if ok:
        timed = seconds is not None and not simulated
        fields |= {
            "latency": latency(seconds, spread, samples) if timed else None,
            "memory": None if memory is None else Memory(kind="process", peak_memory_bytes=memory),
            "quality": None if hits is None else quality(hits, prompts),
            "reference": None
            if reference_s is None
            else Reference(
                configuration=f"{model}/fp32@{device}",
                latency=Interval(value=reference_s, low=0.99 * reference_s, high=1.01 * reference_s),
                measured_at=measured_at,
            ),
        }
    return Measurement(**(fields | others))


def session_file(path: Path, measurements: Iterable[Measurement]) -> Path:
    """A session's pytest-benchmark JSON with its cells."""
    data = {
        "machine_info": {"node": "laptop"},
        "commit_info": {"id": "0123456789abcdef"},
        "benchmarks": [],
        "datetime": "2026-11-23T04:00:00+00:00",
        "version": "5.3.1",
        "cells": [m.model_dump(mode="json") for m in measurements],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def row(configuration_id: str = "point-e-nano-text/fp32@cpu", **fields: Any) -> PublishedRow:
    """A measured, ranked row, its figures to be replaced by name."""
    recipe, device = configuration_id.split("@")
    model, optimization = recipe.split("/")
    figures = {
        "protocol": "1",
        "configuration": configuration_id,
        "model": model,
        "optimization": optimization,
        "device": device,
        "board": "laptop",
        "source": "measured",
        "status": Status.OK,
        "weights": "embedded",
        "latency_s": 2.0,
        "latency_low_s": 1.98,
        "latency_high_s": 2.02,
        "peak_memory_bytes": 60_000_000,
        "r_precision": 0.85,
        "r_precision_low": 0.79,
        "r_precision_high": 0.90,
        "prompts": 153,
        "on_frontier": True,
    }
    return PublishedRow(**(figures | fields))
