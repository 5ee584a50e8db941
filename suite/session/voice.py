"""How a session speaks while pytest captures output: on its terminal, or on stderr where it has none."""

from __future__ import annotations

import contextlib
import sys

import pytest


class Voice:
    def __init__(self, config: pytest.Config):
        # Either may be switched off: -p no:terminal, -p no:capture.
        self.reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._capture = config.pluginmanager.get_plugin("capturemanager")

    def undisturbed(self) -> contextlib.AbstractContextManager:
        """While nothing is captured."""
        return self._capture.global_and_fixture_disabled() if self._capture else contextlib.nullcontext()

    def say(self, line: str) -> None:
        with self.undisturbed():
            if self.reporter is None:
                print(line, file=sys.stderr, flush=True)
                return
            self.reporter.ensure_newline()
            self.reporter.write_line(line)
