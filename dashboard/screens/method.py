"""The page *Method*: how each number comes about, the words, how to cite. Glue only."""

import pandas
import streamlit as st

from dashboard import method
from dashboard.screens import choosing
from leaderboards import agreement

rows, digest = choosing.begin("How each number comes about")
left, right = st.columns([5, 4])
with left:
    for heading, text in method.method():
        st.markdown(f"##### {heading}\n\n{text}" if heading else text)
with right:
    st.markdown("##### Words")
    asked = st.text_input("Look up", placeholder="such as: session", max_chars=80)
    found = method.looked_up(method.glossary(), asked)
    with st.container(height=640):
        for entry in found:
            st.markdown(entry.meaning)
        if not found:
            st.caption("No word or meaning has that.")
    st.markdown("##### How to cite")
    st.caption(
        "CITATION.cff. Name the commit, the session and the data's hash besides: they stand beside every figure."
    )
    st.code(method.citation(), language="yaml")
    st.code(f"data {digest}", language=None)
twice = agreement.judged_twice(rows)
st.markdown("##### How far a figure hangs on the judge\n\n" + agreement.summary(twice))
if twice:
    st.caption("Where they differ most first. Kappa: 1 is always, 0 is as often as chance.")
    titles = [column.title for column in agreement.COLUMNS]
    st.dataframe(pandas.DataFrame(agreement.lines(twice), columns=titles), hide_index=True)
choosing.show_link({}, digest)
