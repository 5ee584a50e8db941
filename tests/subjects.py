"""Which slow tests a change calls for: `python -m tests.subjects [REVISION]` prints their files, why on stderr.

A slow test is run where its subject changed since the revision: the previous landing. Without one that is where this
branch left `origin/main`, and on `main` itself, whose landings leave no mark, the commit of some landings ago. Where
git cannot tell, all are run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAIN = "origin/main"
BEFORE = "HEAD~30"  # a landing has had up to thirty commits; to look too far back costs some minutes

EVERYWHERE = ("pyproject.toml", "constraints.txt", "pytest.ini", "tests/conftest.py")
SUBJECTS: dict[str, tuple[str, ...]] = {  # by test file with slow tests: the folders and files that they are about
    "tests/test_bundle.py": ("scripts", "Makefile", "pyproject.toml", "constraints.txt"),
    "tests/test_confirm.py": ("suite/confirm", "suite/bisect"),
    "tests/test_dashboard_compare.py": ("dashboard", "suite/judging"),
    "tests/test_dashboard_gallery.py": ("dashboard", "suite/glb.py", "leaderboards/objects.py"),
    "tests/test_dashboard_history.py": ("dashboard", "suite/nights", "suite/judging"),
    "tests/test_dashboard_overview.py": ("dashboard", "CITATION.cff"),
    "tests/test_dashboard_page.py": ("dashboard", "leaderboards/published"),
    "tests/test_dashboard_questions.py": ("dashboard", "leaderboards"),
    "tests/test_dashboard_stages.py": ("dashboard", "leaderboards/published"),
    "tests/test_dashboard_upload.py": ("dashboard", "suite/history.py", "suite/records.py"),
    "tests/test_embedded_family.py": ("suite/embedded", "suite/scenes", "suite/models", "suite/metrics"),
    "tests/test_embedded_quality.py": ("suite/embedded", "suite/scenes", "suite/models", "suite/metrics"),
    "tests/test_nightly.py": ("scripts", "suite/nights", "suite/judging", "suite/confirm", "suite/session"),
    "tests/test_parity_shap_e.py": ("suite/models",),
    "tests/test_sampling.py": ("suite/embedded", "suite/scenes", "suite/models"),
    "tests/test_setup.py": ("scripts", "Makefile", "pyproject.toml", "constraints.txt"),
    "tests/test_site.py": ("dashboard", "leaderboards"),
    "tests/test_techniques_compiled.py": ("suite/optimizations", "suite/models"),
    "tests/test_training.py": ("suite/training", "suite/scenes", "suite/models"),
}


def changed(revision: str | None = None, root: Path = ROOT) -> set[str] | None:
    """Paths that differ from the revision, uncommitted and untracked ones too; None where git cannot tell."""
    try:
        since = revision or _previous(root)
        names = _git(root, "diff", "--name-only", "--no-renames", "-z", since, "--")
        names += _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    except (OSError, subprocess.SubprocessError):
        return None
    return set(filter(None, names.split("\0")))


def _previous(root: Path) -> str:
    try:
        base = _git(root, "merge-base", MAIN, "HEAD").strip()
        if base != _git(root, "rev-parse", "HEAD").strip():
            return base
    except subprocess.CalledProcessError:  # no such branch here
        pass
    return _git(root, "rev-parse", "--verify", "--quiet", BEFORE).strip()


def _git(root: Path, *words: str) -> str:
    run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=60)
    return run.stdout


def called_for(paths: set[str] | None) -> dict[str, str]:
    """The test files that these changes call for, each with the reason."""
    if paths is None:
        return dict.fromkeys(SUBJECTS, "git cannot tell what changed")
    found = {}
    for test, subjects in SUBJECTS.items():
        about = (test, *EVERYWHERE, *subjects)
        touched = sorted(p for p in paths if any(p == s or p.startswith(f"{s}/") for s in about))
        if touched:
            found[test] = f"{touched[0]} changed" + (f" and {len(touched) - 1} more" if touched[1:] else "")
    return found


def main(arguments: list[str]) -> None:
    found = called_for(changed(*arguments[:1]))
    for test in SUBJECTS:
        print(f"{test}: {found.get(test, 'its subject did not change')}", file=sys.stderr)
    print(" ".join(found))


if __name__ == "__main__":
    main(sys.argv[1:])
