"""The power mode of a Jetson, by its name: numbers depend on module and JetPack.

`nvpmodel` is asked; where it does not answer, as for some users, its own files tell the same, so that the mode does not
depend on who starts pytest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ANSWER = re.compile(
    r"NV Power Mode[ \t]*:[ \t]*(.*?)[ \t\r]*$(?:\s+^[ \t]*(\d+)[ \t\r]*$)?", re.IGNORECASE | re.MULTILINE
)
SYSTEM_FOLDERS = ("usr/sbin", "sbin", "usr/local/sbin")  # not on the path of cron and of some users
STATUS = "var/lib/nvpmodel/status"  # "pmode:0002"
DEFINITIONS = "etc/nvpmodel.conf"  # "< POWER_MODEL ID=2 NAME=MODE_30W >"


def power_mode(root: Path) -> str | None:
    """The active mode's name, "mode 2" for one without a name, or None where nothing says it."""
    return _asked(root) or _recorded(root)


def _asked(root: Path) -> str | None:
    folders = [os.environ.get("PATH", os.defpath), *(str(root / folder) for folder in SYSTEM_FOLDERS)]
    if (program := shutil.which("nvpmodel", path=os.pathsep.join(folders))) is None:
        return None
    try:
        answer = subprocess.run([program, "-q"], capture_output=True, timeout=5).stdout.decode(errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = ANSWER.search(answer)
    return _named(found[1], found[2]) if found else None


def _recorded(root: Path) -> str | None:
    status = re.fullmatch(r"pmode:0*(\d+)", _read(root / STATUS).strip())
    if not status:
        return None
    names = dict(re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(.*?)\s*>", _read(root / DEFINITIONS)))
    return _named(names.get(status[1], ""), status[1])


def _named(name: str, number: str | None) -> str | None:
    return name or (f"mode {number}" if number else None)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
