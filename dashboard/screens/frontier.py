"""The first page: what fits, the frontier of one board, and every row that it was made of. Glue only."""

import streamlit as st

from dashboard import answers, data, figures, runs, tables
from dashboard.screens import choosing
from leaderboards import cells
from leaderboards.axes import TITLES, ranked_on, separating
from leaderboards.choice import Limits, answer
from leaderboards.kinds import ALL_KINDS, by_kind
from leaderboards.rows import repeat_command
from leaderboards.tables import to_csv

MARKED, HIDDEN = "marked", "hidden"
FORMATS = {title: st.column_config.NumberColumn(format=form) for title, form in tables.FORMATS.items()}
FORMATS["remarks"] = st.column_config.TextColumn(width="medium")


def choose_point(chart: str) -> None:
    """A click on a point chooses its row; a click beside the points, none."""
    points = st.session_state[chart].selection.points
    st.session_state["row"] = points[0]["customdata"][0] if points else None


@st.cache_resource(max_entries=16, ttl=600)
def measurements(digest: str, device: str, board: str, prompts: str, _rows: list) -> dict:
    """The runs behind the rows that the other arguments name."""
    return runs.measurements_of(_rows, runs.folders())


def show_details(row, missing: frozenset[str]) -> None:
    """Facts in two columns; stages, and pictures that are at hand, in the third."""
    facts = tables.facts(row, missing)
    half = (len(facts) + 1) // 2
    *columns, aside = st.columns([3, 3, 4])
    for column, part in zip(columns, (facts[:half], facts[half:])):
        column.markdown("  \n".join(f":gray[{title}] {said}" for title, said in part))
    with aside:
        if row.stage_latency_s:
            st.plotly_chart(
                figures.stages_figure(row.stage_latency_s), config={"displayModeBar": False}, alt="Seconds by stage"
            )
        for title, path in tables.shown_pictures(row).items():
            st.image(path, caption=title)
    st.caption("Repeat this cell with")
    st.code(repeat_command(row), language=None)


def show_rows(shown: list, missing: frozenset[str], heading: str, digest: str, file_name: str) -> None:
    st.markdown(f"##### {heading}")
    said = [tables.summary(shown), tables.provenance(shown), cells.sessions(shown), f"Data {digest}."]
    st.caption(" ".join(filter(None, said)))
    st.dataframe(
        tables.measured_table(shown, missing), hide_index=True, height="content", placeholder="–", column_config=FORMATS
    )
    st.download_button(
        "CSV: every field, fractions as 0–1", to_csv(shown), file_name, "text/csv", icon=":material/download:"
    )


rows, digest = choosing.begin("Text-to-3D configurations: latency, memory, quality")
verdict = st.container(border=True)
first, second, third, fourth, fifth = st.columns([2, 3, 2, 2, 3], vertical_alignment="bottom")
device, board = choosing.device_and_board(rows, first, second)
max_latency_s = choosing.positive(
    third,
    "At most, seconds",
    "seconds",
    0.001,
    step=0.1,
    help="Held against the upper end of the latency's 95 % interval.",
)
gigabytes = choosing.positive(
    fourth,
    "At most, GB",
    "gigabytes",
    0.001,
    step=0.01,
    help="Peak memory above the level before the model was loaded. 1 GB is 1,000,000,000 bytes.",
)
unranked = choosing.segments(
    fifth,
    "Not ranked, in the figure",
    [MARKED, HIDDEN],
    "unranked",
    help="Rows that are simulated, extrapolated, no better than chance, smoke runs beside full ones, or measured under "
    "other conditions. The table always has them, with the reason.",
)
max_memory_bytes = None if gigabytes is None else gigabytes * 1e9
state = {"device": device, "seconds": max_latency_s, "gigabytes": gigabytes, "unranked": unranked}

if board is None:
    verdict.markdown(f"**Nothing has been measured on `{device}` yet.**")
    choosing.show_nothing(device)
else:
    groups = data.comparisons(rows, device, board)
    prompts = choosing.prompt_set(groups)
    behind = runs.qualities(measurements(digest, device, board, prompts, groups[prompts]))
    kind = choosing.kind(groups[prompts])
    shown = groups[prompts] if kind == ALL_KINDS else by_kind(groups[prompts])[kind]
    by_title = {title: axis for axis, title in TITLES.items()}
    told = "It opens on the one on which the ranked rows fall into most groups that can be told apart."
    title = choosing.select(st, "Quality", list(by_title), "quality", TITLES[separating(shown, behind)], help=told)
    axis = by_title[title]
    if kind == ALL_KINDS or axis != figures.FIRST:
        shown = ranked_on(axis, shown, behind)
    missing = choosing.absent_commits(frozenset(row.commit for row in shown if row.commit))
    limits = Limits(max_latency_s, max_memory_bytes, axis=axis)
    found = answer(shown, qualities=behind, limits=limits)
    if axis != figures.FIRST:
        verdict.caption(f"Quality is {title}.")
    verdict.markdown(answers.sentences(found, max_latency_s, max_memory_bytes))

    plot = st.container()
    by_name = {data.identity(row): row for row in shown}
    chosen = choosing.select(st, "Details of", list(by_name), "row", placeholder="click a point, or choose here")
    chart = f"chart {device} {board} {prompts} {kind} {axis}"
    plot.plotly_chart(
        figures.frontier_figure(shown, unranked == MARKED, max_latency_s, chosen, axis),
        key=chart,
        on_select=lambda: choose_point(chart),
        selection_mode="points",
        config={"displaylogo": False},
        alt="Latency against quality; the table below has the same figures",
    )
    plot.caption(tables.legend(shown, unranked == MARKED))

    if chosen is not None:
        show_details(by_name[chosen], missing)
    show_rows(shown, missing, f"All rows of `{board}`, {kind}", digest, f"{device}-{digest}.csv")
    state |= {"board": board, "prompts": prompts, "kind": kind, "quality": title, "row": chosen}

if published := data.literature(rows, device):
    title = f"Published figures for `{device}`: {len(published)} rows, never ranked with measured ones"
    with st.expander(title, expanded=board is None):
        st.dataframe(tables.literature_table(published), hide_index=True, placeholder="–", column_config=FORMATS)

choosing.show_link(state, digest)
