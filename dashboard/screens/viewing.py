"""An object to look at: its picture, the live viewer, its files. Glue only."""

from __future__ import annotations

import io

import streamlit as st

from dashboard import gallery, runs, shapes, viewer
from dashboard.compare import Comparison
from dashboard.gallery import Subject
from dashboard.screens import choosing
from dashboard.words import in_markdown
from leaderboards import objects
from suite.objects import Absent, Altered, read
from suite.pictures import PictureError, read_picture
from suite.records import Ending, Measurement

MIME = {"glb": "model/gltf-binary", "ply": "application/octet-stream"}


def made() -> list[objects.Made]:
    """Objects that were made by name. What cannot be read is said."""
    found, problems = objects.made_beside(runs.folders())
    for problem in problems:
        st.warning(in_markdown(problem), icon=":material/warning:")
    return found


@st.cache_resource(max_entries=4, show_spinner="Looking for objects")
def subjects(stamp: str, made: str, _measurements: list[Measurement], _made: list[objects.Made]) -> list[Subject]:
    """Of the runs and entries that the other arguments name."""
    return gallery.subjects(_measurements, _made, runs.folders())


@st.cache_data(max_entries=64, show_spinner=False)
def _shape(sha256: str, ending: Ending, _content: bytes) -> shapes.Shape:
    return shapes.read(_content, ending)


def show_picture(subject: Subject, prompt: str) -> None:
    """Or a line that says why there is none."""
    kept = subject.objects[prompt]
    if "png" not in kept.files:
        st.caption(in_markdown(kept.note or "no picture was kept"))
        return
    try:
        st.image(read_picture(io.BytesIO(read(subject.stores, kept.files["png"], "png"))), width="stretch")
    except (Absent, Altered, PictureError) as error:
        st.caption(in_markdown(f"no picture: {error}"))


def show_object(subject: Subject, prompt: str, key: str) -> None:
    """To turn, with its files to take along; or why there is nothing to turn. key: of this place on the page."""
    kept = subject.objects[prompt]
    ending = gallery.viewed(kept)
    if ending is None:
        st.info(in_markdown(f"No object is kept: {kept.note or 'only its picture'}"), icon=":material/info:")
        return
    try:
        content = read(subject.stores, kept.files[ending], ending)
        shape = _shape(kept.files[ending], ending, content)
    except (Absent, Altered, shapes.Unreadable) as error:
        st.warning(in_markdown(f"The object cannot be shown: {error}"), icon=":material/warning:")
        return
    alt = f"The object of {prompt} by {subject.recipe}, to be turned with the pointer or the arrow keys"
    if shape.faces is None:
        st.plotly_chart(
            shapes.figure(shape, kept.files[ending]),
            key=f"viewer {key}",
            config={"displaylogo": False, "modeBarButtonsToRemove": ["tableRotation", "resetCameraLastSave3d"]},
            alt=alt,
        )
    else:
        st.iframe(viewer.document(viewer.to_glb(shape), alt), height=shapes.HEIGHT_PX, alt=alt)
    points = f"{len(shape.points):,} points" if shape.faces is None else f"{len(shape.faces):,} faces"
    note = f" Its record says: {kept.note}." if kept.note else ""
    st.caption(in_markdown(f"{points}, {len(content):,} bytes.{note} SHA-256 {kept.files[ending][:12]}…"))
    other = {"glb": viewer.to_glb(shape)} if shape.faces is None else {"ply": shapes.to_ply(shape)}
    files = {ending: content} | other
    for column, (name, data) in zip(st.columns(4), files.items()):
        column.download_button(
            name.upper(),
            data,
            f"{gallery.file_name(subject, prompt)}.{name}",
            MIME[name],
            on_click="ignore",
            icon=":material/download:",
            key=f"{name} {key}",
        )


def show_pair(c: Comparison) -> str | None:
    """One prompt's objects of both sides, and which prompt; None where not both kept one. Those on which they differ
    come first."""
    sides = gallery.pair(c, made(), runs.folders())
    if sides is None:
        return None
    a, b = sides
    prompts = gallery.common_prompts(a, b)
    st.markdown("##### Their objects")
    if not prompts:
        st.caption("Both kept objects, but of no prompt in common.")
        return None
    count = sum(gallery.differ(a, b, prompt) for prompt in prompts)
    st.caption(
        f"Of {len(prompts)} prompts both objects are kept; on {count} of them one is hit and the other missed."
        + (" These come first." if count else "")
    )
    prompt = choosing.select(st, "Prompt", prompts, "prompt", prompts[0])
    for column, side, subject in zip(st.columns(2), "AB", (a, b)):
        with column:
            told = gallery.judged(subject.outcomes.get(prompt))
            st.markdown(f"**{side}** {in_markdown(subject.recipe)}  \n{in_markdown(told)}")
            show_object(subject, prompt, side)
            st.caption(in_markdown(subject.said.replace("`", "")))
    return prompt
