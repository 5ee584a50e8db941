"""One cell over its nights: a line a figure, in segments of like conditions. Without streamlit.

A segment holds the nights that may be compared: under one fingerprint, or for quality by one judge in one gallery on as
many prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import pandas
import plotly.graph_objects as go

from dashboard.commits import told
from dashboard.figures import GRID_COLOUR, LIMIT_COLOUR, MODEL_COLOURS
from dashboard.words import in_html
from leaderboards import cells
from suite.judging.budgets import HIGHER_IS_BETTER
from suite.judging.latency_units import Unit, latency_in
from suite.judging.nights import past_band
from suite.judging.step_finder import Step, steps
from suite.nights.series import QUANTITIES, Night, unit_of_cell, value_of
from suite.records import NOT_RUN, Interval, Measurement, Status

QUALITY = "r_precision"
TITLES = {  # by quantity: what it is, its unit, the factor to it
    "latency_s": ("Latency", "seconds an object", 1.0),
    "latency_ratio": ("Latency", "multiples of {unit}", 1.0),
    "peak_memory_bytes": ("Peak memory", "MB", 1e-6),
    "energy_j": ("Energy", "joules an object", 1.0),
    QUALITY: ("R-Precision among 153 captions", "%", 100.0),
}
UNITS = {"reference": "its session's fp32", "canary": "the session's canary, a fixed piece of work", "second": "1 s"}
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
BAND_OPACITY = 0.14
FAILED = "did not end well"


@dataclass(frozen=True)
class Segment:
    """Comparable nights of one figure, oldest first."""

    nights: tuple[Night, ...]

    @property
    def values(self) -> list[float]:
        return [night.value for night in self.nights]

    @cached_property
    def steps(self) -> list[Step]:
        """Levels of quality 0 have no logarithm, and no steps."""
        return steps(self.values) if min(self.values) > 0 else []

    @cached_property
    def band(self) -> Interval | None:
        """None for too few nights."""
        return past_band(self.values) if min(self.values) > 0 else None


@dataclass(frozen=True)
class Line:
    """One figure of one cell over all its nights. `failed` are the nights that did not end well."""

    quantity: str
    unit: str  # what its latency is divided by, in words
    segments: tuple[Segment, ...]
    failed: tuple[Measurement, ...]

    @property
    def title(self) -> str:
        name, unit, _ = TITLES[self.quantity]
        way = "higher" if self.quantity in HIGHER_IS_BETTER else "lower"
        return f"{name}, {unit.format(unit=self.unit)} · {way} is better"

    @property
    def scale(self) -> float:
        return TITLES[self.quantity][2]

    @property
    def newest(self) -> Segment:
        return max(self.segments, key=lambda segment: segment.nights[-1].measurement.measured_at)


def lines_of(measurements: Sequence[Measurement]) -> list[Line]:
    """The lines of one cell, from its measurements oldest first; only figures that were ever measured."""
    if not measurements:
        return []
    unit = unit_of_cell(measurements[-1].configuration)
    failed = tuple(m for m in measurements if m.status != Status.OK and m.status not in NOT_RUN)
    found = []
    for quantity in (*QUANTITIES, QUALITY):
        segments: dict[tuple, list[Night]] = {}
        for m in measurements:
            if m.status == Status.OK and (value := _value(m, quantity, unit)) is not None:
                segments.setdefault(_conditions(m, quantity), []).append(Night(m, value))
        if segments:
            latency = "latency_s" if unit == "second" else "latency_ratio"
            name = latency if quantity == "latency" else quantity
            parts = tuple(Segment(tuple(nights)) for nights in segments.values())
            found.append(Line(name, UNITS[unit], parts, failed))
    return found


def _value(m: Measurement, quantity: str, unit: Unit) -> float | None:
    if quantity == QUALITY:
        return None if m.quality is None else m.quality.r_precision.value
    return None if m.simulated or m.fingerprint is None else value_of(m, quantity, unit)


def _conditions(m: Measurement, quantity: str) -> tuple:
    if quantity == QUALITY:
        return (m.quality.judge, m.fingerprint and m.fingerprint.gallery_sha256, m.quality.prompts)
    return (m.fingerprint, m.extrapolated)


def failures_table(measurements: Sequence[Measurement], missing: frozenset[str] = frozenset()) -> pandas.DataFrame:
    """The nights that did not end well, the newest first."""
    return pandas.DataFrame(
        {"measured": when(m), "status": m.status.value, "reason": m.reason, "commit": told(m.commit, missing)}
        for m in reversed(measurements)
        if m.status != Status.OK
    )


def interval(line: Line, night: Night) -> Interval:
    """The night's own interval in the line's unit; without ends where one run gives none."""
    m = night.measurement
    if line.quantity == QUALITY:
        return m.quality.r_precision
    if line.quantity.startswith("latency"):
        return latency_in(m, unit_of_cell(m.configuration))
    return Interval(value=night.value)


def difference(before: Segment, after: Segment) -> str:
    """What the conditions of two segments differ in, in words."""
    then, now = before.nights[-1].measurement, after.nights[0].measurement
    here, there = (m.fingerprint.model_dump() if m.fingerprint else {} for m in (now, then))
    said = [f"{name} {there.get(name)} then, {here[name]} now" for name in here if here[name] != there.get(name)]
    if then.extrapolated != now.extrapolated:
        said.append("extrapolated" if now.extrapolated else "whole objects timed")
    prompts = [m.quality.prompts if m.quality else None for m in (then, now)]
    if None not in prompts and prompts[0] != prompts[1]:
        said.append(f"{prompts[0]} prompts then, {prompts[1]} now")
    return "; ".join(said)


def outside(segment: Segment, night: Night) -> bool:
    band = segment.band
    return band is not None and not band.low <= night.value <= band.high


# The figure


def series_figure(line: Line, missing: frozenset[str] = frozenset()) -> go.Figure:
    """The line's nights with the band of the past, the levels between steps, and a mark a night that failed.

    `missing`: commits that are not in this repository. A ring marks nights outside the band.
    """
    figure = go.Figure()
    for number, segment in enumerate(line.segments):
        colour = MODEL_COLOURS[number % len(MODEL_COLOURS)]
        _band(figure, line, segment, colour)
        _levels(figure, line, segment, colour)
        figure.add_trace(_nights(line, number, colour, missing))
    if line.failed:
        figure.add_trace(_failures(line, missing))
    _lay_out(figure, line)
    return figure


def _band(figure: go.Figure, line: Line, segment: Segment, colour: str) -> None:
    if segment.band is None:
        return
    low, high = line.scale * segment.band.low, line.scale * segment.band.high
    first, last = (segment.nights[end].measurement.measured_at for end in (0, -1))
    trace = go.Scatter(
        x=[first, last, last, first],
        y=[low, low, high, high],
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=colour,
        opacity=BAND_OPACITY,
        hoverinfo="skip",
        showlegend=not any(trace.name == "19 of 20 nights, as its past was" for trace in figure.data),
        name="19 of 20 nights, as its past was",
    )
    figure.add_trace(trace)


def _levels(figure: go.Figure, line: Line, segment: Segment, colour: str) -> None:
    """The median between one step and the next; each step with its ratio."""
    borders = [0, *(step.night for step in segment.steps), len(segment.nights)]
    if len(borders) == 2:
        return
    x: list[str | None] = []
    y: list[float | None] = []
    for start, end in zip(borders, borders[1:]):
        level = line.scale * median(segment.values[start:end])
        x += [segment.nights[start].measurement.measured_at, segment.nights[end - 1].measurement.measured_at, None]
        y += [level, level, None]
    figure.add_trace(
        go.Scatter(x=x, y=y, mode="lines", line={"color": colour, "width": 1.5}, hoverinfo="skip", showlegend=False)
    )
    for step in segment.steps:
        at = segment.nights[step.night].measurement.measured_at
        mark = {"color": LIMIT_COLOUR, "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, yref="y domain", line=mark)
        figure.add_annotation(
            x=at, y=1, yref="y domain", yanchor="bottom", showarrow=False, text=cells.times(step.ratio)
        )


def _nights(line: Line, number: int, colour: str, missing: frozenset[str]) -> go.Scatter:
    segment = line.segments[number]
    own = [interval(line, night) for night in segment.nights]
    ends = [(None, None) if i.low is None or i.high is None else (i.value - i.low, i.high - i.value) for i in own]
    rings = [2.5 if outside(segment, night) else 0 for night in segment.nights]
    return go.Scatter(
        x=[night.measurement.measured_at for night in segment.nights],
        y=[line.scale * night.value for night in segment.nights],
        error_y={
            "type": "data",
            "symmetric": False,
            "arrayminus": [None if below is None else line.scale * below for below, _ in ends],
            "array": [None if above is None else line.scale * above for _, above in ends],
            "thickness": 1,
            "width": 2,
            "color": colour,
        },
        mode="markers",
        name=_name(line, number),
        marker={
            "color": colour,
            "size": 8,
            "symbol": SYMBOLS[number % len(SYMBOLS)],
            "line": {"width": rings, "color": LIMIT_COLOUR},
        },
        customdata=[[night.measurement.session] for night in segment.nights],
        hovertext=[_hover(line, segment, night, missing) for night in segment.nights],
        hoverinfo="text",
    )


def _name(line: Line, number: int) -> str:
    """The first segment by its board's conditions, each further one by what changed."""
    segment = line.segments[number]
    since = segment.nights[0].measurement.measured_at[:10]
    changed = difference(line.segments[number - 1], segment) if number else ""
    changed = changed if len(changed) < 60 else f"{changed[:57]}…"
    return in_html(f"since {since}" + (f": {changed}" if changed else ""))


def value_said(line: Line, value: float) -> str:
    """A value of the line with its unit."""
    if line.quantity == "latency_s":
        return cells.time(value)
    if line.quantity == "latency_ratio":
        return cells.times(value)
    if line.quantity == "peak_memory_bytes":
        return cells.plain_bytes(value)
    return f"{100 * value:.1f} %" if line.quantity == QUALITY else f"{value:,.1f} J"


def _hover(line: Line, segment: Segment, night: Night, missing: frozenset[str]) -> str:
    m = night.measurement
    said = [
        f"<b>{value_said(line, night.value)}</b>"
        + (" outside the band of its past" if outside(segment, night) else ""),
        when(m),
        f"commit {in_html(told(m.commit, missing))}",
        f"session {in_html(m.session)}",
    ]
    if line.quantity.startswith("latency"):
        said.append(f"{cells.time(m.latency.median.value)} in seconds" if line.quantity == "latency_ratio" else "")
    if m.quality is not None and line.quantity == QUALITY:
        said.append(f"{m.quality.prompts} prompts")
    if m.fingerprint is not None:
        said.append(f"conditions {m.fingerprint.id}")
    return "<br>".join(filter(None, said))


def when(m: Measurement) -> str:
    return f"{m.measured_at[:16].replace('T', ' ')} UTC"


def _failures(line: Line, missing: frozenset[str]) -> go.Scatter:
    return go.Scatter(
        x=[m.measured_at for m in line.failed],
        y=[FAILED] * len(line.failed),
        yaxis="y2",
        mode="markers",
        name=FAILED,
        marker={"symbol": "x", "size": 9, "color": LIMIT_COLOUR},
        hovertext=[
            "<br>".join(in_html(part) for part in (m.status.value, m.reason or "", when(m), told(m.commit, missing)))
            for m in line.failed
        ],
        hoverinfo="text",
    )


def _lay_out(figure: go.Figure, line: Line) -> None:
    figure.update_layout(
        height=340,
        margin={"l": 0, "r": 8, "t": 60, "b": 0},
        legend={"orientation": "h", "y": 1.1, "yanchor": "bottom", "x": 0},
        hoverlabel={"align": "left"},
        title={"text": line.title, "font": {"size": 14}, "x": 0, "y": 0.99, "yanchor": "top"},
        xaxis={"type": "date", "gridcolor": GRID_COLOUR, "title": {"text": "measured, UTC"}},
        yaxis={"gridcolor": GRID_COLOUR, "domain": [0.12 if line.failed else 0, 1], "automargin": True},
    )
    if line.failed:
        figure.update_layout(
            yaxis2={"domain": [0, 0.08], "type": "category", "fixedrange": True, "showticklabels": False}
        )
