"""The fourth page: any two rows, sessions or boards of the history. Glue only."""

import streamlit as st

from dashboard import compare, data
from dashboard.attributes import attributes_figure
from dashboard.screens import choosing
from dashboard.words import in_markdown

ROWS, SESSIONS, BOARDS = "rows", "sessions", "boards"
GROUPS = {ROWS: compare.by_row, SESSIONS: compare.by_session, BOARDS: compare.by_board}
FORMATS = {
    "latency, B over A": st.column_config.NumberColumn(format="×%.2f"),
    "memory, B over A": st.column_config.NumberColumn(format="×%.2f"),
    "quality, points": st.column_config.NumberColumn(format="%+.1f"),
    "p": st.column_config.NumberColumn(format="%.2g"),
    "A's lead": st.column_config.NumberColumn(format="%.3f"),
    "B's lead": st.column_config.NumberColumn(format="%.3f"),
}


def show_table(table) -> None:
    st.dataframe(table, hide_index=True, height="content", placeholder="–", column_config=FORMATS)


def show_pairs(found: list) -> None:
    """What differs as a table, the rest folded."""
    differing = [c for c in found if c.significant]
    alike = [c for c in found if not c.significant]
    if differing:
        show_table(compare.table(differing))
    if alike:
        with st.expander(f"{len(alike)} cells that cannot be told apart"):
            show_table(compare.table(alike))
    st.caption(
        f"Latency differs where the whole interval lies beyond 5 %, memory beyond 2 %; quality where the exact McNemar "
        f"p is below 0.05 over the {len(found)} cells looked at."
    )


def show_pair(c, missing: frozenset) -> None:
    st.caption(compare.session_said(c))
    environment = compare.environment(c, missing)
    st.markdown("##### What differs around them")
    st.dataframe(environment[environment["differs"]].drop(columns="differs"), hide_index=True)
    with st.expander("What is alike"):
        st.dataframe(environment[~environment["differs"]].drop(columns="differs"), hide_index=True)
    if not c.why_not_paired and c.a.quality.attributes.keys() & c.b.quality.attributes.keys():
        st.markdown("##### What breaks first")
        st.plotly_chart(
            attributes_figure(c.a.quality, c.b.quality),
            config={"displayModeBar": False},
            alt="Share of objects that keep each attribute of their prompt",
        )
        st.caption(
            "An object loses the attribute whose near miss, a caption that differs from its own in that alone, the "
            "judge takes it for. Above the bars: B's gain over A, prompt by prompt. Intervals are 95 %."
        )
    st.markdown("##### Prompts on which they differ")
    prompts = compare.differing_prompts(c)
    if c.why_not_paired:
        st.info(f"Quality is not compared: {in_markdown(c.why_not_paired)}.")
    elif prompts.empty:
        st.info(f"None: both hit and miss the same of {len(c.pairs)} prompts.")
    else:
        show_table(prompts)


rows, digest = choosing.begin("Two of them, side by side")
runs, _ = choosing.history()
if len(runs.measurements) < 2:
    st.markdown("**There are not two runs to compare.**")
    choosing.show_nothing(data.first_device(rows))
    st.stop()
verdict = st.container(border=True)
which, left, right = st.columns([2, 4, 4], vertical_alignment="bottom")
kind = choosing.segments(which, "Compare", [ROWS, SESSIONS, BOARDS], "kind")
groups = GROUPS[kind](runs.measurements)
names = list(groups)
first, second = compare.start(groups, choosing.kept("board"), choosing.kept("row"))
a = choosing.select(left, "A", names, f"a_{kind}", first)
b = choosing.select(right, "B", names, f"b_{kind}", second)
found = compare.compare(groups[a], groups[b])
verdict.markdown("A and B are the same." if a == b else compare.verdict(found))
state = {"kind": kind, f"a_{kind}": a, f"b_{kind}": b}
if found and a != b:
    missing = choosing.absent_commits(frozenset(m.commit for c in found for m in (c.a, c.b) if m.commit))
    chosen = found[0]
    if kind != ROWS:
        show_pairs(found)
        by_name = {compare.recipe(c.a): c for c in found}
        name = choosing.select(st, "Cell", list(by_name), "pair")
        chosen = by_name[name]
        state["pair"] = name
        st.markdown(compare.sentence(chosen))
    show_pair(chosen, missing)
if a != b and (others := compare.left_out(groups[a], groups[b])):
    with st.expander(f"{len(others)} cells that only one side has"):
        st.code("\n".join(others), language=None)
choosing.show_link(state, digest)
