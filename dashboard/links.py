"""A link that pins a view: every value, also those that Streamlit leaves out of the URL, and the data's hash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlencode

from dashboard.words import in_markdown
from suite.names import shortened, unknown

DATA = "data"


def pinned(url: str | None, state: Mapping[str, object], digest: str) -> str:
    """The page's address with the whole state. An empty value stands for "none chosen"."""
    values = {name: "" if value is None else value for name, value in state.items()}
    return f"{(url or '').split('?')[0]}?{urlencode({**values, DATA: digest}, quote_via=quote)}"


def other_data(asked: str | None, digest: str) -> str | None:
    """What to say when a link was made from other data than is shown (Markdown); None when it was not."""
    if asked in (None, "", digest):
        return None
    return f"This link was made from the data {in_markdown(shortened(asked))}; shown is {digest}. Figures may differ."


def not_here(name: str, asked: object, shown: object, known: Iterable[str] = ()) -> str:
    """What to say of a value of a link that this page does not have (Markdown), and what it shows instead."""
    known, text = list(known), str(asked)
    what = str(unknown(name, text, known)) if known else f"{name}: {shortened(text)!r} cannot be shown"
    instead = "none" if shown is None else in_markdown(shown)
    return f"{in_markdown(what)}. Shown instead: {instead}."
