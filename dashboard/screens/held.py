"""The uploaded files of one browser session: they live in its state and nowhere else. Glue only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import streamlit as st

from dashboard import uploads
from leaderboards.frontier import Key
from leaderboards.rows import qualities
from suite.records import Quality

UPLOADS, ROUND = "uploads", "round of uploads"  # by hash; how often they were forgotten


def every() -> list[uploads.Upload]:
    return list(st.session_state.get(UPLOADS, {}).values())


def keep(files: Iterable[tuple[str, bytes]]) -> list[uploads.Upload]:
    """Read these files (name, content) and keep them beside those of before; all of them."""
    held = st.session_state.setdefault(UPLOADS, {})
    for name, content in files:
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 not in held:
            room = uploads.MOST_CELLS - sum(len(upload.history.measurements) for upload in held.values())
            held[sha256] = uploads.read(name, content, room)
    return every()


def forget() -> None:
    st.session_state.pop(UPLOADS, None)
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1


def widget_key() -> str:
    """Another one after each `forget`: a widget of a new name begins empty."""
    return f"files {st.session_state.get(ROUND, 0)}"


def outcomes() -> dict[Key, Quality]:
    """Prompt by prompt, of uploaded rows."""
    return qualities(m for upload in every() for m in upload.history.measurements)
