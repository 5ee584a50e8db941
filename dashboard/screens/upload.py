"""The page *Upload*: runs of somebody else beside ours, in this browser session only. Glue only."""

import pandas
import streamlit as st

from dashboard import uploads
from dashboard.screens import choosing, held

rows, digest = choosing.begin("Look at runs that were measured elsewhere")
st.markdown(
    "Drop history files here: the JSON of a session (`.benchmarks/<board>/0001_….json`, `leaderboards/history/…`), or "
    "one file of a journal. They are checked as every other file is, and stand beside ours as boards of their own, "
    "named *uploaded …*, on every page. **They are kept in this browser session only**: nothing is written to disk, "
    "nobody else sees them, and reloading the page forgets them. A link cannot lead to them."
)
dropped = st.file_uploader(
    f"History files, at most {uploads.LIMIT_MB} MB each and {uploads.MOST_CELLS:,} cells together",
    type="json",
    accept_multiple_files=True,
    max_upload_size=uploads.LIMIT_MB,
    key=held.widget_key(),
)
kept = held.keep((file.name, file.getvalue()) for file in dropped)
if kept:
    said = {
        "file": [upload.name for upload in kept],
        "cells": [len(upload.history.measurements) for upload in kept],
        "boards": [", ".join(sorted({m.board for m in upload.history.measurements})) or "–" for upload in kept],
        "not read": [len(upload.history.problems) for upload in kept],
    }
    st.dataframe(pandas.DataFrame(said), hide_index=True, height="content")
    problems = [line for upload in kept for line in upload.history.problems]
    if problems:
        st.markdown("##### What was not read")
        st.code("\n".join(problems), language=None)
    boards = dict.fromkeys((m.device, m.board) for upload in kept for m in upload.history.measurements)
    for device, board in list(boards)[:8]:
        first, second, third = st.columns([3, 2, 2])
        first.text(f"{board}, {device}")
        where = {"device": device, "board": board}
        second.page_link("screens/frontier.py", label="Rows", query_params=where)
        third.page_link("screens/health.py", label="Health", query_params=where)
    if boards:
        st.page_link("screens/compare.py", label="Compare with ours", query_params={"of": "boards"})
    st.button("Forget them", icon=":material/delete:", on_click=held.forget)
choosing.show_link({}, digest)
