"""Tables of published rows, and what stands beside them. Without streamlit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas

from dashboard.commits import told
from dashboard.data import ROOT, place, why_no_point
from leaderboards import cells
from leaderboards.kinds import kind
from leaderboards.rows import repeat_command
from leaderboards.stages import over_floor
from suite.pictures import is_picture
from suite.records import PublishedRow, Status, Verdict

FORMATS = {  # of the number columns, as sprintf writes them
    "latency, s": "%.3g",
    "speedup": "×%.2f",
    "… of fp32's, s": "%.3g",
    "to the original": "×%.2f",
    "memory, MB": "%.1f",
    "R-Precision, %": "%.1f",
    "R-Precision of 3,001, %": "%.1f",
    "prompts": "%d",
    "tie band": "%d",
    "P(frontier), %": "%.0f",
    "over the floor": "×%.2f",
    "diversity": "%.4g",
}
OPTIONAL = ("tie band", "P(frontier), %", "to the original", "over the floor", "R-Precision of 3,001, %", "diversity")
PICTURES = {".png", ".jpg", ".jpeg", ".webp"}


def measured_table(
    rows: Sequence[PublishedRow], missing: frozenset[str] = frozenset(), axis: str = "r_precision"
) -> pandas.DataFrame:
    """All rows of a board, failed ones too, the best first. axis: the quality that they are ranked by.

    Figures are in the units that the column names, percent for fractions, so that columns sort as numbers.
    The columns of OPTIONAL are left out where no row has a figure. `missing`: commits that are not in this repository.
    """
    table = pandas.DataFrame(
        {
            "configuration": row.configuration,
            "place": place(row),
            "status": row.status.value,
            "latency, s": row.latency_s,
            "latency, 95 %": _bounds(
                row.latency_low_s, row.latency_high_s, lambda seconds: cells.plain_seconds(seconds, like=row.latency_s)
            ),
            "memory, MB": _scaled(row.peak_memory_bytes, 1e-6),
            "R-Precision, %": _scaled(row.r_precision, 100),
            "R-Precision, 95 %": _bounds(row.r_precision_low, row.r_precision_high, lambda share: f"{100 * share:.1f}"),
            "to fp32, points": cells.quality_difference(row).replace(" points", ""),
            "rank": cells.rank(row),
            "tie band": row.tie_band,
            "P(frontier), %": _scaled(row.frontier_probability, 100),
            "remarks": remarks(row, axis),
            "budgets": verdicts(row),
            "speedup": row.speedup,
            "… of fp32's, s": cells.reference_latency(row),
            "to the original": row.speedup_vs_original,
            "over the floor": over_floor(row.latency_s, row.floor_s),
            "R-Precision of 3,001, %": _scaled(row.r_precision_3001, 100),
            "diversity": row.diversity,
            "prompts": row.prompts,
            "measured at, UTC": _minute(row.measured_at),
            "commit": told(row.commit, missing),
            "session": row.session or cells.DASH,
            "fingerprint": row.fingerprint_id or cells.DASH,
            "repeat with": repeat_command(row),
        }
        for row in cells.best_first(list(rows))
    )
    return table.drop(columns=[name for name in OPTIONAL if name in table and table[name].isna().all()])


def literature_table(rows: Sequence[PublishedRow]) -> pandas.DataFrame:
    """Published figures, each with its source."""
    return pandas.DataFrame(
        {
            "configuration": row.configuration,
            "latency, s": row.latency_s,
            "speedup": row.speedup_vs_original,
            "R-Precision, %": _scaled(row.r_precision, 100),
            "source": row.source_note or cells.DASH,
        }
        for row in rows
    )


def facts(row: PublishedRow, missing: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """A row's details as (name, words), only what is known."""
    process = row.process_peak_memory_bytes
    found = {
        "status": row.status.value,
        "place": place(row),
        "latency": cells.latency(row),
        "… over the roofline floor": cells.over_floor(row),
        "peak memory": cells.memory(row),
        "… of the process": cells.DASH if process is None else cells.plain_bytes(process),
        "R-Precision of 153": cells.r_precision(row),
        "… of 3,001": cells.r_precision_3001(row),
        "rank by quality": cells.rank(row),
        "chance of the frontier": cells.frontier_probability(row),
        "difference to fp32": cells.quality_difference(row),
        "budgets": verdicts(row),
        "remarks": remarks(row),
        "speedup to fp32": cells.speedup(row),
        "… to the original code": cells.against_original(row),
        "of 153 from every view": cells.worst_view(row),
        "by the second judge": cells.second_opinion(row),
        "kept": cells.attributes(row),
        "F-score to fp32's object": cells.to_fp32(row),
        "meshes": cells.meshes(row),
        "energy an object": cells.energy(row),
        "Chamfer to the ground truth": cells.chamfer(row),
        "Chamfer between two of a prompt": cells.diversity(row),
        "output": row.output,
        "kind": kind(row),
        "weights": row.weights,
        "prompts": None if row.prompts is None else str(row.prompts),
        "measured at": None if row.measured_at is None else f"{_minute(row.measured_at)} UTC",
        "commit": told(row.commit, missing),
        "protocol": row.protocol,
        "fingerprint": row.fingerprint_id,
    }
    return [(name, said) for name, said in found.items() if said and said != cells.DASH]


def verdicts(row: PublishedRow) -> str:
    """What is not a pass by name, passes by number: "over-budget: r_precision; pass: 2"."""
    if not row.verdicts:
        return cells.DASH
    counts = Counter(row.verdicts.values())
    said = []
    for verdict, count in sorted(counts.items(), key=lambda item: item[0] == Verdict.PASS):
        names = [name for name, found in row.verdicts.items() if found == verdict]
        said.append(f"{verdict.value}: {count if verdict == Verdict.PASS else ', '.join(names)}")
    return "; ".join(said)


def remarks(row: PublishedRow, axis: str = "r_precision") -> str:
    """Why it failed, why it is not ranked, and what makes it another kind than its neighbours."""
    notes = cells.notes(row, axis)
    if row.status != Status.OK:
        # The status stands in a column of its own: "not ranked: status crashed" adds nothing.
        notes = "; ".join(note for note in notes.split("; ") if not note.startswith("not ranked: status"))
    return "; ".join(said for said in (row.reason, notes) if said and said != cells.DASH)


def pictures(row: PublishedRow) -> dict[str, Path]:
    """Artefacts that are pictures and exist below the repository, by name."""
    root, found = ROOT.resolve(), {}
    for name, path in row.artefacts.items():
        target = (root / path).resolve()
        if target.suffix.lower() in PICTURES and target.is_relative_to(root) and target.is_file():
            found[name] = target
    return found


def shown_pictures(row: PublishedRow) -> dict[str, Path]:
    """Those that may be given to the page, which opens every format that Pillow knows."""
    return {name: path for name, path in pictures(row).items() if is_picture(path)}


def summary(rows: Iterable[PublishedRow]) -> str:
    """ "9 rows: 7 ok, 1 crashed, 1 unsupported"."""
    rows = list(rows)
    counts = Counter(row.status for row in rows)
    told = ", ".join(f"{counts[status]} {status.value}" for status in Status if counts[status])
    return f"{len(rows)} row{'s' if len(rows) != 1 else ''}: {told}."


def provenance(rows: Iterable[PublishedRow]) -> str:
    """When, by which code and protocol the rows were measured."""
    rows = list(rows)
    dates = sorted({_minute(row.measured_at) for row in rows if row.measured_at})
    said = [f"Measured {dates[0]}" + (f" to {dates[-1]}" if dates[1:] else "") + " UTC"] if dates else []
    for name, values in (
        ("commit", {cells.commit(row) for row in rows if row.commit}),
        ("protocol", {row.protocol for row in rows if row.protocol}),
    ):
        if values:
            said.append(f"{name}{'s' if len(values) > 1 else ''} {', '.join(sorted(values))}")
    return f"{'; '.join(said)}." if said else ""


def legend(rows: Sequence[PublishedRow], show_unranked: bool) -> str:
    """What the figure's marks mean, and every row that has none, by name."""
    largest = max((row.peak_memory_bytes for row in rows if row.peak_memory_bytes), default=None)
    said = ["Whiskers: 95 % intervals."]
    if largest:
        said.append(f"Marker area: peak memory, the largest {cells.plain_bytes(largest)}.")
    said.append(
        "Steps: best quality within a latency; a point of the frontier below them has its place by its memory, or "
        "because noise hides whether it is beaten."
    )
    hidden = [row for row in rows if row.on_frontier is None and row.r_precision is not None]
    if hidden and not show_unranked:
        said.append(f"Hidden by choice, not ranked: {_names(hidden)}.")
    absent = [row for row in rows if row.r_precision is None]
    if absent:
        said.append(f"Without a mark: {_names(absent, why_no_point)}.")
    return " ".join(said)


def how_to_measure(device: str) -> str:
    """What to do where a device has no measured rows (Markdown)."""
    return (
        f"Measure on such a machine, then write the tables:\n\n"
        f"    pytest -m {device} --benchmark-save\n"
        f"    python -m leaderboards publish --include-local\n\n"
        f"`python -m leaderboards keep FILE` copies a run into the committed history, which `publish` reads by itself."
    )


def _names(rows: Sequence[PublishedRow], why: Callable[[PublishedRow], str] | None = None) -> str:
    return ", ".join(f"{row.model}/{row.optimization}" + (f" ({why(row)})" if why else "") for row in rows)


def _bounds(low: float | None, high: float | None, text: Callable[[float], str]) -> str:
    return cells.DASH if low is None or high is None else f"{text(low)} to {text(high)}"


def _minute(measured_at: str | None) -> str:
    return cells.DASH if measured_at is None else measured_at[:16].replace("T", " ")


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
