"""Markdown tables whose cells cannot break them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    written = [list(heads), ["---"] * len(heads), *([escaped(text) for text in line] for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in written)


def escaped(text: str) -> str:
    """One line that cannot break a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
