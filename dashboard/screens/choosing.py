"""What every page begins and ends with: the rows, the device and its board, the link that pins a view. Glue only."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard import data, links, tables
from leaderboards.kinds import ALL_KINDS, by_kind
from leaderboards.rows import MalformedRows, newer_tables
from suite.catalogue.devices import DEVICES
from suite.records import PublishedRow

IN_URL = "query-params"
STYLE = "<style>.stMainBlockContainer {padding-top: 3.2rem; padding-bottom: 3rem}</style>"  # more on the first screen


def begin(heading: str) -> tuple[list[PublishedRow], str]:
    """The page's heading, all rows and the hash that names them. A broken table is said and ends the page."""
    st.html(STYLE)
    st.markdown(f"### {heading}")
    try:
        rows = data.load(data.published_folder())
    except MalformedRows as error:
        st.error(f"The published tables cannot be read. {error}", icon=":material/error:")
        st.stop()
    if newer := newer_tables(data.published_folder()):
        st.warning(
            f"{', '.join(newer)}: written by a newer text3d-bench, so figures may mean something else here",
            icon=":material/update:",
        )
    digest = data.digest(rows)
    if warning := links.other_data(st.query_params.get(links.DATA), digest):
        st.warning(warning, icon=":material/history:")
    return rows, digest


def device_and_board(rows: Sequence[PublishedRow], first, second) -> tuple[str, str | None]:
    """The choices, in these two columns; no board where the device has measured nothing."""
    names = data.devices(rows)
    device = first.selectbox("Device", names, names.index(data.first_device(rows)), key="device", bind=IN_URL)
    boards = data.boards(rows, device)
    return device, second.selectbox("Board", boards, key="board", bind=IN_URL) if boards else None


def prompt_set(groups: dict[str, list[PublishedRow]]) -> str:
    """The set of prompts to look at; asked only where there are several."""
    if len(groups) == 1:
        return next(iter(groups))
    return st.selectbox("Prompt set", list(groups), key="prompts", bind=IN_URL)


def kind(rows: Sequence[PublishedRow]) -> str:
    """The kind of output to look at, at first the one with the most rows; asked only where there are several."""
    kinds = list(by_kind(rows))
    if len(kinds) == 1:
        return kinds[0]
    return st.selectbox(
        "Kind",
        [*kinds, ALL_KINDS],
        key="kind",
        bind=IN_URL,
        help="What is delivered. Only rows of one kind are held against each other; copied points do not count.",
    )


def show_nothing(device: str) -> None:
    if device in DEVICES:
        st.info(tables.how_to_measure(device), icon=":material/info:")
    else:
        st.info(f"`{device}` is no device of this suite; only published figures name it.", icon=":material/info:")


def show_link(state: dict[str, object], digest: str) -> None:
    with st.popover("Link to exactly this view", icon=":material/link:"):
        st.caption(
            "Every choice and the data's hash, also where a choice is the default and so not in the address bar."
        )
        st.code(links.pinned(st.context.url, state, digest), language=None)
