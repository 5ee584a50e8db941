"""The page *Health*: every cell of the matrix on one board, and the machine of its newest session. Glue only."""

import streamlit as st

from dashboard import data, exports, health
from dashboard.screens import choosing, taking
from dashboard.words import in_markdown

EVERYTHING = "everything"


def show_machine(its: list, machine) -> None:
    newest = health.newest_session(its)
    st.markdown("##### The machine of the newest session")
    st.caption(in_markdown(f"Session {newest[0].session}, {newest[-1].measured_at[:16].replace('T', ' ')} UTC."))
    st.dataframe(health.conditions(newest), hide_index=True, height="content")
    if machine is None:
        st.info(
            "This session kept no checks of its machine: it was measured by a text3d-bench of before them. "
            "`pytest --preflight` looks at this machine now.",
            icon=":material/info:",
        )
        return
    st.markdown("\n".join(f"- {in_markdown(line)}" for line in health.machine_said(machine)))
    checks = health.checks_table(machine)
    if checks.empty:
        st.caption("No check was kept.")
    else:
        st.dataframe(checks, hide_index=True, height="content")


rows, digest = choosing.begin("What is measured, and what is not")
runs, stamp = choosing.history()
first, second, third = st.columns([2, 3, 4], vertical_alignment="bottom")
device, board = choosing.device_and_board_measured(rows, runs.measurements, first, second, stamp, digest)
its = [m for m in runs.measurements if m.device == device and (m.board or data.UNIDENTIFIED) == board]
cells = health.cells_of(device, its)
state = {"device": device, "board": board}
if not its:
    st.markdown(f"**No run of `{device}` is at hand.**")
    choosing.show_nothing(device)
if cells:
    which = choosing.segments(third, "Cells", [EVERYTHING, *(c.value for c in health.Condition)], "cells")
    shown = [cell for cell in cells if which in (EVERYTHING, cell.condition.value)]
    st.container(border=True).markdown(
        f"**{health.summary(cells)}** Stale: over {health.STALE_DAYS} days older than the board's newest run, or by "
        "another protocol. Not possible: this device cannot run it."
    )
    st.dataframe(health.by_model(cells), hide_index=True, height="content")
    if shown:
        commits = frozenset(cell.newest.commit for cell in shown if cell.newest and cell.newest.commit)
        table = health.table(shown, choosing.absent_commits(commits))
        st.dataframe(table, hide_index=True, height=520)
        taking.show_downloads(exports.of_table(table), f"health-{device}-{board}", figures=False)
    else:
        st.info(f"No cell is {which}.")
    state["cells"] = which
if its:
    newest = health.newest_session(its)[0]
    show_machine(its, runs.machines.get((newest.board, newest.session)))
choosing.show_link(state, digest)
