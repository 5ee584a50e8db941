"""One fork server for all inner sessions of a test process: what a session imports is imported once.

A session's workers are forked from a server that has torch in memory (`suite.worker.launching`). A server of its own
takes each inner session four seconds of processor time to start, which is more than most of them measure. As a plugin
(`-p tests.warm_server`, given by `arguments()`) this lets a session use the test process's server. Its workers get the
session's environment, as from a server of its own, and find a machine's peaks with small products: a second less a
cell, and no test looks at how high they are.

`session()` forks the session itself from the server too, which saves another second and a half. Sessions that are about
the server, the command line or the environment of Python do without, and those of another checkout.
"""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import pytest

from suite.worker import launching

ROOT = Path(__file__).parents[1]
ADDRESS = "TEXT3D_TEST_FORK_SERVER"
PIPELINES = ("suite.models.point_e.pipeline", "suite.models.shap_e.pipeline")
# pytest says that it cannot rewrite the assertions of a plugin that is there already: this one has none.
QUIET = ("-W", "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning")


def arguments() -> list[str]:
    """pytest's arguments of an inner session that may use this process's server, which is started where it is not."""
    if not _is_possible():
        return []
    multiprocessing.get_context("forkserver").set_forkserver_preload([launching.PRELOADED, *PIPELINES, "suite.plugin"])
    forkserver.ensure_running()
    os.environ[ADDRESS] = forkserver._forkserver._forkserver_address
    return ["-p", "tests.warm_server"]


def _is_possible() -> bool:
    return not hasattr(forkserver._forkserver, "_forkserver_authkey")  # from Python 3.14 on a server knows its process


def session(*asked: str, timeout_s: float = 1800.0, **environment: str) -> subprocess.CompletedProcess:
    """`python -m pytest` in a process of its own. environment: besides this process's. stdout has stderr as well."""
    command, variables = [*arguments(), *asked], os.environ | environment
    if not _is_possible():
        return subprocess.run(
            [sys.executable, "-m", "pytest", *command],
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as said:
        given = ([*QUIET, *command], dict(variables), said.name)
        process = multiprocessing.get_context("forkserver").Process(target=_session, args=given)
        with launching._no_main_module():
            process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, timeout_s, said.read())
        return subprocess.CompletedProcess(command, process.exitcode, said.read())


def _session(asked: list[str], environment: dict[str, str], said: str) -> None:
    gc.freeze()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    out, nothing = os.open(said, os.O_WRONLY | os.O_APPEND), os.open(os.devnull, os.O_RDONLY)
    for taken, given in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(taken, given)
    sys.argv = ["pytest", *asked]
    sys.exit(int(pytest.console_main()))


class _Run:
    """In place of `launching._run`. As it is sent to a worker, it takes the environment of that moment along."""

    def __reduce__(self):
        return functools.partial, (_run_with, dict(os.environ))


def _run_with(environment: Mapping[str, str], *asked) -> None:
    os.environ.clear()
    os.environ.update(environment)
    _find_peaks_quickly()
    launching._run(*asked)


def _find_peaks_quickly() -> None:
    from suite.metrics import peaks

    peaks.SMALLEST, peaks.LONG_ENOUGH_S = 256, 0.0
    peaks.ROUNDS_S, peaks.MIN_ROUNDS = 0.0, 1
    peaks.COPY_BYTES = 2**20


def pytest_configure() -> None:
    """Of the inner session."""
    server = forkserver._forkserver
    server._forkserver_address = os.environ[ADDRESS]
    server._forkserver_alive_fd = os.open(os.devnull, os.O_WRONLY)  # what keeps it alive is the test process
    server.ensure_running = resource_tracker.ensure_running
    launching._run = _Run()
