"""Propose budgets from measurements: `python -m suite.budgets propose --device cpu FILE...`

Each FILE is a session of its own (a pytest-benchmark file or a journal folder). Three sessions at least, since the true
noise is that between fresh processes: latency × 1.5, or the slowest session × 1.25 where that is more, memory × 1.15,
quality's lower 99 % bound (one of them must have
scored all prompts; the others may be smoke runs, whose time and memory are measured in the same way). What was never measured is written as unset, with
the reason; entries without a new measurement stay as they are; nothing is invented.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from suite.configurations import Configuration, matrix
from suite.devices.catalogue import DEVICES, find_device
from suite.history import HistoryError, read_folder, read_session, write_atomically
from suite.judging.budgets import FOLDER
from suite.judging.intervals import proportion
from suite.names import UnknownName
from suite.records import Measurement, Status

MIN_SESSIONS = 3
LATENCY_MARGIN, SLOWEST_MARGIN, MEMORY_MARGIN, QUALITY_CONFIDENCE = (
    1.5,
    1.25,
    1.15,
    0.98,
)  # two-sided 98 %: the lower end is a 99 % bound

HEADER = """\
# Budgets of the configurations on {title}; written by `python -m suite.budgets propose --device {name}`.
# A limit is a measured level plus a margin: latency × 1.5 (or the slowest session × 1.25), memory × 1.15, quality's lower 99 % bound.
"""


def entry(configuration: Configuration, measurements: list[Measurement]) -> str:
    """The TOML table of one configuration."""
    head = f'["{configuration.recipe}"]'
    if configuration.unsupported:
        return f"{head}\n{_unset('status', f'unsupported: {configuration.unsupported}')}"
    good = [m for m in measurements if m.status == Status.OK]
    # Another network, board or library is another series: only the newest one's sessions count.
    newest = max(good, key=lambda m: m.measured_at).fingerprint if good else None
    good = [m for m in good if m.fingerprint == newest]
    kinds = [] if configuration.optimization.simulated else [_latency_kind(configuration), "peak_memory_bytes"]
    rules = {"peak_memory_bytes": _memory, "r_precision": _quality}
    return "\n".join([head, *(rules.get(kind, _latency)(configuration, good) for kind in [*kinds, "r_precision"])])


def _enough(kind: str, found: list[Measurement]) -> str | None:
    """The line of a budget that too few sessions have measured, or None."""
    count = len({m.session for m in found})
    return None if count >= MIN_SESSIONS else _unset(kind, f"measured in {count} of at least {MIN_SESSIONS} sessions")


def _source(found: list[Measurement]) -> str:
    last = max(found, key=lambda m: m.measured_at)
    return f"{len({m.session for m in found})} sessions on {last.board}, {last.measured_at[:10]}, commit {last.commit}"


def _latency_kind(configuration: Configuration) -> str:
    return "latency_s" if configuration.is_reference else configuration.device.latency_limit


def _latency(configuration: Configuration, good: list[Measurement]) -> str:
    kind = _latency_kind(configuration)
    found = [
        m for m in good if (m.speedup if kind == "latency_ratio" else m.latency) is not None and not m.extrapolated
    ]
    if line := _enough(kind, found):
        return line
    if kind == "latency_ratio":
        limit, said = _limit([1 / m.speedup for m in found], " of fp32")
        return _set(kind, limit, f"{said}; {_source(found)}")
    limit, said = _limit([m.latency.median.value for m in found], " s")
    canaries = [m.canary_s for m in found if m.canary_s is not None]
    scale = f"canary_s = {median(canaries):.6f}, " if canaries else ""
    return _set(kind, limit, f"{said}; {_source(found)}", scale)


def _limit(levels: list[float], unit: str) -> tuple[str, str]:
    """The most that the noise between sessions explains, and how it was found."""
    middle, slowest = median(levels), max(levels)
    if slowest * SLOWEST_MARGIN > middle * LATENCY_MARGIN:
        return f"{slowest * SLOWEST_MARGIN:.4f}", f"slowest session {slowest:.4f}{unit} × {SLOWEST_MARGIN}"
    return f"{middle * LATENCY_MARGIN:.4f}", f"{middle:.4f}{unit} × {LATENCY_MARGIN}"


def _memory(configuration: Configuration, good: list[Measurement]) -> str:
    found = [m for m in good if m.memory is not None]
    if line := _enough("peak_memory_bytes", found):
        return line
    peak = max(m.memory.peak_memory_bytes for m in found)
    return _set("peak_memory_bytes", f"{peak * MEMORY_MARGIN:.0f}", f"peak {peak} × {MEMORY_MARGIN}; {_source(found)}")


def _quality(configuration: Configuration, good: list[Measurement]) -> str:
    if line := _enough("r_precision", good):
        return line
    scored = [m.quality for m in good if m.quality is not None and not m.smoke]
    if not scored:
        return _unset("r_precision", "no session scored all prompts")
    # Start noise is fixed, so one full scoring says as much as three; the bound is over prompts.
    worst = min(scored, key=lambda quality: quality.r_precision.value)
    prompts = len(worst.outcomes)
    hits = sum(outcome.rank_153 == 0 for outcome in worst.outcomes)
    if not hits:  # a limit of 0 could not fail
        return _unset("r_precision", f"0 of {prompts} hits: nothing to lose; {_source(good)}")
    bound = proportion(hits, prompts, QUALITY_CONFIDENCE).low
    return _set("r_precision", f"{bound:.4f}", f"lower 99 % bound of {hits}/{prompts}; {_source(good)}")


def _set(kind: str, limit: str, reason: str, more: str = "") -> str:
    return f'{kind} = {{ limit = {limit}, {more}source = "measured", reason = {_text(reason)} }}'


def _unset(kind: str, reason: str) -> str:
    return f'{kind} = {{ source = "unset", reason = {_text(reason)} }}'


def _text(reason: str) -> str:
    return json.dumps(reason, ensure_ascii=False)  # TOML's basic strings escape as JSON's do


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
        merged(entry(c, by_configuration[c.id]), written.get(c.recipe, "")) for c in matrix() if c.device.name == device
    ]
    return HEADER.format(title=DEVICES[device].title, name=device) + "\n" + "\n\n".join(entries) + "\n"


def merged(new: str, old: str) -> str:
    """A new table, in which a limit stays as it was where the new one would be unset, and so does an expected status.
    Kinds that the configuration no longer has (seconds where it is now a ratio, limits of what is unsupported) go."""
    head, *lines = new.splitlines()
    written = {_kind(line): line for line in old.splitlines()[1:] if line.strip()}
    expected = written.get("status", "")
    unsupported = [_kind(line) for line in lines] == ["status"]
    if "expect =" not in expected or (unsupported and f'expect = "{Status.UNSUPPORTED.value}"' not in expected):
        written.pop("status", None)
    kept = {"status": written["status"]} if "status" in written else {}
    for line in lines:
        kind = _kind(line)
        kept[kind] = written[kind] if kind in written and 'source = "unset"' in line else line
    return "\n".join([head, *kept.values()])


def _kind(line: str) -> str:
    return line.split("=")[0].strip()


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
    except (UnknownName, HistoryError, OSError, ValueError) as error:
        print(f"python -m suite.budgets: {error}", file=sys.stderr)
        return 2
    if options.print:
        print(text)
    else:
        write_atomically(FOLDER / f"{options.device}.toml", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
