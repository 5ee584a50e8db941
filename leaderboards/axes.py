"""What quality may mean, and which of these meanings tells a group of rows apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leaderboards.dominance import tie_bands
from leaderboards.frontier import AXES, Key, candidate, frontier, key
from suite.records import PublishedRow, Quality

TITLES = {
    "r_precision": "R-Precision among 153 captions",
    "r_precision_3001": "R-Precision among 3,001 captions",
    "f_score_to_fp32": "F-score to fp32's object from the same noise",
}
IN_WORDS = {  # in a sentence, before the figure
    "r_precision": "R-Precision",
    "r_precision_3001": "R-Precision among 3,001",
    "f_score_to_fp32": "F-score to fp32",
}


def ranked_on(axis: str, rows: Sequence[PublishedRow], qualities: Mapping[Key, Quality]) -> list[PublishedRow]:
    """The rows of one board and prompt set with `on_frontier` of one frontier over all of them, on this axis. What has
    no figure on it is not ranked."""
    ranked = [row for row in rows if row.on_frontier is not None]
    marks = iter(frontier([candidate(row, qualities.get(key(row)), axis) for row in ranked]))
    return [row if row.on_frontier is None else row.model_copy(update={"on_frontier": next(marks)}) for row in rows]


def bands(axis: str, rows: Sequence[PublishedRow], qualities: Mapping[Key, Quality]) -> int:
    """How many groups of ranked rows the axis tells apart; 0 where a ranked row has no figure on it."""
    ranked = [row for row in rows if row.on_frontier is not None]
    found = [candidate(row, qualities.get(key(row)), axis) for row in ranked]
    return 0 if None in found else max(tie_bands(found), default=0)


def separating(rows: Sequence[PublishedRow], qualities: Mapping[Key, Quality]) -> str:
    """The axis on which the ranked rows fall into most tie bands; the first of AXES where as many.

    Where nearly all are first of 153 captions, they differ among 3,001.
    """
    return max(AXES, key=lambda axis: bands(axis, rows, qualities))
