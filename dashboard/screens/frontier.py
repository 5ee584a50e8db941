"""The first page: what fits, the frontier of one board, and every row that it was made of. Glue only."""

import streamlit as st

from dashboard import answers, data, figures, runs, tables
from dashboard.screens import choosing
from leaderboards import cells
from leaderboards.choice import Answer, answer
from leaderboards.kinds import ALL_KINDS, by_kind
from leaderboards.rows import over_kinds, repeat_command
from leaderboards.tables import to_csv

MARKED, HIDDEN = "marked", "hidden"
SCROLLS = 200  # rows; a longer table scrolls by itself
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


@st.cache_resource(max_entries=16)
def kinds(digest: str, device: str, board: str, prompts: str, _rows: list) -> dict[str, list]:
    """The rows that the other arguments name, by kind."""
    return by_kind(_rows)


@st.cache_resource(max_entries=16)
def looked_at(digest: str, device: str, board: str, prompts: str, kind: str, _rows: list, _behind: dict) -> tuple:
    """Of the rows of a kind: all, those that a page shows, and what is said of all."""
    rows = over_kinds(_rows, _behind) if kind == ALL_KINDS else _rows
    said = [tables.summary(rows), tables.provenance(rows), cells.sessions(rows), f"Data {digest}."]
    return rows, cells.best_first(rows)[: data.MOST_SHOWN], " ".join(filter(None, said))


@st.cache_resource(max_entries=64)
def answered(
    digest: str, device: str, board: str, prompts: str, kind: str, limits: tuple, _rows: list, _behind: dict
) -> Answer:
    return answer(_rows, *limits, _behind)


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


@st.cache_resource(max_entries=32)
def figure(*named: object, _shown: list, marked: bool, max_latency_s: float | None, chosen: str | None):
    return figures.frontier_figure(_shown, marked, max_latency_s, chosen)


@st.cache_resource(max_entries=8)
def table_and_csv(*named: str, missing: frozenset[str], _shown: list) -> tuple:
    return tables.measured_table(_shown, missing), to_csv(_shown)


def show_rows(shown: list, lines, csv: str, heading: str, said: str, file_name: str) -> None:
    st.markdown(f"##### {heading}")
    st.caption(said)
    height = "content" if len(shown) <= SCROLLS else 35 * (SCROLLS + 1)
    st.dataframe(lines, hide_index=True, height=height, placeholder="–", column_config=FORMATS)
    st.download_button("CSV: every field, fractions as 0–1", csv, file_name, "text/csv", icon=":material/download:")


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
    groups = choosing.comparisons(digest, device, board, rows)
    prompts = choosing.prompt_set(groups)
    where = (digest, device, board, prompts)
    behind = runs.qualities(measurements(*where, groups[prompts]))
    of_kind = kinds(*where, groups[prompts])
    kind = choosing.kind(list(of_kind))
    every, shown, said = looked_at(*where, kind, of_kind.get(kind, groups[prompts]), behind)
    missing = choosing.absent_commits(frozenset(row.commit for row in shown if row.commit))
    found = answered(*where, kind, (max_latency_s, max_memory_bytes), every, behind)
    verdict.markdown(answers.sentences(found, max_latency_s, max_memory_bytes))
    choosing.say_left_out(shown, every, "frontier, R-Precision and latency")

    plot = st.container()
    by_name = {data.identity(row): row for row in shown}
    chosen = choosing.select(st, "Details of", list(by_name), "row", placeholder="click a point, or choose here")
    chart = f"chart {device} {board} {prompts} {kind}"
    plot.plotly_chart(
        figure(*(*where, kind), _shown=shown, marked=unranked == MARKED, max_latency_s=max_latency_s, chosen=chosen),
        key=chart,
        on_select=lambda: choose_point(chart),
        selection_mode="points",
        config={"displaylogo": False},
        alt="Latency against R-Precision; the table below has the same figures",
    )
    plot.caption(tables.legend(shown, unranked == MARKED))

    if chosen is not None:
        show_details(by_name[chosen], missing)
    lines, csv = table_and_csv(*where, kind, missing=missing, _shown=shown)
    of = "All rows" if len(shown) == len(every) else "Rows"
    show_rows(shown, lines, csv, f"{of} of `{board}`, {kind}", said, f"{device}-{digest}.csv")
    state |= {"board": board, "prompts": prompts, "kind": kind, "row": chosen}

if published := data.literature(rows, device):
    title = f"Published figures for `{device}`: {len(published)} rows, never ranked with measured ones"
    with st.expander(title, expanded=board is None):
        st.dataframe(tables.literature_table(published), hide_index=True, placeholder="–", column_config=FORMATS)

choosing.show_link(state, digest)
