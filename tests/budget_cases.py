"""Sessions to propose limits from, and the file that comes of them."""

from __future__ import annotations

from pathlib import Path

import suite.budgets.__main__ as command
from suite.judging.budgets import load_budgets
from suite.records import Budget
from tests.factories import measurement, session_file

FP32, STEPS = (f"point-e-nano-text/{name}@cpu" for name in ("fp32", "steps-16"))


def sessions(folder: Path, count: int, **fields) -> list[Path]:
    """So many fresh processes' runs of a reference and a fast recipe."""
    paths = []
    for n in range(count):
        common = {"session": f"s{n}", "measured_at": f"2026-11-2{n}T00:00:00Z", "canary_s": 0.001 * (1 + n)} | fields
        made = [
            measurement(
                FP32, **{"seconds": 2.0 + n, "memory": 60_000_000 + n, "hits": 130 - n, "reference_s": 2.0 + n} | common
            ),
            measurement(
                STEPS,
                **{"seconds": 0.5 + n / 4, "memory": 50_000_000, "hits": 120 + n, "reference_s": 2.0 + n} | common,
            ),
        ]
        paths.append(session_file(folder / f"000{n}_s.json", made))
    return paths


def proposed(own_budgets: Path, paths: list[Path], device: str = "cpu") -> dict[str, dict[str, Budget]]:
    """What `propose` writes, read again."""
    assert command.main(["propose", "--device", device, *map(str, paths)]) == 0
    loaded = load_budgets(own_budgets / f"{device}.toml")
    return {recipe: {b.name: b for b in budgets} for recipe, budgets in loaded.items()}
