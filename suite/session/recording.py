"""A session's memory: the journal, and what earlier sessions left behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from suite.configurations import Configuration
from suite.history import HistoryError
from suite.machine import SessionMachine
from suite.records import PROTOCOL, Fingerprint, Measurement, Status
from suite.saving import Journal, open_journals


@dataclass
class Recorder:
    """Keeps each measurement of a session, in memory and in the journal."""

    journal: Journal
    measurements: dict[str, Measurement] = field(default_factory=dict)  # by configuration id
    unsaved: dict[str, Measurement] = field(default_factory=dict)  # by slug: the disk was full, say
    machine: SessionMachine | None = None  # what a resumed journal has of it, until this run adds its own
    trouble: str | None = None

    @property
    def session(self) -> str:
        return self.journal.session

    def keep(self, configuration: Configuration, measurement: Measurement) -> None:
        """Journal at once; what cannot be written now is tried again with the next one and at the end."""
        self.measurements[configuration.id] = measurement
        self.unsaved[configuration.slug] = measurement
        self.flush()

    def flush(self) -> None:
        for slug in list(self.unsaved):
            try:
                self.journal.write(slug, self.unsaved[slug])
            except HistoryError as error:
                self.trouble = str(error)
                return
            del self.unsaved[slug]
        self.trouble = None


def begin(board_folder: Path, session: str, resume: bool) -> tuple[Recorder, list[Journal], list[str]]:
    """A recorder for this session, the journals of crashed sessions to recover, and what could not be read.

    With `resume` the last unfinished session goes on: its name, its journal, what it has measured.
    HistoryError when the folder cannot be written, before anything is measured.
    """
    crashed = open_journals(board_folder)
    problems: list[str] = []
    if resume and crashed:
        recorder = Recorder(crashed.pop())
        history = recorder.journal.read()
        problems = history.problems
        recorder.measurements = {m.configuration: m for m in history.measurements}
        recorder.machine = next(iter(history.machines.values()), None)
    else:
        recorder = Recorder(Journal(board_folder / "journal" / session))
    recorder.journal.begin()
    return recorder, crashed, problems


@dataclass(frozen=True)
class Wanted:
    """What this session would measure in the place of a resumed measurement."""

    weights: str | None
    prompts: int | None = None  # None: only its latency is wanted, as a reference
    smoke: bool = False
    extrapolated: bool = False
    stops: bool = False  # as many prompts as it takes to know
    samples: int = 1  # objects a prompt
    borrows: bool = False  # committed outcomes may stand for prompts that were not scored
    fingerprint: Fingerprint | str | None = None  # a string: why it cannot be told; None: nothing would be started


def differences(held: Measurement, wanted: Wanted) -> list[str]:
    """Why a resumed measurement is not what this session would measure, in plain words; empty when it is."""
    found = []

    def compare(what: str, journal: object, session: object, has: str = "has") -> None:
        if journal != session:
            found.append(f"journal has {what} {journal or 'unknown'}, this session {has} {session or 'unknown'}")

    compare("protocol", held.protocol, PROTOCOL)
    compare("weights", held.weights, wanted.weights, "asks for")
    if held.status != Status.UNSUPPORTED and held.extrapolated != wanted.extrapolated:
        kinds = {True: "an extrapolated latency", False: "that of whole objects"}
        found.append(f"journal has {kinds[held.extrapolated]}, this session asks for {kinds[wanted.extrapolated]}")
    prompts = _prompts(held)
    stopped = held.quality is not None and held.quality.stopped is not None
    if wanted.prompts and prompts and wanted.stops != stopped:
        kinds = {True: "as many prompts as it takes to know", False: "a fixed number of prompts"}
        found.append(f"journal has {kinds[stopped]}, this session asks for {kinds[wanted.stops]}")
    elif wanted.prompts is not None and prompts is not None and prompts != wanted.prompts and not stopped:
        found.append(f"journal has {prompts} prompts, this session asks for {wanted.prompts}")
    elif wanted.prompts is not None and held.status != Status.UNSUPPORTED:
        borrowed = held.quality is not None and held.quality.borrowed is not None
        smoke = held.smoke and not (borrowed and wanted.borrows)
        if smoke != wanted.smoke:
            kinds = {True: "a smoke run", False: "a full run"}
            found.append(f"journal has {kinds[smoke]}, this session asks for {kinds[wanted.smoke]}")
    if wanted.prompts and held.quality is not None and held.quality.starts != wanted.samples:
        found.append(f"journal has {held.quality.starts} starts a prompt, this session asks for {wanted.samples}")
    if held.status == Status.UNSUPPORTED and wanted.fingerprint == f"{held.status.value}: {held.reason}":
        pass  # as it was
    elif isinstance(wanted.fingerprint, str):
        found.append(f"what this session would measure cannot be told ({wanted.fingerprint})")
    elif wanted.fingerprint is not None and held.fingerprint is None:
        found.append("journal does not say on what it was measured")
    elif wanted.fingerprint is not None:
        for name in Fingerprint.model_fields:
            journal, session = getattr(held.fingerprint, name), getattr(wanted.fingerprint, name)
            if name.endswith("_sha256"):
                journal, session = journal and journal[:12], session and session[:12]
            compare(name.replace("_", " "), journal, session)
    return found


def _prompts(measurement: Measurement) -> int | None:
    """How many prompts were scored; None where a failure came before."""
    if measurement.quality is not None:
        return len(measurement.quality.outcomes)
    return 0 if measurement.status == Status.OK else None
