"""Give a configuration, get a Measurement, from a fresh worker process."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from suite.catalogue.devices import Device
from suite.configurations import Configuration
from suite.devices.backend import backend_of
from suite.devices.settings import threads_rest
from suite.metrics.sharing import Helper, Lead, fill, parts_of
from suite.records import Fingerprint, Measurement, Status, first_error
from suite.worker.clock import now
from suite.worker.job import Job
from suite.worker.launching import TIMEOUT_S, Launcher, Started, launcher_of

ROOT = Path(__file__).parents[2]
SERVER_DIED = 255  # multiprocessing's exit code for a worker whose fork server cannot tell it any more

Progress = Callable[[str, float | None], None]
Answer = tuple[dict[str, Any], Status, "str | None"]  # the parts, how it ended, why
LOOK_TIMEOUT_S = 120.0  # a card's first kernel may take half a minute on a cold board

SIGNALS = {
    signal.SIGKILL: (Status.OUT_OF_MEMORY, "killed (SIGKILL), probably by the kernel for lack of memory"),
    signal.SIGSEGV: (Status.CRASHED, "segmentation fault (SIGSEGV)"),
    signal.SIGABRT: (Status.CRASHED, "aborted (SIGABRT)"),
    signal.SIGILL: (Status.CRASHED, "illegal instruction (SIGILL): a wheel built for another processor?"),
    signal.SIGBUS: (Status.CRASHED, "bus error (SIGBUS)"),
}


def measure(
    job: Job,
    *,
    session: str,
    board: str | None,
    smoke: bool = False,
    timeout_s: float = TIMEOUT_S,
    progress: Progress = lambda phase, fraction: None,
) -> Measurement:
    """Run one job in a fresh worker, beside which the reference is timed and helpers score. Crash, lack of memory and
    hang become statuses; nothing raises but Ctrl-C."""
    configuration = job.configuration
    launcher = launcher_of(configuration.device)
    with Crew(job) as crew, ReferenceBeside(job) as reference:
        start = {"help": crew.start, "reference": reference.start}
        parts, status, reason = _ask(
            launcher, "measure", (job, crew.lead, reference.others), timeout_s, progress, start
        )
    artefacts = {name: _relative(Path(path)) for name, path in parts.pop("artefacts", {}).items()}
    kept = {"smoke": smoke, "extrapolated": job.extrapolate}
    told = {"session": session, "board": board, "weights": job.weights}
    try:
        return _row(configuration, status, reason, **told, **kept, artefacts=artefacts, **parts)
    except ValidationError as error:  # its answers are no measurement: out of range, or of a launcher's own making
        why = f"the worker's answer is refused: {first_error(error)}"
        return _row(configuration, Status.CRASHED, why, **told, **kept)


def identify(jobs: Sequence[Job], *, timeout_s: float = TIMEOUT_S) -> dict[str, Fingerprint | str]:
    """The fingerprint that each of these jobs would have now, by configuration id, or why it cannot be told.

    A worker loads what it would measure, since only it knows torch and the weights. The time is for all of them.
    """
    found: dict[str, Fingerprint | str] = {}
    for launcher in dict.fromkeys(launcher_of(job.configuration.device) for job in jobs):
        its = [job for job in jobs if launcher_of(job.configuration.device) is launcher]
        parts, status, reason = _ask(launcher, "identify", (its,), timeout_s)
        unknown = f"{status.value}: {reason}"
        found |= {job.configuration.id: parts.get(job.configuration.id, unknown) for job in its}
    return found


def look(device: Device, *, kernel: bool = False, timeout_s: float = LOOK_TIMEOUT_S) -> Answer:
    """What a worker of this device finds out about its machine (`suite.worker.looking`): the parts, how it ended, why.
    Without `kernel` the canary's samples are among them."""
    return _ask(launcher_of(device), "look", (device, kernel), timeout_s)


def unmeasured(
    configuration: Configuration,
    status: Status,
    reason: str,
    *,
    session: str,
    board: str | None,
    weights: str | None,
) -> Measurement:
    """The row of a configuration that was not run, with the reason and the weights that it would have used."""
    return _row(configuration, status, reason, session=session, board=board, weights=weights)


def _row(configuration: Configuration, status: Status, reason: str | None, **measured: Any) -> Measurement:
    return Measurement(
        configuration=configuration.id,
        model=configuration.model.name,
        optimization=configuration.optimization.name,
        device=configuration.device.name,
        status=status,
        reason=reason,
        measured_at=now(),
        commit=commit(),
        output=configuration.output,
        simulated=configuration.optimization.simulated,
        **measured,
    )


class Crew:
    """The helpers of one cell's scoring: asked for by its worker when all is timed, gone when it is done."""

    def __init__(self, job: Job):
        self._job, self._launcher = job, launcher_of(job.configuration.device)
        self._started: list[Started] = []
        self._writers: list[Connection] = []
        self.lead: Lead | None = None
        parts = len(parts_of(job.quality_prompts))
        if parts < 2 or not self._launcher.shares_pipes or not (helpers := _helpers(job)):
            return
        numbers, fill_from = Pipe(duplex=False)
        fill(fill_from, range(1, parts))
        pipes = [Pipe(duplex=False) for _ in range(helpers)]
        self.lead = Lead(numbers, tuple(reader for reader, _ in pipes))
        self._writers = [writer for _, writer in pipes]

    def __enter__(self) -> Crew:
        return self

    def start(self) -> None:
        for writer in self._writers:
            self._started.append(self._launcher.start("help_scoring", (self._job, Helper(self.lead.numbers, writer))))
            writer.close()  # the helper's is the only one now, so that its end is noticed

    def __exit__(self, *error: object) -> None:
        for started in self._started:
            started.end()  # how a helper ended does not matter: what it did not answer, the worker made
        for end in (self.lead.numbers, *self.lead.helpers, *self._writers) if self.lead else ():
            end.close()


class ReferenceBeside:
    """The process that makes the reference's objects in turn with a cell's: started when its worker asks, gone with it.
    `others` is the worker's end of the pipe to it; None where there is to be none (`is_beside`)."""

    def __init__(self, job: Job):
        self._job = replace(job, configuration=job.configuration.reference)
        self.others: Connection | None = None
        self._own: Connection | None = None
        if is_beside(job.configuration, job.extrapolate):
            self.others, self._own = Pipe()
        self._started: Started | None = None

    def __enter__(self) -> ReferenceBeside:
        return self

    def start(self) -> None:
        if self._own is None or self.others is None:
            return
        with contextlib.suppress(EOFError, OSError):  # then nobody answers, and the cell is timed alone
            launcher = launcher_of(self._job.configuration.device)
            self._started = launcher.start("make_beside", (self._job, self._own))
        for end in (self._own, self.others):
            end.close()  # each is one process's alone, so that its end is noticed

    def __exit__(self, *error: object) -> None:
        if self._started is not None:
            self._started.end()
        for end in (self._own, self.others):
            if end is not None:
                end.close()


def is_beside(configuration: Configuration, extrapolate: bool) -> bool:
    """Whether a cell's reference is timed in turn with it: where others may compute as well, so that the machine is not
    the same a minute later. Not where each would compute beside the other's threads, which never rest, or beside the
    memory of a full-size model."""
    return (
        configuration.device.limits_travel
        and threads_rest()
        and launcher_of(configuration.device).shares_pipes
        and not (configuration.is_reference or configuration.optimization.simulated)
        and not (configuration.model.full_size or extrapolate)
    )


def _helpers(job: Job) -> int:
    """Full-size models take the memory that another process would need."""
    if job.configuration.model.full_size:
        return 0
    return backend_of(job.configuration.device).scoring_processes() - 1


def _ask(
    launcher: Launcher,
    task: str,
    asked: tuple,
    timeout_s: float,
    progress: Progress = lambda phase, fraction: None,
    start: Mapping[str, Callable[[], None]] = {},
) -> Answer:
    """Let a fresh worker do one of `suite.worker.process`'s tasks; it is gone when this returns."""
    try:
        started = launcher.start(task, asked)
    except (EOFError, OSError) as error:
        return {}, Status.CRASHED, f"no worker could be started: {type(error).__name__}: {error}"
    try:
        return _listen(started, timeout_s, progress, start)
    finally:
        started.end()


def _listen(
    started: Started,
    timeout_s: float,
    progress: Progress,
    start: Mapping[str, Callable[[], None]],
) -> Answer:
    """Collect the worker's parts until it ends, sleeping in the kernel meanwhile. start: processes beside it, by the
    word that it calls for them with."""
    parts: dict[str, Any] = {}
    phase = "starting"
    sentinel = getattr(started.process, "sentinel", None)
    ends = [started.answers] if sentinel is None else [started.answers, sentinel]
    deadline = time.monotonic() + timeout_s
    while True:
        patience = deadline - time.monotonic()
        ready = wait(ends, patience) if patience > 0 else []
        if not ready:
            return parts, Status.TIMED_OUT, f"stopped after {timeout_s:.0f} s, while {phase}"
        if started.answers not in ready:  # it is dead, though a child of its may still hold the pipe
            return parts, *_death_of(started, phase)
        try:
            match started.answers.recv():
                case "phase", str(phase), fraction:
                    progress(phase, fraction)
                case "part", str(field), value:
                    parts[field] = value
                case [str(word)] if word in start:
                    start[word]()
                case "end", Status() as status, reason:
                    return parts, status, reason
                case other:
                    raise ValueError(repr(other)[:80])
        except (EOFError, OSError):
            return parts, *_death_of(started, phase)
        except Exception as error:  # noqa: BLE001 - whatever garbage was in the pipe
            return parts, Status.CRASHED, f"said what cannot be read ({type(error).__name__}: {error}), while {phase}"


def _death_of(started: Started, phase: str) -> tuple[Status, str]:
    started.process.join(5)
    return _death(started.process.exitcode, phase)


def _death(exitcode: int | None, phase: str) -> tuple[Status, str]:
    """What an exit code without a last word means."""
    if exitcode == SERVER_DIED:
        return Status.CRASHED, f"the fork server ended, so nobody knows how the worker did (code 255), while {phase}"
    if exitcode is not None and 128 < exitcode <= 128 + max(signal.valid_signals()):  # a shell's way to say the same
        exitcode = 128 - exitcode
    if exitcode is not None and exitcode < 0:
        status, words = SIGNALS.get(-exitcode, (Status.CRASHED, f"ended by signal {-exitcode}"))
        return status, f"{words}, while {phase}"
    return Status.CRASHED, f"the worker ended with exit code {exitcode} and no answer, while {phase}"


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The repository's commit, with "+" when the tree is not clean; None outside git."""

    def git(*words: str) -> str:
        asked = ["git", "-C", str(ROOT), *words]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + (
            "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None
