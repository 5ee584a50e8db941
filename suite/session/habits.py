"""pytest's and its plugins' options that a measuring session cannot have: refused in a line, before it measures.

Others work: reruns measure again, a session without terminal or capture says its lines on stderr.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARK = "benchmark"  # pytest-benchmark's name as a plugin
HISTOGRAM = ("pygal", "pygaljs")


def refuse_early(config: pytest.Config, cells: Path) -> None:
    """What cannot wait until the cells are collected."""
    if str(getattr(config.option, "benchmark_storage", "")).startswith("elasticsearch"):
        raise pytest.UsageError("--benchmark-storage: only a folder can hold the history here (file://FOLDER)")
    if not _names(config, cells):
        return
    if not config.pluginmanager.hasplugin(BENCHMARK):
        raise pytest.UsageError(
            "text3d-bench: cells are handed to pytest-benchmark, which -p no:benchmark switched off: leave that out"
        )
    if getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput"):
        raise pytest.UsageError(
            "text3d-bench: cells are measured one at a time, as they would disturb each other: "
            "leave out -n, or write -n 0"
        )


def _names(config: pytest.Config, cells: Path) -> bool:
    """Whether the command line's paths have cells among them: the process that hands tests to others never collects."""
    folder = config.invocation_params.dir
    return any(cells.is_relative_to((folder / argument.partition("::")[0]).resolve()) for argument in config.args)


def refuse(config: pytest.Config) -> None:
    """Of a session that is about to measure cells."""
    for reason in _reasons(config):
        raise pytest.UsageError(f"text3d-bench: {reason}")


def _reasons(config: pytest.Config) -> Iterator[str]:
    session, option = config._benchmarksession, config.option
    if session.disabled:
        yield "--benchmark-disable would keep what is measured out of --benchmark-save's file: leave it out"
    if option.benchmark_compare_fail and not session.compared_mapping:
        asked = "--benchmark-compare" if option.benchmark_compare else "a --benchmark-compare, which was not given"
        yield (
            f"--benchmark-compare-fail: nothing is saved in {session.storage} that {asked} could take: save a run first"
        )
    if option.benchmark_histogram and (missing := [m for m in HISTOGRAM if importlib.util.find_spec(m) is None]):
        yield f"--benchmark-histogram needs {' and '.join(missing)}: pip install pygal pygaljs"
