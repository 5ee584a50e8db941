"""The page *Time and memory*: where the time and memory of one board's rows go, stage by stage. Glue only."""

import streamlit as st

from dashboard import data, exports, memory_timeline, roofline, runs, stages
from dashboard.screens import choosing, taking
from leaderboards.stages import FASTEST, reference_and_fastest, staged

SECONDS, SHARES = "seconds", "shares"
FEW, ALL = "reference and fastest", "all"
FORMATS = {title: st.column_config.NumberColumn(format=form) for title, form in stages.FORMATS.items()}
MOST_BARS = 300  # rows


@st.cache_resource(max_entries=16)
def timed(digest: str, device: str, board: str, prompts: str, which: str, _rows: list) -> tuple[list, list]:
    """The rows with stages that were asked for, and those that a page shows."""
    rows = staged(_rows) if which == ALL else reference_and_fastest(staged(_rows))
    return rows, rows[:MOST_BARS]


@st.cache_resource(max_entries=16)
def held(digest: str, names: tuple[str, ...], stamp: str, _rows: list) -> list:
    """The rows' timelines of memory, from the runs that they were made of."""
    return memory_timeline.timelines(_rows, runs.measurements_of(_rows, runs.folders()))


def show(column, title: str, figure, alt: str, caption: str) -> None:
    name = title.lower().replace(" ", "-")
    column.markdown(f"##### {title}")
    column.plotly_chart(figure, config=taking.figure_config(name, True), key=name, alt=alt)
    column.caption(caption)


rows, digest = choosing.begin("Where the time and memory go")
first, second, third, fourth = st.columns([2, 3, 2, 3], vertical_alignment="bottom")
device, board = choosing.device_and_board(rows, first, second)
unit = choosing.segments(third, "Time in", [SECONDS, SHARES], "unit")
which = choosing.segments(
    fourth, "Rows of each model", [FEW, ALL], "rows", help=f"Few: the reference and the {FASTEST} fastest others."
)
state = {"device": device, "unit": unit, "rows": which}

if board is None:
    st.markdown(f"**Nothing has been measured on `{device}` yet.**")
    choosing.show_nothing(device)
else:
    # As on the first page: embedded models take seconds, published ones minutes, and share no axis.
    groups = choosing.comparisons(digest, device, board, rows)
    prompts = choosing.prompt_set(groups)
    every, shown = timed(digest, device, board, prompts, which, groups[prompts])
    state |= {"board": board, "prompts": prompts}
    if not shown:
        st.info(f"No row of `{board}` knows its stages: they were measured before stages were published.")
    else:
        choosing.say_left_out(shown, every, "the order of the tables")
        left, right = st.columns(2)
        show(
            left,
            "Time",
            stages.time_figure(shown, as_shares=unit == SHARES),
            "Time by stage",
            "Medians of stages that are timed one by one. Hatched: another decoding of the same object, no part of the "
            "latency. Upright line: the least that this machine's measured peaks allow.",
        )
        show(
            right,
            "Peak memory",
            stages.memory_figure(shown),
            "Peak memory by stage",
            "Peaks do not add up, so they are not stacked: a stage's peak holds what earlier ones left.",
        )
        left, right = st.columns(2)
        show(
            left,
            "Against the roofline",
            roofline.roofline_figure(shown),
            "Arithmetic a second over arithmetic a byte, by stage",
            "A stage on the slope waits for memory, one under the flat roof for arithmetic. Far below both, it waits "
            "for neither: for Python, or for small steps one after the other.",
        )
        title = "Memory while an object is made"
        if lines := held(digest, tuple(map(data.identity, shown)), choosing.history()[1], shown):
            show(
                right,
                title,
                memory_timeline.timeline_figure(lines),
                "Memory over an object's time",
                "Looked at now and then while the first object is made; the peak beside comes from the kernel.",
            )
        else:
            right.markdown(f"##### {title}")
            right.info("No run of these rows recorded it: runs of before 28 November 2026 did not.")
        st.markdown(f"##### The same in numbers, `{board}`")
        table = stages.stages_table(shown)
        st.dataframe(table, hide_index=True, height="content", placeholder="–", column_config=FORMATS)
        taking.show_downloads(exports.of_table(table), f"stages-{device}-{digest}")
choosing.show_link(state, digest)
