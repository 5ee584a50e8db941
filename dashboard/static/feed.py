"""An Atom feed (RFC 4287) of what got worse."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote
from xml.etree import ElementTree

from dashboard.changes import NAMES, Change, regressions, size_said, state
from dashboard.commits import told_of
from suite.records import Measurement

ATOM = "http://www.w3.org/2005/Atom"
ID = "tag:text3d-bench,2026:"
LONGEST = 50  # entries
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
BEGIN = "2020-01-01T00:00:00.000+00:00"  # of a feed on nothing: no measurement is older


def atom(pages: Iterable[tuple[str, Sequence[Change], Sequence[Measurement]]], missing: frozenset[str]) -> str:
    """From (page's file name, changes, measurements) of each board. Entries are the alarms and the cells that broke;
    steps are left out, since more nights may move them. The same history gives the same feed."""
    pages = list(pages)
    found = [(page, c) for page, its, _ in pages for c in regressions(its) if c.found_by != "step"]
    found.sort(key=lambda item: (item[1].told.measured_at, item[1].id), reverse=True)
    newest = max((m.measured_at for _, _, measurements in pages for m in measurements), default=BEGIN)
    ElementTree.register_namespace("", ATOM)
    feed = ElementTree.Element(f"{{{ATOM}}}feed")
    _add(feed, "title", "text3d-bench: what got worse")
    _add(feed, "id", f"{ID}regressions")
    _add(feed, "updated", newest)
    _add(_add(feed, "author"), "name", "text3d-bench")
    _add(feed, "link", rel="alternate", type="text/html", href="index.html")
    for page, change in found[:LONGEST]:
        _entry(feed, page, change, missing)
    ElementTree.indent(feed)
    return ElementTree.tostring(feed, encoding="unicode", xml_declaration=True) + "\n"


def _entry(feed: ElementTree.Element, page: str, change: Change, missing: frozenset[str]) -> None:
    m = change.first_bad
    entry = _add(feed, "entry")
    _add(entry, "title", f"{m.board}: {m.configuration}, {NAMES[change.quantity]} {size_said(change)}")
    _add(entry, "id", f"{ID}regression/{change.id}")
    _add(entry, "published", change.told.measured_at)
    _add(entry, "updated", (change.healed or change.told).measured_at)
    _add(entry, "link", rel="alternate", type="text/html", href=f"{quote(page)}#changes")
    good, bad = told_of(change.last_good, missing), told_of(m, missing)
    said = [f"Last good commit {good}, first bad {bad}.", f"Now: {state(change)}."]
    _add(entry, "content", " ".join(said + ([m.reason] if m.reason else [])), type="text")


def _add(parent: ElementTree.Element, name: str, text: str | None = None, **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, f"{{{ATOM}}}{name}", attributes)
    child.text = None if text is None else NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
    return child
