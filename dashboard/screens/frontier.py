"""The page *Frontier*: what fits, the frontier of one board, and every row that it was made of. Glue only."""

import streamlit as st

from dashboard import answers, data, exports, figures, runs, sources, tables
from dashboard.screens import choosing, held, taking
from dashboard.words import in_markdown
from leaderboards import cells
from leaderboards.choice import Limits, answer
from leaderboards.kinds import ALL_KINDS, by_kind
from leaderboards.rows import over_kinds

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
    """Facts in two columns; stages, and pictures that are at hand, in the third. Below, where they come from."""
    below = {title for title, _ in sources.of(row, []).facts()}
    facts = [fact for fact in tables.facts(row, missing) if fact[0] not in below]
    half = (len(facts) + 1) // 2
    *columns, aside = st.columns([3, 3, 4])
    for column, part in zip(columns, (facts[:half], facts[half:])):
        column.markdown("  \n".join(f":gray[{title}] {in_markdown(said)}" for title, said in part))
    with aside:
        if row.stage_latency_s:
            st.plotly_chart(
                figures.stages_figure(row.stage_latency_s), config={"displayModeBar": False}, alt="Seconds by stage"
            )
        for title, path in tables.shown_pictures(row).items():
            st.image(path, caption=title)
    taking.show_source(row, missing)


def show_rows(shown: list, missing: frozenset[str], heading: str, digest: str, file_name: str) -> None:
    st.markdown(f"##### {heading}")
    said = [tables.summary(shown), tables.provenance(shown), cells.sessions(shown), f"Data {digest}."]
    st.caption(in_markdown(" ".join(filter(None, said))))
    st.dataframe(
        tables.measured_table(shown, missing), hide_index=True, height="content", placeholder="–", column_config=FORMATS
    )
    taking.show_downloads(exports.of_rows(shown, missing), file_name)


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
more = st.popover("More limits", icon=":material/tune:")
joules = choosing.positive(
    more, "At most, joules an object", "joules", 0.001, step=1.0, help="Rows whose energy was not measured do not fit."
)
percent = choosing.positive(
    more,
    "At least, R-Precision in %",
    "percent",
    0.1,
    100.0,
    step=1.0,
    help="Asks for the fastest that reaches it. Without it, good enough is what cannot be told from the highest.",
)
limits = Limits(
    max_latency_s,
    None if gigabytes is None else gigabytes * 1e9,
    joules,
    None if percent is None else percent / 100,
)
state = {"device": device, "seconds": max_latency_s, "gigabytes": gigabytes, "unranked": unranked}
state |= {"joules": joules, "percent": percent}

if board is None:
    verdict.markdown(f"**Nothing has been measured on `{device}` yet.**")
    choosing.show_nothing(device)
else:
    groups = data.comparisons(rows, device, board)
    prompts = choosing.prompt_set(groups)
    behind = runs.qualities(measurements(digest, device, board, prompts, groups[prompts]))
    behind |= held.outcomes()
    kind = choosing.kind(groups[prompts])
    shown = over_kinds(groups[prompts], behind) if kind == ALL_KINDS else by_kind(groups[prompts])[kind]
    missing = choosing.absent_commits(frozenset(row.commit for row in shown if row.commit))
    found = answer(shown, qualities=behind, limits=limits)
    verdict.markdown(
        answers.sentences(found, limits.max_latency_s, limits.max_memory_bytes, limits.max_energy_j, limits.min_quality)
    )

    plot = st.container()
    by_name = {data.identity(row): row for row in shown}
    chosen = choosing.select(st, "Details of", list(by_name), "row", placeholder="click a point, or choose here")
    chart = f"chart {device} {board} {prompts} {kind}"
    plot.plotly_chart(
        figures.frontier_figure(shown, unranked == MARKED, max_latency_s, chosen),
        key=chart,
        on_select=lambda: choose_point(chart),
        selection_mode="points",
        config=taking.figure_config(f"frontier-{device}-{digest}"),
        alt="Latency against R-Precision; the table below has the same figures",
    )
    plot.caption(in_markdown(tables.legend(shown, unranked == MARKED)))

    if chosen is not None:
        show_details(by_name[chosen], missing)
    show_rows(shown, missing, f"All rows of `{board}`, {kind}", digest, f"{device}-{digest}")
    state |= {"board": board, "prompts": prompts, "kind": kind, "row": chosen}

if published := data.literature(rows, device):
    title = f"Published figures for `{device}`: {len(published)} rows, never ranked with measured ones"
    with st.expander(title, expanded=board is None):
        st.dataframe(tables.literature_table(published), hide_index=True, placeholder="–", column_config=FORMATS)

choosing.show_link(state, digest)
