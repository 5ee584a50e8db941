"""Clones of this repository to try things in, with commits of their own that stay there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from suite.history import ROOT

NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")


def clone(folder: Path) -> Path:
    """Of what is committed here; runs with this Python and its packages."""
    _git("clone", "--quiet", "--shared", str(ROOT), str(folder))
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def rewrite(root: Path, file: Path, new: str, message: str) -> None:
    """Commit a file's new text."""
    (root / file).write_text(new, encoding="utf-8")
    _git(*NOBODY, "commit", "--quiet", "--no-verify", "--all", "--message", message, cwd=root)


def reset(root: Path) -> None:
    """As it was cloned."""
    _git("reset", "--quiet", "--hard", "origin/HEAD", cwd=root)


def _git(*words: str, cwd: Path | None = None) -> None:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", *words], cwd=cwd, env=ours, check=True)
