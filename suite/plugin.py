"""The face to pytest: options, marks, selection, the `measure` fixture, and what is said at the end.

Loaded by `addopts = -p suite.plugin`, since bare `--benchmark-save` must be mended before any conftest is read.
Without torch: measuring happens in workers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.catalogue.devices import find_device
from suite.catalogue.extensions import extensions
from suite.configurations import Configuration, all_marks, find, matrix
from suite.devices.backend import Board, board_of, machine_board, passing_line
from suite.judging import baselines
from suite.judging.budgets import Judgement, MalformedBudgets, judge
from suite.names import UnknownName, unknown
from suite.records import Budget, Measurement, Status, Verdict
from suite.session import benchmark_bridge, habits, options, summary
from suite.session.bench import UNRECORDED, Bench
from suite.session.live import LiveLine
from suite.session.looking import look_at_machine
from suite.session.required import unmet

BENCHMARK_FILE = Path(__file__).with_name("test_configurations.py")
SKIPPED = {Status.UNSUPPORTED, Status.NEEDS_WEIGHTS, Status.NOT_HERE, Status.THROTTLED}
BENCH = pytest.StashKey["Bench"]()


# Options, marks, identity.


@pytest.hookimpl(tryfirst=True)
def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    benchmark_bridge.allow_bare_save(parser, pluginmanager)
    options.add_to(parser.getgroup("text3d-bench"))


def pytest_configure(config: pytest.Config) -> None:
    habits.refuse_early(config, BENCHMARK_FILE)
    benchmark_bridge.keep_default_storage(config)
    for mark in all_marks():
        config.addinivalue_line("markers", f"{mark}: configurations of text3d-bench")
    config.stash[BENCH] = Bench(config)
    config.pluginmanager.register(config.stash[BENCH].skips)
    config.stash[BENCH].notes += extensions().problems
    if config.getoption("benchmark_compare", None):  # pytest-benchmark reads its storage before collection
        benchmark_bridge.use_board_as_machine(config, machine_board())
    options.use_files(config)
    try:
        for name in config.getoption("require_device"):
            find_device(name)
        _check_names(config)
    except UnknownName as error:  # which may be that of an extension that could not be read
        raise pytest.UsageError("\n".join([str(error), *extensions().problems])) from None


def _asked(config: pytest.Config) -> list[Configuration]:
    """The configurations that the command line names, one by one."""
    cells = [a for a in config.args if f"{BENCHMARK_FILE.name}::" in a and "[" in a]
    return [find(cell.partition("[")[2].removesuffix("]")) for cell in cells]


def _check_names(config: pytest.Config) -> None:
    """Answer an unknown configuration or mark on the command line with the nearest; pytest only says "not found"."""
    _asked(config)
    known = {line.split(":")[0].split("(")[0].strip() for line in config.getini("markers")}
    for word in re.findall(r"[A-Za-z_][\w-]*", config.option.markexpr or ""):
        if word not in known | {"and", "or", "not", "True", "False", "None"}:
            raise unknown("mark", word, all_marks())


@pytest.hookimpl(optionalhook=True)  # the project's own tests run without pytest-benchmark too
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict) -> None:
    machine_info["board"] = machine_board()
    for changing in ("hz_actual", "hz_actual_friendly"):  # differ at every run
        machine_info.get("cpu", {}).pop(changing, None)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict) -> None:
    bench = config.stash[BENCH]
    if bench.recorder is not None:
        benchmark_bridge.repeat_cells(output_json, bench.recorder.measurements, bench.end_machine())


# Selection.


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.path != BENCHMARK_FILE:
        return
    asked = _asked(metafunc.config)  # not all of them need be in the matrix
    only_these = len(asked) == len(metafunc.config.args)  # saves the half second that all of them take
    others = () if only_these else matrix()
    wanted = {c.id: c for c in (*others, *asked)}
    cells = [
        pytest.param(
            c.id,
            id=c.id,
            marks=[
                *(getattr(pytest.mark, mark) for mark in c.marks),
                pytest.mark.benchmark(timer=benchmark_bridge.CLOCK.now),
            ],
        )
        for c in wanted.values()
    ]
    metafunc.parametrize("configuration", cells, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    cells = [item for item in items if item.path == BENCHMARK_FILE]
    if not cells:
        return
    habits.refuse(config)
    try:
        for item in cells:
            _ = find(item.callspec.params["configuration"]).budgets
        if config.getoption("baseline"):
            baselines.load_baselines(machine_board())
    except (MalformedBudgets, baselines.MalformedBaselines) as error:
        raise pytest.UsageError(str(error)) from None
    if _asks_for_nothing(config):
        config.stash[BENCH].run_default_smoke()
        here = [item for item in cells if item.get_closest_marker("smoke") and _here(item)]
        config.hook.pytest_deselected(items=[item for item in cells if item not in here])
        here.sort(key=_expected_s)
        items[:] = [item for item in items if item.path != BENCHMARK_FILE] + here
    items[:] = _references_first(items)


def _references_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """Each selected reference before the first cell that is held against it, which would measure it besides."""
    cells = {item: find(item.callspec.params["configuration"]) for item in items if item.path == BENCHMARK_FILE}
    references = {cell.id: item for item, cell in cells.items() if cell.is_reference}
    ordered: dict[pytest.Item, None] = {}
    for item in items:
        if item in cells and (first := references.get(cells[item].reference.id)) is not None:
            ordered.setdefault(first)
        ordered.setdefault(item)
    return list(ordered)


def _expected_s(item: pytest.Item) -> float:
    """What an object of this cell's model took at most where its reference's budget was measured: the first row of the
    smoke run should come soon."""
    reference = find(item.callspec.params["configuration"]).reference
    limits = [budget.limit for budget in reference.budgets if budget.name == "latency_s" and budget.limit is not None]
    return limits[0] if limits else float("inf")


def _asks_for_nothing(config: pytest.Config) -> bool:
    return (
        config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and not config.option.markexpr
        and not config.option.keyword
        and not config.getoption("require_device")
    )


def _here(item: pytest.Item) -> bool:
    return isinstance(board_of(find(item.callspec.params["configuration"]).device.name), Board)


def pytest_collection_finish(session: pytest.Session) -> None:
    bench = session.config.stash[BENCH]
    if any("benchmark" in getattr(item, "fixturenames", ()) for item in session.items):  # others need no board
        benchmark_bridge.use_board_as_machine(session.config, machine_board())
    bench.selected = [item.callspec.params["configuration"] for item in session.items if item.path == BENCHMARK_FILE]
    if bench.selected:
        benchmark_bridge.save_whole(session.config, bench.failures.append)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With --preflight no test is run."""
    if not session.config.getoption("preflight") or session.config.option.collectonly:
        return None
    session.testsfailed = look_at_machine(session.config.stash[BENCH])  # so the session ends with 0 or 1
    return True


# Measuring.


@pytest.fixture
def configuration(request: pytest.FixtureRequest) -> Configuration:
    """The cell's configuration, from the id in the test's name."""
    return find(request.param)


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Callable[..., Measurement]:
    """measure(configuration, benchmark) -> Measurement; skips or fails as `docs/statuses.md` says."""
    bench = request.config.stash[BENCH]

    def measure(configuration: Configuration, benchmark) -> Measurement:
        if bench.live is None:
            bench.live = LiveLine(request.config, sum(item.path == BENCHMARK_FILE for item in request.session.items))
        bench.live.start()
        measurement = reference = None
        try:
            measurement = bench.measure(configuration)
            if bench.recorder is not None:
                reference = summary.reference_quality(measurement, bench.recorder.measurements)
        finally:
            bench.live.finish(measurement, reference)
        if measurement.latency is not None and measurement.status == Status.OK:
            benchmark.group = benchmark_bridge.group_of(measurement)
            benchmark.extra_info[benchmark_bridge.MEASUREMENT] = measurement.model_dump(mode="json")
            benchmark_bridge.feed(benchmark, measurement.latency.samples_s)
        expected = _expects_a_status(configuration)
        if measurement.status == Status.OK or (expected and measurement.status not in UNRECORDED):
            _need_reference(bench, configuration)
            return measurement
        words = f"{measurement.status.value}: {measurement.reason}"
        required = configuration.device.name in request.config.getoption("require_device")
        if measurement.status in SKIPPED and not (required and measurement.status in UNRECORDED):
            pytest.skip(words)
        pytest.fail(f"{words}\nRepeat this cell: {configuration.command}", pytrace=False)

    return measure


def _expects_a_status(configuration: Configuration) -> bool:
    return any(budget.expect is not None for budget in configuration.budgets)


def _need_reference(bench: Bench, configuration: Configuration) -> None:
    """Without its reference a cell was held against nothing, which is not green. Where the reference is a cell of this
    session too, its own test says so."""
    reference = bench.references.failed(configuration)
    if reference is None or _expects_a_status(configuration.reference) or reference.configuration in bench.selected:
        return
    words = (
        f"its reference {reference.configuration} is {reference.status.value}, so no ratio was held: {reference.reason}"
    )
    if reference.status == Status.THROTTLED:
        pytest.skip(words)
    pytest.fail(words, pytrace=False)


def check(budget: Budget, measurement: Measurement) -> Judgement:
    """Hold a measurement against one budget inside a subtest: passes, skips (no limit, no value) or fails."""
    judgement = judge(budget, measurement)
    if judgement.verdict is None:
        pytest.skip(judgement.message)
    if judgement.verdict == Verdict.OVER_BUDGET:
        command = find(measurement.configuration).command
        pytest.fail(f"over budget: {judgement.message}\nRepeat this cell: {command}", pytrace=False)
    return judgement


@pytest.fixture
def changes(request: pytest.FixtureRequest) -> Callable[[Measurement], list[baselines.Change]]:
    """changes(measurement) -> how it differs from the board's pinned baseline; nothing without --baseline."""

    def changes(measurement: Measurement) -> list[baselines.Change]:
        if not request.config.getoption("baseline") or measurement.board is None:
            return []
        pinned = baselines.load_baselines(measurement.board)
        return baselines.judge(measurement, pinned and pinned.of(measurement))

    return changes


def check_change(change: baselines.Change, measurement: Measurement) -> None:
    """Fail inside a subtest what regressed; skip what has no baseline to be compared with."""
    if change.verdict == Verdict.NO_BASELINE:
        pytest.skip(f"no-baseline: {change.reason}")
    if change.verdict == Verdict.REGRESSED:
        command = find(measurement.configuration).command
        pytest.fail(
            f"regressed: {change.quantity}: {change.reason}\nRepeat this cell: {command} --baseline", pytrace=False
        )


# What is said.


@pytest.hookimpl(wrapper=True)
def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config):
    """A cell has its own line (`suite/session/live.py`), so pytest's letter for one that passed says nothing more."""
    status = yield
    cell = report.nodeid.partition("::")[0].endswith(BENCHMARK_FILE.name)
    if cell and status[:2] == ("passed", ".") and config.get_verbosity() == 0:
        return "passed", "", status[2]
    return status


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    bench = config.stash[BENCH]
    if not any(item.path == BENCHMARK_FILE for item in items):
        return []
    outcomes = " (slow cells take committed outcomes)" if bench.options.borrows else ""
    most, stopping = bench.options.quality_prompts, bench.options.stopping
    prompts = f"{most} quality prompts" if stopping is None else f"quality prompts until it is known, {most} at most"
    lines = [f"text3d-bench: board {machine_board()}, {prompts}{outcomes}"]
    cells = (item for item in items if item.path == BENCHMARK_FILE)
    for device in dict.fromkeys(find(item.callspec.params["configuration"]).device.name for item in cells):
        board = board_of(device)
        if isinstance(board, Board) and board.passing:
            lines.append(f"text3d-bench: {passing_line(device, board)}")
    if bench.options.default_smoke:
        lines.append(
            "text3d-bench: plain pytest runs this machine's smoke cells; `pytest -m cpu` runs its whole matrix"
        )
    return lines


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After pytest-benchmark has saved: its own hook wraps this one."""
    bench = session.config.stash.get(BENCH, None)
    if bench is None:
        return
    bench.close()
    if (bench.recorder is not None and bench.recorder.trouble) or bench.failures:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
    elif exitstatus != pytest.ExitCode.INTERRUPTED:
        bench.finished = True
    if not (session.config.option.collectonly or session.config.getoption("preflight")):
        measured = bench.recorder.measurements if bench.recorder is not None else {}
        lines = unmet(session.config.getoption("require_device"), bench.skips.reasons, measured)
        bench.failures += lines
        if lines and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Only a session that came to its end and saved closes its journal; until proven otherwise it was interrupted."""
    bench = config.stash.get(BENCH, None)
    if bench is not None and bench.recorder is not None and not bench.recorder.unsaved and bench.finished:
        bench.recorder.journal.close()


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    bench = config.stash[BENCH]
    for note in bench.notes:
        terminalreporter.write_line(f"text3d-bench: {note}", yellow=True)
    for failure in bench.failures:
        terminalreporter.write_line(f"text3d-bench: {failure}", red=True)
    if bench.recorder is None or not bench.recorder.measurements:
        return
    terminalreporter.section("text3d-bench", sep="-")
    for line in summary.table(bench.recorder.measurements):
        terminalreporter.write_line(line)
    for reason in bench.machine.record.unsteady if bench.machine is not None else ():
        terminalreporter.write_line(f"unsteady: {reason}", yellow=True)
    terminalreporter.write_line(f"journal: {bench.recorder.journal.folder}")
