"""Pin baselines from measurements: `python -m suite.baselines pin --board cpu-amd-epyc-003596 [FILE...]`

Writes `suite/baselines/<board>.json`, from which later measurements are judged (`python -m leaderboards compare`). Each
FILE is a session's pytest-benchmark file or a journal folder; without any, the board's committed history is read. A
configuration needs three sessions at least, all with the fingerprint of the newest: the noise that counts is that
between fresh processes. Smoke sessions count for latency and memory, quality comes from a session that scored all
prompts. What is not measured anew stays as it was pinned.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from suite.catalogue.devices import DEVICES, find_device
from suite.command_line import command
from suite.configurations import Configuration, find, matrix
from suite.history import COMMITTED, QUARANTINE, ROOT, HistoryError, read_session
from suite.judging.baselines import (
    FOLDER,
    MIN_SESSIONS,
    Baseline,
    Baselines,
    MalformedBaselines,
    PinnedQuality,
    PinnedSession,
    latency_levels,
    load_baselines,
    one_more,
)
from suite.judging.latency_units import Unit, latency_in
from suite.names import UnknownName, unknown
from suite.records import Measurement, Status
from suite.saving import write_atomically

Found = list[tuple[Measurement, str]]  # measurements, each with the file it was read from


class NothingPinned(ValueError):
    """Says what is lacking."""


def read(paths: Iterable[Path]) -> Found:
    """Measurements that ended well, oldest first, each once."""
    found: dict[tuple, tuple[Measurement, str]] = {}
    for path in paths:
        files = [path] if not path.is_dir() else [p for p in sorted(path.rglob("*.json")) if QUARANTINE not in p.parts]
        for file in files:
            source = str(file.resolve().relative_to(ROOT)) if file.resolve().is_relative_to(ROOT) else file.name
            for m in read_session(file).measurements:
                if m.status == Status.OK and m.fingerprint is not None and not m.extrapolated:
                    found.setdefault((m.session, m.configuration, m.measured_at), (m, source))
    return sorted(found.values(), key=lambda pair: pair[0].measured_at)


def pinned(configuration: Configuration, found: Found) -> Baseline | str:
    """The baseline of one configuration and one kind of weights, or why there is none."""
    newest = found[-1][0].fingerprint
    # Another network, board or library is another series; of a session that measured twice the newest counts.
    series = {m.session: (m, source) for m, source in found if m.fingerprint == newest}
    if len(series) < MIN_SESSIONS:
        return f"measured in {len(series)} of at least {MIN_SESSIONS} comparable sessions"
    per = configuration.latency_unit
    sessions = [_session(m, source, per) for m, source in series.values()]
    levels = latency_levels(sessions, per)
    peaks = [s.peak_memory_bytes for s in sessions if s.peak_memory_bytes]
    scored = [m for m, _ in series.values() if m.quality is not None and not m.smoke]
    return Baseline(
        configuration=configuration.id,
        weights=found[-1][0].weights,
        fingerprint=newest,
        latency_per=per,
        latency=one_more(levels) if len(levels) >= MIN_SESSIONS else None,
        peak_memory_bytes=one_more(peaks) if len(peaks) >= MIN_SESSIONS else None,
        sessions=sessions,
        quality=_quality(scored[-1]) if scored else None,
    )


def _session(m: Measurement, source: str, per: Unit) -> PinnedSession:
    timed = m.latency is not None and not m.simulated
    latency = latency_in(m, per) if timed and per != "second" else None
    logs = [round(math.log(s), 6) for s in m.latency.samples_s] if timed else []
    return PinnedSession(
        session=m.session,
        measured_at=m.measured_at,
        commit=m.commit,
        source=source,
        log_samples=logs,
        unit_s=latency and math.exp(median(logs)) / latency.value,
        peak_memory_bytes=None if m.memory is None or m.simulated else m.memory.peak_memory_bytes,
    )


def _quality(m: Measurement) -> PinnedQuality:
    outcomes = m.quality.outcomes
    return PinnedQuality(
        judge=m.quality.judge,
        session=m.session,
        prompts=[outcome.prompt for outcome in outcomes],
        hits="".join(str(int(outcome.rank_153 == 0)) for outcome in outcomes),
    )


def pin(found: Found, board: str, folder: Path = FOLDER) -> tuple[Path, list[str]]:
    """Write a board's file; its path, and a line for each configuration that could not be pinned."""
    series: dict[tuple[str, str | None], Found] = defaultdict(list)
    for m, source in found:
        series[m.configuration, m.weights].append((m, source))
    known = {configuration.id for configuration in matrix()}
    before = load_baselines(board, folder)
    kept = {(b.configuration, b.weights): b for b in (before.baselines if before else ()) if b.configuration in known}
    problems, new = [], 0
    for (name, weights), measurements in series.items():
        made = pinned(find(name), measurements) if name in known else "no longer in the matrix"
        if isinstance(made, str):
            problems.append(f"{name}: not pinned: {made}")
        else:
            kept[name, weights] = made
            new += 1
    if not new:
        raise NothingPinned("; ".join(problems) or f"nothing measured to its end on board {board}")
    order = [configuration.id for configuration in matrix()]
    baselines = [kept[key] for key in sorted(kept, key=lambda key: (order.index(key[0]), key[1] or ""))]
    path = folder / f"{board}.json"
    write_atomically(path, Baselines(board=board, baselines=baselines).model_dump_json(indent=1) + "\n")
    return path, problems


def choose(found: Found, board: str | None, device: str | None) -> tuple[Found, str]:
    """The measurements of one board, and its name; UnknownName answers a board that has none."""
    found = [(m, source) for m, source in found if device in (None, m.device)]
    boards = sorted({m.board for m, _ in found if m.board})
    if board is None and len(boards) != 1:
        raise NothingPinned(f"measured on {', '.join(boards) or 'no board'}: name one with --board")
    board = board or boards[0]
    if board not in boards:
        raise unknown("board", board, boards) if boards else NothingPinned(f"nothing measured on board {board}")
    if Path(board).name != board:
        raise NothingPinned(f"board {board!r} cannot be a file's name")
    return [(m, source) for m, source in found if m.board == board], board


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m suite.baselines", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("pin", help="write suite/baselines/<board>.json from measured sessions")
    command.add_argument("--board", help="the board's name; not needed when only one was measured")
    command.add_argument("--device", help=f"only this one's configurations: {', '.join(DEVICES)}")
    command.add_argument("sessions", nargs="*", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    try:
        if options.device is not None:
            find_device(options.device)
        found, board = choose(read(options.sessions or [COMMITTED]), options.board, options.device)
        path, problems = pin(found, board, FOLDER)
    except BrokenPipeError:
        raise
    except (UnknownName, HistoryError, MalformedBaselines, NothingPinned, OSError) as error:
        print(f"python -m suite.baselines: {error}", file=sys.stderr)
        return 2
    for line in problems:
        print(line, file=sys.stderr)
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
