"""The frontier and the answers on the terminal: a drawn table on a terminal, aligned plain text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from leaderboards import cells
from leaderboards.cells import Column
from leaderboards.frontier import Answer, Key, answer, comparable
from leaderboards.rows import repeat_command
from suite.records import PublishedRow, Quality, Status

COLUMNS = [
    Column("configuration", lambda row: row.configuration.partition("@")[0]),  # the device stands above the table
    Column("latency", cells.latency),
    Column("speed-up", lambda row: cells.times(row.speedup), optional=True),
    Column("against the original", cells.against_original, optional=True),
    Column("peak memory", cells.memory),
    Column("R-Precision", cells.r_precision),
    Column("against fp32", cells.quality_difference, optional=True),
    Column("notes", cells.notes, optional=True),
]


def show_table(rows: Sequence[PublishedRow], wanted: Sequence[Column] = COLUMNS) -> None:
    chosen = cells.columns(list(rows), list(wanted))
    lines = [[column.text(row) for column in chosen] for row in rows]
    heads = [column.title for column in chosen]
    if sys.stdout.isatty():
        from rich.console import Console  # only where it is drawn
        from rich.table import Table
        from rich.text import Text

        table = Table()
        for n, head in enumerate(heads):
            table.add_column(
                head, no_wrap=n == 0, overflow="fold", min_width=max(len(line[0]) for line in lines) if n == 0 else None
            )
        for line in lines:
            table.add_row(*map(Text, line))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(heads, *lines)]
    for line in [heads, *lines]:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())


def show_frontier(device: str, rows: Sequence[PublishedRow], commands: bool = True) -> None:
    """Each board's frontier, how many rows it leaves out and why, and what repeats its cells."""
    if not any(row.on_frontier is not None for row in rows):
        print(f"{device}: no ranked rows ({_why_none(rows)})")
        return
    for (_, board, prompts), group in comparable(row for row in rows if row.status == Status.OK).items():
        ranked = [row for row in group if row.on_frontier is not None]
        if not ranked:
            continue
        best = cells.best_first([row for row in ranked if row.on_frontier])
        failed = sum(row.board == board and row.status != Status.OK for row in rows)
        beaten = len(ranked) - len(best)
        print(
            f"\n{device}, board {board or 'unknown'}, {prompts} prompts: {len(best)} on the frontier, {beaten} beaten"
            + (f", {failed} failed" if failed else "")
        )
        show_table(best)
        for reason, found in _unranked(group).items():
            if reason not in cells.SAID_ANYHOW:
                print(f"not ranked, {reason}: {', '.join(row.configuration.partition('@')[0] for row in found)}")
        if commands:
            _show_commands(best)


def _unranked(rows: Iterable[PublishedRow]) -> dict[str, list[PublishedRow]]:
    """Measured rows that are not ranked, by the reason."""
    found: dict[str, list[PublishedRow]] = {}
    for row in rows:
        if (reason := cells.why_not_ranked(row)) is not None:
            found.setdefault(reason, []).append(row)
    return found


def _why_none(rows: Sequence[PublishedRow]) -> str:
    reasons = _unranked(rows)
    if reasons:
        measured = sum(row.source == "measured" for row in rows)
        return f"{measured} measured: {', '.join(f'{len(found)} {reason}' for reason, found in reasons.items())}"
    return "only figures published by others" if rows else "nothing measured"


def _show_commands(rows: Sequence[PublishedRow]) -> None:
    print("measure again:")
    for row in rows:
        print(f"  {repeat_command(row)}")


def show_answers(
    device: str,
    rows: Sequence[PublishedRow],
    qualities: Mapping[Key, Quality],
    max_latency_s: float | None,
    max_memory_bytes: float | None,
) -> None:
    """For each board: the best quality within the limits, what is tied with it, the nearest miss."""
    limits = [f"at most {max_latency_s:g} s"] if max_latency_s is not None else []
    limits += [f"at most {max_memory_bytes / 1e9:g} GB"] if max_memory_bytes is not None else []
    ranked = comparable(row for row in rows if row.on_frontier is not None)
    if not ranked:
        print(f"{device}: no ranked rows ({_why_none(rows)})")
    for (_, board, prompts), group in ranked.items():
        print(f"\n{device}, board {board or 'unknown'}, {prompts} prompts, {' and '.join(limits)}:")
        _show_answer(answer(group, max_latency_s, max_memory_bytes, qualities))


def _show_answer(found: Answer) -> None:
    if found.best is None:
        print(f"none of {found.considered} ranked rows fits")
    else:
        print(
            f"{found.fitting} of {found.considered} ranked rows fit; "
            "best quality first, then those tied with it within noise"
        )
        show_table([found.best, *found.tied])
        _show_commands([found.best])
    if found.nearest_miss is not None:
        miss = found.nearest_miss
        print(f"nearest miss: {miss.row.configuration}, R-Precision {cells.r_precision(miss.row)}: {miss.why}")
