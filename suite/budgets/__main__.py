"""Propose budgets from measurements: `python -m suite.budgets propose --device cpu FILE...`

Each FILE is a session of its own (a pytest-benchmark file or a journal folder). Three sessions at least, since the true
noise is that between fresh processes: latency × 1.5, memory × 1.15, quality's lower 99 % bound (one of them must have
scored all prompts; the others may be run with --quality-prompts 0). What was never measured is written as unset, with
the reason; entries without a new measurement stay as they are; nothing is invented.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from suite.configurations import Configuration, matrix
from suite.devices.catalogue import DEVICES, find_device
from suite.history import read_folder, read_session, write_atomically
from suite.judging.budgets import FOLDER
from suite.judging.intervals import proportion
from suite.names import UnknownName
from suite.records import Measurement, Status

MIN_SESSIONS = 3
LATENCY_MARGIN, MEMORY_MARGIN, QUALITY_CONFIDENCE = 1.5, 1.15, 0.98  # two-sided 98 %: the lower end is a 99 % bound

HEADER = """\
# Budgets of the configurations on {title}; written by `python -m suite.budgets propose --device {name}`.
# A limit is a measured level plus a margin: latency × 1.5, memory × 1.15, quality's lower 99 % bound.
"""


def entry(configuration: Configuration, measurements: list[Measurement]) -> str:
    """The TOML table of one configuration."""
    lines = [f'["{configuration.recipe}"]']
    if configuration.unsupported:
        lines.append(_unset("status", f"unsupported: {configuration.unsupported}"))
        return "\n".join(lines)
    good = [m for m in measurements if m.status == Status.OK]
    scored = [m.quality for m in good if m.quality is not None and not m.smoke]
    if len({m.session for m in good}) < MIN_SESSIONS:
        reason = f"measured in {len(good)} of at least {MIN_SESSIONS} sessions on this device"
        kinds = ["r_precision"]
        if not configuration.optimization.simulated:
            kinds = [_latency_kind(configuration), "peak_memory_bytes", *kinds]
        return "\n".join(lines + [_unset(kind, reason) for kind in kinds])
    source = f"{len(good)} sessions on {good[-1].board}, {good[-1].measured_at[:10]}, commit {good[-1].commit}"
    if not configuration.optimization.simulated:
        lines.append(_latency(configuration, good, source))
        peak = max(m.memory.peak_memory_bytes for m in good)
        lines.append(
            _set("peak_memory_bytes", f"{peak * MEMORY_MARGIN:.0f}", f"peak {peak} × {MEMORY_MARGIN}; {source}")
        )
    if not scored:
        return "\n".join(lines + [_unset("r_precision", "no session scored all prompts")])
    # Start noise is fixed, so one full scoring says as much as three; the bound is over prompts.
    worst = min(scored, key=lambda quality: quality.r_precision.value)
    hits = sum(outcome.rank_153 == 0 for outcome in worst.outcomes)
    bound = proportion(hits, len(worst.outcomes), QUALITY_CONFIDENCE).low
    if not hits:  # a limit of 0 could not fail
        return "\n".join(lines + [_unset("r_precision", f"0 of {len(worst.outcomes)} hits: nothing to lose; {source}")])
    lines.append(_set("r_precision", f"{bound:.4f}", f"lower 99 % bound of {hits}/{len(worst.outcomes)}; {source}"))
    return "\n".join(lines)


def _latency_kind(configuration: Configuration) -> str:
    return "latency_s" if configuration.is_reference else configuration.device.latency_limit


def _latency(configuration: Configuration, good: list[Measurement], source: str) -> str:
    if _latency_kind(configuration) == "latency_ratio":
        level = median(1 / m.speedup for m in good)
        return _set(
            "latency_ratio", f"{level * LATENCY_MARGIN:.4f}", f"{level:.4f} of fp32 × {LATENCY_MARGIN}; {source}"
        )
    level = median(m.latency.median.value for m in good)
    canaries = [m.canary_s for m in good if m.canary_s is not None]
    scale = f"canary_s = {median(canaries):.6f}, " if canaries else ""
    return _set("latency_s", f"{level * LATENCY_MARGIN:.4f}", f"{level:.4f} s × {LATENCY_MARGIN}; {source}", scale)


def _set(kind: str, limit: str, reason: str, more: str = "") -> str:
    return f'{kind} = {{ limit = {limit}, {more}source = "measured", reason = "{reason}" }}'


def _unset(kind: str, reason: str) -> str:
    return f'{kind} = {{ source = "unset", reason = "{reason}" }}'


def propose(device: str, sessions: list[Path]) -> str:
    """The whole file for a device."""
    by_configuration = defaultdict(list)
    for path in sessions:
        history = read_folder(path) if path.is_dir() else read_session(path)
        for line in history.problems:
            print(line, file=sys.stderr)
        for m in history.measurements:
            by_configuration[m.configuration].append(m)
    written = existing(FOLDER / f"{device}.toml")
    entries = [
        written[c.recipe] if c.recipe in written and not by_configuration[c.id] else entry(c, by_configuration[c.id])
        for c in matrix()
        if c.device.name == device
    ]
    return HEADER.format(title=DEVICES[device].title, name=device) + "\n" + "\n\n".join(entries) + "\n"


def existing(path: Path) -> dict[str, str]:
    """The tables of a budgets file as they are written, by recipe: what is not measured anew stays."""
    if not path.exists():
        return {}
    blocks = re.split(r"^(?=\[)", path.read_text(), flags=re.MULTILINE)
    return {match[1]: block.strip() for block in blocks if (match := re.match(r'\["([^"]+)"\]', block))}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m suite.budgets", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("propose", help="write suite/budgets/<device>.toml from measured sessions")
    command.add_argument("--device", required=True)
    command.add_argument("--print", action="store_true", help="print instead of writing the file")
    command.add_argument("sessions", nargs="*", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    try:
        find_device(options.device)
        text = propose(options.device, options.sessions)
    except (UnknownName, OSError, ValueError) as error:
        print(f"python -m suite.budgets: {error}", file=sys.stderr)
        return 2
    if options.print:
        print(text)
    else:
        write_atomically(FOLDER / f"{options.device}.toml", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
