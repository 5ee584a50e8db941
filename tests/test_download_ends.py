"""Every download ends, whatever the server answers: with the file, or with words and what is worth keeping."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from suite.models.checkpoints import download as downloads
from suite.models.checkpoints.download import CONNECTIONS, download
from suite.models.checkpoints.embedded import WeightsError
from suite.models.checkpoints.pins import RemoteFile
from tests.web import Page, serving

DATA = random.Random(1).randbytes(20_000)
HALF = len(DATA) // 2
ATTEMPTS = 3
BAD = ["refused", "wrong start", "other total", "no Content-Range", "no number", "other ETag", "longer"]


def get(page: Page, folder: Path, **more) -> Path:
    with serving(file=page) as url:
        file = RemoteFile(name="file.pt", url=f"{url}/file", source="a test", **more)
        return download(file, folder, timeout_s=60.0, pause_s=0.0, attempts=ATTEMPTS)


def kept(folder: Path) -> bytes:
    part = folder / "file.pt.part"
    return part.read_bytes() if part.exists() else b""


@pytest.mark.parametrize("bad", BAD)
def test_a_server_that_breaks_off_and_cannot_go_on_is_given_up(tmp_path, bad):
    page = Page(DATA, bad_range=bad, always_breaks=HALF)
    with pytest.raises(WeightsError, match=r"/file: given up after \d+ (tries|connections)"):
        get(page, tmp_path)
    assert len(page.requests) <= 2 * ATTEMPTS + 1
    assert kept(tmp_path) in (b"", DATA[:HALF])  # sound, if anything


@pytest.mark.parametrize("bad", BAD)
def test_a_server_that_broke_off_once_and_knows_no_ranges_is_asked_for_the_whole(tmp_path, bad):
    page = Page(DATA, bad_range=bad, breaks=[HALF])
    assert get(page, tmp_path).read_bytes() == DATA
    assert len(page.requests) == 3 and "Range" not in page.requests[2]


@pytest.mark.parametrize("bad", ["refused", "wrong start", "no Content-Range"])
def test_a_sound_part_is_kept_where_the_server_cannot_go_on(tmp_path, bad):
    with pytest.raises(WeightsError, match=f"{HALF:,} bytes are kept"):
        get(Page(DATA, bad_range=bad, always_breaks=HALF), tmp_path)
    assert kept(tmp_path) == DATA[:HALF]


@pytest.mark.parametrize("bad", ["other total", "other ETag"])
def test_a_part_of_another_file_is_thrown_away(tmp_path, bad):
    page = Page(DATA, bad_range=bad, breaks=[HALF])

    class ThenAbsent(list):
        """After the range nothing is there any more."""

        def append(self, request: dict) -> None:
            super().append(request)
            page.errors += [404] if len(self) == 3 else []

    page.requests = ThenAbsent()
    with pytest.raises(WeightsError, match="404"):
        get(page, tmp_path)
    assert kept(tmp_path) == b""


@pytest.mark.parametrize("bad", ["nothing", "one byte"])
def test_a_server_that_gives_next_to_nothing_each_time_is_given_up(tmp_path, bad):
    page = Page(DATA, bad_range=bad, breaks=[HALF])
    with pytest.raises(WeightsError, match="given up after"):
        get(page, tmp_path)
    assert len(page.requests) <= ATTEMPTS * CONNECTIONS
    assert DATA.startswith(kept(tmp_path)) and len(kept(tmp_path)) >= HALF


def test_progress_is_no_reason_to_give_up(tmp_path):
    page = Page(DATA, always_breaks=len(DATA) // 10)
    assert get(page, tmp_path).read_bytes() == DATA
    assert len(page.requests) == 10


@pytest.mark.parametrize("etag", [True, False])
def test_a_file_that_changes_at_every_request_is_given_up(tmp_path, etag):
    page = Page(DATA, etag=False, always_breaks=HALF)
    tags = iter(range(1000))
    page.validators = lambda: {"ETag": f'"{next(tags)}"'} if etag else {"Last-Modified": f"day {next(tags)}"}
    with pytest.raises(WeightsError, match="given up after"):
        get(page, tmp_path)
    assert len(page.requests) <= 4 * ATTEMPTS


def test_a_stream_without_an_end_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "LARGEST_BYTES", 5000)
    sha256 = hashlib.sha256(DATA).hexdigest()
    with pytest.raises(WeightsError, match="no end of them"):
        get(Page(DATA, length=False), tmp_path, sha256=sha256)
    with pytest.raises(WeightsError, match="too large"):
        get(Page(DATA), tmp_path, sha256=sha256)


@pytest.mark.parametrize("etag", [True, False])
def test_a_range_of_a_file_of_another_day_starts_anew(tmp_path, etag):
    """The server looks at no If-Range and says another date. With the same ETag that is the same file elsewhere."""
    page = Page(DATA, breaks=[HALF])
    days = iter(range(1, 1000))
    tag = {"ETag": '"same"'} if etag else {}
    page.validators = lambda: tag | {"Last-Modified": f"day {next(days)}", "X": page.requests[-1].get("If-Range", "")}
    assert get(page, tmp_path).read_bytes() == DATA
    assert [request.get("Range") for request in page.requests][1:] == [f"bytes={HALF}-"] + [None] * (not etag)


def test_what_is_kept_serves_the_next_command(tmp_path):
    with pytest.raises(WeightsError):
        get(Page(DATA, bad_range="refused", always_breaks=HALF), tmp_path)
    state = tmp_path / "file.pt.part.json"
    with serving(file=(page := Page(DATA))) as url:
        state.write_text(json.dumps(json.loads(state.read_text()) | {"url": f"{url}/file"}))
        file = RemoteFile(name="file.pt", url=f"{url}/file", source="a test")
        assert download(file, tmp_path, pause_s=0.0).read_bytes() == DATA
    assert [request.get("Range") for request in page.requests] == [f"bytes={HALF}-"]
