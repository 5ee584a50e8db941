"""What every page begins and ends with: the rows, the device and its board, the link that pins a view. Glue only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import streamlit as st

from dashboard import changes, commits, data, links, runs, snapshots, tables, uploads, verdicts
from dashboard.screens import held
from leaderboards.kinds import ALL_KINDS
from leaderboards.rows import MalformedRows
from suite.catalogue.devices import DEVICES
from suite.history import History
from suite.records import Measurement, PublishedRow

IN_URL = "query-params"
BESIDE = "-"  # between the hash of the published rows and that of uploaded files
KEPT, PAGE, TURNED = "kept choices", "page shown", "page turned"  # of the session, not of the address
STYLE = "<style>.stMainBlockContainer {padding-top: 3.2rem; padding-bottom: 3rem}</style>"  # more on the first screen


def begin(heading: str) -> tuple[data.Rows, str]:
    """The page's heading, all rows and the hash that names them. A broken table is said and ends the page."""
    st.html(STYLE)
    st.markdown(f"### {heading}")
    st.session_state[TURNED] = st.session_state.get(PAGE) != heading
    st.session_state[PAGE] = heading
    try:
        rows = _tables(data.published_folder(), data.stamp(data.published_folder()))
    except MalformedRows as error:
        st.error(f"The published tables cannot be read. {error}", icon=":material/error:")
        st.stop()
    if rows.newer:
        st.warning(
            f"{', '.join(rows.newer)}: written by a newer text3d-bench, so figures may mean something else here",
            icon=":material/update:",
        )
    published, theirs = rows.digest, uploads.stamp(held.every())
    # What is cached by this hash is never another session's: it names uploaded files too.
    digest = f"{published}{BESIDE}{theirs}" if theirs else published
    asked = st.query_params.get(links.DATA)
    if warning := links.other_data(asked, digest):
        st.warning(warning, icon=":material/history:")
        _show_snapshot(asked, published)
    uploaded = [row for upload in held.every() for row in upload.rows]
    return (data.Rows([*rows, *uploaded]) if uploaded else rows), digest


@st.cache_data(ttl=600, show_spinner="Looking for these data in the repository")
def _snapshots() -> dict[str, snapshots.Snapshot]:
    return snapshots.by_digest()


def _show_snapshot(asked: str, shown: str) -> None:
    """How to see the data that a link names, where this repository ever had them."""
    digest, beside, _ = asked.partition(BESIDE)
    if beside:
        st.caption("It was made beside uploaded files, to which no link can lead.")
    if digest == shown:
        return
    found = _snapshots().get(digest)
    if found is None:
        st.caption(
            "No tables that were ever committed here have that hash: they were made from runs of another machine, or "
            "from local ones."
        )
        return
    st.caption(f"Those are the tables of commit {found.commit[:8]}, {found.committed_at[:10]}. To see them, type")
    st.code(found.commands(), language="bash")


@st.cache_resource(max_entries=4, show_spinner="Reading the tables")
def _tables(folder: Path, stamp: tuple) -> data.Rows:
    """The rows of this state of the folder."""
    return data.load(folder)


@st.cache_resource(max_entries=16)
def comparisons(digest: str, device: str, board: str, _rows: data.Rows) -> dict[str, list[PublishedRow]]:
    """The groups of `data.comparisons`, of the rows that the digest names."""
    return data.comparisons(_rows, device, board)


def say_left_out(shown: Sequence[PublishedRow], of: Sequence[PublishedRow], by: str) -> None:
    if len(shown) < len(of):
        st.info(
            f"Figure and table show {len(shown):,} of {len(of):,} rows, the first by {by}. The CSV and JSON that "
            f"`python -m leaderboards publish` writes have all of them.",
            icon=":material/filter_list:",
        )


def select(where, label: str, options: Sequence[str], key: str, start: str | None = None, **others) -> str | None:
    """A choice that stands in the address and goes along from page to page; `start` at first, else the first option
    (none where there is a placeholder)."""
    first = None if "placeholder" in others else start or options[0]
    _take(key, options.__contains__, first, options)
    if st.query_params.get(key) not in options and st.session_state.get(key) not in options:
        st.session_state[key] = first  # also where the options changed under a choice
    index = None if first is None else 0
    return _keep(key, where.selectbox(label, options, index, key=key, bind=IN_URL, **others))


def segments(where, label: str, options: Sequence[str], key: str, **others) -> str:
    """The same for a few options side by side, the first at first."""
    taken = _take(key, options.__contains__, options[0], options)
    default = None if taken else options[0]  # Streamlit warns of a default beside a value that was set
    chosen = where.segmented_control(label, options, default=default, required=True, key=key, bind=IN_URL, **others)
    return _keep(key, chosen)


def positive(where, label: str, key: str, least: float, most: float | None = None, **others) -> float | None:
    """The same for a number that may be left open."""
    _take(key, lambda text: _within(text, least, most), None)
    number = where.number_input(
        label,
        min_value=least,
        max_value=most,
        value=None,
        format="%g",
        placeholder="any",
        key=key,
        bind=IN_URL,
        **others,
    )
    return _keep(key, number)


def _take(key: str, accepts: Callable[[object], bool], shown: object, known: Sequence[str] = ()) -> bool:
    """Before the widget: a value of the address that it will refuse is said; on a page that was just turned to, what
    was chosen on another page is taken over. Whether it was."""
    asked = st.query_params.get(key)
    before = kept(key) if st.session_state[TURNED] else None
    if asked:
        if not accepts(asked):
            st.warning(links.not_here(key, asked, shown, known), icon=":material/link_off:")
    elif before is not None:
        if accepts(before):
            st.session_state[key] = before
            return True
        st.warning(links.not_here(key, before, shown, known), icon=":material/link_off:")
    return False


def _keep(key: str, value):
    st.session_state.setdefault(KEPT, {})[key] = value
    return value


def kept(key: str) -> str | None:
    """What was chosen last, on whatever page."""
    return st.session_state.get(KEPT, {}).get(key)


def asked_or_kept(key: str) -> str | None:
    """What a choice will be: what the widget holds, else what the address names, else what was chosen last."""
    return st.session_state.get(key) or st.query_params.get(key) or kept(key)


def _within(text: object, least: float, most: float | None) -> bool:
    try:
        return least <= float(text) <= (float("inf") if most is None else most)
    except (TypeError, ValueError):
        return False


def device_and_board(rows: Sequence[PublishedRow], first, second, **others) -> tuple[str, str | None]:
    """The choices, in these two columns; no board where the device has measured nothing."""
    device = select(first, "Device", data.devices(rows), "device", data.first_device(rows), **others)
    boards = data.boards(rows, device)
    return device, select(second, "Board", boards, "board", **others) if boards else None


@st.cache_resource(max_entries=4)
def _devices_of(stamp: str, _measurements: Sequence[Measurement]) -> list[str]:
    return sorted({m.device for m in _measurements})


@st.cache_resource(max_entries=16)
def _boards_of(
    stamp: str, digest: str, device: str, _rows: data.Rows, _measurements: Sequence[Measurement]
) -> list[str]:
    return data.boards_measured(_rows, _measurements, device)


def device_and_board_measured(
    rows: data.Rows, measurements: Sequence[Measurement], first, second, stamp: str, digest: str
) -> tuple[str, str | None]:
    """The same for pages of runs, which may be of boards that no table has. stamp and digest name both."""
    devices = list(dict.fromkeys([*data.devices(rows), *_devices_of(stamp, measurements)]))
    device = select(first, "Device", devices, "device", data.first_device(rows))
    boards = _boards_of(stamp, digest, device, rows, measurements)
    return device, select(second, "Board", boards, "board") if boards else None


def prompt_set(groups: dict[str, list[PublishedRow]], where=st) -> str:
    """The set of prompts to look at; asked only where there are several."""
    return next(iter(groups)) if len(groups) == 1 else select(where, "Prompt set", list(groups), "prompts")


def history() -> tuple[History, str]:
    """All runs at hand, and what names this state of their files. What cannot be read is said on the page."""
    stamp = runs.stamp(runs.folders())
    found = _history(stamp)
    if found.problems:
        with st.expander(f"{len(found.problems)} remarks on the files of runs", icon=":material/warning:"):
            st.code("\n".join(found.problems), language=None)
    return uploads.together(found, held.every()), f"{stamp} {uploads.stamp(held.every())}".strip()


@st.cache_resource(max_entries=2, show_spinner="Reading the runs")
def _history(stamp: str) -> History:
    return runs.read_all(runs.folders())


@st.cache_resource(max_entries=256, show_spinner="Judging the nights")
def judged(stamp: str, device: str, board: str, _measurements: Sequence[Measurement]) -> tuple:
    """The changes of a board, and its newest session judged. The other arguments name its runs."""
    return changes.of_board(_measurements), verdicts.newest(_measurements)


@st.cache_data(max_entries=8, ttl=600)
def absent_commits(of: frozenset[str]) -> frozenset[str]:
    """Those that this repository does not have."""
    return commits.absent(of)


def kind(kinds: Sequence[str], where=st) -> str:
    """The kind of output to look at, at first the one with the most rows; asked only where there are several."""
    if len(kinds) == 1:
        return kinds[0]
    told = "What is delivered. Only rows of one kind are held against each other; copied points do not count."
    return select(where, "Kind", [*kinds, ALL_KINDS], "kind", help=told)


def show_nothing(device: str) -> None:
    if device in DEVICES:
        st.info(tables.how_to_measure(device), icon=":material/info:")
    else:
        st.info(f"`{device}` is no device of this suite; only published figures name it.", icon=":material/info:")


def show_link(state: Mapping[str, object], digest: str) -> None:
    with st.popover("Link to exactly this view", icon=":material/link:"):
        st.caption(
            "Every choice and the data's hash, also where a choice is the default and so not in the address bar."
        )
        st.code(links.pinned(st.context.url, state, digest), language=None)
