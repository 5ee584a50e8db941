"""Where the time and memory of published rows go: by stage, and held against what the machine's peak allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter

from leaderboards import cells
from leaderboards.cells import DASH
from leaderboards.markdown import table
from suite.catalogue.optimizations import REFERENCE
from suite.records import PublishedRow, Status

FASTEST = 2  # rows a model that are shown beside its reference
TIME = (
    "Seconds by stage (medians) and each one's share of their sum, for every model's reference and its "
    f"{FASTEST} fastest rows. A stage in parentheses is another decoding of the same object, outside the latency."
)
MEMORY = (
    "Peak memory by stage, and its share of the highest, which is the row's peak. Peaks do not add up: whatever a "
    "stage leaves in memory, the next one has as well."
)
COST = (
    "Arithmetic of the reference's object, and the floor: what it would take at the peaks of this machine "
    "([docs/cost.md](../../docs/cost.md)). The last column is the measured time over it."
)
PEAK = "Peaks, best seen in these runs"


def in_order(rows: Iterable[PublishedRow]) -> list[str]:
    """Every timed stage of any row, each behind those that some row runs before it."""
    before: dict[str, dict[str, None]] = {}
    for row in rows:
        stages = list(row.stage_latency_s or row.stage_peak_memory_bytes)
        for number, stage in enumerate(stages):
            before.setdefault(stage, {}).update(dict.fromkeys(stages[:number]))
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError:  # two models run two stages the other way round
        return list(before)


def extra_in_order(rows: Iterable[PublishedRow]) -> list[str]:
    return list(dict.fromkeys(stage for row in rows for stage in row.extra_stage_latency_s))


def staged(rows: Iterable[PublishedRow]) -> list[PublishedRow]:
    """The rows that ended well and know their stages."""
    return [row for row in rows if row.status == Status.OK and row.stage_latency_s]


def reference_and_fastest(rows: Sequence[PublishedRow], fastest: int = FASTEST) -> list[PublishedRow]:
    """Of each model and kind of weights: its reference, then its fastest other rows."""
    models: dict[tuple[str, str | None], list[PublishedRow]] = {}
    for row in staged(rows):
        models.setdefault((row.model, row.weights), []).append(row)
    chosen = []
    for found in models.values():
        chosen += [row for row in found if row.optimization == REFERENCE]
        others = [row for row in found if row.optimization != REFERENCE]
        chosen += sorted(others, key=lambda row: (row.latency_s, row.configuration))[:fastest]
    return chosen


def shares(figures: dict[str, float], whole: float | None = None) -> dict[str, float]:
    """Each figure over the whole, or over their sum."""
    whole = sum(figures.values()) if whole is None else whole
    return {name: figure / whole for name, figure in figures.items()} if whole else {}


def over_floor(seconds: float | None, floor_s: float | None) -> float | None:
    return seconds / floor_s if seconds is not None and floor_s else None


def sections(board: str | None, rows: Sequence[PublishedRow]) -> list[str]:
    """The part of the page about a board's stages, whatever judged its rows; empty where no row knows its stages."""
    shown = reference_and_fastest(rows)
    if not shown:
        return []
    parts = [f"## Where the time and memory go on board {board or 'unknown'}", TIME, _times(shown)]
    if any(row.stage_peak_memory_bytes for row in shown):
        parts += [MEMORY, _memory(shown)]
    if costly := [row for row in shown if row.optimization == REFERENCE and row.stage_flops]:
        parts += ["### Cost", COST, _peaks(costly), _cost(costly)]
    return parts


def _times(rows: Sequence[PublishedRow]) -> str:
    stages, extra = in_order(rows), extra_in_order(rows)
    lines = []
    for row in rows:
        share = shares(row.stage_latency_s)
        line = [_name(row), cells.time(row.latency_s)]
        line += [_with_share(row.stage_latency_s.get(s), share.get(s), cells.time) for s in stages]
        line += [_with_share(row.extra_stage_latency_s.get(s), None, cells.time) for s in extra]
        lines.append(line)
    return table(["configuration", "latency", *stages, *(f"({stage})" for stage in extra)], lines)


def _memory(rows: Sequence[PublishedRow]) -> str:
    rows = [row for row in rows if row.stage_peak_memory_bytes]
    stages = in_order(rows)
    lines = []
    for row in rows:
        peaks = row.stage_peak_memory_bytes
        share = shares(peaks, max(peaks.values()))
        lines.append([_name(row), *(_with_share(peaks.get(s), share.get(s), cells.plain_bytes) for s in stages)])
    return table(["configuration", *stages], lines)


def _cost(rows: Sequence[PublishedRow]) -> str:
    lines = []
    for row in rows:
        measured = row.stage_latency_s | row.extra_stage_latency_s
        for stage in [*row.stage_latency_s, *row.extra_stage_latency_s]:
            if stage in row.stage_flops:
                name = stage if stage in row.stage_latency_s else f"({stage})"
                lines.append([_name(row), name, *cost_of(row, stage), cells.time(measured[stage]), _over(row, stage)])
        lines.append(
            [
                _name(row),
                "all that is timed",
                *_whole(row),
                cells.time(row.latency_s),
                cells.times(over_floor(row.latency_s, row.floor_s)),
            ]
        )
    heads = ["configuration", "stage", "parameters", "GFLOP", "GB moved", "floor", "measured", "over the floor"]
    return table(heads, lines)


def cost_of(row: PublishedRow, stage: str) -> list[str]:
    """Parameters, GFLOP, GB and floor of a stage."""
    floor = row.stage_floor_s.get(stage)
    return [
        f"{row.stage_parameters[stage]:,}" if stage in row.stage_parameters else DASH,
        _giga(row.stage_flops[stage]),
        _giga(row.stage_bytes_moved[stage]),
        DASH if floor is None else cells.time(floor),
    ]


def _whole(row: PublishedRow) -> list[str]:
    def total(figures: dict[str, int]) -> int | None:
        return sum(figures[s] for s in row.stage_latency_s) if set(row.stage_latency_s) <= set(figures) else None

    parameters, flops, moved = map(total, (row.stage_parameters, row.stage_flops, row.stage_bytes_moved))
    return [
        DASH if parameters is None else f"{parameters:,}",
        DASH if flops is None else _giga(flops),
        DASH if moved is None else _giga(moved),
        DASH if row.floor_s is None else cells.time(row.floor_s),
    ]


def _over(row: PublishedRow, stage: str) -> str:
    seconds = (row.stage_latency_s | row.extra_stage_latency_s).get(stage)
    return cells.times(over_floor(seconds, row.stage_floor_s.get(stage)))


def _peaks(rows: Sequence[PublishedRow]) -> str:
    """The highest of each kind: a peak that another cell reached, the machine can reach."""
    best: dict[str, float] = {}
    for row in rows:
        for kind, rate in row.peak_flops_per_s.items():
            best[kind] = max(rate, best.get(kind, 0.0))
    copies = max((row.peak_bytes_per_s or 0.0 for row in rows), default=0.0)
    said = [f"{kind} {rate / 1e9:,.0f} GFLOP/s" for kind, rate in sorted(best.items())]
    return f"{PEAK}: {', '.join([*said, f'copies {copies / 1e9:,.1f} GB/s'])}."


def _name(row: PublishedRow) -> str:
    """Without the device, which the page's title names."""
    name = row.configuration.partition("@")[0]
    kinds = [] if row.weights in (None, "embedded") else [f"{row.weights} weights"]
    kinds += ["extrapolated"] if row.extrapolated else []
    return f"{name} ({', '.join(kinds)})" if kinds else name


def _with_share(value: float | None, share: float | None, text) -> str:
    if value is None:
        return DASH
    return text(value) if share is None else f"{text(value)} ({100 * share:.1f} %)"


def _giga(value: float) -> str:
    return f"{value / 1e9:,.4g}" if value < 1e12 else f"{value / 1e9:,.0f}"
