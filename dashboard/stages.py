"""Where the time and memory of rows go: figures by stage, and the table with the same numbers. Without streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas
import plotly.graph_objects as go

from dashboard.figures import GRID_COLOUR, MODEL_COLOURS, TEXT_COLOUR
from dashboard.words import in_html
from leaderboards import cells
from leaderboards.stages import extra_in_order, in_order, over_floor, shares
from suite.records import PublishedRow

BAR_PX, AROUND_PX, SLIMMEST_PX = 34, 130, 11  # a bar and its gap, axis and legend, one bar of a group
BEYOND = 1.3  # times the longest latency: what a figure has room for
EXTRA = {"shape": "/", "size": 5, "solidity": 0.35}  # hatched: another decoding, outside the latency
FLOOR = "roofline floor"
FORMATS = {  # of the table's number columns, as sprintf writes them
    "seconds": "%.4g",
    "share, %": "%.1f",
    "peak memory, MB": "%.1f",
    "parameters": "localized",
    "GFLOP": "%.4g",
    "GB moved": "%.4g",
    "floor, s": "%.3g",
    "over the floor": "×%.2f",
}


def time_figure(rows: Sequence[PublishedRow], as_shares: bool = False) -> go.Figure:
    """One bar a row, stacked by stage: seconds, or shares of their sum. In seconds, other decodings follow hatched, and
    a line stands where the machine's peak would put the end of the timed stages."""
    rows = [row for row in rows if row.stage_latency_s]
    figure = go.Figure()
    stages, names = in_order(rows), [label(row) for row in rows]
    chosen = colours([*stages, *extra_in_order(rows)])
    for stage in stages:
        seconds = [row.stage_latency_s.get(stage) for row in rows]
        share = [shares(row.stage_latency_s).get(stage) for row in rows]
        shown = [None if s is None else 100 * s for s in share] if as_shares else seconds
        said = [_said(row, stage, s, part) for row, s, part in zip(rows, seconds, share)]
        figure.add_trace(_bar(stage, names, shown, said, chosen[stage]))
    if not as_shares:
        for stage in extra_in_order(rows):
            seconds = [row.extra_stage_latency_s.get(stage) for row in rows]
            said = [_said(row, stage, s, None) for row, s in zip(rows, seconds)]
            trace = _bar(f"{stage} (outside the latency)", names, seconds, said, chosen[stage])
            told = [None if s is None else f"+{cells.time(s)}" for s in seconds]
            trace.update(text=told, textposition="inside", insidetextanchor="start", textangle=0)
            figure.add_trace(trace.update(marker_pattern=EXTRA, opacity=0.75))
        if floored := [row for row in rows if row.floor_s]:
            figure.add_trace(_floors(floored))
    unit = "Share of the stages' sum, %" if as_shares else "Seconds an object, medians · lower is better"
    _lay_out(figure, unit, len(rows), "stack")
    if not as_shares and extra_in_order(rows):
        # What is outside the latency ends where the figure does, with its seconds in words: it would flatten the rest.
        longest = max(sum(row.stage_latency_s.values()) for row in rows)
        figure.update_xaxes(range=[0, BEYOND * longest])
    return figure


def memory_figure(rows: Sequence[PublishedRow]) -> go.Figure:
    """Peak memory by stage: a bar a stage beside each other, since peaks do not add up."""
    rows = [row for row in rows if row.stage_peak_memory_bytes]
    figure = go.Figure()
    stages, names = in_order(rows), [label(row) for row in rows]
    chosen = colours([*stages, *extra_in_order(rows)])
    for stage in stages:
        peaks = [row.stage_peak_memory_bytes.get(stage) for row in rows]
        said = [
            None if peak is None else f"{label(row)}<br>{in_html(stage)}: {cells.plain_bytes(peak)}"
            for row, peak in zip(rows, peaks)
        ]
        megabytes = [None if peak is None else peak / 1e6 for peak in peaks]
        figure.add_trace(_bar(stage, names, megabytes, said, chosen[stage]))
    slim = max(BAR_PX, SLIMMEST_PX * len(stages))
    _lay_out(figure, "Peak memory by stage, MB · lower is better", len(rows), "group", bar_px=slim)
    return figure


def stages_table(rows: Sequence[PublishedRow]) -> pandas.DataFrame:
    """A line a row and stage, other decodings behind the timed ones; what is not known is empty."""
    lines = []
    for row in rows:
        share = shares(row.stage_latency_s)
        measured = row.stage_latency_s | row.extra_stage_latency_s
        for stage in in_order([row]) + extra_in_order([row]):
            floor = row.stage_floor_s.get(stage)
            lines.append(
                {
                    "configuration": name(row),
                    "stage": stage,
                    "part of the latency": stage not in row.extra_stage_latency_s,
                    "seconds": measured.get(stage),
                    "share, %": _scaled(share.get(stage), 100),
                    "peak memory, MB": _scaled(row.stage_peak_memory_bytes.get(stage), 1e-6),
                    "parameters": row.stage_parameters.get(stage),
                    "GFLOP": _scaled(row.stage_flops.get(stage), 1e-9),
                    "GB moved": _scaled(row.stage_bytes_moved.get(stage), 1e-9),
                    "floor, s": floor,
                    "over the floor": over_floor(measured.get(stage), floor),
                }
            )
    return pandas.DataFrame(lines)


def name(row: PublishedRow) -> str:
    """A row among those of one board: without the device; the weights where they are not the model's own."""
    recipe = row.configuration.partition("@")[0]
    kinds = [] if row.weights in (None, "embedded") else [f"{row.weights} weights"]
    return ", ".join([recipe, *kinds, *(["extrapolated"] if row.extrapolated else [])])


def label(row: PublishedRow) -> str:
    """The same for a figure."""
    return in_html(name(row))


def colours(stages: Sequence[str]) -> Mapping[str, str]:
    return {stage: MODEL_COLOURS[number % len(MODEL_COLOURS)] for number, stage in enumerate(stages)}


def _bar(title: str, names: list[str], values: list, said: list, colour: str) -> go.Bar:
    return go.Bar(
        x=values,
        y=names,
        name=in_html(title),
        orientation="h",
        marker={"color": colour},
        hovertext=said,
        hoverinfo="text",
    )


def _floors(rows: Sequence[PublishedRow]) -> go.Scatter:
    return go.Scatter(
        x=[row.floor_s for row in rows],
        y=[label(row) for row in rows],
        mode="markers",
        name=FLOOR,
        marker={"symbol": "line-ns", "size": 22, "line": {"width": 2, "color": TEXT_COLOUR}},
        hovertext=[
            f"{label(row)}<br>{FLOOR} {cells.time(row.floor_s)}; measured {cells.over_floor(row)}" for row in rows
        ],
        hoverinfo="text",
    )


def _said(row: PublishedRow, stage: str, seconds: float | None, share: float | None) -> str | None:
    if seconds is None:
        return None
    said = f"{label(row)}<br>{in_html(stage)}: {cells.time(seconds)}"
    said += "" if share is None else f", {100 * share:.1f} %"
    over = over_floor(seconds, row.stage_floor_s.get(stage))
    return said + ("" if over is None else f"<br>{cells.times(over)} of its floor")


def _lay_out(figure: go.Figure, unit: str, count: int, mode: str, bar_px: int = BAR_PX) -> None:
    figure.update_layout(
        barmode=mode,
        height=AROUND_PX + bar_px * count,
        margin={"l": 0, "r": 8, "t": 60, "b": 0},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        hoverlabel={"align": "left"},
        xaxis={"title": {"text": unit}, "gridcolor": GRID_COLOUR, "fixedrange": True, "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "fixedrange": True, "automargin": True},
    )


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
