"""Files from the web are whole, known by their hash and resumed, whatever the server and the connection do."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from suite.models.checkpoints.download import download
from suite.models.checkpoints.embedded import WeightsError
from suite.models.checkpoints.pins import PINS, RemoteFile, pin, read_pins
from tests.web import Page, serving

ROOT = Path(__file__).parents[1]
DATA = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
HASH = hashlib.sha256(DATA).hexdigest()
QUICK = {"timeout_s": 60.0, "pause_s": 0.0, "attempts": 3}


def remote(url: str, **more) -> RemoteFile:
    return RemoteFile(**{"name": "file.pt", "url": f"{url}/file", "source": "a test"} | more)


def get(page: Page, folder: Path, *, options: dict | None = None, **more) -> Path:
    with serving(file=page) as url:
        return download(remote(url, **more), folder, **QUICK | (options or {}))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_arrives_whole_and_its_hash_is_pinned(tmp_path):
    seen = []
    path = get(Page(DATA), tmp_path, options={"report": lambda here, total: seen.append((here, total))})
    assert path.read_bytes() == DATA
    assert read_pins(tmp_path) == {"file.pt": HASH}
    assert left(tmp_path) == ["file.pt", PINS]
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA)) and seen == sorted(seen)


def test_a_file_that_is_here_is_not_asked_for_again(tmp_path):
    get(Page(DATA), tmp_path)
    page = Page(OTHER)
    assert get(page, tmp_path).read_bytes() == DATA
    assert page.requests == []


def test_a_published_hash_needs_no_pin(tmp_path):
    assert get(Page(DATA), tmp_path, sha256=HASH).read_bytes() == DATA
    assert left(tmp_path) == ["file.pt"]


def test_a_file_with_another_hash_than_published_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(WeightsError) as refusal:
        get(Page(OTHER), tmp_path, sha256=HASH)
    assert HASH in str(refusal.value) and hashlib.sha256(OTHER).hexdigest() in str(refusal.value)
    assert "published" in str(refusal.value) and left(tmp_path) == []


def test_the_first_downloads_hash_is_checked_at_the_second(tmp_path):
    get(Page(DATA), tmp_path).unlink()
    with pytest.raises(WeightsError, match=f"expected {HASH}.*pinned in"):
        get(Page(OTHER), tmp_path)
    assert left(tmp_path) == [PINS] and read_pins(tmp_path) == {"file.pt": HASH}


def test_a_file_that_was_altered_here_is_refused(tmp_path):
    path = get(Page(DATA), tmp_path)
    path.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(WeightsError, match="altered or truncated"):
        get(Page(DATA), tmp_path)


def test_what_is_not_accepted_is_neither_kept_nor_pinned(tmp_path):
    """The page of a network that wants a login must not become the hash that all later downloads are held against."""

    def accept(path: Path) -> None:
        raise WeightsError(f"{path}: no checkpoint")

    with pytest.raises(WeightsError, match="no checkpoint"):
        get(Page(b"<html>please log in</html>"), tmp_path, options={"accept": accept})
    assert left(tmp_path) == []
    assert get(Page(DATA), tmp_path).read_bytes() == DATA


# Interruptions.


def test_a_broken_connection_is_resumed_from_where_it_broke(tmp_path):
    page = Page(DATA, breaks=[100_000, 50_000])
    assert get(page, tmp_path).read_bytes() == DATA
    assert [request.get("Range") for request in page.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert page.requests[1]["If-Range"] == page.tag


def interrupted(tmp_path: Path, page: Page, at: int = 100_000) -> None:
    """Leave a part of the page, as a process that was killed would."""
    page.breaks, page.errors = [at], []
    with serving(file=page) as url:
        with pytest.raises(WeightsError, match=f"{at:,} bytes are kept"):
            page_then_gone(page)
            download(remote(url), tmp_path, **QUICK)
    page.requests.clear()
    page.errors.clear()


def page_then_gone(page: Page) -> None:
    """After the broken answer nothing but errors come."""
    original = page.breaks

    class ThenErrors(list):
        def pop(self, index: int = -1):
            page.errors += [503] * 3
            return super().pop(index)

    page.breaks = ThenErrors(original)


def go_on(tmp_path: Path, page: Page, **more) -> bytes:
    """Download again, from a server at another port: the part is told by its address too, so that is kept."""
    state = tmp_path / "file.pt.part.json"
    with serving(file=page) as url:
        state.write_text(json.dumps(json.loads(state.read_text()) | {"url": f"{url}/file"}))
        return download(remote(url, **more), tmp_path, **QUICK).read_bytes()


def test_a_later_process_resumes_what_an_earlier_one_left(tmp_path):
    page = Page(DATA)
    interrupted(tmp_path, page)
    assert left(tmp_path) == ["file.pt.part", "file.pt.part.json"]
    assert go_on(tmp_path, page) == DATA
    assert page.requests[0]["Range"] == "bytes=100000-"
    assert left(tmp_path) == ["file.pt", PINS]


@pytest.mark.parametrize("manners", [{}, {"ranges": False}, {"etag": False, "last_modified": True}, {"weak": True}])
def test_a_file_that_changed_between_the_two_parts_starts_anew(tmp_path, manners):
    page = Page(DATA, **manners)
    interrupted(tmp_path, page)
    page.data = OTHER
    assert go_on(tmp_path, page) == OTHER


def test_a_change_that_the_server_hides_behind_its_ranges_is_caught_by_the_etag(tmp_path):
    """Some servers answer a range of whatever they have, and do not look at If-Range."""
    page = Page(DATA)
    interrupted(tmp_path, page)
    page.data = OTHER
    page.validators = lambda: {"ETag": '"new"', "X": page_if_range(page)}
    assert go_on(tmp_path, page) == OTHER
    assert len(page.requests) == 2


def page_if_range(page: Page) -> str:
    """What makes the server of these tests honour any If-Range."""
    return page.requests[-1].get("If-Range", "")


def test_a_server_without_any_validator_is_resumed_by_the_length_and_held_by_the_hash(tmp_path):
    page = Page(DATA, etag=False)
    interrupted(tmp_path, page)
    assert go_on(tmp_path, page, sha256=HASH) == DATA
    assert page.requests[0]["Range"] == "bytes=100000-" and "If-Range" not in page.requests[0]


def test_another_length_without_any_validator_starts_anew(tmp_path):
    page = Page(DATA, etag=False)
    interrupted(tmp_path, page)
    page.data = OTHER[:-1]
    assert go_on(tmp_path, page) == OTHER[:-1]


def test_a_server_without_ranges_starts_anew(tmp_path):
    page = Page(DATA, ranges=False, breaks=[100_000])
    assert get(page, tmp_path).read_bytes() == DATA
    assert len(page.requests) == 2


def test_a_part_without_its_state_or_of_another_address_starts_anew(tmp_path):
    (tmp_path / "file.pt.part").write_bytes(b"x" * 1000)
    page = Page(DATA)
    assert get(page, tmp_path).read_bytes() == DATA and "Range" not in page.requests[0]
    (tmp_path / "file.pt").unlink()
    page = Page(DATA)
    interrupted(tmp_path, page)
    assert get(page, tmp_path).read_bytes() == DATA and "Range" not in page.requests[0]


def test_a_part_that_was_whole_already_is_taken(tmp_path):
    page = Page(DATA)
    interrupted(tmp_path, page)
    (tmp_path / "file.pt.part").write_bytes(DATA)
    assert go_on(tmp_path, page) == DATA
    assert len(page.requests) == 1


def test_a_part_that_is_too_long_starts_anew(tmp_path):
    page = Page(DATA)
    interrupted(tmp_path, page)
    (tmp_path / "file.pt.part").write_bytes(DATA + b"more")
    assert go_on(tmp_path, page) == DATA


ALONE = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
from suite.models.checkpoints.download import download
from suite.models.checkpoints.pins import RemoteFile
download(RemoteFile(name="file.pt", url=sys.argv[1], source="a test"), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_ended_in_the_middle_leaves_what_the_next_goes_on_with(tmp_path, end):
    page = Page(DATA, drip=(10_000, 0.05))
    part = tmp_path / "file.pt.part"
    with serving(file=page) as url:
        process = subprocess.Popen(
            [sys.executable, "-c", ALONE, f"{url}/file", str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL
        )
        while not (part.exists() and part.stat().st_size > 50_000):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(end)
        assert process.wait(600) != 0
        page.drip = None
        assert download(remote(url), tmp_path, **QUICK).read_bytes() == DATA
    begun = [int(request.get("Range", "bytes=0-")[6:-1]) for request in page.requests]
    assert len(begun) == 2 and begun[0] == 0 and begun[1] >= 50_000
    assert read_pins(tmp_path) == {"file.pt": HASH}


# Servers in trouble.


def test_absent_pages_are_no_reason_to_try_again(tmp_path):
    page = Page(DATA, errors=[404, 404])
    with pytest.raises(WeightsError, match="/file: the server answers 404"):
        get(page, tmp_path)
    assert len(page.requests) == 1


def test_a_server_in_trouble_is_asked_again(tmp_path):
    page = Page(DATA, errors=[503, 429])
    assert get(page, tmp_path).read_bytes() == DATA
    page = Page(OTHER, errors=[500] * 3)
    with pytest.raises(WeightsError, match="3 tries without a new byte: the server answers 500"):
        get(page, tmp_path, name="other")


def test_a_silent_server_is_left_and_asked_for_the_rest(tmp_path):
    page = Page(DATA, pause_s=[3600.0])  # who waited for it would have all in one answer, an hour later
    assert get(page, tmp_path, options={"timeout_s": 1.0}).read_bytes() == DATA
    assert page.requests[1]["Range"] == "bytes=150000-"


def test_a_slow_server_is_not_left(tmp_path):
    """The time-out is of silence: a file that takes longer than it comes in one piece."""
    page = Page(DATA[:20_000], drip=(1000, 0.15))
    assert get(page, tmp_path, options={"timeout_s": 2.5}).read_bytes() == DATA[:20_000]
    assert len(page.requests) == 1


def test_nobody_at_the_address_is_said_in_words(tmp_path):
    with serving() as url:
        gone = remote(url)
    with pytest.raises(WeightsError, match="Connection refused"):
        download(gone, tmp_path, **QUICK)


def test_a_length_that_nobody_says_is_refused_unless_a_hash_is_known(tmp_path):
    with pytest.raises(WeightsError, match="does not say how long"):
        get(Page(DATA, length=False), tmp_path)
    assert get(Page(DATA, length=False), tmp_path, sha256=HASH).read_bytes() == DATA


def test_a_length_that_is_no_number_is_none(tmp_path):
    page = Page(DATA, length=False)
    page.validators = lambda: {"Content-Length": "many"}
    with pytest.raises(WeightsError, match="does not say how long"):
        get(page, tmp_path)


def test_a_file_of_another_length_than_known_is_refused_before_it_is_downloaded(tmp_path):
    with pytest.raises(WeightsError, match="300,000 bytes, expected 299,999"):
        get(Page(DATA), tmp_path, bytes=len(DATA) - 1)
    assert left(tmp_path) == []


# The machine in trouble.


def test_a_disk_that_is_too_small_is_said_before_the_first_byte(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9, 1000))
    with pytest.raises(WeightsError, match="no room on the disk: 300,000 bytes are missing, 1,000 are free"):
        get(Page(DATA), tmp_path)


FULL = """
import resource, sys
from pathlib import Path
from suite.models.checkpoints.download import download
from suite.models.checkpoints.pins import RemoteFile
from suite.models.checkpoints.embedded import WeightsError
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
file = RemoteFile(name="file.pt", url=sys.argv[1], source="a test")
try:
    download(file, Path(sys.argv[2]), pause_s=0)
except WeightsError as error:
    print("REFUSED", error)
"""


def test_a_disk_that_fills_up_meanwhile_keeps_what_it_has(tmp_path):
    page = Page(DATA)
    with serving(file=page) as url:
        run = subprocess.run(
            [sys.executable, "-c", FULL, f"{url}/file", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert run.stdout.startswith("REFUSED") and "no room on the disk" in run.stdout, run.stdout + run.stderr
    assert (tmp_path / "file.pt.part").read_bytes() == DATA[:65536] and len(page.requests) == 1


def test_pins_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / PINS).write_text("{")
    with pytest.raises(WeightsError, match=PINS):
        get(Page(DATA), tmp_path)


BOTH = """
import sys
from pathlib import Path
from suite.models.checkpoints.download import download
from suite.models.checkpoints.pins import RemoteFile
for name in sys.argv[3:]:
    download(RemoteFile(name=name, url=sys.argv[1], source="a test"), Path(sys.argv[2]))
"""


def test_two_processes_download_a_file_once_and_lose_no_pin(tmp_path):
    page = Page(DATA, drip=(30_000, 0.03))
    with serving(file=page) as url:
        command = [sys.executable, "-c", BOTH, f"{url}/file", str(tmp_path)]
        orders = (["a", "b", "c"], ["c", "b", "a"], ["b", "a", "c"])
        runs = [subprocess.Popen([*command, *order], cwd=ROOT, env=os.environ) for order in orders]
        assert [run.wait(600) for run in runs] == [0, 0, 0]
    assert len(page.requests) == 3
    assert read_pins(tmp_path) == dict.fromkeys("abc", HASH)
    assert all((tmp_path / name).read_bytes() == DATA for name in "abc")


def test_pins_written_at_once_are_all_kept(tmp_path):
    names = [f"file-{k}" for k in range(80)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: pin(remote("http://nowhere", name=name), HASH, tmp_path), names))
    assert read_pins(tmp_path) == dict.fromkeys(names, HASH)
