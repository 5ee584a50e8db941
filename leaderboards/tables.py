"""Rows as Markdown, CSV and JSON text. The same rows give the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

from leaderboards import cells, markdown, stages
from leaderboards.cells import Column
from leaderboards.frontier import comparable
from leaderboards.kinds import by_kind
from leaderboards.markdown import escaped
from leaderboards.places import summary
from suite.catalogue.devices import DEVICES
from suite.records import Fingerprint, PublishedRow, Status

GENERATED = "<!-- written by `python -m leaderboards publish`; changes made here are lost -->"
FIELDS = "[docs/published-rows.md](../../docs/published-rows.md)"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # beginnings
INDEX = (
    "One page a device; the same rows as data beside it. A measured row is ranked only with rows of the same board, "
    f"gallery and conditions; figures published by others are never ranked. Fields: {FIELDS}. "
    "The paper's optimizations beside ours: [reproduction.md](reproduction.md)."
)

MEASURED = [
    Column("", cells.mark),
    Column("configuration", lambda row: row.configuration),
    Column("latency", cells.latency),
    Column("speed-up", cells.speedup),
    Column("against the original", cells.against_original, optional=True),
    Column("over the floor", cells.over_floor, optional=True),
    Column("peak memory", cells.memory),
    Column("energy", cells.energy, optional=True),
    Column("R-Precision", cells.r_precision),
    Column("against fp32", cells.quality_difference),
    Column("rank", cells.rank, optional=True),
    Column("tie band", cells.tie_band, optional=True),
    Column("P(frontier)", cells.frontier_probability, optional=True),
    Column("of 3,001", cells.r_precision_3001, optional=True),
    Column("of every view", cells.worst_view, optional=True),
    Column("second judge", cells.second_opinion, optional=True),
    Column("kept", cells.attributes, optional=True),
    Column("F-score to fp32", cells.to_fp32, optional=True),
    Column("meshes", cells.meshes, optional=True),
    Column("Chamfer", cells.chamfer, optional=True),
    Column("diversity", cells.diversity, optional=True),
    Column("budgets", cells.budgets, optional=True),
    Column("notes", cells.notes, optional=True),
    Column("measured", cells.date),
    Column("commit", cells.commit),
]
FAILED = [
    Column("configuration", lambda row: row.configuration),
    Column("status", lambda row: row.status.value),
    Column("reason", lambda row: row.reason or cells.DASH),
    Column("board", lambda row: row.board or cells.DASH),
    Column("measured", cells.date),
    Column("commit", cells.commit),
]
PUBLISHED = [
    Column("configuration", lambda row: row.configuration),
    Column("latency", cells.latency),
    Column("against the original", cells.against_original),
    Column("R-Precision", cells.r_precision),
]


def to_json(rows: Sequence[PublishedRow]) -> str:
    """A list of rows; `docs/published-rows.md` describes the fields."""
    data = [row.model_dump(mode="json") for row in rows]
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(rows: Sequence[PublishedRow]) -> str:
    """The same fields as the JSON; null is an empty field, and a field with parts is JSON. No text is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PublishedRow.model_fields)
    for row in rows:
        writer.writerow([_csv_field(value) for value in row.model_dump(mode="json").values()])
    return text.getvalue()


def _csv_field(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else no_formula(value)


def no_formula(value: object) -> object:
    """For a CSV file: a text that a spreadsheet would compute is quoted by an apostrophe, as spreadsheets do.

    A history may come from anybody: https://owasp.org/www-community/attacks/CSV_Injection."""
    if not isinstance(value, str):
        return value
    text = f"'{value}" if value.startswith(FORMULA) else value
    # A carriage return is not quoted by the writer, and readers take it for a line's end.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def title(device: str) -> str:
    return f"{DEVICES[device].title} (`{device}`)" if device in DEVICES else f"{device.upper()} (`{device}`)"


def to_markdown(device: str, rows: Sequence[PublishedRow], fingerprints: Mapping[str, Fingerprint]) -> str:
    """One device's page: a section a board and prompt set, then by stage, what failed, and what others published."""
    measured = [row for row in rows if row.source == "measured"]
    published = [row for row in rows if row.source == "published"]
    failed = [row for row in measured if row.status != Status.OK]
    parts = [
        GENERATED,
        f"# {title(device)}",
        f"Fields: {FIELDS}. The same rows as data: [{device}.json]({device}.json), [{device}.csv]({device}.csv).",
    ]
    if measured:
        parts.append(
            "★ is on the frontier: no other row of its table, which holds one kind of output, beats it on latency, "
            "peak memory and R-Precision at once, differences within noise aside (`leaderboards/frontier.py` has the "
            "rule). What is no better than chance has failed quality and is not ranked, nor is a smoke run beside full "
            "ones. Rows are sorted by R-Precision; rows of one tie band cannot be told from its best. Intervals are "
            "95 %. `P(frontier)` is the chance that no row of the kind beats it ([how](../../docs/choosing.md)). A "
            "cell is repeated by "
            '`pytest "suite/test_configurations.py::test_configuration[CONFIGURATION]"`.'
        )
    else:
        parts.append("Nothing was measured on this device yet.")
    for (_, board, prompts), group in comparable(row for row in measured if row.status == Status.OK).items():
        parts += [f"## Board {board or 'unknown'}, {prompts} prompts", _conditions(group, fingerprints)]
        parts += [said] if (said := cells.sessions(group)) is not None else []
        for kind, alike in by_kind(group).items():
            said = summary(alike, kind)
            parts += [f"**{escaped(kind)}**" + (f", {escaped(said)}" if said else "")]
            parts += [_table(cells.best_first(alike), MEASURED)]
    for board in dict.fromkeys(row.board for row in measured):
        parts += stages.sections(board, [row for row in measured if row.board == board])
    if failed:
        parts += ["## Not measured to the end", _table(failed, FAILED)]
    if published:
        parts += [
            "## Published by others",
            (
                "Not measured here, on other boards and by other protocols: for reference, "
                "never ranked with the rows above."
            ),
            _published(published),
        ]
    return "\n\n".join(parts) + "\n"


def _published(rows: Sequence[PublishedRow]) -> str:
    """The table, and below it each source once."""
    sources = list(dict.fromkeys(row.source_note or "source not recorded" for row in rows))

    def number(row: PublishedRow) -> str:
        return f"[{sources.index(row.source_note or 'source not recorded') + 1}]"

    listed = [f"[{n}] {escaped(source)}." for n, source in enumerate(sources, start=1)]
    return "\n\n".join([_table(rows, [*PUBLISHED, Column("source", number)]), *listed])


def _conditions(rows: Sequence[PublishedRow], fingerprints: Mapping[str, Fingerprint]) -> str:
    """Under what the rows were measured, a line for each set of conditions; more than one is a warning in itself."""
    lines: dict[str, int] = {}
    for row in rows:
        printed = fingerprints.get(row.fingerprint_id or "")
        known = (
            []
            if printed is None
            else [
                ("chip", printed.chip),
                ("driver", printed.driver),
                ("power mode", printed.power_mode),
                ("clocks", printed.clocks),
                ("threads", printed.threads),
                ("settings", printed.settings),
                ("Python", printed.python),
                ("torch", printed.torch),
            ]
        )
        scored = "not scored" if row.prompts is None else f"{row.prompts} prompts scored"
        facts = [f"{name} {value}" for name, value in known if value is not None] or ["conditions not recorded"]
        line = ", ".join([*facts, f"protocol {row.protocol}", scored])
        lines[line] = lines.get(line, 0) + 1
    if len(lines) == 1:
        return escaped(next(iter(lines))) + "."
    return "\n".join(f"- {escaped(line)} ({count} row{'s' * (count > 1)})" for line, count in sorted(lines.items()))


def _table(rows: Sequence[PublishedRow], wanted: list[Column]) -> str:
    chosen = cells.columns(list(rows), wanted)
    return markdown.table([c.title for c in chosen], ([column.text(row) for column in chosen] for row in rows))


def index(rows_by_device: Mapping[str, Sequence[PublishedRow]]) -> str:
    """The README of the published folder."""
    lines = [
        GENERATED,
        "# Leaderboards",
        INDEX,
    ]
    table = [
        "| device | measured | on the frontier | failed | published by others | newest measurement |",
        "| " + "--- | " * 5 + "--- |",
    ]
    for device, rows in rows_by_device.items():
        measured = [row for row in rows if row.source == "measured"]
        failed = sum(row.status != Status.OK for row in measured)
        newest = max((row.measured_at for row in measured if row.measured_at), default="")[:10] or cells.DASH
        counts = [
            len(measured) - failed,
            sum(row.on_frontier is True for row in rows),
            failed,
            len(rows) - len(measured),
        ]
        table.append(f"| [{device}]({device}.md) | {' | '.join(map(str, counts))} | {newest} |")
    return "\n\n".join([*lines, "\n".join(table)]) + "\n"
