"""What ratios are taken to where the reference is not timed in turn with the cell (`suite.metrics.beside`): the latency
of each model's reference, timed in that session.

A shared processor is another one after a while. In a session of half an hour `shap-e-nano-text/fp32` took 0.84 s at the
start, and a recipe that does the same work and a little less 1.08 s at the end: ×0.78. So there the reference is timed
again once it is old.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from suite.configurations import Configuration
from suite.records import Measurement, Reference, Status
from suite.session.planning import Plan

OLD_S = 600.0
OLD_OBJECTS = 100  # nor before it could have made so many: its timing takes about a tenth of a session, no more
Key = tuple[str, str]  # model, device


@dataclass(frozen=True)
class _Held:
    reference: Reference
    began_s: float  # of the clock; -inf: in an earlier process


class References:
    """Of one session."""

    def __init__(self, run: Callable[[Plan], Measurement], clock: Callable[[], float] = time.monotonic):
        self._run, self._clock = run, clock
        self._held: dict[Key, _Held] = {}
        self._failed: dict[Key, Measurement] = {}

    def take(self, configuration: Configuration, measured: Measurement, began_s: float) -> None:
        """The reference's own cell, which this session has measured."""
        if _sound(measured):
            self._held[_key(configuration)] = _Held(as_reference(measured), began_s)

    def of(self, plan: Plan, recorded: Measurement | None) -> Reference | None:
        """What this cell's ratio is taken to, timed now (without quality) where there is none yet or only an old one;
        None where the reference gave no latency, or the cell needs none. recorded: the reference's own cell."""
        configuration = plan.configuration
        if configuration.is_reference or configuration.optimization.simulated:
            return None
        key = _key(configuration)
        if key not in self._held and key not in self._failed:
            if recorded is not None and recorded.latency is not None:
                self._settle(key, recorded, -math.inf)
            else:
                self._time(key, plan)
        if key in self._held and self._is_old(key, configuration):
            self._time(key, plan)
        return self._held[key].reference if key in self._held else None

    def failed(self, configuration: Configuration) -> Measurement | None:
        """The reference that this configuration's ratio should have been taken to, where it gave no latency."""
        return self._failed.get(_key(configuration))

    def _is_old(self, key: Key, configuration: Configuration) -> bool:
        """Only where others may compute as well: a board that is one's own keeps its pace, or is throttled and says
        so."""
        held = self._held[key]
        patience_s = max(OLD_S, OLD_OBJECTS * held.reference.latency.value)
        return configuration.device.limits_travel and self._clock() - held.began_s > patience_s

    def _time(self, key: Key, plan: Plan) -> None:
        began_s = self._clock()
        self._settle(key, self._run(plan.reference()), began_s)

    def _settle(self, key: Key, measured: Measurement, began_s: float) -> None:
        """A reference that fails once is not tried again for every cell; one that was sound before still stands."""
        if _sound(measured):
            self._held[key] = _Held(as_reference(measured), began_s)
        elif key in self._held:
            self._held[key] = replace(self._held[key], began_s=math.inf)
        else:
            self._failed[key] = measured


def as_reference(measured: Measurement) -> Reference:
    """Of a measurement with a latency."""
    return Reference(
        configuration=measured.configuration, latency=measured.latency.median, measured_at=measured.measured_at
    )


def _key(configuration: Configuration) -> Key:
    return (configuration.model.name, configuration.device.name)


def _sound(measured: Measurement) -> bool:
    return measured.status == Status.OK and measured.latency is not None
