"""The page *History*: what changed on a board, and one cell over all its nights. Glue only."""

import streamlit as st

from dashboard import changes, data, exports, history, verdicts
from dashboard.screens import choosing, taking
from dashboard.words import in_markdown
from suite.nights.series import cells

EVERYTHING, REGRESSIONS = "everything", "regressions only"
LATEST = 12  # lines of the table at first sight; it scrolls


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
device, board = choosing.device_and_board_measured(rows, runs.measurements, first, second)
state = {"device": device}

if board is None:
    st.markdown(f"**No run of `{device}` is at hand.**")
    choosing.show_nothing(device)
else:
    measurements = [m for m in runs.measurements if m.device == device and (m.board or data.UNIDENTIFIED) == board]
    weights = choosing.select(third, "Weights", data.kinds_of_weights(measurements), "weights")
    which = choosing.segments(fourth, "Table of", [EVERYTHING, REGRESSIONS], "changes")
    measurements = [m for m in measurements if data.kind_of_weights(m) == weights]
    missing = choosing.absent_commits(frozenset(m.commit for m in measurements if m.commit))
    found, report = choosing.judged(f"{stamp} {weights}", device, board, measurements)
    st.container(border=True).markdown(verdicts.headline(report, found, missing))
    show_changes(found, which, missing)
    by_name = {data.identity(its[-1]): its for its in cells(measurements).values()}
    name = choosing.select(st, "Cell", list(by_name), "row", changes.first_cell(found, by_name))
    if found:
        taking.show_downloads(exports.of_table(changes.table(found, missing)), f"changes-{board}-{stamp}")
    show_cell(by_name[name], report, stamp, board, name, missing)
    state |= {"board": board, "weights": weights, "changes": which, "row": name}
choosing.show_link(state, digest)
