"""The history of a board as series: one figure of one cell, a value a session, under one fingerprint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from suite.configurations import find
from suite.judging.latency_units import Unit, latency_in
from suite.names import UnknownName
from suite.records import Measurement, Status

QUANTITIES = ("latency", "peak_memory_bytes", "energy_j")


@dataclass(frozen=True)
class Night:
    measurement: Measurement
    value: float


@dataclass(frozen=True)
class Series:
    """`nights` are comparable with the newest, oldest first; `before` is the last one under another fingerprint."""

    quantity: str  # latency_s, latency_ratio (over the session's reference or the canary), ...
    nights: tuple[Night, ...]
    before: Night | None

    @property
    def newest(self) -> Night:
        return self.nights[-1]

    @property
    def values(self) -> list[float]:
        return [night.value for night in self.nights]


def cells(measurements: Iterable[Measurement]) -> dict[tuple[str, str | None], list[Measurement]]:
    """Every measurement of a board by configuration and kind of weights, the newest of each session, oldest first."""
    found: dict[tuple[str, str | None], dict[str, Measurement]] = defaultdict(dict)
    for m in sorted(measurements, key=lambda m: m.measured_at):
        found[m.configuration, m.weights].pop(m.session, None)
        found[m.configuration, m.weights][m.session] = m
    return {key: list(sessions.values()) for key, sessions in found.items()}


def series_of(measurements: Sequence[Measurement]) -> list[Series]:
    """The series of one cell, from its measurements oldest first. Only those of the newest's kind are compared: whole
    objects with whole objects."""
    usable = [m for m in measurements if m.status == Status.OK and m.fingerprint is not None and not m.simulated]
    if not usable:
        return []
    unit = unit_of_cell(usable[-1].configuration)
    found = []
    for quantity in QUANTITIES:
        nights = [Night(m, value) for m in usable if (value := value_of(m, quantity, unit)) is not None]
        if not nights or nights[-1].measurement is not usable[-1]:
            continue
        alike = [night for night in nights if _alike(night.measurement, usable[-1])]
        others = [night for night in nights if night.measurement.fingerprint != usable[-1].fingerprint]
        name = {"second": "latency_s"}.get(unit, "latency_ratio") if quantity == "latency" else quantity
        found.append(Series(name, tuple(alike), others[-1] if others else None))
    return found


def unit_of_cell(configuration: str) -> Unit:
    """What its latency is divided by. Seconds, for a cell of a package that is not installed here."""
    try:
        return find(configuration).latency_unit
    except UnknownName:
        return "second"


def _alike(m: Measurement, newest: Measurement) -> bool:
    return m.fingerprint == newest.fingerprint and m.extrapolated == newest.extrapolated


def value_of(m: Measurement, quantity: str, unit: Unit) -> float | None:
    """One of QUANTITIES: a latency in the unit, bytes or joules. None where it was not measured."""
    if quantity == "peak_memory_bytes":
        return m.memory.peak_memory_bytes or None if m.memory else None
    if quantity == "energy_j":
        return m.energy.energy_j or None if m.energy else None
    latency = latency_in(m, unit)
    return None if latency is None else latency.value
