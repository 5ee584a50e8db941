"""Figures that others published, read from `literature.toml`: reference rows, never ranked."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from suite.records import PublishedRow, Record, Status, first_error
from suite.toml import tomllib

FILE = Path(__file__).parent / "literature.toml"


class MalformedLiterature(ValueError):
    """Names the file, the row and the key."""


class LiteratureRow(Record):
    """One `[[row]]` of the file. Seconds and fractions; `sources` are keys of its table `[sources]`."""

    model: str
    optimization: str = "original"
    device: str
    latency_s: float | None = None
    r_precision: float | None = None
    speedup_vs_original: float | None = None
    sources: list[str] = Field(min_length=1)


def literature_rows(path: Path = FILE) -> list[PublishedRow]:
    """The published figures as rows, in the file's order, each with where it stands."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise MalformedLiterature(f"{path}: {error}") from None
    rows = []
    for number, entry in enumerate(data.get("row", []), start=1):
        try:
            row = LiteratureRow.model_validate(entry)
        except ValidationError as error:
            raise MalformedLiterature(f"{path}: row {number}: {first_error(error)}") from None
        absent = [name for name in row.sources if name not in data.get("sources", {})]
        if absent:
            raise MalformedLiterature(f"{path}: row {number}: no [sources] entry {', '.join(absent)}")
        rows.append(_published(row, "; ".join(data["sources"][name] for name in row.sources)))
    return rows


def _published(row: LiteratureRow, note: str) -> PublishedRow:
    return PublishedRow(
        protocol=None,  # the authors' own, not ours
        configuration=f"{row.model}/{row.optimization}@{row.device}",
        board=None,
        source="published",
        source_note=note,
        status=Status.OK,
        **row.model_dump(exclude={"sources"}),
    )
