"""Checks of one device, without torch: power mode, clocks, heat, and who else uses it."""

from __future__ import annotations

from suite.devices.health import Health
from suite.machine import Check, State
from suite.preflight.place import Place, graded, told

HEADROOM_C = 10.0  # a long cell warms a board by more than a short look shows


def power_mode(place: Place) -> Check:
    """A mode below the highest is no fault, but another measurement; so it is said."""
    mode, advice = place.board.power_mode, "sudo nvpmodel -m 0 (the highest mode of most modules), then reboot if asked"
    if mode is None:
        return told("power mode", State.UNKNOWN, "nothing says it", device=place.name)
    # Names of nvpmodel: MAXN, MAXN_SUPER, MODE_30W. A card says its limit in watts instead.
    capped = mode.upper().startswith(("MODE_", "MODE ")) or mode.upper().endswith("W")
    return told("power mode", graded(capped), mode, advice, place.name)


def pinned_clocks(place: Place) -> Check:
    clocks, advice = (
        place.board.clocks,
        "sudo jetson_clocks (after the power mode is chosen; it lasts until the next boot)",
    )
    if clocks is None or not any(word in clocks.split() for word in ("pinned", "free")):
        return told("pinned clocks", State.UNKNOWN, clocks or "nothing says it", device=place.name)
    return told("pinned clocks", graded("free" in clocks.split()), clocks, advice, place.name)


def heat(place: Place) -> Check:
    """How far the device is from the temperature at which it slows down."""
    health: Health = place.backend.health()
    advice = "let it cool down; check fan, heat sink and air (on a Jetson: sudo jetson_clocks --fan)"
    if health.slowing:
        return told("heat", State.FAIL, f"{', '.join(health.slowing)} is held back already", advice, place.name)
    if health.temperature_c is None:
        return told("heat", State.UNKNOWN, "no sensor says it", device=place.name)
    found = f"{health.temperature_c:.0f} °C"
    if health.slows_at_c is None:
        return told("heat", State.UNKNOWN, f"{found}; where it slows down is not known", device=place.name)
    room_c = health.slows_at_c - health.temperature_c
    found = f"{found}, {room_c:.0f} below the {health.slows_at_c:.0f} °C at which it slows down"
    return told("heat", graded(room_c < HEADROOM_C, room_c <= 0), found, advice, place.name)


def others_on_it(place: Place) -> Check:
    """Other processes on the GPU."""
    ask = getattr(place.backend, "other_processes", None)  # not every backend has somebody to ask
    others = ask() if ask is not None else None
    if others is None:
        return told("others on the GPU", State.UNKNOWN, "no driver lists them", device=place.name)
    found = ", ".join(others) or "none"
    return told("others on the GPU", graded(bool(others)), found, "end them, or wait for them: nvidia-smi", place.name)


BOARD_CHECKS = (power_mode, pinned_clocks, heat, others_on_it)
PROCESSOR_CHECKS = (heat,)  # its clocks are the governor's, its neighbours those of the machine
