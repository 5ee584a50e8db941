"""This board for one command alone, and the cells that it can compare on it."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

from suite.configurations import Configuration, find, matrix
from suite.devices.backend import Board, board_of, machine_board
from suite.history import LOCAL
from suite.session.options import SessionOptions
from suite.session.planning import Absent, Plan, plan
from suite.session.run_lock import RunLock


@contextlib.contextmanager
def board_taken(patience_s: float, waiting: Callable[[str], None]) -> Iterator[str]:
    """The board's name, while no session measures on it. BoardBusy, HistoryError. SIGTERM ends as Ctrl-C does: by
    leaving, so that nothing stays behind."""
    board = machine_board()
    lock = RunLock(board, LOCAL / board)
    lock.acquire(patience_s, waiting)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield board
    finally:
        signal.signal(signal.SIGTERM, before)
        lock.release()


def smoke_cells() -> list[Configuration]:
    """What plain `pytest` runs on this machine."""
    return [cell for cell in matrix() if cell.in_smoke and isinstance(board_of(cell.device.name), Board)]


def planned(identifier: str, weights: str) -> Plan | Absent:
    """What there is to time of a configuration here, or why nothing. UnknownName."""
    return plan(find(identifier), SessionOptions(weights=weights, quality_prompts=0))
