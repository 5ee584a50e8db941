"""Everything that touches pytest-benchmark: its options, its storage, and feeding it a worker's own durations.

pytest-benchmark measures functions in its own process and saves at the end of a session; here a worker measures and
a journal saves. What it is good at, history with `list` and `compare`, is kept by handing it the finished samples.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest
import pytest_benchmark
import pytest_benchmark.session
from pytest_benchmark.stats import Stats

from suite.history import CELLS, write_atomically
from suite.records import Measurement

DEFAULT_NAME = "run"
MEASUREMENT = "measurement"  # the key in a row's extra_info
EXTRAPOLATED = "extrapolated"  # a row's group


class DurationClock:
    """A timer that stands still until it is told how much time has passed."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


CLOCK = DurationClock()


def feed(benchmark, samples_s: Sequence[float]) -> None:
    """Store these durations as the rounds of a benchmark whose timer is CLOCK."""
    remaining = iter(samples_s)
    benchmark.pedantic(lambda: CLOCK.advance(next(remaining)), rounds=len(samples_s), iterations=1)


def repeat_cells(output_json: dict, measurements: dict[str, Measurement]) -> None:
    """Put a session's measurements into the file that it saves: all of them as cells, and each row's as it is by now,
    since the original's latency changes what was measured before it."""
    cells = {name: m.model_dump(mode="json") for name, m in measurements.items()}
    output_json[CELLS] = list(cells.values())
    for row in output_json["benchmarks"]:
        if MEASUREMENT in row["extra_info"]:
            row["extra_info"][MEASUREMENT] = cells[row["extra_info"][MEASUREMENT]["configuration"]]


def group_of(measurement: Measurement) -> str | None:
    """Extrapolated latencies stand in a table of their own, so that `pytest-benchmark compare` says what they are."""
    return EXTRAPOLATED if measurement.extrapolated else None


def allow_bare_save(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Make `--benchmark-save` without a name mean the name "run".

    pytest-benchmark wants a name and refuses the bare option before any conftest is read. Its option's action is
    changed here; these attributes are private to pytest, so a test runs the exact command line.
    """
    pluginmanager.import_plugin("benchmark", consider_entry_points=True)
    for option in parser.getgroup("benchmark").options:
        if "--benchmark-save" in option.names():
            attributes = option.attrs()
            check = attributes["type"]
            attributes |= {"nargs": "?", "const": DEFAULT_NAME, "type": lambda text: _no_path(check(text))}
            option._attrs = attributes


def _no_path(name: str) -> str:
    if os.path.exists(name):
        raise pytest.UsageError(
            f"--benchmark-save would take the path {name!r} as its name; put the path first, or write --benchmark-save=NAME"
        )
    return name


def use_board_as_machine(config: pytest.Config, board: str) -> None:
    """Give each board a directory of its own in the storage; the usual id knows neither host nor chip."""
    pytest_benchmark.session.get_machine_id = lambda: board
    session = getattr(config, "_benchmarksession", None)
    if session is not None:  # made already, with the usual id
        session.machine_id = session.storage.default_machine_id = board


def storage_folder(config: pytest.Config) -> Path:
    """The board's folder in pytest-benchmark's storage."""
    storage = config._benchmarksession.storage
    if not isinstance(getattr(storage, "path", None), Path):
        raise pytest.UsageError("--benchmark-storage: only a folder can hold the history here (file://FOLDER)")
    return storage.path / config._benchmarksession.machine_id


def save_session(folder: Path, name: str, measurements: Sequence[Measurement], machine: dict, commit: dict) -> Path:
    """Write measurements as a pytest-benchmark file, for sessions that could not do so themselves."""
    numbers = [int(path.name[:4]) for path in folder.glob("[0-9][0-9][0-9][0-9]_*.json")]
    path = folder / f"{max(numbers, default=0) + 1:04}_{name}.json"
    content = {
        "machine_info": machine,
        "commit_info": commit,
        "benchmarks": [_row(m) for m in measurements if m.latency is not None],
        "datetime": datetime.now(timezone.utc).isoformat(),
        "version": pytest_benchmark.__version__,
        CELLS: [m.model_dump(mode="json") for m in measurements],
    }
    write_atomically(path, json.dumps(content, indent=1))
    return path


def _row(measurement: Measurement) -> dict:
    stats = Stats()
    for sample in measurement.latency.samples_s:
        stats.update(sample)
    name = f"test_configuration[{measurement.configuration}]"
    return {
        "group": group_of(measurement),
        "name": name,
        "fullname": f"suite/test_configurations.py::{name}",
        "params": {"configuration": measurement.configuration},
        "param": measurement.configuration,
        "extra_info": {MEASUREMENT: measurement.model_dump(mode="json")},
        "options": {"timer": "now"},
        "stats": stats.as_dict(),
    }
