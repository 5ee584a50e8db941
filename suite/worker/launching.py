"""How a worker comes to life: by default forked from a server that has torch loaded, on this machine.

`Device.launcher` names another, for workers in another environment, on another machine, or on a phone. What goes to and
fro is written down in `docs/worker.md`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
import signal
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from multiprocessing.connection import Connection
from typing import Protocol

from suite.catalogue.devices import Device
from suite.configurations import Configuration
from suite.names import resolve

PRELOADED = "suite.worker.preload"  # what every worker needs
TIMEOUT_S = 1800.0  # a whole cell; no limit on silence, since one object of a full-size model may take most of it


class NoWorkers(RuntimeError):
    """No worker can come to life here; says what to look at."""


class Process(Protocol):
    """Of a worker: what `multiprocessing.Process` offers. Its `sentinel`, where it has one, tells its end at once."""

    exitcode: int | None  # negative: ended by this signal; None: not known (yet)

    def is_alive(self) -> bool: ...
    def kill(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...


@dataclass(frozen=True)
class Started:
    """A worker at its task."""

    process: Process
    answers: Connection  # what the worker says; `multiprocessing.connection.wait` has to know it
    lifeline: Connection  # closed when nobody waits for the worker any more, which then ends
    group: int | None = None  # of processes on this machine that end with it: the worker and what it started

    def end(self) -> None:
        """However it does: gone when this returns."""
        self.lifeline.close()
        if self.process.is_alive():
            self.process.kill()
        if self.group is not None:  # what it started would live on through the next cells
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.group, signal.SIGKILL)
        self.process.join()
        self.answers.close()


class Launcher(Protocol):
    shares_pipes: bool  # whether workers of one cell reach each other, to score together (`suite.metrics.sharing`)

    def get_ready(self, configurations: Iterable[Configuration] = ()) -> None:
        """Whatever takes time, before the first cell is timed. configurations: those that will be asked for."""

    def start(self, task: str, asked: tuple) -> Started:
        """Let a fresh worker do one of `suite.worker.process`'s tasks (docs/worker.md)."""


def launcher_of(device: Device) -> Launcher:
    """Of the workers for this device."""
    return _launcher(device.launcher)


@cache
def _launcher(name: str) -> Launcher:
    """Made once a process, whichever devices name it."""
    return resolve(name)()


class ForkServer:
    """A fresh process a worker, forked from one that has imported torch and the models' code, and nothing more."""

    shares_pipes = True

    def get_ready(self, configurations: Iterable[Configuration] = ()) -> None:
        """Have the server import the code of these configurations' models, which each worker would import again."""
        # Others' modules may fail, and the server with them; their workers import them themselves.
        ours = [c.model for c in configurations if not c.is_extension]
        server().set_forkserver_preload([PRELOADED, *dict.fromkeys(name for model in ours for name in model.modules)])
        try:
            process = _started(lambda: server().Process(target=_import_all))
            process.join()
            failed = f"exit code {process.exitcode}" if process.exitcode else None
        except (EOFError, OSError) as error:
            failed = type(error).__name__
        if failed:
            raise NoWorkers(
                f"no worker can be started ({failed}): the process that loads torch for them ended. "
                "Is there enough memory for it (ulimit -v, the container's limit)? "
                "`python -c 'import torch'` shows more"
            )

    def start(self, task: str, asked: tuple) -> Started:
        from_worker, to_parent = server().Pipe(duplex=False)
        worker_lifeline, lifeline = server().Pipe(duplex=False)
        process = _started(
            lambda: server().Process(target=_run, args=(task, asked, to_parent, worker_lifeline), daemon=True)
        )
        to_parent.close()
        worker_lifeline.close()
        return Started(process, from_worker, lifeline, group=process.pid)


@lru_cache(maxsize=1)
def server() -> multiprocessing.context.ForkServerContext:
    """A fork server that has torch loaded; it ends when this process does. Not imported here: torch stays out."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


def _started(make: Callable[[], multiprocessing.Process]) -> multiprocessing.Process:
    """A process of the server. One that has just died is noticed, and made anew, a moment later."""
    for patience_s in (0.1, 0.5, 2.0, None):
        try:
            with _no_main_module():
                process = make()
                process.start()
            return process
        except ConnectionError:
            if patience_s is None:
                raise
            time.sleep(patience_s)


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """A worker would import this process's main module again, which is pytest; it needs nothing from it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _import_all() -> None:
    """The server leaves out what it cannot import; a worker without it would die of that, cell by cell."""
    importlib.import_module(PRELOADED)


def _run(task: str, asked: tuple, pipe: Connection, lifeline: Connection) -> None:
    os.setpgid(0, 0)  # what it starts is of its group, and ends with it
    gc.freeze()  # what the server brought is no garbage: walking all of torch takes each collection 0.15 s
    from suite.worker import process as worker

    worker.main(getattr(worker, task), asked, pipe, lifeline)
