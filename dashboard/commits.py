"""Which commits of a history are in this repository: measurements travel, and some commits are nowhere to be found."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from dashboard.data import ROOT
from leaderboards.cells import DASH
from suite.records import Measurement

ABSENT = "not in this repository"
SHOWN, WHOLE = 8, 41  # characters; a whole one may end with a plus
PATIENCE_S = 20


def absent(commits: Iterable[str | None], root: Path = ROOT) -> frozenset[str]:
    """Those that the repository does not have, asked in one call. None of them where there is no git to ask."""
    asked = sorted({commit for commit in commits if commit})
    names = {commit: commit.removesuffix("+") for commit in asked}  # a plus: with changes that were not committed
    sound = [commit for commit in asked if re.fullmatch(r"[0-9a-f]{4,64}", names[commit])]
    try:
        run = subprocess.run(
            ["git", "-C", str(root), "cat-file", "--batch-check=%(objecttype)"],
            input="".join(f"{names[commit]}\n" for commit in sound),
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    answers = run.stdout.splitlines()
    found = {commit for commit, said in zip(sound, answers) if said == "commit" or said.endswith(" ambiguous")}
    return frozenset(asked) - found


def told(commit: str | None, missing: frozenset[str] = frozenset(), characters: int = SHOWN) -> str:
    """The beginning of a commit for people, marked where this repository does not have it."""
    if not commit:
        return DASH
    return commit[:characters] + (f" ({ABSENT})" if commit in missing else "")


def told_of(m: Measurement | None, missing: frozenset[str] = frozenset()) -> str:
    """The commit of a run, where there is one."""
    return told(None if m is None else m.commit, missing)
