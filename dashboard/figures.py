"""Plotly figures of published rows. Without streamlit, so that a static export can draw the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log10, sqrt

import plotly.graph_objects as go

from dashboard.data import identity, place
from dashboard.words import in_html
from leaderboards import cells
from leaderboards.axes import IN_WORDS, TITLES
from leaderboards.frontier import AXES
from suite.judging.budgets import HIGHER_IS_BETTER
from suite.records import PublishedRow

MODEL_COLOURS = ("#2f6690", "#c8553d", "#588157", "#7b5ea7", "#b8860b", "#3a7d7c", "#a23b72", "#5c677d")
# Seen on light and on dark.
STEPS_COLOUR, WHISKER_COLOUR = "#8a9bad", "rgba(120, 135, 150, 0.75)"
LIMIT_COLOUR, TEXT_COLOUR, GRID_COLOUR = "#b5482f", "#708090", "rgba(128, 140, 150, 0.25)"
DIMMED = 0.35  # opacity of what another configuration beats
LARGEST, SMALLEST = 26, 7  # marker diameters in pixels; the area stands for memory
LABELLED = 14  # of more points than this, only those on the frontier are labelled
UPPER, LOWER = "top left", "bottom right"  # of a label
NEIGHBOUR_X, NEIGHBOUR_Y = 0.12, 0.15  # closer than this share of the axis and this fraction, labels would collide
NO_LATENCY = "no latency"


@dataclass(frozen=True)
class Axis:
    """A quantity, its scale to the unit shown, and the direction of better."""

    field: str
    low: str
    high: str
    title: str
    scale: float = 1.0

    @property
    def higher_is_better(self) -> bool:
        return self.field in HIGHER_IS_BETTER or self.field in AXES

    @property
    def label(self) -> str:
        return f"{self.title} · {'higher' if self.higher_is_better else 'lower'} is better"

    def values(self, rows: Iterable[PublishedRow]) -> list[float | None]:
        return [self._scaled(getattr(row, self.field)) for row in rows]

    def whiskers(self, rows: Iterable[PublishedRow]) -> dict:
        """Plotly's error bars of the 95 % intervals; none where an end is not known."""
        triples = [[self._scaled(getattr(row, name)) for name in (self.field, self.low, self.high)] for row in rows]
        return {
            "type": "data",
            "symmetric": False,
            "array": [None if value is None or high is None else high - value for value, _, high in triples],
            "arrayminus": [None if value is None or low is None else value - low for value, low, _ in triples],
            "color": WHISKER_COLOUR,
            "thickness": 1.2,
            "width": 3,
        }

    def _scaled(self, value: float | None) -> float | None:
        return None if value is None else value * self.scale


LATENCY = Axis("latency_s", "latency_low_s", "latency_high_s", "Latency, seconds an object (log)")
QUALITIES = {name: Axis(name, f"{name}_low", f"{name}_high", f"{TITLES[name]}, %", 100.0) for name in AXES}
FIRST = "r_precision"  # of QUALITIES, where nothing else is asked for


def frontier_figure(
    rows: Sequence[PublishedRow],
    show_unranked: bool = True,
    max_latency_s: float | None = None,
    chosen: str | None = None,
    quality: str = FIRST,
) -> go.Figure:
    """Latency against quality for the rows of one board, memory as the markers' area.

    Rows that are not ranked (`on_frontier` is None) are hollow, or left out where `show_unranked` is false; those of
    them without a latency stand in a strip of their own. Each point carries its row's identity as customdata; the
    one of the identity `chosen` has a ring. quality: which of QUALITIES stands upwards; the rows' `on_frontier` is
    to be of it too (`leaderboards.axes.ranked_on`).
    """
    plotted = [row for row in rows if row.latency_s is not None and getattr(row, quality) is not None]
    frontier = [row for row in plotted if row.on_frontier]
    dominated = [row for row in plotted if row.on_frontier is False]
    unranked = [row for row in plotted if row.on_frontier is None] if show_unranked else []
    strip = (
        [row for row in rows if row.latency_s is None and getattr(row, quality) is not None] if show_unranked else []
    )
    shown = [*frontier, *dominated, *unranked, *strip]
    look = _Look(shown, labelled=shown if len(shown) <= LABELLED else frontier, quality=quality)

    figure = go.Figure()
    if frontier:
        figure.add_trace(_steps(frontier, quality))
    hollow = {"opacity": 0.85, "symbol": "circle-open"}
    for title, group, style in (
        ("on the frontier", frontier, {"opacity": 0.85}),
        ("dominated", dominated, {"opacity": DIMMED}),
        ("not ranked", unranked, hollow),
    ):
        if group:
            figure.add_trace(_points(group, title, look, style))
    if strip:
        trace = _points(strip, "not ranked", look, hollow)
        trace.update(x=[NO_LATENCY] * len(strip), error_x=None, xaxis="x2", showlegend=not unranked)
        figure.add_trace(trace)
    figure.add_traces([_ring(trace, chosen) for trace in figure.data if chosen in _identities(trace)])
    for model, colour in look.colours.items() if len(look.colours) > 1 else ():
        figure.add_trace(
            go.Scatter(x=[None], y=[None], mode="markers", name=model, marker={"color": colour, "size": 10})
        )
    _lay_out(figure, [row.latency_s for row in shown if row.latency_s], max_latency_s, bool(strip), quality)
    return figure


def stages_figure(stages_s: Mapping[str, float]) -> go.Figure:
    """How long each stage takes: one bar a stage, in the order they run."""
    total = sum(stages_s.values())
    figure = go.Figure(
        go.Bar(
            x=list(stages_s.values()),
            y=[in_html(stage) for stage in stages_s],
            orientation="h",
            marker={"color": MODEL_COLOURS[0]},
            text=[f"{cells.time(seconds)}, {100 * seconds / total:.1f} %" for seconds in stages_s.values()],
            hoverinfo="skip",
        )
    )
    figure.update_layout(
        height=90 + 34 * len(stages_s),
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        xaxis={"title": "Seconds, median · lower is better", "fixedrange": True},
        yaxis={"autorange": "reversed", "fixedrange": True},
    )
    return figure


def marker_diameters(sizes: Sequence[float | None]) -> list[float]:
    """Pixels, the area in proportion to the size; the smallest marker where a size is not known."""
    largest = max((size for size in sizes if size), default=None)
    return [SMALLEST if not size else max(SMALLEST, LARGEST * sqrt(size / largest)) for size in sizes]


def staircase(rows: Iterable[PublishedRow], quality: str = FIRST) -> list[tuple[float, float]]:
    """(latency, best quality within it) at each step, rising from the fastest row. The projection of a frontier of
    three quantities has points below these stairs."""
    steps: list[tuple[float, float]] = []
    for row in sorted(rows, key=lambda row: (row.latency_s, -getattr(row, quality))):
        if not steps or getattr(row, quality) > steps[-1][1]:
            steps.append((row.latency_s, getattr(row, quality)))
    return steps


def label_positions(rows: Sequence[PublishedRow], quality: str = FIRST) -> dict[str, str]:
    """Each label upper left or lower right of its point, free of whiskers and stairs; neighbours change sides.

    The fastest point's is at its right, since the figure may end at its left.
    """
    placed: dict[str, str] = {}
    before: PublishedRow | None = None
    low, high = _log_range([row.latency_s for row in rows if row.latency_s] or [1.0])
    for row in sorted(rows, key=lambda row: (row.latency_s is None, row.latency_s or 0.0)):
        position = LOWER if before is None else UPPER
        if before is not None and row.latency_s and before.latency_s:
            apart = log10(row.latency_s / before.latency_s) / (high - low)
            near = apart < NEIGHBOUR_X and abs(getattr(row, quality) - getattr(before, quality)) < NEIGHBOUR_Y
            position = LOWER if near and placed[identity(before)] == UPPER else UPPER
        placed[identity(row)] = position
        before = row
    return placed


def hover(row: PublishedRow, axis: str = FIRST) -> str:
    """A row in a few lines of Plotly's HTML; also its figure on the axis that is shown, where that is another."""
    notes = cells.notes(row)
    on_axis = [] if axis == FIRST else [f"{IN_WORDS[axis]} {cells.quality_on(row, axis)}"]
    return "<br>".join(
        [
            f"<b>{in_html(identity(row))}</b>",
            f"latency {cells.latency(row)}",
            f"R-Precision {cells.r_precision(row)}" + (f" on {row.prompts} prompts" if row.prompts else ""),
            *on_axis,
            f"peak memory {cells.memory(row)}",
            place(row) + (f"; {in_html(notes)}" if notes != cells.DASH else ""),
        ]
    )


class _Look:
    """Colours, diameters and labels of a set of rows; labels name the model only where there are several."""

    def __init__(self, rows: Sequence[PublishedRow], labelled: Sequence[PublishedRow], quality: str):
        self.axis, self.quality = quality, QUALITIES[quality]
        models = dict.fromkeys(row.model for row in rows)
        self.colours = {model: MODEL_COLOURS[n % len(MODEL_COLOURS)] for n, model in enumerate(models)}
        diameters = marker_diameters([row.peak_memory_bytes for row in rows])
        self._diameters = {identity(row): diameter for row, diameter in zip(rows, diameters)}
        self.positions = label_positions(labelled, quality)

    def marker(self, rows: Sequence[PublishedRow]) -> dict:
        colours = [self.colours[row.model] for row in rows]
        sizes = [self._diameters[identity(row)] for row in rows]
        return {"size": sizes, "color": colours, "line": {"width": 1.5, "color": colours}}

    def label(self, row: PublishedRow) -> str:
        if identity(row) not in self.positions:
            return ""
        model = f"{row.model}/" if len(self.colours) > 1 else ""
        kinds = [kind for kind in ("smoke", "extrapolated") if getattr(row, kind)]
        kinds = f" ({', '.join(kinds)})" if kinds else ""
        return f"  {model}{row.optimization}{kinds}  "  # spaces keep it off its marker


def _points(rows: Sequence[PublishedRow], title: str, look: _Look, style: dict) -> go.Scatter:
    return go.Scatter(
        x=LATENCY.values(rows),
        y=look.quality.values(rows),
        error_x=LATENCY.whiskers(rows),
        error_y=look.quality.whiskers(rows),
        mode="markers+text",
        name=title,
        marker=look.marker(rows) | style,
        text=[look.label(row) for row in rows],
        textposition=[look.positions.get(identity(row), UPPER) for row in rows],
        textfont={"size": 11, "color": TEXT_COLOUR},
        cliponaxis=False,
        customdata=[[identity(row)] for row in rows],
        hovertext=[hover(row, look.axis) for row in rows],
        hoverinfo="text",
        # A click fades nothing: fading means dominated here. The chosen point gets a ring instead.
        selected={"marker": {"opacity": style["opacity"]}},
        unselected={"marker": {"opacity": style["opacity"]}, "textfont": {"color": TEXT_COLOUR}},
    )


def _identities(trace: go.Scatter) -> list[str]:
    return [] if trace.customdata is None else [data[0] for data in trace.customdata]


def _ring(trace: go.Scatter, chosen: str) -> go.Scatter:
    at = _identities(trace).index(chosen)
    return go.Scatter(
        x=[trace.x[at]],
        y=[trace.y[at]],
        xaxis=trace.xaxis,
        mode="markers",
        marker={
            "symbol": "circle-open",
            "size": trace.marker.size[at] + 10,
            "color": LIMIT_COLOUR,
            "line": {"width": 2},
        },
        hoverinfo="skip",
        showlegend=False,
    )


def _steps(frontier: Sequence[PublishedRow], quality: str) -> go.Scatter:
    steps = staircase(frontier, quality)
    # The last step runs on to the slowest point of the frontier: there, more time buys no more quality.
    steps.append((max(row.latency_s for row in frontier), steps[-1][1]))
    return go.Scatter(
        x=[latency for latency, _ in steps],
        y=[QUALITIES[quality].scale * height for _, height in steps],
        mode="lines",
        line={"shape": "hv", "color": STEPS_COLOUR, "width": 1.5},
        name="best quality within a latency",
        hoverinfo="skip",
    )


def _lay_out(figure: go.Figure, latencies: list[float], max_latency_s: float | None, strip: bool, quality: str) -> None:
    right = 0.9 if strip else 1.0
    axis = {"title": {"text": LATENCY.label}, "type": "log", "dtick": "D2", "tickformat": "~g", "domain": [0, right]}
    if latencies:
        axis["range"] = _log_range(latencies + ([max_latency_s] if max_latency_s else []))
    figure.update_layout(
        height=500,
        margin={"l": 0, "r": 8, "t": 40, "b": 0},
        legend={
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
            "itemclick": False,
            "itemdoubleclick": False,
        },
        hoverlabel={"align": "left"},
        clickmode="event+select",
        dragmode="pan",
        xaxis=axis | {"showgrid": True, "gridcolor": GRID_COLOUR},
        yaxis={"title": {"text": QUALITIES[quality].label}, "gridcolor": GRID_COLOUR},
    )
    if strip:
        figure.update_layout(xaxis2={"domain": [0.92, 1], "anchor": "y", "type": "category", "fixedrange": True})
    if max_latency_s is not None:
        # By hand: add_vline puts its words at the wrong place of a logarithmic axis.
        line = {"color": LIMIT_COLOUR, "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=max_latency_s, x1=max_latency_s, y0=0, y1=1, yref="paper", line=line)
        figure.add_annotation(
            x=log10(max_latency_s),
            y=0,
            yref="paper",
            text=f"at most {max_latency_s:g} s",
            textangle=-90,
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
            font={"color": LIMIT_COLOUR},
        )


def _log_range(latencies: Sequence[float]) -> list[float]:
    """Ends of the axis as powers of ten, with room for the labels beside the points."""
    low, high = log10(min(latencies)), log10(max(latencies))
    span = max(high - low, 0.5)
    return [low - 0.12 * span, high + 0.12 * span]
