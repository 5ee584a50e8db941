"""A pytest plugin for inner sessions (`-p tests.odd_night`): what happens to a machine in a night, by the word in
TEXT3D_TEST_NIGHT.

changes: when its first cell has ended, the clock is set back to 1970 and the power mode becomes another.
never-set: the clock stood in 1970 from the start.
held-back: the board counts over-current events all the time, as a module with a weak power supply does.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

from suite.catalogue.devices import DEVICES
from suite.devices.cpu import Cpu

_true, _night = time.time, os.environ["TEXT3D_TEST_NIGHT"]
_lost_s = _true() - 200.0


def _to_1970() -> None:
    time.time = lambda: _true() - _lost_s


class Odd(Cpu):
    """In the session's process and in each worker."""

    def find_board(self):
        changed = _night == "changes" and Path(os.environ["TEXT3D_TEST_CHANGED"]).exists()
        return replace(super().find_board(), power_mode="MODE_15W" if changed else "MAXN")

    def throttle_marks(self):
        return {"oc3_event_cnt": int(time.monotonic() * 1000)} if _night == "held-back" else {}


def pytest_runtest_logfinish(nodeid: str) -> None:
    if _night == "changes":
        _to_1970()
        Path(os.environ["TEXT3D_TEST_CHANGED"]).touch()


DEVICES["cpu"] = replace(DEVICES["cpu"], backend="tests.odd_night:Odd")
if _night == "never-set":
    _to_1970()
