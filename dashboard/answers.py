"""The verdict line: the cheapest good row within the limits, in a sentence or three (Markdown)."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboards import cells
from leaderboards.axes import IN_WORDS
from leaderboards.choice import Answer
from suite.records import PublishedRow

HARD_SPACE = "\u00a0"  # keeps a figure and its unit on one line
NAMED_TIES = 4  # more than this are counted


def sentences(
    answer: Answer,
    max_latency_s: float | None,
    max_memory_bytes: float | None,
    max_energy_j: float | None = None,
    min_quality: float | None = None,
    axis: str = "r_precision",
) -> str:
    """axis: what quality means, by its name in `leaderboards.axes`."""
    if answer.considered == 0:
        return "**No configuration is ranked here**: the table below says why."
    limits = limits_in_words(max_latency_s, max_memory_bytes, max_energy_j, min_quality)
    best, miss = answer.best, answer.nearest_miss
    said = []
    if best is None:
        said.append(f"**{limits}: nothing fits** of {answer.considered} ranked configurations.")
    else:
        figures = f"{IN_WORDS[axis]} {cells.quality_on(best, axis)}, {_cost(best)}"
        said.append(f"**{limits}: best is `{best.configuration}`**, {figures}.")
        if min_quality is not None:
            said.append(f"The fastest of {answer.fitting} that reach that quality.")
            if answer.tied:
                said.append(f"As fast within noise: {_listed(answer.tied, best, axis)}.")
        elif answer.tied:
            count = len(answer.tied) + 1
            said.append(
                f"The fastest of {count} whose quality cannot be told from the highest; "
                f"tied with it within noise: {_listed(answer.tied, best, axis)}."
            )
    if miss is not None:
        said.append(f"Nearest miss: {_name(miss.row, best)}, {_quality(miss.row, axis)}: {miss.why}.")
    return " ".join(said)


def limits_in_words(
    max_latency_s: float | None,
    max_memory_bytes: float | None,
    max_energy_j: float | None = None,
    min_quality: float | None = None,
) -> str:
    most = [f"{max_latency_s:g} s"] if max_latency_s is not None else []
    most += [f"{max_memory_bytes / 1e9:g} GB"] if max_memory_bytes is not None else []
    most += [f"{max_energy_j:g} J"] if max_energy_j is not None else []
    said = [f"within {' and '.join(most)}"] if most else []
    said += [f"with at least {100 * min_quality:g} %"] if min_quality is not None else []
    if not said:
        return "Without limits"
    words = ", ".join(said)
    return words[0].upper() + words[1:]


def _name(row: PublishedRow, beside: PublishedRow | None) -> str:
    """The optimization alone beside another row of the same model."""
    same = beside is not None and (row.model, row.weights) == (beside.model, beside.weights)
    return f"`{row.optimization if same else row.configuration}`"


def _quality(row: PublishedRow, axis: str) -> str:
    return cells.quality_on(row, axis).split(" (")[0].replace(" ", HARD_SPACE)


def _cost(row: PublishedRow) -> str:
    return ", ".join(part.replace(" ", HARD_SPACE) for part in (cells.time(row.latency_s), cells.memory(row)))


def _listed(rows: Sequence[PublishedRow], best: PublishedRow, axis: str) -> str:
    named = [f"{_name(row, best)} ({_quality(row, axis)}, {_cost(row)})" for row in rows[:NAMED_TIES]]
    more = len(rows) - NAMED_TIES
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
