"""Propose budgets from measurements: `python -m suite.budgets propose --device cpu FILE...`

Each FILE is a session of its own (a pytest-benchmark file or a journal folder). Three sessions at least, since the true
noise is that between fresh processes: latency × 1.5, or the slowest session × 1.25 where that is more, memory × 1.15,
quality's lower 99 % bound (one of them must have scored all prompts; the others may be smoke runs, whose time and
memory are measured in the same way). The three are of one board under one fingerprint. A limit of `cpu` is held on any
processor, so there the sessions of other boards count too, where one of them is the slowest or the largest, and memory
has 32 MB of room at least, for another installation's code. What was never measured is written as unset, with the
reason, in one line an entry; entries without a new measurement stay as they are; nothing is invented.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median

from suite.budgets.text import lines_of
from suite.catalogue.devices import DEVICES, find_device
from suite.catalogue.extensions import extensions
from suite.command_line import command
from suite.configurations import Configuration, matrix
from suite.history import HistoryError, read_folder, read_session, write_atomically
from suite.judging.budgets import FOLDER, load_budgets, slow_arithmetic
from suite.judging.intervals import proportion
from suite.names import UnknownName
from suite.records import Budget, Fingerprint, Measurement, Status

MIN_SESSIONS = 3
LATENCY_MARGIN, SLOWEST_MARGIN, MEMORY_MARGIN = 1.5, 1.25, 1.15
# A model's peak counts the pages of library code that it is the first to touch. How many the kernel maps at once hangs
# on the file: six recipes took 10 to 28 MB more with torch's CUDA build than with its CPU build, on one processor.
CODE_BYTES = 32_000_000
SAME_RECIPE = ("protocol", "weights_sha256", "gallery_sha256")
QUALITY_CONFIDENCE = 0.98  # two-sided: the lower end is a 99 % bound

OURS = [name for name, device in DEVICES.items() if not extensions().has(device)]

HEADER = """\
# Budgets of the configurations on {title}; written by `python -m suite.budgets propose --device {name}`.
# A limit is a measured level plus a margin: latency × 1.5 (or the slowest session × 1.25), memory × 1.15 \
(of any processor 32 MB more at least), quality's lower 99 % bound.
"""


def entry(configuration: Configuration, measurements: list[Measurement]) -> list[Budget]:
    """The budgets of one configuration, as far as the measurements go."""
    if configuration.unsupported:
        return [_unset("status", f"unsupported: {configuration.unsupported}")]
    good = [m for m in measurements if m.status == Status.OK]
    # Another network, board or library is another series: only the newest one's sessions say what noise is.
    newest = max(good, key=lambda m: m.measured_at).fingerprint if good else None
    series = [m for m in good if m.fingerprint == newest]
    elsewhere = [m for m in good if configuration.device.limits_travel and _same_recipe(m.fingerprint, newest)]
    kinds = [] if configuration.optimization.simulated else [_latency_kind(configuration), "peak_memory_bytes"]
    rules = {"peak_memory_bytes": _memory, "r_precision": _quality}
    return [rules.get(kind, _latency)(configuration, series, elsewhere) for kind in [*kinds, "r_precision"]]


def _same_recipe(printed: Fingerprint | None, newest: Fingerprint | None) -> bool:
    """Measured on another board or under other conditions, but with the same weights in the same gallery."""
    if printed is None or newest is None or printed == newest:
        return False
    return all(getattr(printed, name) == getattr(newest, name) for name in SAME_RECIPE)


def _too_few(kind: str, found: list[Measurement]) -> Budget | None:
    """The budget that too few sessions have measured, unset; or None."""
    count = len({m.session for m in found})
    return None if count >= MIN_SESSIONS else _unset(kind, f"measured in {count} of at least {MIN_SESSIONS} sessions")


def _source(found: list[Measurement]) -> str:
    last = max(found, key=lambda m: m.measured_at)
    return f"{len({m.session for m in found})} sessions on {last.board}, {last.measured_at[:10]}, commit {last.commit}"


def _latency_kind(configuration: Configuration) -> str:
    return "latency_s" if configuration.is_reference else configuration.device.latency_limit


def _latency(configuration: Configuration, series: list[Measurement], elsewhere: list[Measurement]) -> Budget:
    kind = _latency_kind(configuration)
    timed = _timed(kind, series)
    found = [m for m in timed if slow_arithmetic(m) is None]
    if timed and not found:
        return _unset(kind, slow_arithmetic(timed[-1]))
    if unset := _too_few(kind, found):
        return unset
    if kind == "latency_ratio":
        others = {1 / m.speedup: m.board for m in _timed(kind, elsewhere) if slow_arithmetic(m) is None}
        limit, said = _limit([1 / m.speedup for m in found], " of fp32", others)
        return _set(kind, limit, f"{said}; {_source(found)}")
    canaries = [m.canary_s for m in found if m.canary_s is not None]
    canary_s = round(median(canaries), 6) if canaries else None
    # Another board's seconds are worth what they are in its canary's.
    heard = [m for m in _timed(kind, elsewhere) if canary_s is not None and m.canary_s is not None]
    others = {m.latency.median.value * canary_s / m.canary_s: m.board for m in heard}
    limit, said = _limit([m.latency.median.value for m in found], " s", others)
    return _set(kind, limit, f"{said}; {_source(found)}", canary_s=canary_s)


def _timed(kind: str, found: list[Measurement]) -> list[Measurement]:
    return [
        m for m in found if (m.speedup if kind == "latency_ratio" else m.latency) is not None and not m.extrapolated
    ]


def _limit(levels: list[float], unit: str, elsewhere: Mapping[float, str | None] = {}) -> tuple[float, str]:
    """The most that the noise between sessions explains, and how it was found. elsewhere: levels on other boards, or
    under other conditions, with the board."""
    middle, slowest = median(levels), max([*levels, *elsewhere])
    if slowest * SLOWEST_MARGIN > middle * LATENCY_MARGIN:
        where = "" if slowest in levels else f", on {elsewhere[slowest]}"
        return round(slowest * SLOWEST_MARGIN, 4), f"slowest session {slowest:.4f}{unit} × {SLOWEST_MARGIN}{where}"
    return round(middle * LATENCY_MARGIN, 4), f"{middle:.4f}{unit} × {LATENCY_MARGIN}"


def _memory(configuration: Configuration, series: list[Measurement], elsewhere: list[Measurement]) -> Budget:
    found = [m for m in series if m.memory is not None]
    if unset := _too_few("peak_memory_bytes", found):
        return unset
    peak = max(m.memory.peak_memory_bytes for m in found)
    limits = {round(peak * MEMORY_MARGIN): f"peak {peak} × {MEMORY_MARGIN}"}
    if configuration.device.limits_travel:
        limits[peak + CODE_BYTES] = f"peak {peak} + {CODE_BYTES} of another installation's code"
    for m in elsewhere:
        if m.memory is not None:
            other = m.memory.peak_memory_bytes
            limits[round(other * MEMORY_MARGIN)] = f"peak {other} × {MEMORY_MARGIN}, on {m.board}"
    limit = max(limits)
    return _set("peak_memory_bytes", limit, f"{limits[limit]}; {_source(found)}")


def _quality(configuration: Configuration, series: list[Measurement], elsewhere: list[Measurement]) -> Budget:
    if unset := _too_few("r_precision", series):
        return unset
    scored = [m for m in [*series, *elsewhere] if m.quality is not None and not m.smoke]
    if not scored:
        return _unset("r_precision", "no session scored all prompts")
    # Start noise is fixed, so one full scoring says as much as three; the bound is over prompts.
    worst = min(scored, key=lambda m: m.quality.r_precision.value)
    prompts = len(worst.quality.outcomes)
    hits = sum(outcome.rank_153 == 0 for outcome in worst.quality.outcomes)
    where = f", on {worst.board}" if worst.fingerprint != series[-1].fingerprint else ""
    if not hits:  # a limit of 0 could not fail
        return _unset("r_precision", f"0 of {prompts} hits{where}: nothing to lose; {_source(series)}")
    bound = proportion(hits, prompts, QUALITY_CONFIDENCE).low
    return _set("r_precision", round(bound, 4), f"lower 99 % bound of {hits}/{prompts}{where}; {_source(series)}")


def _set(kind: str, limit: float, reason: str, canary_s: float | None = None) -> Budget:
    return Budget(name=kind, limit=limit, canary_s=canary_s, source="measured", reason=reason)


def _unset(kind: str, reason: str) -> Budget:
    return Budget(name=kind, source="unset", reason=reason)


def propose(device: str, sessions: list[Path]) -> str:
    """The whole file for a device."""
    by_configuration = defaultdict(list)
    for path in sessions:
        history = read_folder(path) if path.is_dir() else read_session(path)
        for line in history.problems:
            print(line, file=sys.stderr)
        for m in history.measurements:
            by_configuration[m.configuration].append(m)
    path = FOLDER / f"{device}.toml"
    written = load_budgets(path) if path.exists() else {}
    cells = [c for c in matrix() if c.device.name == device and not c.is_extension]
    text = HEADER.format(title=DEVICES[device].title, name=device)
    for _, of_model in groupby(cells, key=lambda c: c.model.name):
        text += "\n"
        for c in of_model:
            budgets = merged(entry(c, by_configuration[c.id]), written.get(c.recipe, ()))
            text += "".join(f"{line}\n" for line in lines_of(c.recipe, budgets))
    return text


def merged(new: Sequence[Budget], old: Sequence[Budget]) -> list[Budget]:
    """A new entry, in which a limit stays as it was where the new one would be unset, and so does an expected status.
    Kinds that the configuration no longer has (seconds where it is now a ratio, limits of what is unsupported) go."""
    before = {budget.name: budget for budget in old}
    status = before.pop("status", None)
    unsupported = [budget.name for budget in new] == ["status"]
    if status is not None and status.expect is not None:
        if unsupported and status.expect == Status.UNSUPPORTED:
            return [status]
        if not unsupported:
            return [status, *merged(new, list(before.values()))]
    return [before.get(budget.name, budget) if budget.source == "unset" else budget for budget in new]


@command
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m suite.budgets", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("propose", help="write suite/budgets/<device>.toml from measured sessions")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--device", help=", ".join(OURS))
    which.add_argument(
        "--all", action="store_true", help="every device's file: a new entry is written as unset in each"
    )
    command.add_argument("--print", action="store_true", help="print instead of writing the file")
    command.add_argument("sessions", nargs="*", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    try:
        if options.device is not None and extensions().has(find_device(options.device)):
            raise ValueError(f"{options.device} is from another package; budgets are kept of {', '.join(OURS)}")
        # All are made before one is written: a session that cannot be read leaves every file as it is.
        texts = {name: propose(name, options.sessions) for name in (OURS if options.all else [options.device])}
    except BrokenPipeError:
        raise
    except (UnknownName, HistoryError, OSError, ValueError) as error:
        print(f"python -m suite.budgets: {error}", file=sys.stderr)
        return 2
    for name, text in texts.items():
        if options.print:
            print(text, end="")
        else:
            write_atomically(FOLDER / f"{name}.toml", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
