"""Each stage against the machine's roofline: what its arithmetic reaches of what memory or arithmetic allow.

Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785. Without streamlit.
"""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.figures import GRID_COLOUR, TEXT_COLOUR
from dashboard.stages import colours, label
from dashboard.words import in_html
from leaderboards import cells
from leaderboards.stages import in_order, over_floor
from suite.records import PublishedRow

ROOM = 4.0  # times the outermost points, left and right of them


def located(row: PublishedRow, stage: str) -> tuple[float, float] | None:
    """(arithmetic a byte, arithmetic a second) of a stage; None where one of the figures is not known."""
    flops, moved = row.stage_flops.get(stage), row.stage_bytes_moved.get(stage)
    seconds = row.stage_latency_s.get(stage)
    return (flops / moved, flops / seconds) if flops and moved and seconds else None


def roofline_figure(rows: Sequence[PublishedRow]) -> go.Figure:
    """A point a row and stage, and the roofs of the machine, the highest peaks of these rows. No trace where nothing is
    known."""
    figure = go.Figure()
    stages = in_order(rows)
    chosen, found = colours(stages), {}
    for stage in stages:
        known = [(row, place) for row in rows if (place := located(row, stage)) is not None]
        if known:
            found[stage] = [place for _, place in known]
            figure.add_trace(
                go.Scatter(
                    x=[intensity for _, (intensity, _) in known],
                    y=[rate for _, (_, rate) in known],
                    mode="markers",
                    name=in_html(stage),
                    marker={"size": 11, "color": chosen[stage], "line": {"width": 1, "color": TEXT_COLOUR}},
                    hovertext=[_said(row, stage, *place) for row, place in known],
                    hoverinfo="text",
                )
            )
    if found:
        intensities = [intensity for places in found.values() for intensity, _ in places]
        figure.add_traces(_roofs(rows, min(intensities) / ROOM, max(intensities) * ROOM))
    figure.update_layout(
        height=420,
        margin={"l": 0, "r": 8, "t": 60, "b": 0},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        hoverlabel={"align": "left"},
        xaxis={
            "type": "log",
            "title": {"text": "FLOP a byte moved (log)"},
            "gridcolor": GRID_COLOUR,
            "fixedrange": True,
        },
        yaxis={
            "type": "log",
            "title": {"text": "FLOP a second (log) · higher is better"},
            "exponentformat": "SI",
            "gridcolor": GRID_COLOUR,
            "fixedrange": True,
        },
    )
    return figure


def _roofs(rows: Sequence[PublishedRow], least: float, most: float) -> list[go.Scatter]:
    """A line a type of arithmetic: memory's slope up to the ridge, then flat."""
    bandwidth = max((row.peak_bytes_per_s for row in rows if row.peak_bytes_per_s), default=None)
    peaks: dict[str, float] = {}
    for row in rows:
        for kind, rate in row.peak_flops_per_s.items():
            peaks[kind] = max(peaks.get(kind, 0.0), rate)
    if bandwidth is None:
        return []
    lines: list[go.Scatter] = []
    for kind, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        ridge = peak / bandwidth
        corners = [least, *([ridge] if least < ridge < most else []), most]
        lines.append(
            go.Scatter(
                x=corners,
                y=[min(peak, at * bandwidth) for at in corners],
                mode="lines",
                name=f"{in_html(kind)} roof",
                line={"color": TEXT_COLOUR, "width": 1.5, "dash": "solid" if not lines else "dot"},
                hovertext=f"{in_html(kind)}: {peak:.3g} FLOP/s; memory: {bandwidth:.3g} B/s",
                hoverinfo="text",
            )
        )
    return lines


def _said(row: PublishedRow, stage: str, intensity: float, rate: float) -> str:
    seconds = row.stage_latency_s[stage]
    over = over_floor(seconds, row.stage_floor_s.get(stage))
    floor = "" if over is None else f"<br>{cells.times(over)} of its floor"
    return (
        f"{label(row)}<br>{in_html(stage)}: {cells.time(seconds)}<br>{intensity:.3g} FLOP a byte, "
        f"{rate / 1e9:.3g} GFLOP/s{floor}"
    )
