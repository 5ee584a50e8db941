"""Three people's questions, each answered by clicks from the first page, in a real browser.

An engineer asks what fits, a researcher whether two recipes differ, a maintainer what got worse and by which commit.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dashboard import screenshot
from tests.dashboard_cases import NANO, a_night, chromium_on, matrix, nights, publish_nights

pytestmark = pytest.mark.slow
SLOW = [a_night(n, seconds=2.4) for n in range(30, 36)]
POINTS = "[data-testid=stPlotlyChart] .scatterlayer path.point"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    folder: Path = publish_nights(tmp_path_factory.mktemp("questions"), [*matrix(), *nights(30), *SLOW])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT3D_HISTORY", str(folder.parent / "history"))
        with chromium_on(folder) as (url, page):
            yield url, page


@pytest.fixture
def first_page(chromium):
    url, page = chromium
    screenshot.open_page(page, url)
    yield page
    assert page.elsewhere == []  # no other host was asked


def follow(page, link: str) -> None:
    page.get_by_role("link", name=link).first.click()
    screenshot.settle(page)


def read(page) -> str:
    return page.inner_text("[data-testid=stMain]").replace("\u00a0", " ")


def choose(page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label, exact=True).click()
    page.get_by_role("option", name=option).first.click()
    screenshot.settle(page)


def test_an_engineer_learns_what_fits_and_how_to_measure_it(first_page):
    follow(first_page, "What fits my limits?")
    field = first_page.get_by_role("spinbutton", name="At most, seconds")
    field.fill("1")
    field.press("Enter")
    first_page.wait_for_url("**seconds=1*")
    screenshot.settle(first_page)
    said = read(first_page)
    assert f"Within 1 s: best is {NANO}/steps-16@cpu" in said and "Nearest miss:" in said
    choose(first_page, "Details of", f"{NANO}/steps-16@cpu,")
    first_page.get_by_text(f"test_configuration[{NANO}/steps-16@cpu]").first.wait_for()  # the command that measures it


def test_a_researcher_learns_whether_two_recipes_differ_and_on_which_prompts(first_page):
    follow(first_page, "Do two of them differ?")
    choose(first_page, "A", f"{NANO}/fp32,")
    choose(first_page, "B", f"{NANO}/bf16,")
    said = read(first_page)
    assert "B is slower: ×1.5" in said and "Quality is not told apart" in said
    assert re.search(r"p = [\d.]+ on 153 prompts", said)


def test_a_maintainer_learns_what_got_worse_since_when_and_by_which_commit(first_page):
    assert f"{NANO}/fp32@orin" in read(first_page) or "What changed last" in read(first_page)
    follow(first_page, "What changed, since when?")
    choose(first_page, "Device", "orin")
    said = read(first_page)
    assert "Newest session: worse" in said
    assert f"{29:010x}"[:8] in said and f"{30:010x}"[:8] in said  # the last good commit, and the first bad one
