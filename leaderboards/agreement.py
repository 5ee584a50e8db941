"""How far a figure hangs on the judge: a second one's hits beside the first's, a line a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from leaderboards import cells
from leaderboards.cells import Column
from suite.judging.agreement import kappa, together
from suite.records import PublishedRow, SecondOpinion

COLUMNS = [
    Column("configuration", lambda row: row.configuration),
    Column("board", lambda row: row.board or cells.DASH),
    Column("R-Precision", cells.r_precision),
    Column("by the second judge", cells.second_r_precision),
    Column("agree on", lambda row: cells.agreement(row.second_opinion)),
    Column("kappa", lambda row: kappa_words(row.second_opinion)),
    Column("only the first", lambda row: str(row.second_opinion.only_first)),
    Column("only the second", lambda row: str(row.second_opinion.only_second)),
]


def judged_twice(rows: Iterable[PublishedRow]) -> list[PublishedRow]:
    """Those on which two judges were asked; where they differ most first."""
    asked = [row for row in rows if row.second_opinion is not None]
    return sorted(asked, key=lambda row: (row.second_opinion.agreement, row.configuration, row.board or ""))


def lines(rows: Sequence[PublishedRow]) -> list[list[str]]:
    return [[column.text(row) for column in COLUMNS] for row in rows]


def summary(rows: Sequence[PublishedRow]) -> str:
    """All objects of these rows in a sentence."""
    every = together(row.second_opinion for row in rows)
    if every is None:
        return "No objects were shown to two judges." if not rows else "These rows had more than one second judge."
    judges = f"{_name(rows[0].judge)} and {_name(every.judge)}"
    return (
        f"{judges} agree on {cells.agreement(every)} objects of {len(rows)} rows (kappa {kappa_words(every)}). "
        f"Only the first recognizes {every.only_first} of them, only the second {every.only_second}."
    )


def kappa_words(found: SecondOpinion) -> str:
    """A dash where both judges hit, or miss, every object: chance agrees as well then."""
    value = kappa(found)
    return cells.DASH if value is None else f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def _name(judge: str | None) -> str:
    """Without the weights' hash."""
    return (judge or "the first").partition(":")[0]
