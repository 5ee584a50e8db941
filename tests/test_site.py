"""The static site: pages, badges and feed, written from histories made here and looked at as a browser would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from dashboard import data, figures, history, screenshot
from dashboard.static import badges, feed, pages
from leaderboards.__main__ import main
from leaderboards.publish import read_board
from suite.judging.scores import summarize
from suite.records import Status, Verdict
from tests.dashboard_cases import NANO, ROOT, a_night, nights, publish_nights
from tests.factories import measurement

MARKUP = '"><script src="http://elsewhere.example/x.js"></script><img src=http://elsewhere.example/y onerror=z>'
ATOM = {"a": feed.ATOM}


def everything() -> list:
    """A board with a regression that healed, one that crashed, and one of another device with a single night."""
    its = [*nights(30), *(a_night(n, seconds=2.4) for n in range(30, 36)), *(a_night(n) for n in range(36, 42))]
    its += [a_night(41, f"{NANO}/steps-16@orin", 1.0, hits=128)]
    its += [a_night(n, f"{NANO}/bf16@orin", board="desk") for n in range(2)]
    its += [a_night(2, f"{NANO}/bf16@orin", board="desk", status=Status.CRASHED, reason=MARKUP, commit=MARKUP)]
    fingerprint = its[0].fingerprint.model_copy(update={"chip": MARKUP, "device": "cpu", "board": "laptop"})
    return its + [measurement(fingerprint=fingerprint, commit=MARKUP)]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    publish_nights(folder, everything())
    assert main(["site", str(folder / "out"), "--history", str(folder / "history")]) == 0
    return folder / "out"


class Page(HTMLParser):
    """The elements of a page, its text, and the JSON of its figures."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text, self.figures, self._figure = "", {}, None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script" and dict(attrs).get("type") == "application/json":
            self._figure = dict(attrs)["id"]

    def handle_endtag(self, tag):
        self._figure = None if tag == "script" else self._figure

    def handle_data(self, text):
        if self._figure:
            self.figures[self._figure] = json.loads(text)
        else:
            self.text += text


def pages_of(site: Path) -> dict[str, Page]:
    return {path.name: Page(path) for path in sorted(site.glob("*.html"))}


def with_attributes(made, shape_lost: int):
    """153 objects that are all recognized, of which so many lost their shape."""
    margins = [{"colour": 0.1, "shape": -0.1 if n < shape_lost else 0.1} for n in range(153)]
    outcomes = [
        o.model_copy(update={"rank_153": 0, "attribute_margins": m}) for o, m in zip(made.quality.outcomes, margins)
    ]
    return made.model_copy(update={"quality": summarize(made.quality.judge, outcomes)})


def test_what_breaks_first_stands_below_the_frontier(tmp_path):
    fast = with_attributes(measurement(f"{NANO}/steps-16@cpu", seconds=0.5, reference_s=2.0), 60)
    publish_nights(tmp_path, [with_attributes(measurement(reference_s=2.0), 30), fast])
    assert main(["site", str(tmp_path / "out"), "--history", str(tmp_path / "history")]) == 0
    page = Page(tmp_path / "out" / "board-laptop@cpu.html")
    assert "What breaks first: steps-16 beside fp32" in page.text
    ours, theirs = page.figures["frontier-0-attributes"]["data"]
    assert (ours["name"], theirs["name"]) == ("fp32", "steps-16")
    assert dict(zip(theirs["x"], theirs["y"]))["shape"] == pytest.approx(100 * 93 / 153)


def test_an_index_a_page_a_board_and_plotly_once(site):
    names = {path.name for path in site.iterdir()}
    assert names == {
        "index.html",
        "board-laptop@orin.html",
        "board-desk@orin.html",
        "board-laptop@cpu.html",
        "badges",
        "feed.xml",
        "look.css",
        "look.js",
        "plotly.min.js",
        ".nojekyll",
    }
    assert (site / "plotly.min.js").stat().st_size > 1_000_000


def test_no_page_asks_another_host_for_anything(site):
    for name, page in pages_of(site).items():
        for tag, attributes in page.elements:
            assert not any(attribute.startswith("on") for attribute in attributes), (name, tag)
            for attribute in ("src", "href", "srcset", "poster", "data", "action", "style"):
                value = attributes.get(attribute) or ""
                if tag != "a":  # a person clicks those
                    assert not re.search(r"^\s*(\w+:|//)|url\(", value), (name, tag, value)
                    target = site / unquote(value)
                    assert attribute == "style" or not value or target.exists(), (name, value)
        tags = {tag for tag, _ in page.elements}
        assert not tags & {"iframe", "object", "embed", "form", "base"}
    assert not re.search(r"url\(|@import|https?:", (site / "look.css").read_text())
    assert not re.search(r"https?:|fetch|import|XMLHttp", (site / "look.js").read_text())


def test_every_link_leads_somewhere(site):
    for name, page in pages_of(site).items():
        for tag, attributes in page.elements:
            if tag == "a":
                assert (site / unquote(attributes["href"].partition("#")[0])).exists(), (name, attributes)


def test_texts_of_files_stand_as_text(site):
    index, desk = pages_of(site)["index.html"], pages_of(site)["board-desk@orin.html"]
    assert MARKUP in index.text  # of a chip
    assert MARKUP in desk.text  # of a reason, in the table
    for page in pages_of(site).values():
        assert not [a for tag, a in page.elements if "elsewhere" in str(a)]
    for figure in desk.figures.values():
        for trace in figure["data"]:
            assert "<script" not in json.dumps(trace.get("hovertext", "")) and "<img" not in json.dumps(trace)


def test_the_figures_are_the_dashboards(site):
    folder = site.parent / "history"
    board = read_board([folder])
    rows = data.of_board([row for its in board.rows.values() for row in its], "orin", "laptop")
    shown = pages_of(site)["board-laptop@orin.html"].figures
    drawn = json.loads(figures.frontier_figure(rows).to_json())
    assert shown["frontier-0"]["data"] == drawn["data"]
    its = [m for m in board.measurements if m.board == "laptop" and m.configuration == f"{NANO}/fp32@orin"]
    (line,) = [line for line in history.lines_of(its) if line.quantity == "latency_s"]
    missing = frozenset(m.commit for m in its)
    expected = json.loads(history.series_figure(line, missing).to_json())
    assert shown["cell-0-latency_s"]["data"] == expected["data"]


def test_the_index_has_verdict_best_pick_and_what_changed(site):
    text = pages_of(site)["index.html"].text
    assert f"{NANO}/fp32" in text and "2.00 s" in text and "×1.20" in text and "as before since 2026-10-07" in text
    desk = pages_of(site)["board-desk@orin.html"].text
    assert "Newest session: worse" in desk and "crashed" in desk and "not in this repository" in desk
    assert "\\" not in re.sub(re.escape(MARKUP), "", desk)  # the Markdown's escapes are gone


def test_badges_are_pictures_and_what_shields_reads(site):
    for path in (site / "badges").glob("*.svg"):
        ElementTree.fromstring(path.read_text(encoding="utf-8"))
    found = json.loads((site / "badges" / "desk@orin-verdict.json").read_text())
    assert found == {"schemaVersion": 1, "label": "desk: newest night", "message": "worse", "color": "#b5372f"}
    latency = json.loads((site / "badges" / "laptop@orin-latency.json").read_text())
    assert latency["message"] == "1.00 s at 84 %"
    assert badges.of_latency("x", []).message == "nothing ranked"
    assert badges.of_verdict("<b>", Verdict.PASS).as_svg().count("&lt;b&gt;") == 2


def entries(path: Path) -> dict[str, str]:
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    assert root.tag == f"{{{feed.ATOM}}}feed"
    for element in (root, *root.findall("a:entry", ATOM)):
        for name in ("id", "title", "updated"):
            assert element.findtext(f"a:{name}", namespaces=ATOM), name
    return {
        entry.findtext("a:id", namespaces=ATOM): entry.findtext("a:title", namespaces=ATOM)
        for entry in root.findall("a:entry", ATOM)
    }


def test_the_feed_has_what_got_worse_under_names_that_stay(site, tmp_path):
    found = entries(site / "feed.xml")
    assert sorted(found.values()) == [
        f"desk: {NANO}/bf16@orin, ended well crashed",
        f"laptop: {NANO}/fp32@orin, latency ×1.20",
    ]
    more = [*everything(), *(a_night(n) for n in range(42, 50))]
    publish_nights(tmp_path, more)
    main(["site", str(tmp_path / "out"), "--history", str(tmp_path / "history")])
    assert entries(tmp_path / "out" / "feed.xml") == found


def test_a_feed_of_texts_that_xml_does_not_know_is_still_xml():
    from dashboard import changes

    its = [a_night(0), a_night(1, status=Status.CRASHED, reason="a\x00b\x1b[31m \ud800 <&>", commit="\x07")]
    text = feed.atom([("a page.html", changes.of_board(its), its)], frozenset())
    assert "a\N{REPLACEMENT CHARACTER}b" in ElementTree.fromstring(text).findtext("a:entry/a:content", namespaces=ATOM)
    assert 'href="a%20page.html#changes"' in text


def test_the_same_history_gives_the_same_site_and_boards_that_are_gone_go(site, tmp_path):
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    publish_nights(tmp_path, everything())
    main(["site", str(tmp_path / "out"), "--history", str(tmp_path / "history")])
    assert {
        path.relative_to(tmp_path / "out"): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    } == {path.relative_to(site): content for path, content in before.items()}
    (tmp_path / "out" / "board-mine.html").write_text("not ours")
    (tmp_path / "none").mkdir()
    main(["site", str(tmp_path / "out"), "--history", str(tmp_path / "none")])
    left = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert left == {"board-mine.html", "index.html", "feed.xml", "look.css", "look.js", "plotly.min.js", ".nojekyll"}
    assert "Nothing has been measured yet" in (tmp_path / "out" / "index.html").read_text()
    assert entries(tmp_path / "out" / "feed.xml") == {}


def test_all_failed_null_quality_and_one_night_have_pages(tmp_path):
    its = [a_night(n, board="broken", status=Status.CRASHED) for n in range(3)]
    its += [a_night(n, board="unscored", hits=None) for n in range(3)] + [a_night(0, board="once")]
    publish_nights(tmp_path, its)
    main(["site", str(tmp_path / "out"), "--history", str(tmp_path / "history")])
    found = pages_of(tmp_path / "out")
    assert not found["board-broken@orin.html"].figures
    assert {name.split("-")[-1] for name in found["board-unscored@orin.html"].figures} == {
        "latency_s",
        "peak_memory_bytes",
    }
    assert list(found["board-once@orin.html"].figures) == ["frontier-0"]


def test_the_command_says_what_it_wrote_or_why_not(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "history").mkdir()
    assert main(["site", str(tmp_path / "file"), "--history", str(tmp_path / "history")]) == 2
    assert "it is a file" in capsys.readouterr().err
    assert main(["site", str(tmp_path / "out"), "--history", str(tmp_path / "absent")]) == 2
    assert "no history folder" in capsys.readouterr().err
    assert main(["site", str(tmp_path / "out"), "--history", str(tmp_path / "history")]) == 0
    assert "0 boards; open" in capsys.readouterr().out


def test_it_needs_neither_network_nor_streamlit(tmp_path):
    script = f"""
import socket, sys
def refuse(*arguments, **others):
    raise AssertionError("a connection")
socket.socket.connect = socket.create_connection = refuse
from leaderboards.__main__ import main
assert main(["site", {str(tmp_path / "out")!r}]) == 0
assert not {{"streamlit", "torch"}} & set(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert len(list((tmp_path / "out").glob("board-*.html"))) == 3  # the committed history


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("**a** `b<c>`", "<strong>a</strong> <code>b&lt;c&gt;</code>"),
        (r"\*\*a\*\* \`b\` \<c\>", "**a** `b` &lt;c&gt;"),
        (":red[**worse**] \\:red\\[x\\]", "<strong>worse</strong> :red[x]"),
        ("\x000\x00 \\!", "0 !"),
    ],
)
def test_our_sentences_become_html(markdown, shown):
    assert pages.markdown_html(markdown) == shown


# In a browser, from the file system


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_chromium_draws_the_figures_from_files_in_both_colours(site, tmp_path, scheme):
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
    if screenshot.find_chromium() is None:
        pytest.skip(f"no Chromium: none of {', '.join(screenshot.CHROMIUMS)} is on the path")
    with screenshot.browser(390, 844) as page:
        page.emulate_media(color_scheme=scheme)
        page.goto((site / "board-laptop@orin.html").as_uri())
        page.wait_for_selector(".figure .main-svg")
        page.locator("summary").first.click()
        page.wait_for_selector("details .main-svg")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        ink = page.evaluate("getComputedStyle(document.body).color")
        assert page.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill") == ink
        page.screenshot(path=tmp_path / f"{scheme}.png")
        assert [url for url in page.elsewhere if not url.startswith("file:")] == []
