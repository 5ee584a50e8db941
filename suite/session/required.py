"""What `--require-device` asks of a session: a latency that can be trusted, and nothing skipped. A night that measured
nothing is not green."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import pytest

from suite.configurations import find
from suite.records import Measurement, Status

CELL = re.compile(r"test_configurations\.py::test_configuration\[(.+@[^\]]+)\]$")  # in a test's id
ADVICE = (  # a part of a reason, and what a person does about it
    ("_event_cnt", "over-current: check the power supply, or choose a lower power mode (nvpmodel -q)"),
    ("held back", "heat: check fan and heat sink"),
    ("limit fell", "heat or power: check fan, heat sink and power mode"),
    ("pinned to", "heat or power: check fan, heat sink and power mode"),
    ("thermal for", "heat: check the cooling of the card"),
    ("power for", "the card's power limit: see nvidia-smi -q -d POWER"),
    ("CPU quota", "give the container whole cores"),
    ("device tree is hidden", "mount /proc/device-tree into the container"),
)


class Skips:
    """A plugin that keeps which cells were skipped in their last run, for whatever reason."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}  # by configuration id

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        cell = CELL.search(report.nodeid)
        if cell is None or type(report) is not pytest.TestReport:  # a subtest's report is a kind of its own
            return
        if report.skipped:
            said = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.reasons[cell[1]] = said.removeprefix("Skipped: ")
        elif report.when == "call":
            self.reasons.pop(cell[1], None)


def unmet(devices: Iterable[str], skipped: Mapping[str, str], measured: Mapping[str, Measurement]) -> list[str]:
    """A line for each device that was required and not measured, or not wholly; empty where all is well.

    skipped: reasons by configuration id. measured: this session's, by configuration id.
    """
    lines = []
    for device in dict.fromkeys(devices):
        its = {name: reason for name, reason in skipped.items() if _device(name) == device}
        if not any(_trusted(m) for m in measured.values() if m.device == device):
            lines.append(f"--require-device {device}: no cell has a latency that can be trusted{_reasons(its)}")
        elif its:
            lines.append(f"--require-device {device}: {len(its)} of its cells were skipped{_reasons(its)}")
    return lines


def _trusted(measurement: Measurement) -> bool:
    return measurement.status == Status.OK and measurement.latency is not None


def _device(configuration: str) -> str:
    return find(configuration).device.name


def _reasons(skipped: Mapping[str, str]) -> str:
    if not skipped:
        return ""
    (reason, _), *rest = Counter(skipped.values()).most_common()
    others = f", and {len(rest)} other reasons" if rest else ""
    advice = "".join(f" ({text})" for part, text in ADVICE if part in reason)
    return f": {reason}{advice}{others} [{', '.join([*skipped][:3])}{', …' if len(skipped) > 3 else ''}]"
