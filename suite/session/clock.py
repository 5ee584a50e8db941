"""Does this machine's clock stand behind what is already recorded? A board without a clock battery starts in 1970, and
its rows would stand before older ones."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

SLACK = timedelta(minutes=10)  # between clocks that are set
SESSION_TIME = "%Y%m%dT%H%M%S"  # a session's name begins with it


def why_behind(board_folder: Path, checkout: Path, now: datetime | None = None) -> str | None:
    """What says that the clock is wrong, and what to do; None where nothing does."""
    now = now or datetime.now(timezone.utc)
    known = [*_sessions(board_folder), *_commit(checkout)]
    if not known or (latest := max(known))[0] <= now + SLACK:
        return None
    time, what = latest
    return (
        f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC, but {what} is of {time:%Y-%m-%d %H:%M} UTC: set the "
        "clock (timedatectl set-ntp true, or date -s); where that other time is the wrong one, move it away"
    )


def _sessions(board_folder: Path) -> Iterator[tuple[datetime, str]]:
    """When this board's earlier sessions began, by their journals' names."""
    for folder in (board_folder / "journal").glob("*"):
        try:
            time = datetime.strptime(folder.name.partition("-")[0], SESSION_TIME)
        except ValueError:
            continue
        yield time.replace(tzinfo=timezone.utc), f"the session in {folder}"


def _commit(checkout: Path) -> Iterator[tuple[datetime, str]]:
    """When the commit that is checked out was made."""
    try:
        asked = ["git", "-C", str(checkout), "log", "-1", "--format=%ct %h"]
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout
        seconds, name = said.split()
        yield datetime.fromtimestamp(int(seconds), timezone.utc), f"the commit {name} of this checkout"
    except (OSError, ValueError, OverflowError, subprocess.SubprocessError):
        return
