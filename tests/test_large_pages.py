"""Pages of more rows than a screen can show, and what a click costs: counted, not timed."""

from __future__ import annotations

import json

import pytest
import streamlit

from dashboard import changes, data
from dashboard.words import in_markdown
from leaderboards import rows as published_rows
from leaderboards.tables import to_json
from suite.index import kept
from suite.index.reading import read_indexed
from tests.dashboard_cases import NANO, nights, open_app, prose, publish_nights, specs
from tests.factories import measurement, row
from tests.test_index import settled

MOST = 8


@pytest.fixture(autouse=True)
def few(monkeypatch):
    streamlit.cache_resource.clear()
    monkeypatch.setattr(data, "MOST_SHOWN", MOST)
    yield
    streamlit.cache_resource.clear()


def table_of(count: int) -> list:
    return [
        row(
            f"{NANO}/steps-{n}@cpu",
            latency_s=1 + n,
            latency_low_s=0.9 + n,
            latency_high_s=1.1 + n,
            r_precision=0.9 - n / 100,
            on_frontier=n < 3,
            measured_at="2026-11-20T00:00:00Z",
        )
        for n in range(1, count + 1)
    ]


def test_a_page_shows_what_comes_first_and_says_how_many_there_are(tmp_path, monkeypatch):
    (tmp_path / "cpu.json").write_text(to_json(table_of(20)))
    page = open_app(monkeypatch, tmp_path, device="cpu")
    assert "show 8 of 20 rows" in " ".join(info.value for info in page.info)
    assert len(page.dataframe[0].value) == MOST
    points = [trace for trace in specs(page)[0]["data"] if trace.get("customdata")]
    assert sum(len(trace["customdata"]) for trace in points) == MOST
    assert in_markdown("20 rows: 20 ok") in prose(page)


def test_a_page_of_few_rows_says_nothing_of_it(tmp_path, monkeypatch):
    (tmp_path / "cpu.json").write_text(to_json(table_of(MOST)))
    assert not any("of 8 rows" in info.value for info in open_app(monkeypatch, tmp_path, device="cpu").info)


def test_tables_are_read_once_and_again_when_they_change(tmp_path, monkeypatch):
    path = tmp_path / "cpu.json"
    path.write_text(to_json(table_of(5)))
    reads, digests = [], []
    read, digest = published_rows.read_published, data.digest
    monkeypatch.setattr(data, "read_published", lambda folder: reads.append(folder) or read(folder))
    monkeypatch.setattr(data, "digest", lambda rows: digests.append(1) or digest(rows))
    page = open_app(monkeypatch, tmp_path, device="cpu")
    page.run()
    page.number_input[0].set_value(3.0).run()
    assert not page.exception and len(reads) == len(digests) == 1
    path.write_text(to_json(table_of(6)))
    page.run()
    assert len(reads) == len(digests) == 2 and len(page.dataframe[0].value) == 6


def test_a_list_of_runs_offers_the_newest_and_a_link_any(tmp_path, monkeypatch):
    folder = publish_nights(tmp_path, nights(20))
    page = open_app(monkeypatch, folder, "screens/compare.py")
    assert "8 of 20 to choose from. A link names any of them." in prose(page)
    first = page.selectbox[0]
    assert len(first.options) == MOST
    from dashboard.compare import row_of

    oldest = row_of(nights(20)[0])
    page = open_app(monkeypatch, folder, "screens/compare.py", a_rows=oldest)
    assert page.selectbox[0].value == oldest and not page.warning


def test_changes_of_many_nights_read_few_files_again(tmp_path, monkeypatch):
    """A night that hit what the night before hit is not opened; one that did not, with those that vote on it."""
    from tests.factories import session_file

    for n in range(30):
        at = f"2026-10-{n + 1:02}T04:00:00Z"
        made = measurement(session=f"n{n:02}", measured_at=at, reference_s=2.0, hits=130 if n != 20 else range(23, 153))
        session_file(tmp_path / "laptop" / f"{n:04}_n.json", [made])
    found = read_indexed(settled(tmp_path), set_aside=False, worth_bytes=0)
    found = read_indexed(tmp_path, set_aside=False, worth_bytes=0)
    opened: list = []
    data_of = kept.data_of
    monkeypatch.setattr(kept, "data_of", lambda path: opened.append(path) or data_of(path))
    changes.of_board(found.measurements)
    assert 1 <= len(opened) <= 2 * 6


def test_what_is_told_apart_once_is_what_lists_give():
    rows = [*table_of(4), row(board=None), row("point-e-nano-text/fp32@orin"), row(source="published", board=None)]
    apart = data.Rows(rows)
    assert json.dumps(data.devices(apart)) == json.dumps(data.devices(rows))
    for device in data.devices(rows):
        assert data.measured(apart, device) == [r for r in rows if r.source == "measured" and r.device == device]
        assert data.literature(apart, device) == [r for r in rows if r.source == "published" and r.device == device]
        assert data.boards(apart, device) == data.boards(rows, device)
    assert apart.digest == data.digest(rows) == data.digest(reversed(rows))
