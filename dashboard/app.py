"""`streamlit run dashboard/app.py`: the leaderboard, to look at. Each page is a file in screens/, for tests to open.

Shown are the tables in `leaderboards/published`, or in the folder that the environment variable TEXT3D_PUBLISHED names.
The runs behind them are the committed and the local ones, or those of the folder that TEXT3D_HISTORY names.
"""

import streamlit as st

from suite.collecting import paused

# No page_icon: Streamlit would fetch a symbol or emoji from another host, and the dashboard works offline.
st.set_page_config(page_title="text3d-bench", layout="wide")
# Their folder is not called pages/: Streamlit runs files from there by itself, without this one.
page = st.navigation(
    [
        st.Page("screens/overview.py", title="Overview", default=True),
        st.Page("screens/frontier.py", title="Frontier", url_path="frontier"),
        st.Page("screens/stages.py", title="Time and memory", url_path="stages"),
        st.Page("screens/history.py", title="History", url_path="history"),
        st.Page("screens/compare.py", title="Compare", url_path="compare"),
        st.Page("screens/gallery.py", title="Gallery", url_path="gallery"),
        st.Page("screens/health.py", title="Health", url_path="health"),
        st.Page("screens/method.py", title="Method", url_path="method"),
        st.Page("screens/upload.py", title="Upload", url_path="upload"),
    ],
    position="top",
)
with paused():
    page.run()
