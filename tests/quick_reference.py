"""A pytest plugin for inner sessions (`-p tests.quick_reference`): the reference takes 4 steps instead of 64.

For tests of what a session does with a reference, whichever it is: the same networks and weights, a sixteenth of the
time. The project's ratios to the true reference, and its limits of it, do not hold then; a test's own budgets do.
"""

from dataclasses import replace
from pathlib import Path

import suite.configurations
from suite.catalogue.optimizations import OPTIMIZATIONS, REFERENCE
from suite.judging.budgets import FOLDER, load_budgets
from suite.records import Budget

OPTIMIZATIONS[REFERENCE] = replace(OPTIMIZATIONS["steps-4"], name=REFERENCE)


def those_that_hold(path: Path) -> dict[str, tuple[Budget, ...]]:
    entries = load_budgets(path)
    if path.parent != FOLDER:
        return entries
    return {
        name: tuple(b for b in budgets if b.name != "latency_ratio" and not name.endswith(f"/{REFERENCE}"))
        for name, budgets in entries.items()
    }


suite.configurations.load_budgets = those_that_hold
