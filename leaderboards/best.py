"""`python -m leaderboards best`: the cheapest good configuration within limits, on every board that measured.

Also what cannot be told from it, what missed the limits most narrowly, and, for a device that has measured nothing,
what others published.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from leaderboards import cells
from leaderboards.choice import Answer, Limits, Miss, answer, nearest_published
from leaderboards.frontier import comparable, why_unranked
from leaderboards.kinds import ALL_KINDS, by_kind, find_kind, kind
from leaderboards.predictions import Prediction, best_predicted
from leaderboards.publish import Board
from suite.catalogue.devices import DEVICES
from suite.catalogue.models import MODELS
from suite.names import unknown
from suite.records import PublishedRow

CONDITIONINGS = ("text", "image")


@dataclass(frozen=True)
class Question:
    """Limits, and which rows they are held against; None: all."""

    limits: Limits = Limits()
    device: str | None = None
    kind: str | None = None  # ALL_KINDS: one answer over all of them
    conditioning: str | None = None  # of CONDITIONINGS
    model: str | None = None

    def words(self) -> str:
        said = [self.model or "", f"from {self.conditioning}" if self.conditioning else ""]
        return " ".join([*filter(None, said), " and ".join(self.limits.words()) or "without limits"])


@dataclass(frozen=True)
class Found:
    """What one board answers about one kind of output."""

    device: str
    board: str | None
    prompts: str
    kind: str
    answer: Answer
    unranked: dict[str, str]  # configuration -> why it takes no part


def ask(board: Board, question: Question) -> list[Found]:
    """One answer a board, prompt set and kind of output. UnknownName, with near matches, for a device, kind or model
    that there is not."""
    if question.device is not None:
        board.device(question.device)
    every = [row for rows in board.rows.values() for row in rows]
    if question.model is not None and question.model not in (names := {*MODELS, *(row.model for row in every)}):
        raise unknown("model", question.model, names)
    if question.kind not in (None, ALL_KINDS):
        find_kind(question.kind, {kind(row) for row in every if row.source == "measured"})
    rows = [row for row in every if row.source == "measured" and asked_for(row, question)]
    found = []
    for (device, name, prompts), group in comparable(rows).items():
        for of, alike in kinds_of(group, question.kind).items():
            if any(row.on_frontier is not None for row in alike):
                got = answer(alike, qualities=board.qualities, limits=question.limits)
                reasons = {r.configuration: why for r in alike if (why := _why(r, question.limits.axis)) is not None}
                found.append(Found(device, name, prompts, of, got, reasons))
    return found


def asked_for(row: PublishedRow, question: Question) -> bool:
    return (
        question.device in (None, row.device)
        and question.model in (None, row.model)
        and question.conditioning in (None, conditioning(row))
    )


def conditioning(row: PublishedRow) -> str | None:
    """ "text", or "image" where a picture of the text is made first; None for a model that left the catalogue."""
    if row.model not in MODELS:
        return None
    return "image" if "image" in MODELS[row.model].conditioning else "text"


def kinds_of(rows: Sequence[PublishedRow], wanted: str | None) -> dict[str, list[PublishedRow]]:
    """The rows by kind: every one, one, or all in one group."""
    if wanted == ALL_KINDS:
        return {ALL_KINDS: list(rows)}
    return {name: group for name, group in by_kind(rows).items() if wanted in (None, name)}


def _why(row: PublishedRow, axis: str) -> str | None:
    return cells.why_not_ranked(row) if row.on_frontier is None else why_unranked(row, axis)


def literature(board: Board, question: Question) -> list[tuple[str, PublishedRow | None]]:
    """For each device that was asked about and has no measured row: the figure of others to name, of that device where
    there is one."""
    devices = [question.device] if question.device is not None else [*DEVICES]
    every = [row for rows in board.rows.values() for row in rows if row.source == "published"]
    asked = [row for row in every if asked_for(row, Question(model=question.model, conditioning=question.conditioning))]
    told = []
    for device in devices:
        rows = board.rows.get(device, [])
        if not any(row.source == "measured" for row in rows):
            own = [row for row in asked if row.device == device]
            limit = question.limits.max_latency_s
            told.append((device, nearest_published(own, limit) or nearest_published(asked, limit)))
    return told


def predicted(question: Question, device: str) -> list[Prediction]:
    """What a device without rows should do, beside the literature: no answer, and never ranked. Energy, quality and
    kind are not predicted, so that a question about these has none."""
    limits = question.limits
    if limits.max_energy_j is not None or limits.min_quality is not None or question.kind not in (None, ALL_KINDS):
        return []
    found = best_predicted(device, question.model, question.conditioning, limits.max_latency_s)
    if limits.max_memory_bytes is None:
        return found
    most = limits.max_memory_bytes
    return [p for p in found if p.peak_memory_bytes is not None and p.peak_memory_bytes.value <= most]


def published_words(device: str, row: PublishedRow | None, limit_s: float | None) -> str:
    """ "none within your 10 s: the paper needed 150 s on a T4" """
    if row is None:
        return f"{device}: nothing measured, and nothing published by others"
    what = f"{row.model} took {cells.time(row.latency_s)} on {row.device}"
    what += "" if row.r_precision is None else f" at R-Precision {cells.r_precision(row)}"
    if limit_s is not None and row.latency_s > limit_s:
        said = f"none within your {limit_s:g} s: as others published, {what}"
    else:
        said = f"as others published, {what}"
    return f"{device}: nothing measured; {said} ({row.source_note})"


def to_json(question: Question, found: Iterable[Found], told: Sequence[tuple[str, PublishedRow | None]]) -> str:
    """Question and answers; rows as in docs/published-rows.md, fractions and SI units."""
    data = {
        "question": asdict(question),
        "answers": [
            {
                "device": f.device,
                "board": f.board,
                "prompts": f.prompts,
                "kind": f.kind,
                "considered": f.answer.considered,
                "fitting": f.answer.fitting,
                "best": _row(f.answer.best),
                "top": _row(f.answer.top),
                "tied": [_row(row) for row in f.answer.tied],
                "nearest_miss": _miss(f.answer.nearest_miss),
                "unranked": f.unranked,
            }
            for f in found
        ],
        "published_by_others": [{"device": device, "row": _row(row)} for device, row in told],
        "predicted": [asdict(one) for device, _ in told for one in predicted(question, device)],
    }
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)


def _row(row: PublishedRow | None) -> dict | None:
    return None if row is None else row.model_dump(mode="json")


def _miss(miss: Miss | None) -> dict | None:
    if miss is None:
        return None
    return {"row": _row(miss.row), "why": miss.why, "excess": miss.excess if math.isfinite(miss.excess) else None}
