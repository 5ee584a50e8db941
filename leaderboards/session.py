"""One session told to the person who ran it: its own frontier, what it means, its objects side by side, what next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from leaderboards import cells
from leaderboards.rows import measured_rows
from leaderboards.terminal import show_frontier
from suite import sheets
from suite.catalogue.optimizations import REFERENCE
from suite.history import LOCAL, ROOT, HistoryError, read_session
from suite.judging.latency_units import speedup
from suite.pictures import read_picture
from suite.records import Measurement, PublishedRow, Status

CONTACT_SHEET = "contact sheet"  # an artefact's name
COLUMNS = 4  # prompts of which the sheet shows the objects


@dataclass(frozen=True)
class Session:
    path: Path
    measurements: list[Measurement]
    rows: list[PublishedRow]  # ranked among themselves

    @property
    def ok(self) -> list[PublishedRow]:
        return [row for row in self.rows if row.status == Status.OK]


def newest_session(folder: Path = LOCAL) -> Path:
    """The session file that was written last. HistoryError where there is none."""
    files = list(folder.glob("*/[0-9][0-9][0-9][0-9]_*.json"))
    if not files:
        raise HistoryError(f"{folder}: no session was saved there; `pytest --benchmark-save` saves one")
    return max(files, key=lambda path: path.stat().st_mtime)


def read(path: Path) -> Session:
    """HistoryError where the file is none of a session, or holds no measurement."""
    measurements = read_session(path).measurements
    if not measurements:
        raise HistoryError(f"{path}: no measurement in it")
    return Session(path, measurements, measured_rows(measurements))


def show(session: Session) -> None:
    """Print the session; draw its objects beside its file."""
    print(f"This session alone ({session.path.name}), on this machine:")
    for device, rows in groupby(session.rows, key=lambda row: row.device):
        show_frontier(device, list(rows), commands=False)
    for title, lines in (("What it means", meaning(session.ok)), ("What next", next_steps(session.ok))):
        print(f"\n{title}:")
        print("\n".join(f"  {line}" for line in lines))
    if (path := draw(session)) is not None:
        print(f"\nThe objects side by side: {_shown(path)}")


def meaning(rows: Sequence[PublishedRow]) -> list[str]:
    """Three sentences: the best step of each model, what the paper's recipe brings beside it, how sure that is."""
    best = [row for name in dict.fromkeys(row.model for row in rows) if (row := _best(rows, name)) is not None]
    if not best:
        return ["No row has a latency and a quality beside its reference, so nothing can be said."]
    said = [f"Without a loss that can be told from noise, {_listed([_gain(row) for row in best])}."]
    others = [row for row in rows if row.optimization != REFERENCE and row.speedup and row not in best]
    if others:
        said.append(f"Beside them, {_listed([_beside(row) for row in others])}.")
    said.append(_certainty(rows))
    return said


def _best(rows: Sequence[PublishedRow], model: str) -> PublishedRow | None:
    """The fastest of a model's rows whose quality is not below its reference's beyond noise."""
    fit = [
        row
        for row in rows
        if row.model == model
        and row.speedup is not None
        and row.optimization != REFERENCE
        and row.on_frontier is not None
        and (row.quality_difference_high is None or row.quality_difference_high >= 0)
        and row.quality_difference is not None
    ]
    return min(fit, key=lambda row: row.latency_s, default=None)


def _gain(row: PublishedRow) -> str:
    return (
        f"{row.model} makes an object in {_time(row.latency_s)} by {row.optimization}, {row.speedup:.3g} times as fast "
        f"as by {REFERENCE} ({cells.quality_difference(row)})"
    )


def _beside(row: PublishedRow) -> str:
    worse = row.quality_difference_high is not None and row.quality_difference_high < 0
    lost = f", but has lost {cells.quality_difference(row).lstrip(cells.MINUS)}" if worse else ""
    return f"{row.optimization} is {row.speedup:.3g} times as fast for {row.model}{lost}"


def _certainty(rows: Sequence[PublishedRow]) -> str:
    scored = [row for row in rows if row.prompts is not None]
    borrowed = [row for row in scored if row.outcomes_from is not None]
    widths = [
        (row.quality_difference_high - row.quality_difference_low) / 2
        for row in scored
        if row.quality_difference_low is not None and row.quality_difference_high is not None
    ]
    sure = (
        f"{min(row.prompts for row in scored)} prompts tell differences of about {100 * max(widths):.0f} points"
        if widths
        else ""
    )
    if not borrowed:
        return (
            f"{sure}; all prompts were scored in this session." if sure else "All prompts were scored in this session."
        )
    few = sorted({row.prompts_scored_here for row in borrowed})
    told = (
        f"{len(borrowed)} slow rows scored {_listed(list(map(str, few)))} prompts here, each with the outcome that the "
        f"committed history has, and take the others from there"
    )
    return f"{sure}; {told}." if sure else f"{told[0].upper()}{told[1:]}."


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 0.1 else f"{seconds:.3g} s"


def _listed(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])}, and {texts[-1]}"


def next_steps(rows: Sequence[PublishedRow]) -> list[str]:
    """Commands that go on from here."""
    device = rows[0].device if rows else "cpu"
    steps = [("make dashboard", "browse these rows beside the committed ones")]
    ranked = [row for row in rows if row.on_frontier]
    if ranked:
        row = min(ranked, key=lambda row: row.latency_s)
        steps.append(
            (f'.venv/bin/python -m suite.generate "a red cube" --configuration {row.configuration}', "make an object")
        )
    steps += [
        (
            f".venv/bin/python -m leaderboards frontier --device {device} --include-local --max-latency-s 1",
            "what fits a limit",
        ),
        (f".venv/bin/pytest -m {device} --benchmark-save", "the whole matrix of this machine"),
    ]
    width = max(len(command) for command, _ in steps)
    return [f"{command:{width}}  # {why}" for command, why in steps]


def draw(session: Session) -> Path | None:
    """Write the objects of all recipes side by side, beside the session's file; where to. None where no cell kept
    pictures."""
    rows, captions = [], []
    for m in session.measurements:
        sheet = ROOT / m.artefacts.get(CONTACT_SHEET, "") if m.artefacts.get(CONTACT_SHEET) else None
        if sheet is None or m.quality is None:
            continue
        try:
            pictures = sheets.pictures_of(read_picture(sheet), min(COLUMNS, len(m.quality.outcomes)))
        except ValueError:
            continue
        captions = captions or [outcome.prompt for outcome in m.quality.outcomes[:COLUMNS]]
        rows.append((_label(m), pictures))
    if not rows:
        return None
    path = session.path.with_suffix(".png")
    sheets.side_by_side(rows, captions).save(path)
    return path


def _label(m: Measurement) -> str:
    latency = "" if m.latency is None else _time(m.latency.median.value)
    times = speedup(m)
    speed = "" if times is None or m.optimization == REFERENCE else f", {times:.3g} times as fast"
    return f"{m.model}\n{m.optimization}\n{latency}{speed}"


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
