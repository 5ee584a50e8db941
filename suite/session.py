"""One session's run of the benchmark: the board taken, earlier sessions recovered, each cell measured and journalled."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

import pytest

from suite import benchmark_bridge, execution
from suite.configurations import Configuration, UnknownName, find
from suite.devices.backend import Board, board_of, machine_board
from suite.history import COMMITTED, HistoryError, Journal, committed_outcomes, read_folder
from suite.job import Job
from suite.judging.against_original import against_original
from suite.judging.borrowing import Committed
from suite.judging.budgets import judge
from suite.launching import launcher_of
from suite.live import LiveLine
from suite.metrics.prompts import find_judging, load_prompts, why_unreadable
from suite.models import official
from suite.models.weights import WeightsError
from suite.recording import BoardBusy, Recorder, RunLock, Wanted, begin, differences
from suite.records import Interval, Measurement, Reference, Status

FULL_PROMPTS = 153
TIME_BUDGET_S, SMOKE_TIME_BUDGET_S = 60.0, 6.0
UNRECORDED = {Status.NOT_HERE, Status.NEEDS_WEIGHTS}  # nothing happened


class Bench:
    """Lock, journal, references and live line of one pytest session."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.default_smoke = False
        self.interrupted = False  # by Ctrl-C: the journal stays open for --resume
        self.recorder: Recorder | None = None
        self.references: dict[tuple[str, str], Reference | None] = {}
        self.selected: list[str] = []  # ids of the cells that this session runs
        self.lock: RunLock | None = None
        self.notes: list[str] = []
        self.live: LiveLine | None = None

    @property
    def quality_prompts(self) -> int:
        asked = self.config.getoption("quality_prompts")
        return FULL_PROMPTS if asked is None else asked

    @property
    def borrows(self) -> bool:
        """Whether slow cells take committed outcomes for most prompts."""
        asked = self.config.getoption("outcomes")
        return self.default_smoke if asked is None else asked == "committed"

    @property
    def time_budget_s(self) -> float:
        asked = self.config.getoption("time_budget")
        usual = SMOKE_TIME_BUDGET_S if self.default_smoke else TIME_BUDGET_S
        return usual if asked is None else asked

    @cached_property
    def _committed(self) -> dict[tuple[str, str | None], Committed]:
        return committed_outcomes(read_folder(COMMITTED).measurements) if self.borrows else {}

    @cached_property
    def folder(self) -> Path:
        return benchmark_bridge.storage_folder(self.config)

    def open(self) -> Recorder:
        """Take the board, recover what a crashed session left, and begin the journal. Once, at the first cell."""
        if self.recorder is not None:
            return self.recorder
        try:
            self.lock = RunLock(machine_board())
            self.lock.acquire(self.config.getoption("lock_patience"), self.say)
            session = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S") + f"-{os.getpid()}"
            self.recorder, crashed, problems = begin(self.folder, session, self.config.getoption("resume"))
            self.notes += problems
            for journal in crashed:
                self._recover(journal)
            self._get_ready()
            self._drop_different()
        except (BoardBusy, HistoryError) as error:
            pytest.exit(f"text3d-bench: {error}", returncode=pytest.ExitCode.USAGE_ERROR)
        if self.config.getoption("resume"):
            have = len(self.recorder.measurements)
            self.say(
                f"resumed session {self.recorder.session}: {have} measured"
                if have
                else "nothing to resume: a new session"
            )
        return self.recorder

    def _get_ready(self) -> None:
        """Whatever takes a launcher time, of the devices that this session measures on."""
        devices = {
            c.device.name: c.device for c in map(find, self.selected) if isinstance(board_of(c.device.name), Board)
        }
        for launcher in dict.fromkeys(map(launcher_of, devices.values())):
            launcher.get_ready()

    def _recover(self, journal: Journal) -> None:
        """Give a session that was killed its file in pytest-benchmark's storage."""
        history = journal.read()
        self.notes += history.problems
        if history.measurements:
            path = self._store(f"recovered-{journal.session}", history.measurements)
            self.say(
                f"session {journal.session} ended early: {len(history.measurements)} measurements recovered into {path.name}"
            )
        journal.close()

    def _store(self, name: str, measurements: list[Measurement]) -> Path:
        session = self.config._benchmarksession
        return benchmark_bridge.save_session(
            self.folder, name, measurements, session.get_machine_info(),
            self.config.hook.pytest_benchmark_generate_commit_info(config=self.config),
        )  # fmt: skip

    def _drop_different(self) -> None:
        """Measure again what a resumed journal holds otherwise than this session would measure it."""
        held = self.recorder.measurements
        chosen = {c.id: c for c in map(find, self.selected)}
        cells = {c.reference.id: c.reference for c in chosen.values()} | chosen
        cells = {name: c for name, c in cells.items() if name in held and self.absent(c) is None}
        wanted = {name: self._wanted(c, name in chosen) for name, c in cells.items()}
        # A worker loads the model to tell its fingerprint, so only where all else is the same.
        still = {
            name for name, c in cells.items() if name in chosen and held[name].reason == self._unread(c) is not None
        }
        same = [
            c
            for name, c in cells.items()
            if not c.unsupported and name not in still and not differences(held[name], wanted[name])
        ]
        jobs = [self._job(c, 0) for c in same]
        found = execution.identify(jobs, timeout_s=self.config.getoption("cell_timeout")) if jobs else {}
        for name, fingerprint in found.items():
            wanted[name] = replace(wanted[name], fingerprint=fingerprint)
        reasons = {name: "; ".join(why) for name in cells if (why := differences(held[name], wanted[name]))}
        if not reasons:
            return
        stored = self._store(f"superseded-{self.recorder.session}", [held.pop(name) for name in reasons])
        for reason, count in Counter(reasons[name] for name in reasons if name in chosen).items():
            self.say(f"measured again: {count} cell{'s' * (count > 1)}, {reason} (the earlier are in {stored.name})")

    def _wanted(self, configuration: Configuration, chosen: bool) -> Wanted:
        prompts = self.prompts(configuration) if chosen else None
        return Wanted(
            self.weights(configuration), prompts, smoke=chosen and self._smoke(configuration, prompts),
            extrapolated=self.extrapolates(configuration), borrows=self.borrows,
        )  # fmt: skip

    def say(self, line: str) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(f"text3d-bench: {line}")

    def measure(self, configuration: Configuration) -> Measurement:
        """A measurement of the configuration: resumed, or new and journalled."""
        absent = self.absent(configuration)
        if absent is not None:
            return self._unmeasured(configuration, *absent)
        recorder = self.open()
        if configuration.id in recorder.measurements:
            return recorder.measurements[configuration.id]
        if configuration.unsupported:
            measurement = self._unmeasured(configuration, Status.UNSUPPORTED, configuration.unsupported)
        elif (unread := self._unread(configuration)) is not None:
            # Of this session only, like a smoke run: it takes no place from what was measured.
            measurement = self._unmeasured(configuration, Status.UNSUPPORTED, unread).model_copy(update={"smoke": True})
        else:
            reference = self._reference(configuration)
            measurement = _marked_smoke(self._run(configuration, self.prompts(configuration)))
            if measurement.status != Status.THROTTLED and measurement.latency is not None:
                reference = _as_reference(measurement) if configuration.is_reference else reference
                measurement = measurement.model_copy(update={"reference": reference})
        judgements = [judge(budget, measurement) for budget in configuration.budgets]
        verdicts = {j.budget.name: j.verdict for j in judgements if j.verdict is not None}
        measurement = measurement.model_copy(update={"verdicts": verdicts})
        if measurement.status not in UNRECORDED:
            recorder.keep(configuration, measurement)
            self._hold_against_original(configuration)
        return recorder.measurements.get(configuration.id, measurement)

    def _hold_against_original(self, configuration: Configuration) -> None:
        """Give each cell of this model its speed-up against the original. It is measured for its own cell only, since it
        takes long; what was kept before it is kept anew."""
        held = self.recorder.measurements
        original = held.get(configuration.original.id)
        for name, m in list(held.items()):
            if (m.model, m.device) != (configuration.model.name, configuration.device.name):
                continue
            ratio = against_original(m, original)
            if ratio != m.speedup_vs_original:
                with suppress(UnknownName):  # a resumed one that has left the catalogues
                    self.recorder.keep(find(name), m.model_copy(update={"speedup_vs_original": ratio}))

    def absent(self, configuration: Configuration) -> tuple[Status, str] | None:
        """Why this configuration cannot run here, before anything is started."""
        board = board_of(configuration.device.name)
        if isinstance(board, str):
            return Status.NOT_HERE, board
        if self.weights(configuration) is None:
            kinds = ", ".join(configuration.model.weights)
            return (
                Status.NEEDS_WEIGHTS,
                f"{configuration.model.name} has no {self.config.getoption('weights')} weights; it has: {kinds}",
            )
        if self.weights(configuration) == "official" and configuration.model.name in official.MODEL_FILES:
            if (reason := official.absent(configuration.model.name)) is not None:
                return Status.NEEDS_WEIGHTS, reason
        if configuration.optimization.simulated and self.weights(configuration) == "random":
            reason = "a simulated recipe has nothing but a quality, and random weights have none"
            return Status.NEEDS_WEIGHTS, f"{configuration.model.name}: {reason}"
        if self.quality_prompts and self.weights(configuration) != "random":
            try:
                find_judging(configuration.model.prompts, self.config.getoption("judge"), self.prompt_file)
            except WeightsError as error:
                return Status.NEEDS_WEIGHTS, str(error)
        return None

    def _unread(self, configuration: Configuration) -> str | None:
        """Why its model or the judge cannot read the prompts; None where they can, or none are scored."""
        if not self.prompts(configuration):
            return None
        return why_unreadable(configuration.model.prompts, self.config.getoption("judge"), self.prompt_file)

    @property
    def prompt_file(self) -> Path | None:
        file = self.config.getoption("prompts")
        return None if file is None else file.resolve()

    def prompts(self, configuration: Configuration) -> int:
        """How many are scored: no more than there are, and none with random weights, which make nothing."""
        if not self.quality_prompts or self.weights(configuration) == "random":
            return 0
        there = load_prompts(configuration.model.prompts, self.prompt_file).prompts
        return min(self.quality_prompts, len(there))

    def _smoke(self, configuration: Configuration, prompts: int) -> bool:
        """Whether a run is less than a full one. With random weights there is nothing to score, so none is."""
        return prompts < FULL_PROMPTS and self.weights(configuration) != "random"

    def extrapolates(self, configuration: Configuration) -> bool:
        """Whether its latency is told from a few evaluations: by default where an object takes hours and is of no use."""
        if configuration.optimization.simulated:
            return False
        asked = self.config.getoption("extrapolate")
        useless = configuration.model.full_size and self.weights(configuration) == "random"
        return asked == "always" or (asked == "auto" and configuration.device.extrapolates and useless)

    def weights(self, configuration: Configuration) -> str | None:
        asked, kinds = self.config.getoption("weights"), configuration.model.weights
        return kinds[0] if asked == "auto" else asked if asked in kinds else None

    def _unmeasured(self, configuration: Configuration, status: Status, reason: str) -> Measurement:
        board = board_of(configuration.device.name)
        return execution.unmeasured(
            configuration, status, reason, session=self.recorder.session if self.recorder else "none",
            board=board.id if isinstance(board, Board) else None, weights=self.weights(configuration),
        )  # fmt: skip

    def _reference(self, configuration: Configuration) -> Reference | None:
        """This session's reference latency, measured now (without quality) when its own cell was not selected."""
        key = (configuration.model.name, configuration.device.name)
        if configuration.is_reference or configuration.optimization.simulated:
            return None
        if key not in self.references:
            measured = self.recorder.measurements.get(configuration.reference.id)
            if measured is None or measured.latency is None:
                measured = self._run(configuration.reference, 0)
            # A reference that fails once is not tried again for every cell.
            sound = measured.status == Status.OK and measured.latency is not None
            self.references[key] = _as_reference(measured) if sound else None
        return self.references[key]

    def _run(self, configuration: Configuration, prompts: int) -> Measurement:
        job = self._job(configuration, prompts)
        return execution.measure(
            job, session=self.recorder.session, board=board_of(configuration.device.name).id,
            smoke=self._smoke(configuration, prompts), timeout_s=self.config.getoption("cell_timeout"),
            progress=lambda phase, fraction: self.live and self.live.show(configuration.id, phase, fraction),
        )  # fmt: skip

    def _job(self, configuration: Configuration, prompts: int) -> Job:
        return Job(
            configuration=configuration, weights=self.weights(configuration), quality_prompts=prompts,
            time_budget_s=self.time_budget_s, extrapolate=self.extrapolates(configuration),
            extra_stages=not self.default_smoke,
            artefacts=self.folder / "artefacts" / self.recorder.session if prompts else None,
            prompts=self.prompt_file, judge=self.config.getoption("judge"),
            committed=self._committed.get((configuration.recipe, self.weights(configuration))) if prompts else None,
        )  # fmt: skip

    def close(self) -> None:
        """Journal what is left, close the journal, free the board."""
        if self.recorder is not None:
            self.recorder.flush()
            if self.recorder.trouble:
                self.notes.append(
                    f"{len(self.recorder.unsaved)} measurements are not journalled: {self.recorder.trouble}"
                )
        if self.lock is not None:
            self.lock.release()


def _marked_smoke(measurement: Measurement) -> Measurement:
    """A run that scored fewer prompts itself than it was asked for, since others' outcomes stood for them or did not
    agree, is less than a full one."""
    quality = measurement.quality
    few = quality is not None and (quality.borrowed is not None or len(quality.outcomes) < FULL_PROMPTS)
    return measurement.model_copy(update={"smoke": True}) if few else measurement


def _as_reference(measurement: Measurement) -> Reference:
    median: Interval = measurement.latency.median
    return Reference(configuration=measurement.configuration, latency=median, measured_at=measurement.measured_at)
