"""Which power rails of a Jetson contain which, by module: so that each joule is counted once.

An input rail already holds everything behind it. Where a module has none, the rails that are fed side by side are
added. Whatever is in neither list is shown and not added.
"""

from __future__ import annotations

from dataclasses import dataclass

GUIDE = "Jetson Linux Developer Guide r36.4.3, section Software-Based Power Consumption Modeling and INA3221"

# Label of an input rail -> where it stands. The module's own comes before the carrier board's.
INPUTS = {
    "VDD_IN": f"the module's input on Orin NX, Orin Nano, Xavier NX and TX2: {GUIDE}",
    "POM_5V_IN": (
        "the board's 5 V input on Jetson Nano: forums.developer.nvidia.com/t/power-consumption-monitoring/73608"
    ),
    "VIN": "the input of carrier boards with an INA238 (Thor), carrier included: "
    "forums.developer.nvidia.com/t/question-about-power-monitor-with-additional-load-on-jetson-thor/366461",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A module without an input rail."""

    module: str
    added: tuple[str, ...]  # fed side by side: their sum is what the module takes
    inside: tuple[str, ...] = ()  # part of one of those
    source: str


LAYOUTS = (
    Layout(
        module="Jetson AGX Orin",
        added=("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        inside=("VDDQ_VDD2_1V8AO",),  # the memory's, fed by the 5 V rail: it reads that rail's own voltage
        source=f"{GUIDE}; labels: Linux, arch/arm64/boot/dts/nvidia/tegra234-p3701.dtsi",
    ),
    Layout(
        module="Jetson AGX Xavier",
        added=("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
        source="Jetson AGX Xavier Series Product Design Guide DG-09840, figure 5-14: all but SYS5V are fed by "
        "SYS_VIN_HV; labels: Linux, arch/arm64/boot/dts/nvidia/tegra194-p2888.dtsi",
    ),
    Layout(
        module="Jetson AGX Thor, its carrier's input not readable",
        added=("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
        source=(
            "Jetson Linux Developer Guide r38.2, Jetson Thor Product Family; github.com/rbonghi/jetson_stats/pull/900"
        ),
    ),
)


class UnknownRails(ValueError):
    """Which of a board's rails hold the others is not known; says which rails there are."""


def rails_to_add(labels: list[str]) -> list[str]:
    """Those of the labels whose sum is what the module takes. UnknownRails where no layout is there as a whole: a sum
    without one of its rails would be too small."""
    by_name = {label.strip().upper(): label for label in labels}
    for name in INPUTS:
        if name in by_name:
            return [by_name[name]]
    for layout in LAYOUTS:
        if all(name in by_name for name in layout.added):
            return [by_name[name] for name in layout.added]
    raise UnknownRails(_why_unknown(by_name))


def _why_unknown(by_name: dict[str, str]) -> str:
    nearest = max(LAYOUTS, key=lambda layout: sum(name in by_name for name in layout.added))
    missing = [name for name in nearest.added if name not in by_name]
    if len(missing) < len(nearest.added):
        return f"of the rails of {nearest.module} {', '.join(missing)} cannot be read: a sum would be too small"
    return (
        f"which of the rails {', '.join(by_name.values())} hold the others is not known, so they are not added "
        "(suite/devices/rail_layouts.py)"
    )
