"""One session's run of the benchmark: board taken, earlier sessions recovered, each cell measured and journalled."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

import pytest

from suite.configurations import Configuration, UnknownName, find
from suite.devices.backend import Board, board_of, machine_board
from suite.history import COMMITTED, HistoryError, committed_outcomes, outcomes_of, read_folder
from suite.judging.against_original import against_original
from suite.judging.borrowing import Committed
from suite.judging.budgets import judge
from suite.machine import Check, SessionMachine
from suite.preflight.clock import SESSION_TIME, why_behind
from suite.preflight.place import Site
from suite.preflight.run import cheap_checks, in_a_line, not_ok, places_of, probes
from suite.records import Measurement, Status
from suite.saving import Journal
from suite.session import benchmark_bridge
from suite.session.live import LiveLine
from suite.session.machine import MachineLog
from suite.session.options import FULL_PROMPTS, SessionOptions
from suite.session.planning import Absent, Plan, plan
from suite.session.recording import Recorder, Wanted, begin, differences
from suite.session.references import References, as_reference
from suite.session.required import Skips
from suite.session.run_lock import BoardBusy, RunLock
from suite.session.voice import Voice
from suite.worker import execution
from suite.worker.job import Job
from suite.worker.launching import NoWorkers, launcher_of


class MachineNotReady(RuntimeError):
    """A check of the machine is not ok, and the session was asked to mind that."""


UNRECORDED = {Status.NOT_HERE, Status.NEEDS_WEIGHTS}  # nothing happened


class Bench:
    """Lock, journal, references and live line of one pytest session."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.options = SessionOptions.from_pytest(config)
        self.finished = False  # came to its end and saved; until then the journal stays open for --resume
        self.recorder: Recorder | None = None
        self.machine: MachineLog | None = None
        self.references = References(self._run)
        self.selected: list[str] = []  # ids of the cells that this session runs
        self.skips = Skips()
        self.asked: set[str] = set()  # ids that were asked for: again means to measure again
        self.lock: RunLock | None = None
        self.notes: list[str] = []
        self.failures: list[str] = []  # lines that end the session red
        self.voice = Voice(config)
        self.live: LiveLine | None = None
        self._plans: dict[str, Plan | Absent] = {}  # by configuration id

    def run_default_smoke(self) -> None:
        """This session was asked for nothing: it runs this machine's smoke cells."""
        self.options = SessionOptions.from_pytest(self.config, default_smoke=True)

    def plan(self, configuration: Configuration) -> Plan | Absent:
        """Worked out once a configuration."""
        if configuration.id not in self._plans:
            self._plans[configuration.id] = plan(configuration, self.options)
        return self._plans[configuration.id]

    @cached_property
    def _committed(self) -> dict[tuple[str, str | None], Committed]:
        wanted = self.options.borrows or self.options.stopping is not None
        return committed_outcomes(read_folder(COMMITTED).measurements) if wanted else {}

    @cached_property
    def folder(self) -> Path:
        return benchmark_bridge.storage_folder(self.config)

    def open(self) -> Recorder:
        """Take the board, recover what a crashed session left, and begin the journal. Once, at the first cell."""
        if self.recorder is not None:
            return self.recorder
        try:
            if (reason := why_behind(self.folder, execution.ROOT)) is not None:
                raise HistoryError(reason)
            self.lock = RunLock(machine_board(), self.folder)
            self.lock.acquire(self.options.lock_patience_s, self.say)
            self._get_ready()
            checks = self._checks()
            self._begin()
            self._begin_machine(checks)
        except (BoardBusy, HistoryError, MachineNotReady, NoWorkers) as error:
            self._abandon()
            pytest.exit(f"text3d-bench: {error}", returncode=pytest.ExitCode.USAGE_ERROR)
        except BaseException:
            self._abandon()
            raise
        if self.options.resume:
            have = len(self.recorder.measurements)
            self.say(
                f"resumed session {self.recorder.session}: {have} measured"
                if have
                else "nothing to resume: a new session"
            )
        return self.recorder

    @property
    def devices(self) -> list[str]:
        """Of the selected cells."""
        return list(dict.fromkeys(find(name).device.name for name in self.selected))

    @property
    def site(self) -> Site:
        return Site(history=self.folder, checkout=execution.ROOT)

    def _checks(self) -> list[Check]:
        """MachineNotReady where one is not ok and --strict-machine was given: then all are made, also slow ones."""
        places = places_of(self.devices)
        checks = cheap_checks(self.site, places)
        if not self.options.strict_machine:
            if faults := not_ok(checks):
                names = ", ".join(f"{check.name} ({check.found})" for check in faults)
                self.notes.append(f"this machine at the start: {names}; pytest --preflight says what to do")
            return checks
        checks += probes(places)
        if faults := not_ok(checks):
            raise MachineNotReady(f"--strict-machine: nothing is measured, since {'; '.join(map(in_a_line, faults))}")
        return checks

    def _begin_machine(self, checks: Sequence[Check]) -> None:
        self.machine = MachineLog(
            self.recorder.journal, machine_board(), places_of(self.devices), held=self.recorder.machine
        )
        self.machine.begin(checks)

    def end_machine(self) -> SessionMachine | None:
        """What was kept of the machine, with its condition at the end. Once, before the session is saved."""
        if self.machine is None:
            return None
        self.machine.end()
        return self.machine.record

    def _begin(self) -> None:
        session = datetime.now(timezone.utc).strftime(SESSION_TIME) + f"-{os.getpid()}"
        self.recorder, crashed, problems = begin(self.folder, session, self.options.resume)
        self.notes += problems
        for journal in crashed:
            self._recover(journal)
        self._drop_different()

    def _abandon(self) -> None:
        """A session is open as a whole or not at all: a half-open one would take stale cells for its own."""
        self.recorder = None
        if self.lock is not None:
            self.lock.release()

    def _get_ready(self) -> None:
        """Whatever takes a launcher time, of the cells that this session measures here."""
        here = [c for c in map(find, self.selected) if isinstance(board_of(c.device.name), Board)]
        for launcher in dict.fromkeys(launcher_of(c.device) for c in here):
            launcher.get_ready([c for c in here if launcher_of(c.device) is launcher])

    def _recover(self, journal: Journal) -> None:
        """Give a session that was killed its file in pytest-benchmark's storage."""
        history = journal.read()
        self.notes += history.problems
        if history.measurements:
            machine = next(iter(history.machines.values()), None)
            path = self._store(f"recovered-{journal.session}", history.measurements, machine)
            self.say(
                f"session {journal.session} ended early: "
                f"{len(history.measurements)} measurements recovered into {path.name}"
            )
        journal.close()

    def _store(self, name: str, measurements: list[Measurement], machine: SessionMachine | None = None) -> Path:
        session = self.config._benchmarksession
        return benchmark_bridge.save_session(
            self.folder,
            name,
            measurements,
            session.get_machine_info(),
            self.config.hook.pytest_benchmark_generate_commit_info(config=self.config),
            machine,
        )

    def _drop_different(self) -> None:
        """Measure again what a resumed journal holds otherwise than this session would measure it."""
        held = self.recorder.measurements
        chosen = {c.id: c for c in map(find, self.selected)}
        cells = {c.reference.id: c.reference for c in chosen.values()} | chosen
        plans = {name: self.plan(c) for name, c in cells.items() if name in held}
        plans = {name: p for name, p in plans.items() if isinstance(p, Plan)}
        wanted = {name: wanted_of(p, name in chosen) for name, p in plans.items()}
        # A worker loads the model to tell its fingerprint, so only where all else is the same.
        still = {n for n, p in plans.items() if n in chosen and held[n].reason == p.unread is not None}
        same = [
            p
            for n, p in plans.items()
            if not p.configuration.unsupported and n not in still and not differences(held[n], wanted[n])
        ]
        jobs = [self._job(p.without_quality()) for p in same]
        found = execution.identify(jobs, timeout_s=self.options.cell_timeout_s) if jobs else {}
        for name, fingerprint in found.items():
            wanted[name] = replace(wanted[name], fingerprint=fingerprint)
        reasons = {name: "; ".join(why) for name in plans if (why := differences(held[name], wanted[name]))}
        if not reasons:
            return
        stored = self._supersede(reasons)
        for reason, count in Counter(reasons[name] for name in reasons if name in chosen).items():
            self.say(f"measured again: {count} cell{'s' * (count > 1)}, {reason} (the earlier are in {stored.name})")

    def _supersede(self, names: Iterable[str]) -> Path:
        """Put aside what will be measured again: in a file of its own, not lost."""
        held = self.recorder.measurements
        return self._store(f"superseded-{self.recorder.session}", [held.pop(name) for name in names])

    def say(self, line: str) -> None:
        self.voice.say(f"text3d-bench: {line}")

    def measure(self, configuration: Configuration) -> Measurement:
        """A measurement of the configuration: resumed, or new and journalled."""
        planned = self.plan(configuration)
        if isinstance(planned, Absent):
            return execution.unmeasured(
                configuration,
                planned.status,
                planned.reason,
                board=planned.board,
                weights=planned.weights,
                session=self.recorder.session if self.recorder else "none",
            )
        recorder = self.open()
        if configuration.id in recorder.measurements and configuration.id in self.asked:  # a rerun
            stored = self._supersede([configuration.id])
            self.say(f"measured again: {configuration.id} (the earlier is in {stored.name})")
        self.asked.add(configuration.id)
        if configuration.id in recorder.measurements:
            return recorder.measurements[configuration.id]
        measurement = self._unsupported(planned) if planned.unsupported else self._measured(planned)
        judgements = [judge(budget, measurement) for budget in configuration.budgets]
        verdicts = {j.budget.name: j.verdict for j in judgements if j.verdict is not None}
        measurement = measurement.model_copy(update={"verdicts": verdicts})
        if measurement.status not in UNRECORDED:
            recorder.keep(configuration, measurement)
            self._hold_against_original(configuration)
        return recorder.measurements.get(configuration.id, measurement)

    def _unsupported(self, plan: Plan) -> Measurement:
        measurement = execution.unmeasured(
            plan.configuration,
            Status.UNSUPPORTED,
            plan.unsupported,
            session=self.recorder.session,
            board=plan.board.id,
            weights=plan.weights,
        )
        # What only this session's prompts forbid takes no place from what was measured, like a smoke run.
        return measurement.model_copy(update={"smoke": not plan.configuration.unsupported})

    def _measured(self, plan: Plan) -> Measurement:
        """With its reference: timed in turn with it, or else before it, where the session has none yet or only an old
        one."""
        configuration = plan.configuration
        known = self.recorder.measurements.get(configuration.reference.id)
        in_turn = execution.is_beside(configuration, plan.extrapolated)
        reference = None if in_turn else self.references.of(plan, known)
        began_s = time.monotonic()
        measurement = _marked_smoke(self._run(plan))
        if configuration.is_reference:
            self.references.take(configuration, measurement, began_s)
        if measurement.status == Status.THROTTLED or measurement.latency is None:
            return measurement.model_copy(update={"reference": None})
        if configuration.is_reference:
            reference = as_reference(measurement)
        elif in_turn:  # where that came to nothing, the reference says why
            reference = measurement.reference or self.references.of(plan, known)
        return measurement.model_copy(update={"reference": reference})

    def _hold_against_original(self, configuration: Configuration) -> None:
        """Give each cell of this model its speed-up against the original. It is measured for its own cell only, since
        it takes long; what was kept before it is kept anew."""
        held = self.recorder.measurements
        original = held.get(configuration.original.id)
        for name, m in list(held.items()):
            if (m.model, m.device) != (configuration.model.name, configuration.device.name):
                continue
            ratio = against_original(m, original)
            if ratio != m.speedup_vs_original:
                with suppress(UnknownName):  # a resumed one that has left the catalogues
                    self.recorder.keep(find(name), m.model_copy(update={"speedup_vs_original": ratio}))

    def _run(self, plan: Plan) -> Measurement:
        configuration = plan.configuration
        measurement = execution.measure(
            self._job(plan),
            session=self.recorder.session,
            board=plan.board.id,
            smoke=plan.smoke,
            timeout_s=self.options.cell_timeout_s,
            progress=lambda phase, fraction: self.live and self.live.show(configuration.id, phase, fraction),
        )
        self.machine.look(measurement)
        return measurement

    def _job(self, plan: Plan) -> Job:
        committed = self._committed.get((plan.configuration.recipe, plan.weights)) if self.options.borrows else None
        folder = self.folder / "artefacts" / self.recorder.session
        return plan.job(folder, committed, self._outcomes_of_reference(plan))

    def _outcomes_of_reference(self, plan: Plan) -> Committed | None:
        """This session's, else those of a committed one, since objects do not hang on the machine."""
        if self.options.stopping is None:
            return None
        reference = plan.configuration.reference
        here = self.recorder.measurements.get(reference.id)
        if here is not None and here.quality is not None and here.fingerprint is not None:
            return outcomes_of(here)
        return self._committed.get((reference.recipe, plan.weights))

    def close(self) -> None:
        """Journal what is left, close the journal, free the board."""
        self.end_machine()
        if self.recorder is not None:
            self.recorder.flush()
            if self.recorder.trouble:
                self.notes.append(
                    f"{len(self.recorder.unsaved)} measurements are not journalled: {self.recorder.trouble}"
                )
        if self.lock is not None:
            self.lock.release()


def wanted_of(plan: Plan, chosen: bool) -> Wanted:
    """chosen: this session runs the cell itself, and not only its latency as a reference."""
    return Wanted(
        plan.weights,
        plan.prompts if chosen else None,
        stops=plan.options.stopping is not None,
        samples=plan.options.samples,
        smoke=chosen and plan.smoke,
        extrapolated=plan.extrapolated,
        borrows=plan.options.borrows,
    )


def _marked_smoke(measurement: Measurement) -> Measurement:
    """A run that scored fewer prompts itself than it was asked for, since others' outcomes stood for them or did not
    agree, is less than a full one; one that knew enough is not."""
    quality = measurement.quality
    decided = quality is not None and quality.stopped is not None and quality.stopped.why == "decided"
    short = quality is not None and len(quality.outcomes) < FULL_PROMPTS and not decided
    few = quality is not None and (quality.borrowed is not None or short)
    return measurement.model_copy(update={"smoke": True}) if few else measurement
