"""What a session keeps of its machine: checks and its condition at the start, what changes between cells, its condition
at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from suite.catalogue.devices import DEVICES
from suite.devices.backend import read_text
from suite.history import HistoryError
from suite.judging.steadiness import CLOCK_SLACK_S, changed, why_unsteady
from suite.machine import Check, Condition, Run, SessionMachine
from suite.preflight.place import Place
from suite.records import Measurement
from suite.saving import Journal
from suite.worker import execution
from suite.worker.clock import now, set_back_s

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # another at each boot, the same for all processes and containers


class MachineLog:
    """Of one run of pytest; written into the journal when it begins and when it ends."""

    def __init__(self, journal: Journal, board: str, places: Sequence[Place], held: SessionMachine | None):
        """held: what a resumed journal has."""
        self.journal, self.places = journal, places
        self._board = board
        self._earlier = list(held.runs) if held is not None else []
        self._run: Run | None = None
        self._set_back_s = 0.0
        self.trouble: str | None = None

    def begin(self, checks: Sequence[Check]) -> None:
        """Before the first cell."""
        self._run = Run(start=self._condition(), checks=list(checks))
        self._write()

    def look(self, measurement: Measurement) -> None:
        """Between two cells, and cheap: the clock, and what the cell's own worker saw of the board."""
        back_s, before_s = set_back_s(), self._set_back_s
        self._set_back_s = max(back_s, before_s)
        if back_s - before_s > CLOCK_SLACK_S:
            self._notice(f"the clock was set back by {back_s:.0f} s before {measurement.configuration} ended")
        printed = measurement.fingerprint
        if printed is None:
            return
        start = self._run.start
        for what, held, seen in (
            ("power mode", start.power_modes, printed.power_mode),
            ("clocks", start.clocks, printed.clocks),
        ):
            for reason in changed(printed.device, what, held.get(printed.device, seen), seen):
                self._notice(f"{reason} before {measurement.configuration}")

    def end(self) -> None:
        """After the last cell. Once."""
        if self._run is None or self._run.end is not None:
            return
        self._run = self._run.model_copy(update={"end": self._condition()})
        self._write()

    @property
    def record(self) -> SessionMachine | None:
        if self._run is None:
            return None
        runs = [*self._earlier, self._run]
        session = self.journal.session
        return SessionMachine(session=session, board=self._board, runs=runs, unsteady=why_unsteady(runs))

    def _notice(self, reason: str) -> None:
        self._run = self._run.model_copy(update={"noticed": [*self._run.noticed, reason]})
        self._write()

    def _write(self) -> None:
        try:
            self.journal.write_machine(self.record)
            self.trouble = None
        except HistoryError as error:  # the cells' own trouble says it too
            self.trouble = str(error)

    def _condition(self) -> Condition:
        boards = {}
        for place in self.places:
            try:
                boards[place.name] = place.backend.find_board()
            except Exception:  # noqa: BLE001 - its cells say what is wrong with it; here it is not known
                continue
        return Condition(
            at=now(),
            clock_set_back_s=set_back_s(),
            boot_id=read_text(BOOT_ID),
            power_modes={name: board.power_mode for name, board in boards.items()},
            clocks={name: board.clocks for name, board in boards.items()},
            canary_samples_s=self._canary_samples_s(),
        )

    def _canary_samples_s(self) -> list[float]:
        """Of this machine's processor; empty where no worker ran it, as where all cells are measured elsewhere."""
        processor = DEVICES["cpu"]
        ready = {place.backend.device.launcher for place in self.places}
        return execution.look(processor)[0].get("canary_samples_s", []) if processor.launcher in ready else []
