"""`pytest --preflight`: the machine is looked at, said in a table, and nothing is measured."""

from __future__ import annotations

from suite.devices.backend import machine_board
from suite.machine import Check, State
from suite.preflight.place import told
from suite.preflight.run import absent, cheap_checks, places_of, probes, table
from suite.session.bench import Bench
from suite.session.run_lock import BoardBusy, RunLock


def look_at_machine(bench: Bench) -> int:
    """How many checks failed."""
    places = places_of(bench.devices)
    checks = [*absent(bench.devices), *cheap_checks(bench.site, places)]
    checks += _with_board_to_ourselves(lambda: probes(places))
    for line in table(checks):
        bench.voice.say(line)
    return sum(check.state == State.FAIL for check in checks)


def _with_board_to_ourselves(look) -> list[Check]:
    """What starts workers would disturb a session that measures."""
    lock = RunLock(machine_board())
    try:
        lock.acquire(0.0, lambda line: None)
    except BoardBusy as busy:
        return [told("run lock", State.FAIL, str(busy), "wait for that session; kernels are tried after it")]
    try:
        return look()
    finally:
        lock.release()
