"""A link that pins a view: every value, also those that Streamlit leaves out of the URL, and the data's hash."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

DATA = "data"


def pinned(url: str | None, state: Mapping[str, object], digest: str) -> str:
    """The page's address with the whole state. An empty value stands for "none chosen"."""
    values = {name: "" if value is None else value for name, value in state.items()}
    return f"{(url or '').split('?')[0]}?{urlencode({**values, DATA: digest}, quote_via=quote)}"


def other_data(asked: str | None, digest: str) -> str | None:
    """What to say when a link was made from other data than is shown; None when it was not."""
    if asked in (None, "", digest):
        return None
    return f"This link was made from the data {asked}; shown is {digest}. Figures may differ."
