"""The first page: what this is, the boards with what to take on each, what changed, where to go next. Glue only."""

import pandas
import streamlit as st

from dashboard import ages, changes, exports, links, overview
from dashboard.screens import choosing, taking

CARDS = 8  # more boards than these stand in the table alone
LATEST = 8  # changes
NEXT = (
    ("frontier", "What fits my limits?", ":material/filter_alt:"),
    ("stages", "Where do the seconds go?", ":material/timer:"),
    ("history", "What changed, since when?", ":material/history:"),
    ("compare", "Do two of them differ?", ":material/compare_arrows:"),
    ("health", "What is missing or broken?", ":material/monitor_heart:"),
    ("method", "What does a number mean?", ":material/menu_book:"),
)

if choosing.PAGE not in st.session_state and set(st.query_params) - {links.DATA}:
    # Links of before this page was the first one; the frontier was.
    st.switch_page("screens/frontier.py", query_params=st.query_params.to_dict())


@st.cache_resource(max_entries=4, show_spinner=False)
def read(stamp: str, digest: str, _rows: list, _measurements: list) -> list[overview.Card]:
    """The boards of the rows and runs that the other arguments name."""
    return overview.cards(_rows, _measurements)


def show_card(card: overview.Card, report, found: list) -> None:
    with st.container(border=True):
        st.markdown(f"{overview.heading(card)}  \n:gray[{overview.facts(card, ages.now())}]")
        several = len({pick.prompts for pick in card.picks}) > 1
        for pick in card.picks:
            st.markdown(overview.pick_said(pick, several))
        st.caption(overview.health(card, report, found))
        where = {"device": card.device, "board": card.board}
        for column, (name, label) in zip(
            st.columns(3), (("frontier", "Rows"), ("history", "Nights"), ("health", "Health"))
        ):
            column.page_link(f"screens/{name}.py", label=label, query_params=where)


def show_changes(found: list, missing: frozenset) -> None:
    st.markdown("##### What changed last")
    if not found:
        st.info("No change in any board's history: a change needs several nights of one cell to be told from noise.")
        return
    lines = [
        {"board": card.board} | line
        for card, change in found
        for line in changes.table([change], missing).to_dict("records")
    ]
    st.dataframe(pandas.DataFrame(lines), hide_index=True, height="content")


rows, digest = choosing.begin("text3d-bench: what text-to-3D costs on small machines")
st.markdown(f"{overview.WHAT}  \n{overview.QUALITY}")
ways = st.container(horizontal=True)
for name, label, icon in NEXT:
    ways.page_link(f"screens/{name}.py", label=label, icon=icon)
history, stamp = choosing.history()
cards = read(stamp, digest, rows, history.measurements)
if not cards:
    st.info(overview.HOW_TO_BEGIN, icon=":material/info:")
else:
    judged = {
        card.name: choosing.judged(stamp, card.device, card.board, card.runs) if card.runs else ([], None)
        for card in cards
    }
    st.markdown("##### Boards, and what to take on each")
    for n, card in enumerate(cards[:CARDS]):
        if n % 2 == 0:
            columns = st.columns(2)
        with columns[n % 2]:
            show_card(card, judged[card.name][1], judged[card.name][0])
    table = overview.table(cards, ages.now())
    with st.expander(f"All {len(cards)} boards as a table", expanded=len(cards) > CARDS):
        st.dataframe(table, hide_index=True, height="content")
        taking.show_downloads(exports.of_table(table), f"boards-{digest}", figures=False)
    last = sorted(
        ((card, change) for card in cards for change in judged[card.name][0]),
        key=lambda item: item[1].told.measured_at,
        reverse=True,
    )[:LATEST]
    commits = (m.commit for _, change in last for m in (change.last_good, change.first_bad) if m is not None)
    show_changes(last, choosing.absent_commits(frozenset(filter(None, commits))))
choosing.show_link({}, digest)
