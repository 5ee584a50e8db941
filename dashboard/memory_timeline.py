"""How much memory one object holds over its time. Without streamlit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import plotly.graph_objects as go

from dashboard.figures import GRID_COLOUR, MODEL_COLOURS
from dashboard.stages import label
from leaderboards import cells
from leaderboards.frontier import Key, key
from suite.records import Measurement, MemoryPoint, PublishedRow


def timelines(
    rows: Iterable[PublishedRow], measurements: Mapping[Key, Measurement]
) -> list[tuple[PublishedRow, Sequence[MemoryPoint]]]:
    """Of the rows whose measurement has one; earlier versions recorded none."""
    found: list[tuple[PublishedRow, Sequence[MemoryPoint]]] = []
    for row in rows:
        m = measurements.get(key(row))
        if m is not None and m.memory is not None and m.memory.timeline:
            found.append((row, m.memory.timeline))
    return found


def timeline_figure(lines: Sequence[tuple[PublishedRow, Sequence[MemoryPoint]]]) -> go.Figure:
    """A line a row, each over its own time, since one object takes milliseconds and another seconds."""
    figure = go.Figure()
    for number, (row, points) in enumerate(lines):
        whole = points[-1].at_s or 1.0
        figure.add_trace(
            go.Scatter(
                x=[100 * point.at_s / whole for point in points],
                y=[point.level_bytes / 1e6 for point in points],
                mode="lines",
                line={"shape": "hv", "width": 1.8, "color": MODEL_COLOURS[number % len(MODEL_COLOURS)]},
                name=label(row),
                hovertext=[
                    f"{label(row)}<br>{cells.time(point.at_s)} of {cells.time(whole)}: "
                    f"{cells.plain_bytes(point.level_bytes)}"
                    for point in points
                ],
                hoverinfo="text",
            )
        )
    figure.update_layout(
        height=420,
        margin={"l": 0, "r": 8, "t": 60, "b": 0},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        hoverlabel={"align": "left"},
        xaxis={"title": {"text": "Of the object's time, %"}, "gridcolor": GRID_COLOUR, "fixedrange": True},
        yaxis={
            "title": {"text": "MB above the level before loading · lower is better"},
            "gridcolor": GRID_COLOUR,
            "fixedrange": True,
            "rangemode": "tozero",
        },
    )
    return figure
