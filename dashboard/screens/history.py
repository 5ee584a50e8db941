"""The page *History*: what changed on a board, and one cell over all its nights. Glue only."""

import streamlit as st

from dashboard import changes, data, exports, history, verdicts
from dashboard.screens import choosing, taking
from dashboard.words import in_markdown
from suite.nights.series import cells

EVERYTHING, REGRESSIONS = "everything", "regressions only"
LATEST = 12  # lines of the table at first sight; it scrolls


@st.cache_resource(max_entries=16)
def measured_on(stamp: str, device: str, board: str, _measurements: list) -> dict[str, list]:
    """A board's measurements by kind of weights, the one with the most first."""
    its = [m for m in _measurements if m.device == device and (m.board or data.UNIDENTIFIED) == board]
    return {kind: [m for m in its if data.kind_of_weights(m) == kind] for kind in data.kinds_of_weights(its)}


@st.cache_resource(max_entries=16)
def by_cell(stamp: str, device: str, board: str, weights: str, _measurements: list) -> tuple[dict, frozenset[str]]:
    """The nights of each cell by its name, and all commits."""
    found = {data.identity(its[-1]): its for its in cells(_measurements).values()}
    return found, frozenset(m.commit for m in _measurements if m.commit)


@st.cache_data(max_entries=64, show_spinner="Finding the smallest change that would show")
def smallest(stamp: str, board: str, cell: str, quantity: str, _line) -> str:
    return verdicts.smallest(_line)


def show_changes(found: list, which: str, missing: frozenset) -> None:
    shown = changes.regressions(found) if which == REGRESSIONS else found
    st.markdown("##### What changed last")
    if not shown:
        st.info(f"No {'regression' if which == REGRESSIONS else 'change'} in this board's history.")
        return
    st.dataframe(
        changes.table(shown, missing),
        hide_index=True,
        height="content" if len(shown) <= LATEST else 35 * (LATEST + 1),
    )
    st.caption(
        "Alarm: as it would have been told that night. Step: the level moved for five nights or more. "
        "What healed since stays in the table."
    )


def show_cell(its: list, report, stamp: str, board: str, name: str, missing: frozenset) -> None:
    st.markdown(f"##### {in_markdown(name)} over {len(its)} night{'s' if len(its) > 1 else ''}")
    newest = its[-1]
    if newest.session != report.session:
        st.caption(f"Not measured in the newest session; last on {history.when(newest)}.")
    for finding in verdicts.of_cell(report, newest.configuration, newest.weights):
        st.markdown(f"- {verdicts.sentence(finding, missing)}")
    lines = history.lines_of(its)
    if not lines:
        st.info("None of its nights ended well, so there is nothing to draw.")
        st.dataframe(history.failures_table(its, missing), hide_index=True)
    for line in lines:
        st.plotly_chart(
            history.series_figure(line, missing),
            key=f"{board} {name} {line.quantity}",
            config=taking.figure_config(f"{line.quantity}-{board}"),
            alt=f"{line.title}, night by night",
        )
        st.caption(smallest(stamp, board, name, line.quantity, line))


rows, digest = choosing.begin("What changed, and since when")
runs, stamp = choosing.history()
first, second, third, fourth = st.columns([2, 3, 2, 3], vertical_alignment="bottom")
device, board = choosing.device_and_board_measured(rows, runs.measurements, first, second, stamp, digest)
state = {"device": device}

if board is None:
    st.markdown(f"**No run of `{device}` is at hand.**")
    choosing.show_nothing(device)
else:
    by_weights = measured_on(stamp, device, board, runs.measurements)
    weights = choosing.select(third, "Weights", list(by_weights), "weights")
    which = choosing.segments(fourth, "Table of", [EVERYTHING, REGRESSIONS], "changes")
    measurements = by_weights[weights]
    by_name, of_all = by_cell(stamp, device, board, weights, measurements)
    missing = choosing.absent_commits(of_all)
    found, report = choosing.judged(f"{stamp} {weights}", device, board, measurements)
    st.container(border=True).markdown(verdicts.headline(report, found, missing))
    show_changes(found, which, missing)
    name = choosing.select(st, "Cell", list(by_name), "row", changes.first_cell(found, by_name))
    if found:
        taking.show_downloads(exports.of_table(changes.table(found, missing)), f"changes-{board}-{stamp}")
    show_cell(by_name[name], report, stamp, board, name, missing)
    state |= {"board": board, "weights": weights, "changes": which, "row": name}
choosing.show_link(state, digest)
