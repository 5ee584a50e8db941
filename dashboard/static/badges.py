"""Badges: a picture, and the JSON that shields.io's endpoint badge reads (https://shields.io/badges/endpoint-badge)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from dashboard.verdicts import WORDS
from dashboard.words import in_html
from leaderboards import cells
from suite.records import PublishedRow, Verdict

COLOURS = {"green": "#2f7d4f", "red": "#b5372f", "orange": "#a3630a", "blue": "#1f5f99", "grey": "#5c677d"}
OF_VERDICT = {
    Verdict.REGRESSED: "red",
    Verdict.UNCERTAIN: "orange",
    Verdict.IMPROVED: "green",
    Verdict.PASS: "green",
}
CHARACTER_PX, PADDING_PX, HEIGHT_PX = 6.8, 10, 20


@dataclass(frozen=True)
class Badge:
    label: str
    message: str
    colour: str  # of COLOURS

    def as_json(self) -> str:
        return json.dumps(
            {"schemaVersion": 1, "label": self.label, "message": self.message, "color": COLOURS[self.colour]}
        )

    def as_svg(self) -> str:
        left, right = (PADDING_PX + CHARACTER_PX * len(text) for text in (self.label, self.message))
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right:.0f}" height="{HEIGHT_PX}" role="img" '
            f'aria-label="{in_html(self.label)}: {in_html(self.message)}" font-family="sans-serif" font-size="11">',
            f'<rect width="{left + right:.0f}" height="{HEIGHT_PX}" rx="3" fill="{COLOURS[self.colour]}"/>',
            f'<path d="M3 0H{left:.0f}V{HEIGHT_PX}H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="#39434d"/>',
        ]
        for text, start, width in ((self.label, 0.0, left), (self.message, left, right)):
            parts.append(
                f'<text x="{start + width / 2:.1f}" y="14" text-anchor="middle" fill="#fff" '
                f'textLength="{width - PADDING_PX:.1f}" lengthAdjust="spacingAndGlyphs">{in_html(text)}</text>'
            )
        return "\n".join([*parts, "</svg>", ""])


def of_verdict(board: str, verdict: Verdict) -> Badge:
    """The verdict of a board's newest session."""
    return Badge(f"{board}: newest night", WORDS[verdict], OF_VERDICT.get(verdict, "grey"))


def of_latency(board: str, rows: Iterable[PublishedRow]) -> Badge:
    """The shortest latency on a board's frontier, which is no better than its quality: that stands beside it."""
    fastest = min(
        (row for row in rows if row.on_frontier and row.latency_s), key=lambda row: row.latency_s, default=None
    )
    if fastest is None:
        return Badge(f"{board}: best latency", "nothing ranked", "grey")
    quality = f" at {100 * fastest.r_precision:.0f} %" if fastest.r_precision is not None else ""
    return Badge(f"{board}: best latency", f"{cells.time(fastest.latency_s)}{quality}", "blue")
