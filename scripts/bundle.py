"""Gather the wheels for a machine without network: `make bundle PYTHON=3.12 PLATFORM=manylinux2014_aarch64 [OUT=DIR]`.

There, `make setup WHEELS=DIR` installs from them. `TORCH=own` leaves torch out, for a board that brings its own.
`KEEP=torch,numpy` gathers what measuring takes and no more, without those packages, which the machine has: for
`python -m benchmarks.gpu_session --wheels DIR`, which installs nothing.
Runs on a bare Python 3.10; pip does the gathering, with the user's own configuration.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import installing  # scripts/installing.py and setup.py, beside this file
import setup

# What a platform stands for that names no glibc of its own: that of the oldest systems with Python 3.10, which is
# Ubuntu 22.04's 2.35 (JetPack 6), Debian 12's 2.36 and Red Hat 9's 2.34. Current wheels of numpy ask for 2.28.
USUAL_GLIBC = (2, 34)
MACHINES = ("x86_64", "aarch64")

SHOWING = ("plotly", "rich", "streamlit")  # of the project's dependencies: what only shows results
# pip answers environment markers ("; python_version < '3.11'") for the Python that it runs on, whatever
# --python-version says. This is pip with the other machine's answers; its release is pinned in constraints.txt.
PIP_ELSEWHERE = """
import json, sys
from pip._vendor.packaging import markers
here, there = markers.default_environment, json.loads(sys.argv.pop(1))
markers.default_environment = lambda: {**here(), **there}
from pip._internal.cli.main import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Target:
    """The machine that a bundle is for: its Python as (3, 12), its processor, the newest glibc it is known to have."""

    python: tuple[int, int]
    machine: str
    glibc: tuple[int, int]

    @property
    def python_text(self) -> str:
        return ".".join(map(str, self.python))

    def tags(self) -> list[str]:
        """The platform tags of wheels that run there, best first."""
        oldest = 5 if self.machine == "x86_64" else 17
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc[1], oldest - 1, -1)]
        old = ["manylinux2014"] + ["manylinux2010", "manylinux1"] * (self.machine == "x86_64")
        return tags + [f"{name}_{self.machine}" for name in (*old, "linux")]

    def markers(self) -> dict[str, str]:
        """The answers of environment markers there."""
        return {
            "python_version": self.python_text,
            "python_full_version": f"{self.python_text}.0",
            "implementation_version": f"{self.python_text}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "platform_machine": self.machine,
            "platform_system": "Linux",
            "sys_platform": "linux",
            "os_name": "posix",
        }


def parse_target(python: str, platform_tag: str) -> Target:
    """Of "3.12" (or python3.12) and manylinux2014_aarch64, manylinux_2_28_x86_64 or aarch64; empty is this machine's.

    Raises SetupError with what is wrong and what is known.
    """
    match = re.fullmatch(r"(?:python)?3\.(\d+)(?:\.\d+)?", python or platform.python_version())
    if not match or int(match[1]) < 10:
        raise installing.SetupError(f"PYTHON={python}: a version is meant, 3.10 or newer, such as PYTHON=3.12")
    tag = re.fullmatch(r"(?:manylinux(?:2014|_2_(\d+))_|linux_)?([a-z0-9_]+)", platform_tag or platform.machine())
    if not tag or tag[2] not in MACHINES:
        known = "manylinux2014_aarch64, manylinux2014_x86_64 or one with a glibc, such as manylinux_2_28_aarch64"
        raise installing.SetupError(f"PLATFORM={platform_tag}: known are {known}")
    return Target((3, int(match[1])), tag[2], (2, int(tag[1])) if tag[1] else USUAL_GLIBC)


def gather(target: Target, own_torch: bool, folder: Path, python: Path, kept: Sequence[str] = ()) -> None:
    """Fill a folder with wheels by the pip of `python`. SetupError names what has none.

    kept: what the machine has and keeps; then only what measuring takes besides, of which these are left out again.
    """
    where = [f"--python-version={target.python_text}", "--implementation=cp", "--only-binary=:all:"]
    where += [f"--platform={tag}" for tag in target.tags()]
    command = [python, "-c", PIP_ELSEWHERE, json.dumps(target.markers()), "download", "--no-input", *where]
    command += ["--no-build-isolation", f"--dest={folder}", f"--constraint={setup.CONSTRAINTS}"]
    wanted = [[*setup.BASE, f"{installing.ROOT}[{setup.VENDOR_EXTRAS if own_torch else setup.EXTRAS}]"]]
    if kept:
        wanted = [[*measuring(), *listed("vendor-torch")]]
    if own_torch:
        wanted.append(["--no-deps", *setup.VENDOR_NO_DEPS, "torchvision"])
    for requirements in wanted:
        run(target, [*command, *requirements])
    if (
        own_torch and not kept and target.python < (3, 13)
    ):  # for a torch that was built for numpy 1; newer Pythons have none
        run(target, [*(part for part in command if not str(part).startswith("--constraint")), "--no-deps", "numpy<2"])

    for wheel in folder.glob("*.whl"):
        if normal(wheel.name.partition("-")[0]) in kept:
            wheel.unlink()


def listed(key: str) -> list[str]:
    """The requirements of a list of pyproject.toml. Python 3.10 reads no TOML: the file has them a line each, or all in
    one."""
    found = re.search(rf"^{key} = \[(.*?)\]", (installing.ROOT / "pyproject.toml").read_text("utf-8"), re.M | re.S)
    return re.findall(r'"([^"]+)"', found[1])


def measuring() -> list[str]:
    """The project's dependencies without those that only show results."""
    return [wanted for wanted in listed("dependencies") if normal(re.match(r"[\w.-]+", wanted)[0]) not in SHOWING]


def normal(name: str) -> str:
    """A package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def run(target: Target, command: list) -> None:
    lines = []
    with subprocess.Popen(
        command,
        cwd=installing.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("ERROR"):
                installing.say(line.rstrip(), indent=4)
            elif text := installing.worth_saying(line):
                installing.say(text, indent=4)
    if process.returncode:
        reason = installing.cause(lines)
        if reason in (installing.missing, installing.conflict):
            names = installing.missing_names(lines)
            raise installing.SetupError(
                f"no wheel for Python {target.python_text} on {target.machine} (at most a source package, which a "
                f"bundle cannot hold): {', '.join(names)}; try another PYTHON= or a newer glibc in PLATFORM="
            )
        raise installing.SetupError((reason or installing.unknown)(lines, installing.Pip(Path(command[0]), -1)))


def describe(target: Target, own_torch: bool, folder: Path, kept: Sequence[str] = ()) -> None:
    """Write the note of what the bundle is for, and the checksums."""
    wheels = sorted(path.name for path in folder.glob("*.whl"))
    use = "python -m benchmarks.gpu_session --wheels DIR" if kept else "make setup WHEELS=DIR"
    without = f", without {', '.join(kept or ['torch'])}" if own_torch else ""
    note = {
        "about": f"Wheels of text3d-bench for Python {target.python_text} on a Linux with {target.machine}, glibc "
        f"{target.glibc[0]}.{target.glibc[1]} or newer{without}. Copy this folder and "
        f"the checkout there and type: {use}",
        "python": target.python_text,
        "machine": target.machine,
        "glibc": list(target.glibc),
        "torch": "own" if own_torch else "bundled",
        "kept": list(kept),
        "wheels": wheels,
    }
    (folder / setup.BUNDLE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    sums = [f"{setup.sha256(folder / name)}  {name}\n" for name in (setup.BUNDLE, *wheels)]
    (folder / setup.SUMS).write_text("".join(sums), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="", help="3.12; this machine's where empty")
    parser.add_argument("--platform", default="", help="manylinux2014_aarch64; this machine's where empty")
    parser.add_argument("--out", default="", metavar="DIR")
    parser.add_argument("--torch", default="", choices=["", "own"], help="own: leave torch out")
    parser.add_argument("--keep", default="", metavar="NAMES", help="what measuring takes, without these: torch,numpy")
    options = parser.parse_args()
    try:
        kept = tuple(normal(name) for name in options.keep.split(",") if name)
        if kept and "torch" not in kept:
            raise installing.SetupError(f"KEEP={options.keep}: torch is what such a machine keeps; KEEP=torch,numpy")
        target, own = parse_target(options.python, options.platform), options.torch == "own" or bool(kept)
        out = Path(options.out or f"bundle-{target.python_text}-{target.machine}").expanduser().absolute()
        if out.exists():
            raise installing.SetupError(f"{out} is there already: remove it or name another, OUT=DIR")
        # Under its final name only when it is whole. Beside it, since a temporary folder may be in memory.
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as work:
            installing.say(f"1/2 making a pip to gather with (Python {platform.python_version()})")
            python = Path(work) / "pip/bin/python"
            setup.make_venv(python.parents[1], see_system=False)
            with setup.only_one() as lock:
                installing.Pip(python, lock).install("-c", str(setup.CONSTRAINTS), *setup.BASE)
            installing.say(f"2/2 gathering wheels for Python {target.python_text} on {target.machine}")
            part = Path(work) / "part"
            part.mkdir()
            gather(target, own, part, python, kept)
            describe(target, own, part, kept)
            part.rename(out)
    except installing.SetupError as error:
        sys.exit(f"bundle: {error}")
    except KeyboardInterrupt:
        sys.exit("bundle: stopped, nothing is left behind")
    except OSError as error:
        sys.exit(f"bundle: {error.strerror or error} ({error.filename or 'no file'})")
    count, size = len(list(out.glob("*.whl"))), sum(path.stat().st_size for path in out.iterdir())
    installing.say(f"{count} wheels, {size / 1e6:.0f} MB in {out}")
    use = "python -m benchmarks.gpu_session --wheels " if kept else "make setup WHEELS="
    installing.say(f"copy it and this checkout to the other machine, and type there: {use}{shlex.quote(out.name)}")


if __name__ == "__main__":
    main()
