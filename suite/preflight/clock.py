"""Does this machine's clock stand behind what is already recorded? A board without a clock battery starts in 1970, and
its rows would stand before older ones."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from suite.fields import FIRST_YEAR
from suite.history import HistoryError, read_session

SET = "timedatectl set-ntp true, or date -s"
SLACK = timedelta(minutes=10)  # between clocks that are set
SESSION_TIME = "%Y%m%dT%H%M%S"  # a session's name begins with it


def why_behind(board_folder: Path, checkout: Path, now: datetime | None = None) -> str | None:
    """What says that the clock is wrong, and what to do; None where nothing does."""
    now = now or datetime.fromtimestamp(time.time(), timezone.utc)
    known = [*_sessions(board_folder), *_newest_file(board_folder), *_commit(checkout)]
    if not known or (latest := max(known))[0] <= now + SLACK:
        never = f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC: it was never set; set it ({SET})"
        return never if now.year < FIRST_YEAR else None
    recorded, what = latest
    return (
        f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC, but {what} is of {recorded:%Y-%m-%d %H:%M} UTC: set "
        f"the clock ({SET}); where that other time is the wrong one, move it away"
    )


def _sessions(board_folder: Path) -> Iterator[tuple[datetime, str]]:
    """When this board's earlier sessions began, by their journals' names."""
    for folder in (board_folder / "journal").glob("*"):
        try:
            began = datetime.strptime(folder.name.partition("-")[0], SESSION_TIME)
        except ValueError:
            continue
        yield began.replace(tzinfo=timezone.utc), f"the session in {folder}"


def _newest_file(board_folder: Path) -> Iterator[tuple[datetime, str]]:
    """When the newest measurement of the session's file that was written last was made. Others' histories have no
    journals here."""
    files = sorted(board_folder.glob("[0-9][0-9][0-9][0-9]_*.json"))
    try:
        cells = read_session(files[-1]).measurements if files else []
    except HistoryError:  # said where it is read
        return
    if cells:
        newest = max(cells, key=lambda cell: cell.measured_at)
        yield datetime.fromisoformat(newest.measured_at), f"{newest.configuration} in {files[-1]}"


def _commit(checkout: Path) -> Iterator[tuple[datetime, str]]:
    """When the commit that is checked out was made."""
    try:
        asked = ["git", "-C", str(checkout), "log", "-1", "--format=%ct %h"]
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout
        seconds, name = said.split()
        yield datetime.fromtimestamp(int(seconds), timezone.utc), f"the commit {name} of this checkout"
    except (OSError, ValueError, OverflowError, subprocess.SubprocessError):
        return
