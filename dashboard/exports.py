"""What is seen, to take along: CSV, JSON, Markdown and Parquet of rows or of a table. Without streamlit."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas

from dashboard.tables import measured_table
from leaderboards import cells, markdown
from leaderboards.tables import no_formula, to_csv, to_json
from suite.records import PublishedRow


@dataclass(frozen=True)
class Export:
    """One format; `make` writes the file's content."""

    label: str
    ending: str
    mime: str
    make: Callable[[], bytes]


def of_rows(rows: Sequence[PublishedRow], missing: frozenset[str] = frozenset()) -> list[Export]:
    """Every field of these rows, fractions as 0–1 and null as nothing; Markdown has the table as it is shown."""
    return [
        Export("CSV", "csv", "text/csv", lambda: to_csv(rows).encode()),
        Export("JSON", "json", "application/json", lambda: to_json(rows).encode()),
        Export("Markdown", "md", "text/markdown", lambda: _markdown(measured_table(rows, missing))),
        Export("Parquet", "parquet", "application/vnd.apache.parquet", lambda: _parquet(_flat(rows))),
    ]


def of_table(table: pandas.DataFrame) -> list[Export]:
    """A table as it is shown, in its units."""
    return [
        Export("CSV", "csv", "text/csv", partial(_csv, table)),
        Export("JSON", "json", "application/json", partial(_json, table)),
        Export("Markdown", "md", "text/markdown", partial(_markdown, table)),
        Export("Parquet", "parquet", "application/vnd.apache.parquet", partial(_parquet, table)),
    ]


def _flat(rows: Sequence[PublishedRow]) -> pandas.DataFrame:
    """A column a field; one that has parts is JSON, as in the CSV."""
    lines = [row.model_dump(mode="json") for row in rows]
    parts = {name for line in lines for name, value in line.items() if isinstance(value, dict)}
    for line in lines:
        line |= {name: json.dumps(line[name], ensure_ascii=False) for name in parts}
    return pandas.DataFrame(lines, columns=list(PublishedRow.model_fields))


def _csv(table: pandas.DataFrame) -> bytes:
    return table.map(no_formula).to_csv(index=False, lineterminator="\n").encode()


def _json(table: pandas.DataFrame) -> bytes:
    return (table.to_json(orient="records", indent=1, force_ascii=False) + "\n").encode()


def _markdown(table: pandas.DataFrame) -> bytes:
    lines = ([_said(value) for value in line] for line in table.itertuples(index=False))
    return (markdown.table([str(name) for name in table.columns], lines) + "\n").encode()


def _said(value: object) -> str:
    if value is None or value != value:  # NaN, which pandas makes of None
        return cells.DASH
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _parquet(table: pandas.DataFrame) -> bytes:
    """Columns of several types, such as figures and dashes, become texts."""
    content = io.BytesIO()
    mixed = [name for name in table if len({type(value) for value in table[name].dropna()}) > 1]
    table.assign(**{name: table[name].map(_said) for name in mixed}).to_parquet(content, index=False)
    return content.getvalue()
