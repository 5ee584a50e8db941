"""Texts from files, to stand on a page as what they are: no markup, no link, no picture."""

from __future__ import annotations

import html
import re


def in_markdown(text: object) -> str:
    """For Streamlit's Markdown, which knows colours, icons and formulas besides."""
    one_line = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]()#+!|<>~:$&])", r"\\\1", one_line)


def in_html(text: object) -> str:
    """For a page, and for Plotly's labels, which know some HTML."""
    return html.escape(" ".join(str(text).split()))
