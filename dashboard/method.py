"""What the page *Method* shows: the documents themselves, made fit for a page. Without streamlit."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dashboard.data import ROOT

METHOD, WORDS, CITATION = ROOT / "docs" / "method.md", ROOT / "docs" / "words.md", ROOT / "CITATION.cff"


@dataclass(frozen=True)
class Entry:
    """A word and what it means (Markdown)."""

    word: str
    meaning: str


def method() -> list[tuple[str, str]]:
    """(heading, text) of each section, the first without a heading."""
    first, *others = re.split(r"^## ", METHOD.read_text(encoding="utf-8"), flags=re.MULTILINE)
    intro = first.partition("\n")[2].strip()
    sections = [text.partition("\n") for text in others]
    return [("", on_a_page(intro)), *((heading.strip(), on_a_page(text.strip())) for heading, _, text in sections)]


def glossary() -> list[Entry]:
    """The words in the order of the document, a line of which may explain several."""
    found = []
    for line in WORDS.read_text(encoding="utf-8").splitlines():
        if line.startswith("**"):
            found.append(Entry(" ".join(re.findall(r"\*\*(.+?)\*\*", line)), on_a_page(line)))
    return found


def looked_up(entries: list[Entry], asked: str) -> list[Entry]:
    """Those that have all these words, in any case."""
    return [e for e in entries if all(word in e.meaning.casefold() for word in asked.casefold().split())]


def citation() -> str:
    return CITATION.read_text(encoding="utf-8")


def on_a_page(markdown: str) -> str:
    """A link to another document of the repository as its name: a page cannot follow it."""
    return re.sub(r"\[[^\]]*\]\((?!https?:)([^)#]+)[^)]*\)", r"`docs/\1`", markdown)
