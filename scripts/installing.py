"""pip, run and listened to: what of its words is passed on, and what they mean. For `setup.py` and `bundle.py`."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IRRELEVANT = re.compile(
    r"is ignored: it is neither a file nor a directory|Running pip as the 'root' user|\[notice\]|^DEPRECATION:"
)
LARGE_MB = 20.0  # a download that is worth a line


class SetupError(Exception):
    """One line: what is wrong, and what to do."""


def say(text: str, indent: int = 0) -> None:
    print(f"{' ' * indent}{text}", flush=True)


@dataclass(frozen=True)
class Pip:
    """pip of an environment, always with the same options. `wheels` is the only source where it is given."""

    python: Path
    lock: int
    wheels: Path | None = None

    def install(self, *arguments: str) -> None:
        """Install; SetupError says in one line what to do, after pip's own errors were printed."""
        source = ["--no-index", "--find-links", str(self.wheels)] if self.wheels else []
        command = [*self._command(), "install", "--no-compile", *source, *arguments]
        code, lines = self._run(command)
        if code and cause(lines) is damaged and not self.wheels:
            say("a download is damaged: fetching again, past pip's cache")
            code, lines = self._run([*command, "--no-cache-dir"])
        if code:
            raise SetupError((cause(lines) or unknown)(lines, self))

    def _command(self) -> list[str]:
        return [str(self.python), "-m", "pip", "--no-input", "--disable-pip-version-check"]

    def _run(self, command: list[str]) -> tuple[int, list[str]]:
        environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore", "PIP_PROGRESS_BAR": "off", "PIP_USER": "0"}
        lines, failing = [], False
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            pass_fds=[self.lock],
        ) as process:
            try:
                for line in process.stdout:
                    lines.append(line.rstrip())
                    failing = failing or line.startswith(("ERROR", "error", "Traceback"))
                    if text := line.rstrip() if failing else worth_saying(line):
                        say(text, indent=4)
            except BaseException:
                process.terminate()
                raise
        return process.returncode, lines


def worth_saying(line: str) -> str | None:
    """What of a line of pip's is passed on: warnings that matter, large downloads, the long step of unpacking."""
    if IRRELEVANT.search(line):
        return None
    if match := re.match(r"\s*Downloading (\S+?)-(\d\S*?)-\S+\.whl.*\(([\d.]+) (MB|GB)\)", line):
        size_mb = float(match[3]) * (1000 if match[4] == "GB" else 1)
        return f"downloading {match[1]} {match[2]} ({match[3]} {match[4]})" if size_mb >= LARGE_MB else None
    if match := re.match(r"Installing collected packages: (.*)", line):
        return f"unpacking {len(match[1].split(','))} packages"
    return line.strip() if line.startswith("WARNING") else None


def no_space(lines: list[str], pip: Pip) -> str:
    import tempfile

    venv = pip.python.parents[1]
    free = ", ".join(
        f"{folder} has {shutil.disk_usage(folder).free / 1e6:.0f} MB" for folder in (venv, tempfile.gettempdir())
    )
    return f"the disk is full ({free}): free some space (the environment takes 2 GB, with CUDA 6) and run make again"


def damaged(lines: list[str], pip: Pip) -> str:
    where = f"a wheel in {pip.wheels}: copy the bundle again" if pip.wheels else "a download: run make again"
    return f"damaged: {where}"


def no_network(lines: list[str], pip: Pip) -> str:
    return (
        "the package index was not reached, or the download stopped: check the network and pip's configuration and run "
        "make again (what is downloaded is kept); for a machine without network see docs/setting-up.md"
    )


def missing_names(lines: list[str]) -> list[str]:
    # Where a constraint names the release, pip calls what is missing a conflict.
    words = r"(?:No matching distribution found for|The user requested \(constraint\)) (\S+)"
    found = (re.search(words, line) for line in lines)
    return sorted({match[1] for match in found if match})


def missing(lines: list[str], pip: Pip) -> str:
    names = missing_names(lines)
    here = f"Python {'.'.join(map(str, sys.version_info[:2]))} on {platform.machine()}"
    if pip.wheels:
        return f"{pip.wheels} has no wheel of {', '.join(names)} for {here}: gather it with `make bundle`"
    if any(name.startswith(("pip", "setuptools")) for name in names):  # every index has these
        return no_network(lines, pip)
    return f"the package index has no {', '.join(names)} for {here}: try another Python, make PYTHON=python3.12"


def conflict(lines: list[str], pip: Pip) -> str:
    return (missing if pip.wheels else unknown)(lines, pip)


def no_right(lines: list[str], pip: Pip) -> str:
    return f"no permission to write: {next(line for line in lines if 'Permission denied' in line)}"


def unknown(lines: list[str], pip: Pip) -> str:
    if not any(line.startswith("ERROR") for line in lines):
        for line in lines[-25:]:
            say(line, indent=4)
    return "pip failed, see above; when that is mended run make again"


# The first that fits is the cause. A full disk and a lost network often bring other complaints along.
CAUSES: tuple[tuple[str, Callable[[list[str], Pip], str]], ...] = (
    (r"No space left on device|Errno 28|Disk quota exceeded", no_space),
    (r"DO NOT MATCH THE HASHES|is invalid\.|BadZipFile|File is not a zip file|Bad CRC|has an invalid wheel", damaged),
    (
        r"name resolution|Failed to establish|Max retries|NewConnectionError|NameResolutionError|ProxyError|SSLError|"
        r"Connection (broken|reset|refused|aborted)|IncompleteRead|timed out|Could not fetch URL|incomplete-download",
        no_network,
    ),
    (r"No matching distribution found", missing),
    (r"The user requested \(constraint\)", conflict),
    (r"Permission denied", no_right),
)


def cause(lines: list[str]) -> Callable[[list[str], Pip], str] | None:
    text = "\n".join(lines)
    return next((answer for pattern, answer in CAUSES if re.search(pattern, text)), None)
