"""Says how many slow tests a run left out, and how to run them.

With pytest-xdist the workers collect, and tell the process that started them.
"""

from __future__ import annotations

import pytest

LEFT_OUT = pytest.StashKey[int]()


def pytest_deselected(items: list[pytest.Item]) -> None:
    if not items:
        return
    config = items[0].config
    config.stash[LEFT_OUT] = config.stash.get(LEFT_OUT, 0) + sum("slow" in item.keywords for item in items)
    if hasattr(config, "workeroutput"):
        config.workeroutput["slow left out"] = config.stash[LEFT_OUT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("slow left out", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(f"{left_out} slow tests were left out; `make test-all` runs them too")
