"""The page *Gallery*: one prompt across recipes and models, and one object to turn. Glue only."""

import hashlib

import streamlit as st

from dashboard import gallery
from dashboard.screens import choosing, viewing
from dashboard.words import in_markdown
from leaderboards.kinds import ALL_KINDS

ACROSS, CARDS = 4, 24  # pictures in a row, and on the page; the choice above has the others


def show_card(subject: gallery.Subject, prompt: str, number: int, chosen: bool) -> None:
    with st.container(border=True):
        viewing.show_picture(subject, prompt)
        told = gallery.judged(subject.outcomes.get(prompt))
        st.markdown(f"{in_markdown(subject.recipe.partition(',')[0])}  \n:gray[{in_markdown(told)}]")
        st.button(
            "Shown above" if chosen else "Turn it",
            key=f"card {number}",
            disabled=chosen,
            on_click=st.session_state.__setitem__,
            args=("object", subject.recipe),
            width="stretch",
        )


rows, digest = choosing.begin("What the objects look like")
history, stamp = choosing.history()
made = viewing.made()
entries = hashlib.sha256(repr(made).encode()).hexdigest()
found = viewing.subjects(stamp, entries, history.measurements, made)
prompts = gallery.prompts(found)
state = {}
if not prompts:
    st.markdown("**No object is kept yet.**")
    st.info(gallery.HOW_TO_KEEP, icon=":material/info:")
else:
    first, second, third = st.columns([4, 3, 4], vertical_alignment="bottom")
    prompt = choosing.select(first, "Prompt", prompts, "prompt", prompts[0])
    of_prompt = [subject for subject in found if prompt in subject.objects]
    kinds = [ALL_KINDS, *sorted({subject.kind for subject in of_prompt})]
    kind = choosing.select(second, "Kind of output", kinds, "form", ALL_KINDS)
    shown = [subject for subject in of_prompt if kind in (ALL_KINDS, subject.kind)]
    names = [subject.recipe for subject in shown]
    chosen = choosing.select(third, "Object", names, "object", names[0])
    subject = shown[names.index(chosen)]
    outcome = subject.outcomes.get(prompt)
    with st.container(border=True):
        left, right = st.columns([2, 3])
        with left:
            st.markdown(f"**{in_markdown(prompt)}**  \n{in_markdown(chosen)}")
            st.markdown(in_markdown(gallery.judged(outcome)))
            st.caption(
                "Hit: the judge takes the object's own caption for the best of 153. The lead is that of its own "
                "caption over the best other, as a difference of two cosines."
            )
            st.caption(in_markdown(f"{subject.kind}, {subject.said}".replace("`", "")))
            if subject.weights_sha256:
                st.caption(f"Weights {in_markdown(subject.weights_sha256[:12])}")
        with right:
            viewing.show_object(subject, prompt, "gallery")
    st.markdown(f"##### {len(shown)} recipes on this prompt")
    for start in range(0, min(len(shown), CARDS), ACROSS):
        for number, column in enumerate(st.columns(ACROSS), start):
            if number < min(len(shown), CARDS):
                with column:
                    show_card(shown[number], prompt, number, shown[number] is subject)
    if len(shown) > CARDS:
        st.caption(f"Pictures of the first {CARDS}; *Object* above has all of them.")
    state = {"prompt": prompt, "form": kind, "object": chosen}
choosing.show_link(state, digest)
