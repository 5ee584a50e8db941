"""The dashboard in a headless Chromium: `python -m dashboard.screenshot OUTPUT.png`. The tests look through it, too."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from dashboard.data import ROOT, VARIABLE

PATIENCE_S = 180  # a machine that measures or trains something else is slow here
LOCAL_HOSTS = {"localhost", "127.0.0.1"}
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def serve(published: Path | None = None) -> Iterator[str]:
    """The running dashboard's address. `published`: another folder of tables than the committed one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # This checkout is what is shown, whichever one is installed.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    if published is not None:
        environment[VARIABLE] = str(published)
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "dashboard/app.py",
        "--server.headless",
        "true",
        "--server.port",
        str(port),
        "--server.address",
        "127.0.0.1",
        "--server.fileWatcherType",
        "none",
    ]
    with tempfile.TemporaryFile("w+") as said:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            if not _healthy(url, server):
                said.seek(0)
                raise RuntimeError(f"streamlit did not start within {PATIENCE_S} s:\n{said.read()}")
            yield url
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _healthy(url: str, server: subprocess.Popen) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5) as answer:
                return answer.status == 200
        time.sleep(0.1)
    return False


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


@contextlib.contextmanager
def browser(width: int = 1400, height: int = 1000) -> Iterator:
    """A Playwright page in the system's Chromium (ImportError or RuntimeError where one is missing), with
    `page.elsewhere`: the addresses of other hosts that it asked for."""
    from playwright.sync_api import sync_playwright

    executable = find_chromium()
    if executable is None:
        raise RuntimeError(f"no Chromium found: {', '.join(CHROMIUMS)}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        try:
            page = chromium.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(1000 * PATIENCE_S)
            page.elsewhere = []
            page.on("request", lambda request: _note(page.elsewhere, request.url))
            page.on("websocket", lambda websocket: _note(page.elsewhere, websocket.url))
            yield page
        finally:
            chromium.close()


def _note(elsewhere: list[str], url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("data", "blob") and parts.hostname not in LOCAL_HOSTS:
        elsewhere.append(url)


# In the page: true once the script is done, what it sent is drawn, and nothing has changed for half a second.
# A figure's box is there before its drawing, and the address changes while the script runs: neither says it is done.
STANDS_STILL = """() => {
    const all = (name) => [...document.querySelectorAll(`[data-testid=${name}]`)];
    const drawn = (box, drawing) => box.querySelector(drawing) || !box.checkVisibility() || !box.offsetWidth;  // folded
    const done = all("stApp").some((app) => app.dataset.testScriptState === "notRunning")
        && all("stSkeleton").length === 0
        && all("stPlotlyChart").every((figure) => drawn(figure, ".main-svg"))
        && all("stDataFrame").every((table) => drawn(table, "canvas"));
    const shown = done ? location.href + document.body.innerHTML : null;
    if (!done || window.stood?.shown !== shown) window.stood = {shown, since: performance.now()};
    return done && performance.now() - window.stood.since >= 500;  // Plotly's own transition, too
}"""


def open_page(page, url: str) -> None:
    """Load a page's address and wait until it stands still."""
    page.goto(url)
    settle(page)


def settle(page) -> None:
    """Wait until the page stands still: script done, figures and tables drawn."""
    page.evaluate("window.stood = undefined")
    page.wait_for_function(STANDS_STILL, polling=100)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m dashboard.screenshot", description="A picture of the dashboard.")
    parser.add_argument("output", type=Path, metavar="OUTPUT.png")
    parser.add_argument(
        "--published", type=Path, help=f"folder of tables; else {VARIABLE}, else leaderboards/published"
    )
    parser.add_argument("--page", default="", help="'frontier', 'stages', 'history', …; else the overview")
    parser.add_argument("--query", default="", help="state of the page, as in its address: 'device=cpu&seconds=1'")
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--height", type=int, default=1000, help="of the window; the page may be longer")
    given = parser.parse_args(arguments)
    with serve(given.published) as url, browser(given.width, given.height) as page:
        open_page(page, f"{url}/{given.page}?{given.query}")
        page.screenshot(path=given.output)
    print(given.output)


if __name__ == "__main__":
    main()
