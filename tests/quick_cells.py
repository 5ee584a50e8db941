"""A pytest plugin for inner sessions (`-p tests.quick_cells`): the reference, and recipes of fewer steps, take two
steps of a good solver and copy the points that an upsampler would make.

For tests of what a session does with its cells, whichever they are: Point-E's base network with its weights, in a
fiftieth of the time. The project's limits of these cells do not hold then; a test's own do.
"""

from dataclasses import replace
from pathlib import Path

import suite.configurations
from suite.catalogue.optimizations import OPTIMIZATIONS, REFERENCE
from suite.judging.budgets import FOLDER, load_budgets
from suite.records import Budget

QUICK = (*OPTIMIZATIONS["dpmpp-2"].techniques, *OPTIMIZATIONS["copied-points"].techniques)
CELLS = (REFERENCE, "steps-32", "steps-16", "steps-8", "steps-4")
OPTIMIZATIONS.update({name: replace(OPTIMIZATIONS[name], techniques=QUICK) for name in CELLS})


def those_that_hold(path: Path) -> dict[str, tuple[Budget, ...]]:
    entries = load_budgets(path)
    return entries if path.parent != FOLDER else {name: () for name in entries}


suite.configurations.load_budgets = those_that_hold
