"""All checks of a machine, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from suite.catalogue.devices import DEVICES
from suite.devices.backend import Board, backend_of, board_of, is_processor
from suite.machine import Check, State
from suite.preflight.board import BOARD_CHECKS, PROCESSOR_CHECKS
from suite.preflight.machine import MACHINE_CHECKS
from suite.preflight.place import Place, Site, told
from suite.preflight.probes import kernel, numpy_bridge, onnx_runtime


def places_of(devices: Iterable[str]) -> list[Place]:
    """Those of the devices that are here."""
    found = {name: board_of(name) for name in dict.fromkeys(devices)}
    return [Place(backend_of(DEVICES[name]), board) for name, board in found.items() if isinstance(board, Board)]


def absent(devices: Iterable[str]) -> list[Check]:
    """A line for each device that is asked for and not here."""
    reasons = {name: board_of(name) for name in dict.fromkeys(devices)}
    return [
        told("board", State.FAIL, reason, "run it on that device, or choose another: -m cpu", name)
        for name, reason in reasons.items()
        if not isinstance(reason, Board)
    ]


def cheap_checks(site: Site, places: Sequence[Place]) -> list[Check]:
    """Those of every session: without torch and children, in a third of a second."""
    checks = [check(site) for check in MACHINE_CHECKS]
    for place in places:
        its = PROCESSOR_CHECKS if is_processor(place.backend.device) else BOARD_CHECKS
        checks += [_tried(check, place) for check in its]
    return checks


def _tried(check: Callable[[Place], Check], place: Place) -> Check:
    """Another's backend ends no session of ours."""
    try:
        return check(place)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        name = check.__name__.replace("_", " ")
        return told(name, State.UNKNOWN, f"{type(error).__name__}: {error}", device=place.name)


def probes(places: Sequence[Place]) -> list[Check]:
    """Those that start workers and children, which takes seconds."""
    checks = [onnx_runtime()]
    for place in places:
        checks += [kernel(place), numpy_bridge(place.backend.device)]
    return checks


def not_ok(checks: Iterable[Check]) -> list[Check]:
    """What should be mended. What is not known is not among it: a virtual machine shows no governor."""
    return [check for check in checks if check.state in (State.WARN, State.FAIL)]


def in_a_line(check: Check) -> str:
    """With what to do."""
    whose = f"{check.device}: " if check.device else ""
    return f"{whose}{check.name}: {check.found}" + (f" ({check.advice})" if check.advice else "")


def table(checks: Sequence[Check]) -> list[str]:
    """A line a check, and one below it with what to do where it is not ok."""
    names = [f"{check.device}: {check.name}" if check.device else check.name for check in checks]
    width = max(map(len, names), default=0)
    lines = []
    for name, check in zip(names, checks):
        lines.append(f"{check.state.value:<7}  {name:<{width}}  {check.found}")
        if check.advice is not None:
            lines.append(f"{'':7}  {'':{width}}  → {check.advice}")
    return lines
