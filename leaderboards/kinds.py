"""What a row delivers: a mesh, or so many points that a network made. Only rows of one kind share a frontier.

A cloud that was filled up with copies counts by the points that were generated: copies cost nothing and bring nothing
that a renderer could not draw.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from suite.configurations import UnknownName, find
from suite.names import unknown
from suite.records import PublishedRow

ALL_KINDS = "all kinds"
MESH, UNKNOWN = "mesh", "unknown output"
_GENERATED = re.compile(r"(\d[\d,]{0,11}) of them generated")
_MARKUP = re.compile(r"[\x00-\x1f`\[\]<>|!]")  # what `suite.fields.PlainName` refuses
_POINTS = re.compile(r"point cloud of (\d[\d,]{0,11}) points")


def kind(row: PublishedRow) -> str:
    """ "mesh", "point cloud (256)", or the output's own words."""
    return row.kind or kind_of(row.configuration, row.output)


def kind_of(configuration: str, output: str | None) -> str:
    """Records from before outputs told copies apart (`output` says "of 1,024 points" of 256 and their copies) are
    settled by their recipe."""
    if output is None:
        return UNKNOWN
    if "mesh" in output:
        return MESH
    found = _GENERATED.search(output) or _GENERATED.search(_output_today(configuration)) or _POINTS.search(output)
    if found is None:
        return _MARKUP.sub(" ", output).strip()[:100] or UNKNOWN
    return f"point cloud ({int(found[1].replace(',', '')):,})"


def _output_today(configuration: str) -> str:
    try:
        return find(configuration).output
    except UnknownName:
        return ""


def by_kind(rows: Iterable[PublishedRow]) -> dict[str, list[PublishedRow]]:
    """The rows of each kind, the kind with the most rows first."""
    groups: dict[str, list[PublishedRow]] = {}
    for row in rows:
        groups.setdefault(kind(row), []).append(row)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))


def find_kind(name: str, known: Iterable[str]) -> str:
    """The kind of that name, or UnknownName with the nearest ones."""
    known = set(known)
    if name not in known:
        raise unknown("kind", name, known)
    return name
