"""One fork server for all inner sessions of a test process (`-p tests.warm_server`, given by `arguments()`).

A session's workers are forked from a server that has torch in memory (`suite.worker.launching`). A server of its own
takes each inner session four seconds of processor time to start, which is more than most of them measure. This plugin
lets a session use the test process's server. Its workers get the session's environment, as from a server of its own.
Sessions that are about the server itself, and those of another checkout, do without.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from multiprocessing import forkserver, resource_tracker

from suite.worker import launching

ADDRESS = "TEXT3D_TEST_FORK_SERVER"
PIPELINES = ("suite.models.point_e.pipeline", "suite.models.shap_e.pipeline")


def arguments() -> list[str]:
    """pytest's arguments of an inner session that may use this process's server, which is started where it is not."""
    if hasattr(forkserver._forkserver, "_forkserver_authkey"):
        return []  # from Python 3.14 on a server knows its own process by a key
    multiprocessing.get_context("forkserver").set_forkserver_preload([launching.PRELOADED, *PIPELINES])
    forkserver.ensure_running()
    os.environ[ADDRESS] = forkserver._forkserver._forkserver_address
    return ["-p", "tests.warm_server"]


class _Run:
    """In place of `launching._run`. As it is sent to a worker, it takes the environment of that moment along."""

    def __reduce__(self):
        return functools.partial, (_run_with, dict(os.environ))


def _run_with(environment: dict[str, str], *asked) -> None:
    os.environ.clear()
    os.environ.update(environment)
    launching._run(*asked)


def pytest_configure() -> None:
    """Of the inner session."""
    server = forkserver._forkserver
    server._forkserver_address = os.environ[ADDRESS]
    server._forkserver_alive_fd = os.open(os.devnull, os.O_WRONLY)  # what keeps it alive is the test process
    server.ensure_running = resource_tracker.ensure_running
    launching._run = _Run()
