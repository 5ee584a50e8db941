"""What broke: which attributes of their prompts the objects of two runs keep, as bars. Without streamlit."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from suite.judging.paired_quality import attribute_differences
from suite.judging.scores import ATTRIBUTES
from suite.records import Attribute, Interval, Quality

# Two of Okabe and Ito's colours, which no colour blindness mixes up (Color Universal Design, 2008), and a pattern.
BLUE, ORANGE = "#0072b2", "#e69f00"
WHISKER_COLOUR = "#788796"


def attributes_figure(a: Quality, b: Quality, of: tuple[str, str] = ("A", "B")) -> go.Figure:
    """A pair of bars an attribute, with Wilson's 95 % intervals; above each pair B's gain over A, prompt by prompt.

    Only attributes that both were asked for; a figure without bars where there are none.
    """
    names = [name for name in ATTRIBUTES if name in a.attributes and name in b.attributes]
    gains = attribute_differences(b, a)
    figure = go.Figure(
        [
            _bars(of[0], names, a.attributes, BLUE, ""),
            _bars(of[1], names, b.attributes, ORANGE, "/"),
        ]
    )
    for name in names:
        if name in gains:
            figure.add_annotation(x=name, y=108, text=points(gains[name]), showarrow=False)
    figure.update_layout(
        barmode="group",
        height=320,
        margin={"l": 0, "r": 0, "t": 30, "b": 0},
        yaxis={"title": {"text": "Kept, % of objects · higher is better"}, "range": [0, 115], "fixedrange": True},
        xaxis={"fixedrange": True},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def _bars(
    title: str, names: list[Attribute], shares: Mapping[Attribute, Interval], colour: str, pattern: str
) -> go.Bar:
    found = [shares[name] for name in names]
    return go.Bar(
        x=names,
        y=[100 * share.value for share in found],
        name=title,
        marker={"color": colour, "pattern": {"shape": pattern}},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [100 * (share.high - share.value) for share in found],
            "arrayminus": [100 * (share.value - share.low) for share in found],
            "color": WHISKER_COLOUR,
        },
        hovertemplate="%{x}: %{y:.1f} %<extra>" + title + "</extra>",
    )


def points(gain: Interval) -> str:
    """ "−12.5 points (−20.1 to −4.2)" """
    value, low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in (gain.value, gain.low, gain.high))
    return f"{value} points ({low} to {high})"
