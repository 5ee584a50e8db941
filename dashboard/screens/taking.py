"""What leads away from a figure: its source, and the files to take along. Glue only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from dashboard import runs, sources, uploads
from dashboard.exports import Export
from dashboard.words import in_markdown
from suite.records import Measurement, PublishedRow

PICTURE, PICTURES = "picture", ("svg", "png")


@st.cache_data(max_entries=256, show_spinner=False)
def _source(stamp: str, name: tuple, _what: PublishedRow | Measurement) -> sources.Source:
    return sources.of(_what, runs.folders())


def show_source(what: PublishedRow | Measurement, missing: frozenset[str] = frozenset()) -> None:
    """Where a figure comes from, and the command that measures it again."""
    if uploads.is_uploaded(what):
        found = replace(sources.of(what, []), file="uploaded in this browser session")
    else:
        found = _source(runs.stamp(runs.folders()), sources.name(what), what)
    st.markdown("  \n".join(f":gray[{title}] {in_markdown(said)}" for title, said in found.facts(missing)))
    st.caption("Measure it again with")
    st.code(found.command, language=None)


def figure_config(name: str, camera_alone: bool = False) -> dict:
    """Plotly's buttons; its camera saves what is seen under this name. `camera_alone`: a figure to look at only."""
    picture = st.session_state.get(PICTURE) or PICTURES[0]
    config = {"displaylogo": False, "toImageButtonOptions": {"format": picture, "filename": name, "scale": 2}}
    return config | ({"modeBarButtons": [["toImage"]]} if camera_alone else {})


def show_downloads(exports: Sequence[Export], name: str, figures: bool = True) -> None:
    """What is seen, in every format. A file is written only when it is asked for."""
    with st.popover("Download what is seen", icon=":material/download:"):
        for export in exports:
            st.download_button(
                export.label,
                export.make,
                f"{name}.{export.ending}",
                export.mime,
                on_click="ignore",
                key=f"{name}.{export.ending}",
            )
        if figures:
            st.segmented_control("Figures as", PICTURES, default=PICTURES[0], key=PICTURE)
            st.caption(
                "The camera at a figure's upper right saves it; it appears under the pointer. Your browser draws the "
                "picture, so the server needs no browser."
            )
