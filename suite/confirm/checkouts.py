"""Commits of this repository beside each other, as git worktrees that are gone at the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from suite.names import unknown

# What no measurement runs: pathspecs of git.
NOT_MEASURED = (":!docs", ":!tests", ":!leaderboards", ":!dashboard", ":!.github", ":!*.md")
TIMEOUT_S = 600.0  # of one git command; a checkout reads some 100 MB


class NoCheckout(RuntimeError):
    """A commit that is not here, or cannot be checked out; says which, and what to do."""


class Repository:
    """A clone of this project."""

    def __init__(self, root: Path):
        self.root = root

    def git(self, *words: str) -> str:
        """What git prints. NoCheckout with its last line when it fails."""
        # Hooks are for people's checkouts.
        asked = ["git", "-C", str(self.root), "-c", "core.hooksPath=/dev/null", *words]
        ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a hook has others
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=ours)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoCheckout(f"git {words[0]}: {error}") from None
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise NoCheckout(f"git {words[0]}: {said[-1].removeprefix('fatal: ').removeprefix('error: ')}")
        return done.stdout.strip()

    def commit(self, name: str) -> str:
        """The full hash of a commit, by any name that git knows. NoCheckout with the nearest names."""
        with contextlib.suppress(NoCheckout):
            return self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if not (self.root / ".git").exists():
            raise NoCheckout(f"{self.root} is no git repository: there is no commit {name!r}")
        refs = self.git("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes")
        raise NoCheckout(f"{unknown('commit', name, ['HEAD', *refs.split()])}{self._shallow()}")

    def _shallow(self) -> str:
        shallow = self.git("rev-parse", "--is-shallow-repository") == "true"
        return "; this clone is shallow: `git fetch --unshallow` brings all commits" if shallow else ""

    def line(self, commit: str) -> str:
        """Short hash, date and subject."""
        return self.git("log", "-1", "--date=short", "--format=%h %ad %s", commit)

    def differs(self, commit: str) -> bool:
        """Whether the working tree has other code to measure than a commit. True where git cannot tell."""
        try:
            return bool(self.git("diff", "--name-only", commit, "--", ".", *NOT_MEASURED))
        except NoCheckout:
            return True

    @contextlib.contextmanager
    def checkout(self, commit: str) -> Iterator[Path]:
        """A folder with the files of a commit, until the end."""
        with tempfile.TemporaryDirectory(prefix="text3d-bench-", ignore_cleanup_errors=True) as folder:
            path = Path(folder).resolve() / commit[:10]
            try:
                try:
                    self.git("worktree", "add", "--detach", str(path), commit)
                except NoCheckout as error:
                    raise NoCheckout(f"{commit[:10]} cannot be checked out: {error}{self._shallow()}") from None
                yield path
            finally:
                with contextlib.suppress(NoCheckout):  # where it was not even begun
                    self.git("worktree", "remove", "--force", "--force", str(path))  # the second: also half made
