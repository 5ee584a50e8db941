"""Everything that touches pytest-benchmark: its options, its storage, and feeding it a worker's own durations.

pytest-benchmark measures functions in its own process and saves at the end of a session; here a worker measures and
a journal saves. What it is good at, history with `list` and `compare`, is kept by handing it the finished samples.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest
import pytest_benchmark
import pytest_benchmark.session
from pytest_benchmark.stats import Stats
from pytest_benchmark.utils import safe_dumps

from suite.history import CELLS, LOCAL, MACHINE, HistoryError
from suite.machine import SessionMachine
from suite.records import Measurement
from suite.saving import write_atomically

DEFAULT_NAME = "run"
DEFAULT_STORAGE = "file://./.benchmarks"  # pytest-benchmark's own, of the folder where pytest is started
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


def repeat_cells(output_json: dict, measurements: dict[str, Measurement], machine: SessionMachine | None) -> None:
    """Put a session's measurements into the file that it saves: all of them as cells, and each row's as it is by now,
    since the original's latency changes what was measured before it. And what it kept of its machine."""
    if machine is not None:
        output_json[MACHINE] = machine.model_dump(mode="json")
    cells = {name: m.model_dump(mode="json") for name, m in measurements.items()}
    output_json[CELLS] = list(cells.values())
    rows = output_json["benchmarks"]
    # A rerun of a cell has a row of its own: only the last is what was measured in the end.
    last = {row["extra_info"][MEASUREMENT]["configuration"]: row for row in rows if MEASUREMENT in row["extra_info"]}
    for configuration, row in last.items():
        row["extra_info"][MEASUREMENT] = cells[configuration]
    kept = {id(row) for row in last.values()}
    output_json["benchmarks"] = [r for r in rows if MEASUREMENT not in r["extra_info"] or id(r) in kept]


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
            attributes |= {
                "nargs": "?",
                "const": NoName(DEFAULT_NAME),
                "type": lambda text: _no_path(text, check(text)),
            }
            option._attrs = attributes


class NoName(str):
    """The name of a run where none was typed."""


def _no_path(typed: str, name: str) -> str:
    if not isinstance(typed, NoName) and os.path.exists(name):
        raise pytest.UsageError(
            f"--benchmark-save would take the path {name!r} as its name; "
            "put the path first, or write --benchmark-save=NAME"
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
    return config._benchmarksession.storage.path / config._benchmarksession.machine_id


def keep_default_storage(config: pytest.Config) -> None:
    """One storage whatever folder pytest is started in: of the checkout, where all commands look for it."""
    if getattr(config.option, "benchmark_storage", None) == DEFAULT_STORAGE:
        config.option.benchmark_storage = f"file://{LOCAL}"


def save_whole(config: pytest.Config, failed: Callable[[str], None]) -> None:
    """Let pytest-benchmark's file be there whole or not at all; a full disk is told, and ends no session's output."""
    session = config._benchmarksession

    def save(output_json: dict, name: str) -> None:
        path = next_file(storage_folder(config), name)
        try:
            # Not indented as pytest-benchmark does: of a session's 10 MB, 6 were spaces.
            write_atomically(path, safe_dumps(output_json, ensure_ascii=True))
        except HistoryError as error:
            failed(str(error))
        else:
            session.logger.info(f"Saved benchmark data in: {path}")

    session.storage.save = save


def save_session(
    folder: Path,
    name: str,
    measurements: Sequence[Measurement],
    machine_info: dict,
    commit: dict,
    machine: SessionMachine | None = None,
) -> Path:
    """Write measurements as a pytest-benchmark file, for sessions that could not do so themselves."""
    path = next_file(folder, name)
    content = {
        "machine_info": machine_info,
        "commit_info": commit,
        "benchmarks": [_row(m) for m in measurements if m.latency is not None],
        "datetime": datetime.now(timezone.utc).isoformat(),
        "version": pytest_benchmark.__version__,
        CELLS: [m.model_dump(mode="json") for m in measurements],
    } | ({} if machine is None else {MACHINE: machine.model_dump(mode="json")})
    write_atomically(path, json.dumps(content))
    return path


def next_file(folder: Path, name: str) -> Path:
    """The path of one more session's file, numbered as pytest-benchmark does."""
    numbers = [int(path.name[:4]) for path in folder.glob("[0-9][0-9][0-9][0-9]_*.json")]
    return folder / f"{max(numbers, default=0) + 1:04}_{name}.json"


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
