"""The states that the published tables ever had in this repository, by the hash that a pinned link names. Without
streamlit."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dashboard import data
from dashboard.data import ROOT
from leaderboards.rows import MalformedRows

TABLES = "leaderboards/published"
PATIENCE_S = 30  # for all of them together
MOST = 500  # states, the newest first
LARGEST_BYTES = 100_000_000  # of one table; more is no table


@dataclass(frozen=True)
class Snapshot:
    """A commit whose tables have one hash; of several, the newest."""

    commit: str
    committed_at: str  # ISO 8601

    def commands(self) -> str:
        """What to type to see them, by today's dashboard."""
        folder = f"../text3d-{self.commit[:8]}"
        return (
            f"git worktree add --detach {folder} {self.commit[:12]}\n"
            f"TEXT3D_PUBLISHED={folder}/{TABLES} TEXT3D_HISTORY={folder}/leaderboards/history "
            ".venv/bin/streamlit run dashboard/app.py"
        )


def by_digest(root: Path = ROOT) -> dict[str, Snapshot]:
    """Every state that can be read. Empty where there is no git to ask."""
    found: dict[str, Snapshot] = {}
    until = time.monotonic() + PATIENCE_S
    log = _git(root, "log", f"--max-count={MOST}", "--format=%H %cI", "--", TABLES) or b""
    for commit, committed_at in (line.split() for line in log.decode().splitlines()):
        if time.monotonic() > until:
            break
        archive = _git(root, "archive", "--format=tar", commit, TABLES)
        digest = None if archive is None else _digest(archive)
        if digest is not None:
            found.setdefault(digest, Snapshot(commit, committed_at))
    return found


def _digest(archive: bytes) -> str | None:
    """Of the tables in a tar; None where today's reader does not know them."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar.getmembers():
            name = PurePosixPath(member.name).name
            if member.isfile() and name.endswith(".json") and member.size <= LARGEST_BYTES:
                (Path(folder) / name).write_bytes(tar.extractfile(member).read())
        try:
            return data.digest(data.load(Path(folder)))
        except MalformedRows:
            return None


def _git(root: Path, *arguments: str) -> bytes | None:
    try:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_S).stdout
    except (OSError, subprocess.SubprocessError):
        return None
