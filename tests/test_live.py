"""The live line on terminals as they are."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from suite.session.live import LiveLine
from tests.factories import measurement

LONG = "point-e-nano-text/distilled-2+copied-points+merged-tokens@cpu"


class Reporter:
    """A terminal so many columns wide."""

    isatty, verbosity = True, 0

    def __init__(self, columns: int):
        self.written = io.StringIO()
        self._tw = SimpleNamespace(_file=self.written, fullwidth=columns)

    def ensure_newline(self) -> None: ...

    def write_line(self, line: str) -> None:
        self.written.write(f"{line}\n")


def live_on(reporter: Reporter | None, total: int) -> LiveLine:
    plugins = {"terminalreporter": reporter}
    return LiveLine(SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=plugins.get)), total)


def test_a_line_that_is_written_over_never_wraps():
    reporter = Reporter(40)
    line = live_on(reporter, 12)
    line.start()
    line.show(LONG, "latency", 0.5)
    (shown,) = filter(None, reporter.written.getvalue().split("\r"))
    assert shown == f"[1/12] {LONG}"[:39]


@pytest.mark.parametrize("reruns", [1, 3])
def test_a_rerun_is_no_cell_more(reruns):
    reporter = Reporter(200)
    line = live_on(reporter, 1)
    for _ in range(reruns):
        line.start()
        line.finish(measurement())
    assert "[2/1]" not in reporter.written.getvalue() and "[1/1]" in reporter.written.getvalue()


def test_cells_of_an_earlier_process_say_nothing_of_the_time_left(capsys):
    line = live_on(None, 3)
    line.start()
    line.finish(measurement())
    assert "left" not in capsys.readouterr().err
    line.start()
    line.show(LONG, "latency", 0.5)
    line.finish(measurement())
    assert ", about 0 s left" in capsys.readouterr().err


def test_without_a_terminal_each_cell_is_told_on_stderr(capsys):
    line = live_on(None, 1)
    line.start()
    line.show(LONG, "latency", 0.5)
    line.finish(measurement())
    assert capsys.readouterr().err.startswith("[1/1] point-e-nano-text/fp32@cpu")
