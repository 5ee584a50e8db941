"""The frontier and the answers on the terminal: a drawn table on a terminal, aligned plain text elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from leaderboards import cells, expected
from leaderboards.axes import TITLES, ranked_on
from leaderboards.best import Question, ask, literature, predicted, published_words
from leaderboards.cells import Column
from leaderboards.choice import Answer, Limits
from leaderboards.frontier import Key, comparable
from leaderboards.kinds import ALL_KINDS, by_kind
from leaderboards.places import summary
from leaderboards.publish import Board
from leaderboards.rows import repeat_command
from suite.records import PublishedRow, Quality, Status

COLUMNS = [
    Column("configuration", lambda row: row.configuration.partition("@")[0]),  # the device stands above the table
    Column("latency", cells.latency),
    Column("speed-up", cells.speedup, optional=True),
    Column("against the original", cells.against_original, optional=True),
    Column("peak memory", cells.memory),
    Column("R-Precision", cells.r_precision),
    Column("against fp32", cells.quality_difference, optional=True),
    Column("rank", cells.rank, optional=True),
    Column("P(frontier)", cells.frontier_probability, optional=True),
    Column("notes", cells.notes, optional=True),
]


QUALITY = {
    "r_precision_3001": Column("of 3,001", cells.r_precision_3001),
    "f_score_to_fp32": Column("F-score to fp32", cells.to_fp32),
}


def _columns_on(axis: str) -> list[Column]:
    """With that axis's figure, and without what is told of R-Precision among 153 captions only, where it is another."""
    if axis == "r_precision":
        return COLUMNS
    kept = [column for column in COLUMNS if column.title not in ("rank", "P(frontier)")]
    return [*kept[:5], QUALITY[axis], *kept[5:]]


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


def show_frontier(
    device: str,
    rows: Sequence[PublishedRow],
    commands: bool = True,
    qualities: Mapping[Key, Quality] | None = None,
    all_kinds: bool = False,
    axis: str = "r_precision",
) -> None:
    """Each board's frontiers, one a kind of output, how many rows they leave out and why, and what repeats their cells.

    all_kinds: one frontier over all kinds instead; axis: what quality means. Frontiers but those on `r_precision` a
    kind are not kept in the rows, and need the outcomes a prompt.
    """
    if not any(row.on_frontier is not None for row in rows):
        print(f"{device}: no ranked rows ({_why_none(rows)})")
        return
    if axis != "r_precision":
        print(f"{device}: quality is {TITLES[axis]}")
    told: set[str | None] = set()
    for (_, board, prompts), group in comparable(row for row in rows if row.status == Status.OK).items():
        if all_kinds or axis != "r_precision":
            parts = [group] if all_kinds else by_kind(group).values()
            group = [row for part in parts for row in ranked_on(axis, part, qualities or {})]
        ranked = [row for row in group if row.on_frontier is not None]
        best = [row for row in ranked if row.on_frontier]
        failed = [row for row in rows if row.board == board and row.status != Status.OK]
        if ranked:
            print(
                f"\n{device}, board {board or 'unknown'}, {prompts} prompts: {len(best)} on the frontier, "
                f"{len(ranked) - len(best)} beaten" + (f", {len(failed)} failed" if failed else "")
            )
        elif any(row.source == "measured" for row in group):
            print(f"\n{device}, board {board or 'unknown'}, {prompts} prompts: no ranked rows")
        for kind, alike in ({ALL_KINDS: ranked} if all_kinds else by_kind(ranked)).items():
            if alike:
                kept = cells.best_first([row for row in alike if row.on_frontier])
                print(f"{kind}: {len(kept)} of {len(alike)} on its frontier")
                show_table(kept, _columns_on(axis))
                if axis == "r_precision":
                    print(summary(alike, kind) or "")
        if (said := cells.sessions(best)) is not None:
            print(said)
        _show_unranked([*group, *(failed if board not in told else [])], axis)
        told.add(board)
        if commands and best:
            _show_commands(best)


def _show_unranked(rows: Sequence[PublishedRow], axis: str) -> None:
    for reason, found in _unranked(rows, axis).items():
        print(f"{len(found)} not ranked, {reason}: {', '.join(_named_with_reason(row) for row in found)}")


def _named_with_reason(row: PublishedRow) -> str:
    name = row.configuration.partition("@")[0]
    return name if row.reason is None else f"{name} ({' '.join(row.reason.split())})"


def _unranked(rows: Iterable[PublishedRow], axis: str = "r_precision") -> dict[str, list[PublishedRow]]:
    """Measured rows that are not ranked, by the reason."""
    found: dict[str, list[PublishedRow]] = {}
    for row in rows:
        if (reason := cells.why_not_ranked(row, axis)) is not None:
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


def show_answers(board: Board, question: Question) -> None:
    """For each board and kind of output: the cheapest good row within the limits, what is tied with it, the nearest
    miss; for a device without rows, what others published."""
    answers = ask(board, question)
    for one in answers:
        asked = question.words()
        if question.limits.axis != "r_precision":
            asked += f", quality is {TITLES[question.limits.axis]}"
        print(f"\n{one.device}, board {one.board or 'unknown'}, {one.prompts} prompts, {one.kind}, {asked}:")
        _show_answer(one.answer, question.limits)
        if one.unranked:
            reasons = Counter(one.unranked.values())
            print("not ranked: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items()))
    told = literature(board, question)
    silent = {device for device, _ in told}
    for device, row in told:
        print(published_words(device, row, question.limits.max_latency_s))
        if found := predicted(question, device):
            print(f"{device}: {expected.words(found, question.limits.max_latency_s)}")
    for device in [question.device] if question.device is not None else board.rows:
        if device not in silent and not any(one.device == device for one in answers):
            print(f"{device}: no ranked rows ({_why_none(board.rows.get(device, []))})")


def _show_answer(found: Answer, limits: Limits) -> None:
    if found.best is None:
        print(f"none of {found.considered} ranked rows fits")
    else:
        print(f"{found.fitting} of {found.considered} ranked rows fit; {_choice(found, limits)}")
        show_table([found.best, *found.tied], _columns_on(limits.axis))
        if (said := cells.sessions([found.best, *found.tied])) is not None:
            print(said)
        _show_commands([found.best])
    if found.nearest_miss is not None:
        miss = found.nearest_miss
        print(f"nearest miss: {miss.row.configuration}, R-Precision {cells.r_precision(miss.row)}: {miss.why}")


def _choice(found: Answer, limits: Limits) -> str:
    if limits.min_quality is not None:
        others = f", then {len(found.tied)} whose latency cannot be told from its" if found.tied else ""
        return f"the fastest of them first{others}"
    if not found.tied:
        return "the best in quality beyond noise"
    others = f"{len(found.tied)} other{'s' if len(found.tied) > 1 else ''}"
    return f"the fastest first of those that cannot be told from the best in quality, with {others} tied"
