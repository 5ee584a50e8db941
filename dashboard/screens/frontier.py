"""The page *Frontier*: what fits, the frontier of one board, and every row that it was made of. Glue only."""

from dataclasses import replace

import streamlit as st

from dashboard import answers, data, exports, figures, runs, sources, tables
from dashboard.screens import choosing, held, taking
from dashboard.words import in_markdown
from leaderboards import cells
from leaderboards.axes import TITLES, ranked_on, separating
from leaderboards.choice import Answer, Limits, answer
from leaderboards.kinds import ALL_KINDS, by_kind

MARKED, HIDDEN = "marked", "hidden"
NARROW = 165  # pixels: two fit beside each other on a phone
# On a phone the figure comes before the limits, which are half a screen high there.
PHONE = """<style>@media (max-width: 640px) {
  .stMainBlockContainer h3 {font-size: 1.2rem}
  .stElementContainer:has(h3), .stElementContainer:has(.stAlert), :has(> .st-key-answer), .st-key-answer {order: -2}
  :has(> .st-key-plot), .st-key-plot {order: -1}
}</style>"""
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
def axis_to_open_on(digest: str, device: str, board: str, prompts: str, kind: str, _rows: list, _behind: dict) -> str:
    return separating(_rows, _behind)


@st.cache_resource(max_entries=16)
def looked_at(
    digest: str, device: str, board: str, prompts: str, kind: str, axis: str, _rows: list, _behind: dict
) -> tuple:
    """Of the rows of a kind: all, those that a page shows, and what is said of all."""
    rows = ranked_on(axis, _rows, _behind) if kind == ALL_KINDS or axis != figures.FIRST else _rows
    said = [tables.summary(rows), tables.provenance(rows), cells.sessions(rows), f"Data {digest}."]
    return rows, cells.best_first(rows)[: data.MOST_SHOWN], " ".join(filter(None, said))


@st.cache_resource(max_entries=64)
def answered(
    digest: str, device: str, board: str, prompts: str, kind: str, limits: Limits, _rows: list, _behind: dict
) -> Answer:
    return answer(_rows, qualities=_behind, limits=limits)


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


@st.cache_resource(max_entries=32)
def figure(*named: object, _shown: list, marked: bool, max_latency_s: float | None, chosen: str | None, axis: str):
    return figures.frontier_figure(_shown, marked, max_latency_s, chosen, axis)


@st.cache_resource(max_entries=8)
def table(*named: str, axis: str, missing: frozenset[str], _shown: list):
    return tables.measured_table(_shown, missing, axis)


def show_rows(shown: list, lines, missing: frozenset[str], heading: str, said: str, file_name: str) -> None:
    st.markdown(f"##### {heading}")
    st.caption(in_markdown(said))
    height = "content" if len(shown) <= SCROLLS else 35 * (SCROLLS + 1)
    st.dataframe(lines, hide_index=True, height=height, placeholder="–", column_config=FORMATS)
    taking.show_downloads(exports.of_rows(shown, missing), file_name)


rows, digest = choosing.begin("Text-to-3D configurations: latency, memory, quality")
st.html(PHONE)
verdict = st.container(border=True, key="answer")
# Side by side as far as there is room: on a phone two in a line, so that the figure is not far below.
controls = st.container(horizontal=True, vertical_alignment="bottom")
device, board = choosing.device_and_board(rows, controls, controls, width=NARROW)
max_latency_s = choosing.positive(
    controls,
    "At most, seconds",
    "seconds",
    0.001,
    step=0.1,
    help="Held against the upper end of the latency's 95 % interval.",
    width=NARROW,
)
gigabytes = choosing.positive(
    controls,
    "At most, GB",
    "gigabytes",
    0.001,
    step=0.01,
    help="Peak memory above the level before the model was loaded. 1 GB is 1,000,000,000 bytes.",
    width=NARROW,
)
more = controls.popover("More", icon=":material/tune:", help="Kind of output, what quality means, other limits")
unranked = choosing.segments(
    more,
    "Not ranked, in the figure",
    [MARKED, HIDDEN],
    "unranked",
    help="Rows that are simulated, extrapolated, no better than chance, smoke runs beside full ones, or measured under "
    "other conditions. The table always has them, with the reason.",
)
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
    groups = choosing.comparisons(digest, device, board, rows)
    prompts = choosing.prompt_set(groups, more)
    where = (digest, device, board, prompts)
    behind = runs.qualities(measurements(*where, groups[prompts])) | held.outcomes()
    of_kind = kinds(*where, groups[prompts])
    kind = choosing.kind(list(of_kind), more)
    alike = of_kind.get(kind, groups[prompts])
    by_title = {title: axis for axis, title in TITLES.items()}
    told = "It opens on the one on which the ranked rows fall into most groups that can be told apart."
    opens_on = TITLES[axis_to_open_on(*where, kind, alike, behind)]
    title = choosing.select(more, "Quality", list(by_title), "quality", opens_on, help=told)
    axis = by_title[title]
    every, shown, said = looked_at(*where, kind, axis, alike, behind)
    missing = choosing.absent_commits(frozenset(row.commit for row in shown if row.commit))
    limits = replace(limits, axis=axis)
    found = answered(*where, kind, limits, every, behind)
    verdict.caption(f"{in_markdown(f'{kind}; {prompts} prompts; quality is {title}.')} *More* has others.")
    verdict.markdown(
        answers.sentences(
            found, limits.max_latency_s, limits.max_memory_bytes, limits.max_energy_j, limits.min_quality, axis
        )
    )
    choosing.say_left_out(shown, every, "frontier, R-Precision and latency")

    plot = st.container(key="plot")
    by_name = {data.identity(row): row for row in shown}
    chosen = choosing.select(st, "Details of", list(by_name), "row", placeholder="click a point, or choose here")
    chart = f"chart {device} {board} {prompts} {kind} {axis}"
    plot.plotly_chart(
        figure(
            *(*where, kind, axis),
            _shown=shown,
            marked=unranked == MARKED,
            max_latency_s=max_latency_s,
            chosen=chosen,
            axis=axis,
        ),
        key=chart,
        on_select=lambda: choose_point(chart),
        selection_mode="points",
        config=taking.figure_config(f"frontier-{device}-{digest}"),
        alt="Latency against quality; the table below has the same figures",
    )
    plot.caption(in_markdown(tables.legend(shown, unranked == MARKED)))

    if chosen is not None:
        show_details(by_name[chosen], missing)
    lines = table(*where, kind, axis=axis, missing=missing, _shown=shown)
    of = "All rows" if len(shown) == len(every) else "Rows"
    show_rows(shown, lines, missing, f"{of} of `{board}`, {kind}", said, f"{device}-{digest}")
    state |= {"board": board, "prompts": prompts, "kind": kind, "quality": title, "row": chosen}

if published := data.literature(rows, device):
    title = f"Published figures for `{device}`: {len(published)} rows, never ranked with measured ones"
    with st.expander(title, expanded=board is None):
        st.dataframe(tables.literature_table(published), hide_index=True, placeholder="–", column_config=FORMATS)

choosing.show_link(state, digest)
