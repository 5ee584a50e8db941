"""What the first page says: a card a board, and what to take there of each kind of output. Without streamlit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import pandas

from dashboard import ages, data
from dashboard.answers import HARD_SPACE
from dashboard.changes import Change
from dashboard.verdicts import WORDS
from dashboard.words import in_markdown
from leaderboards import cells
from leaderboards.choice import Answer, answer
from leaderboards.frontier import key
from leaderboards.kinds import by_kind
from suite.catalogue.devices import DEVICES
from suite.nights.night import NightReport
from suite.records import NOT_RUN, Measurement, PublishedRow, Quality, Status

WHAT = (
    "You type a text, and a network makes a 3D object of it. This bench measures what that costs on small machines: "
    "each *configuration* is a model, a way to make it cheaper (a *recipe*), and a device. For each stand here its "
    "latency (seconds an object), its peak memory, and its quality."
)
QUALITY = (
    "**Quality is CLIP R-Precision**: how often another network, shown pictures of the object, picks the right text "
    "among 153. Guessing would be right in 0.7 %."
)
HOW_TO_BEGIN = """**Nothing has been measured yet.** Type, in a checkout of this repository:

    make bench        # measures this machine in 5 minutes
    make dashboard    # shows it here

On a board: `pytest -m orin --benchmark-save`, then `make dashboard`. A run that somebody sent you can be looked at on
the page *Upload*."""


@dataclass(frozen=True)
class Pick:
    """What is ranked of one kind of output, and what to take of it without limits."""

    prompts: str
    kind: str
    rows: int
    ranked: int
    answer: Answer
    why_not: tuple[str, ...] = ()  # the reasons of rows that are not ranked, the commonest first


@dataclass(frozen=True)
class Card:
    """One board: rows of its tables, and its runs at hand, oldest first."""

    device: str
    board: str
    rows: tuple[PublishedRow, ...]
    runs: tuple[Measurement, ...]

    @property
    def name(self) -> tuple[str, str]:
        return self.device, self.board

    @property
    def chips(self) -> list[str]:
        return sorted({m.fingerprint.chip for m in self.runs if m.fingerprint})

    @property
    def newest(self) -> str:
        moments = [row.measured_at for row in self.rows] + [m.measured_at for m in self.runs]
        return max(moment or "" for moment in moments)

    @property
    def failed(self) -> list[PublishedRow]:
        return [row for row in self.rows if row.status != Status.OK and row.status not in NOT_RUN]

    @cached_property
    def picks(self) -> list[Pick]:
        behind = qualities_of(self.rows, self.runs)
        sets = data.comparisons(self.rows, self.device, self.board)
        return [
            _pick(prompts, kind, alike, behind)
            for prompts, group in sets.items()
            for kind, alike in by_kind(group).items()
        ]


def _pick(prompts: str, kind: str, rows: Sequence[PublishedRow], behind: Mapping[tuple, Quality]) -> Pick:
    reasons = Counter(why for row in rows if (why := cells.why_not_ranked(row)) is not None)
    ranked = sum(row.on_frontier is not None for row in rows)
    found = answer(rows, qualities=behind)
    return Pick(prompts, kind, len(rows), ranked, found, tuple(why for why, _ in reasons.most_common()))


def cards(rows: Sequence[PublishedRow], measurements: Sequence[Measurement]) -> list[Card]:
    """Every board that measured, in the pages' order; the device of the first one is that on which they open."""
    found = []
    first = data.first_device(rows)
    every = dict.fromkeys([first, *data.devices(rows), *sorted({m.device for m in measurements})])
    for device in every:
        of_device = [m for m in measurements if m.device == device]
        names = dict.fromkeys([*data.boards(rows, device), *data.boards_measured(rows, of_device, device)])
        for board in names:
            its = tuple(m for m in of_device if (m.board or data.UNIDENTIFIED) == board)
            found.append(Card(device, board, tuple(data.of_board(rows, device, board)), its))
    return found


def qualities_of(rows: Iterable[PublishedRow], runs: Iterable[Measurement]) -> dict[tuple, Quality]:
    """Outcomes prompt by prompt of the very runs that these rows were made of."""
    of = {key(row): row.measured_at for row in rows}
    return {key(m): m.quality for m in runs if m.quality is not None and of.get(key(m)) == m.measured_at}


# What is said (Markdown)


def heading(card: Card) -> str:
    return f"**{in_markdown(card.board)}**"


def facts(card: Card, at: datetime) -> str:
    """Its device, its chip, how old its newest run is."""
    device = DEVICES[card.device].title if card.device in DEVICES else card.device
    chips = ", ".join(card.chips) or "chip not recorded"
    return " · ".join(in_markdown(part) for part in (device, chips, f"measured {ages.age(card.newest, at)}"))


def health(card: Card, report: NightReport | None, changes: Sequence[Change]) -> str:
    """How the newest session went, which cells failed, and what it changed."""
    said = []
    if report is None:
        said.append("Its runs are not at hand, so only its table is shown.")
    else:
        said.append(f"Newest session: {WORDS[report.verdict]}.")
        told = [change for change in changes if change.told.session == report.session]
        healed = [change for change in changes if change.healed and change.healed.session == report.session]
        words = [f"{len(told)} changed in it"] if told else []
        words += [f"{len(healed)} became as before"] if healed else []
        said += [f"Since last time: {' and '.join(words)}."] if words else []
    if failed := card.failed:
        said.append(f"{len(failed)} cell{'s' if len(failed) > 1 else ''} failed.")
    if not card.rows:
        said.append("Not in the tables yet: `python -m leaderboards publish --include-local`.")
    return " ".join(said)


def pick_said(pick: Pick, of_several_sets: bool = False) -> str:
    """What to take of one kind, with its figures, or why nothing is ranked."""
    kind = f"**{in_markdown(pick.kind)}**" + (f" (prompts: {in_markdown(pick.prompts)})" if of_several_sets else "")
    best = pick.answer.best
    if best is None:
        return f":gray[{kind}: none of {pick.rows} rows is ranked: {in_markdown('; '.join(pick.why_not))}]"
    figures = f"{cells.time(best.latency_s)}, {cells.memory(best)}, R-Precision {cells.r_precision(best)}"
    tied = f"; {len(pick.answer.tied)} slower ones are as good within noise" if pick.answer.tied else ""
    recipe = best.configuration.partition("@")[0]
    return (
        f"{kind}: take `{recipe}`: {figures.replace(' ', HARD_SPACE)}{tied}. "
        f":gray[{pick.ranked} of {pick.rows} rows ranked]"
    )


def table(found: Sequence[Card], at: datetime) -> pandas.DataFrame:
    """A line a board and kind of output, for many boards and for export."""
    return pandas.DataFrame(
        {
            "board": card.board,
            "device": card.device,
            "chip": ", ".join(card.chips) or cells.DASH,
            "kind": pick.kind if pick else cells.DASH,
            "rows": pick.rows if pick else 0,
            "ranked": pick.ranked if pick else 0,
            "best pick": pick.answer.best.configuration.partition("@")[0] if pick and pick.answer.best else cells.DASH,
            "its latency": cells.latency(pick.answer.best) if pick and pick.answer.best else cells.DASH,
            "its peak memory": cells.memory(pick.answer.best) if pick and pick.answer.best else cells.DASH,
            "its R-Precision": cells.r_precision(pick.answer.best) if pick and pick.answer.best else cells.DASH,
            "failed": len(card.failed),
            "newest run, UTC": card.newest[:16].replace("T", " "),
            "age": ages.age(card.newest, at),
        }
        for card in found
        for pick in card.picks or [None]
    )
