"""The page *Compare*: any two rows, sessions or boards of the history. Glue only."""

import streamlit as st

from dashboard import compare, data, exports
from dashboard.attributes import attributes_figure
from dashboard.screens import choosing, taking, viewing
from dashboard.words import in_markdown

MANY = 50  # names; more are looked for by words
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


@st.cache_resource(max_entries=6)
def groups_of(stamp: str, kind: str, _measurements: list) -> dict:
    """What may be compared, the newest first."""
    return GROUPS[kind](_measurements)


@st.cache_resource(max_entries=16)
def first_two(stamp: str, kind: str, board: str | None, row: str | None, _groups: dict) -> tuple:
    return compare.start(_groups, board, row)


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
    for column, side, m in zip(st.columns(2), "AB", (c.a, c.b)):
        with column.expander(f"Where {side} comes from"):
            taking.show_source(m, missing)
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
runs, stamp = choosing.history()
if len(runs.measurements) < 2:
    st.markdown("**There are not two runs to compare.**")
    choosing.show_nothing(data.first_device(rows))
    st.stop()
verdict = st.container(border=True)
which, left, right = st.columns([2, 4, 4], vertical_alignment="bottom")
kind = choosing.segments(which, "Compare", [ROWS, SESSIONS, BOARDS], "of")
groups = groups_of(stamp, kind, runs.measurements)
first, second = first_two(stamp, kind, choosing.kept("board"), choosing.kept("row"), groups)
words = ""
if len(groups) > MANY:
    words = st.text_input(
        "Only those with these words", placeholder="orin steps-16 2026-11", max_chars=200, key="words"
    )
chosen = (first, second, *(choosing.asked_or_kept(f"{side}_{kind}") for side in "ab"))
names = compare.narrowed(list(groups), words, (name for name in chosen if name in groups), data.MOST_SHOWN)
if words or len(groups) > min(MANY, data.MOST_SHOWN):
    st.caption(f"{len(names):,} of {len(groups):,} to choose from. A link names any of them.")
a = choosing.select(left, "A", names, f"a_{kind}", first)
b = choosing.select(right, "B", names, f"b_{kind}", second)
found = compare.compare(groups[a], groups[b])
verdict.markdown("A and B are the same." if a == b else compare.verdict(found))
state = {"of": kind, f"a_{kind}": a, f"b_{kind}": b}
if found and a != b:
    missing = choosing.absent_commits(frozenset(m.commit for c in found for m in (c.a, c.b) if m.commit))
    pair = found[0]
    if kind != ROWS:
        show_pairs(found)
        by_name = {compare.recipe(c.a): c for c in found}
        name = choosing.select(st, "Cell", list(by_name), "pair")
        pair = by_name[name]
        state["pair"] = name
        st.markdown(compare.sentence(pair))
    show_pair(pair, missing)
    if (prompt := viewing.show_pair(pair)) is not None:
        state["prompt"] = prompt
if found and a != b:
    taking.show_downloads(exports.of_table(compare.table(found)), f"compare-{kind}-{digest}", figures=False)
if a != b and (others := compare.left_out(groups[a], groups[b])):
    with st.expander(f"{len(others)} cells that only one side has"):
        st.code("\n".join(others), language=None)
choosing.show_link(state, digest)
