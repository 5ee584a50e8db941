"""Make, mend or keep the virtual environment: `make setup [PYTHON=python3.12] [WHEELS=DIR]`.

Runs on a bare Python 3.10 with the standard library alone. pip installs, with the user's own configuration. Every step
is announced; what goes wrong ends in one line that says what to do, and the next run mends it: an environment counts
as made only when `.ready` is in it, which is written last.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from installing import ROOT, Pip, SetupError, no_space, say  # scripts/installing.py, beside this file

CONSTRAINTS = ROOT / "constraints.txt"
INPUTS = (ROOT / "pyproject.toml", CONSTRAINTS, *(ROOT / "scripts" / name for name in ("setup.py", "installing.py")))
READY, OURS = ".ready", ".made-by-setup"
BUNDLE, SUMS = "bundle.json", "SHA256SUMS"

EXTRAS = "torch,dev,onnx"
# Beside a vendor's torch pip must not see a reason to replace it: what requires torch comes without its requirements,
# which are in the extra `vendor-torch`.
VENDOR_EXTRAS = "vendor-torch,dev"
VENDOR_NO_DEPS = ("open_clip_torch", "timm")
# pip of one release everywhere, so that its options and words are known; setuptools that builds without `wheel`.
BASE = ("pip", "setuptools>=71")

# What `make bench` imports, in two processes: a proof, and the bytecode of just these modules on two cores.
NUMPY_PROOF = "import numpy, torch; torch.from_numpy(numpy.zeros(1))"
PROOFS = (
    f"{NUMPY_PROOF}; import suite.worker.preload, diffusers",
    "import pytest, streamlit.web.bootstrap, dashboard.figures, leaderboards.publish, suite.plugin",
)

# ---- what stands there


def python_of_this_process() -> dict[str, str]:
    """Which Python an environment made by this process has: the same inside an environment and outside of it."""
    return {"python": ".".join(map(str, sys.version_info[:2])), "prefix": os.path.realpath(sys.base_prefix)}


def stamp() -> dict[str, str]:
    """What `.ready` must hold for the environment to be the one that is wanted."""
    inputs = hashlib.sha256(b"\0".join(path.read_bytes() for path in INPUTS)).hexdigest()
    return {**python_of_this_process(), "checkout": str(ROOT), "inputs": inputs}


def read_stamp(venv: Path) -> dict[str, str] | None:
    """The stamp of a finished environment, {} where another version of this set-up made it, None where none did."""
    try:
        found = json.loads((venv / READY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def why_anew(found: dict[str, str] | None, wanted: dict[str, str], runs: bool) -> str | None:
    """Why an environment must be made from nothing, or None where installing into it is enough."""
    if found is None:
        return "it is half-made"
    if found.get("checkout") != wanted["checkout"]:
        return f"it was made for {found['checkout']}" if "checkout" in found else "an older set-up made it"
    if (found.get("python"), found.get("prefix")) != (wanted["python"], wanted["prefix"]):
        return f"it has Python {found.get('python')} of {found.get('prefix')}"
    return None if runs else "its Python is gone"


def sees_system(venv: Path) -> bool:
    """Whether an environment sees the packages of its Python, a vendor's torch among them."""
    try:
        text = (venv / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"include-system-site-packages\s*=\s*true", text) is not None


def clear(venv: Path) -> None:
    """Empty a folder, which may be a link to one."""
    for path in venv.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def make_room(venv: Path) -> None:
    """Leave an empty folder of ours at `venv`. What somebody else made is moved aside, never removed."""
    if venv.is_symlink() and not venv.exists():
        raise SetupError(f"{venv} is a link to {os.readlink(venv)}, which is not there: remove the link")
    if venv.exists() and not venv.is_dir():
        raise SetupError(f"{venv} is a file: remove it")
    used = venv.is_dir() and any(venv.iterdir())
    # Many checkouts may be linked to one environment: it is changed for the one that it was made for alone.
    if used and venv.is_symlink() and owner(venv) != str(ROOT):
        raise SetupError(f"{venv} is a link to an environment that is not this checkout's: remove the link")
    if used and not any((venv / name).exists() for name in (OURS, READY)):
        aside = next(path for n in range(1, 1000) if not (path := venv.with_name(f"{venv.name}.moved-{n}")).exists())
        venv.rename(aside)
        say(f"{venv} was not made by this set-up: moved to {aside}, remove that if you do not need it")
    venv.mkdir(exist_ok=True)
    clear(venv)
    (venv / OURS).write_text(f"{ROOT}\n", encoding="utf-8")


def owner(venv: Path) -> str | None:
    """The checkout that an environment was made for, finished or not."""
    try:
        return (venv / OURS).read_text(encoding="utf-8").strip()
    except OSError:
        return None


@contextlib.contextmanager
def only_one() -> Iterator[int]:
    """One set-up of a checkout at a time; yields the lock's descriptor.

    pip inherits it: where this process is killed and pip goes on, the next set-up waits for pip's end too.
    """
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this checkout is running: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a folder of NFS cannot be locked so; then nothing waits
            pass
        yield lock
    finally:
        os.close(lock)


# ---- the folder of wheels


def check_wheels(folder: Path, vendor_torch: str | None) -> None:
    """SetupError where a folder of wheels cannot serve this machine: what is missing, altered or for another one."""
    if not folder.is_dir() or not any(folder.glob("*.whl")):
        raise SetupError(f"WHEELS={folder}: no such folder, or no wheel in it; `make bundle` gathers one elsewhere")
    if (folder / BUNDLE).exists():
        try:
            bundle = json.loads((folder / BUNDLE).read_text(encoding="utf-8"))
            python, machine, glibc = bundle["python"], bundle["machine"], tuple(bundle["glibc"])
        except (ValueError, KeyError, TypeError) as error:
            raise SetupError(f"{folder / BUNDLE} is damaged ({error!r}): copy the bundle again") from None
        here = ".".join(map(str, sys.version_info[:2]))
        if python != here:
            raise SetupError(f"{folder} is for Python {python}, this is {here}: make bundle PYTHON={here}")
        if machine != platform.machine():
            raise SetupError(f"{folder} is for {machine}, this is {platform.machine()}: gather one for this platform")
        if (ours := libc()) and ours < glibc:
            needed, have = (".".join(map(str, version)) for version in (glibc, ours))
            platform_name = f"manylinux_{ours[0]}_{ours[1]}_{machine}"
            raise SetupError(f"{folder} needs glibc {needed}, this is {have}: make bundle PLATFORM={platform_name}")
        if bundle.get("torch") == "own" and not vendor_torch:
            raise SetupError(
                f"{folder} was gathered without torch, and this Python has none: make bundle without TORCH=own"
            )
    if (folder / SUMS).exists():
        absent, altered = compare_sums(folder)
        if absent or altered:
            parts = [f"missing {', '.join(absent)}"] * bool(absent) + [f"altered {', '.join(altered)}"] * bool(altered)
            raise SetupError(f"{folder} is not as it was gathered: {'; '.join(parts)}: copy it again")


def libc() -> tuple[int, ...] | None:
    name, version = platform.libc_ver()
    return tuple(map(int, version.split(".")[:2])) if name == "glibc" else None


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def compare_sums(folder: Path) -> tuple[list[str], list[str]]:
    """The files that SHA256SUMS names and that are not there, and those that are not what they were."""
    absent, altered = [], []
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        wanted, _, name = line.partition("  ")
        if not (folder / name).is_file():
            absent.append(name)
        elif sha256(folder / name) != wanted:
            altered.append(name)
    return absent, altered


# ---- the steps


def base_python() -> str:
    """The interpreter outside any environment: an environment of an environment would not see a vendor's torch."""
    return getattr(sys, "_base_executable", None) or sys.executable


def torch_of(python: str) -> str | None:
    """The version of the torch that a vendor gave an interpreter, or None. SetupError where it does not import."""

    def ask(code: str) -> subprocess.CompletedProcess:
        return subprocess.run([python, "-c", code], capture_output=True, text=True, cwd="/")

    if ask("import importlib.util as u; print(u.find_spec('torch') is not None)").stdout.strip() != "True":
        return None
    found = ask("import torch; print(torch.__version__)")
    if found.returncode:
        raise SetupError(f"the torch of {python} does not import ({last(found.stderr)}): mend it or uninstall it")
    return found.stdout.split()[-1]


def last(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def make_venv(venv: Path, see_system: bool) -> None:
    try:
        import ensurepip

        has_pip = hasattr(ensurepip, "bootstrap")
    except ImportError:
        has_pip = False
    version = ".".join(map(str, sys.version_info[:2]))
    if not has_pip:
        raise SetupError(
            f"Python {version} has no venv: sudo apt-get install python{version}-venv, then run make again"
        )
    make_room(venv)
    options = ["--system-site-packages"] if see_system else []
    # Resolved, since `venv` refuses a link to an empty folder.
    command = [base_python(), "-m", "venv", *options, str(venv.resolve())]
    made = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if made.returncode:
        text = made.stdout + made.stderr
        if "No space left" in text or shutil.disk_usage(venv).free < 50e6:
            raise SetupError(no_space([], Pip(venv / "bin/python", -1)))
        raise SetupError(f"python -m venv failed ({last(text)}): run it by hand to see more")


def proves(python: Path, code: str) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(
        [python, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def settle_numpy(pip: Pip, constraints: Path, torch: str) -> None:
    """numpy beside a vendor's torch: below 2 where that torch was built for numpy 1, as JetPack 6's are.

    SetupError where it reads neither. The constraints file is changed so that nothing brings numpy 2 back.
    """
    pip.install("-c", str(constraints), "numpy>=1.26")
    if proves(pip.python, NUMPY_PROOF).wait() == 0:
        return
    say(f"torch {torch} was built for numpy 1: taking numpy below 2", indent=4)
    kept = [line for line in constraints.read_text(encoding="utf-8").splitlines() if not line.startswith("numpy==")]
    constraints.write_text("\n".join([*kept, "numpy<2", ""]), encoding="utf-8")
    pip.install("-c", str(constraints), "numpy>=1.26")
    second = proves(pip.python, NUMPY_PROOF)
    text = second.communicate()[0]
    if second.returncode:
        raise SetupError(f"torch {torch} cannot read numpy's arrays, not with numpy below 2 either: {last(text)}")


def set_up(venv: Path, wheels: Path | None, lock: int) -> None:
    began = time.monotonic()
    wanted, found = stamp(), read_stamp(venv)
    python = venv / "bin/python"
    reason = why_anew(found, wanted, python.exists()) if venv.is_symlink() or venv.exists() else "it is not there"
    if reason is None and found == wanted:
        return
    torch = torch_of(base_python())
    if wheels:
        check_wheels(wheels, torch)
    if reason is None and sees_system(venv) != (torch is not None):
        reason = f"this Python has {'now' if torch else 'no longer'} a torch of its own"
    count = 4 if torch else 3
    own = f", with its own torch {torch}" if torch else ""
    if reason:
        again = f" anew, since {reason}" if venv.exists() else ""
        say(f"1/{count} making {venv} with Python {platform.python_version()}{own}{again}")
        make_venv(venv, see_system=torch is not None)
    else:
        # It is kept, but no longer counts as made: where this stops half-way, the next is made from nothing.
        say(f"1/{count} bringing {venv} up to date, since pyproject.toml, constraints.txt or scripts/setup.py changed")
        (venv / READY).unlink()
    pip = Pip(ROOT / python, lock, wheels)
    pip.install("-c", str(CONSTRAINTS), *BASE)

    editable = ["--no-build-isolation", "-e"]
    if torch:
        constraints = venv / "constraints.txt"
        lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines(keepends=True)
        constraints.write_text("".join(line for line in lines if not line.startswith(("torch==", "torchvision=="))))
        say(f"2/{count} proving that torch {torch} reads numpy's arrays")
        settle_numpy(pip, ROOT / constraints, torch)
        say(f"3/{count} installing streamlit, diffusers and the others (about 250 MB to download the first time)")
        pip.install("-c", str(ROOT / constraints), *editable, f"{ROOT}[{VENDOR_EXTRAS}]")
        # Of torchvision its Python part is enough, where the vendor brings none.
        vision = proves(pip.python, "import importlib.util as u, sys; sys.exit(not u.find_spec('torchvision'))").wait()
        pip.install("-c", str(ROOT / constraints), "--no-deps", *VENDOR_NO_DEPS, *["torchvision"] * bool(vision))
    else:
        say(f"2/{count} installing torch and all else (500 MB to download the first time, 3 GB where torch has CUDA)")
        pip.install("-c", str(CONSTRAINTS), *editable, f"{ROOT}[{EXTRAS}]")

    say(f"{count}/{count} proving that torch, diffusers, open_clip and streamlit import")
    for process in [proves(pip.python, code) for code in PROOFS]:
        text = process.communicate()[0]
        if process.returncode:
            raise SetupError(f"installed, but it does not import: {last(text)}")

    part = venv / f"{READY}.part"
    part.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
    os.replace(part, venv / READY)
    say(f"{venv} is ready: {time.monotonic() - began:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=Path(".venv"), metavar="DIR")
    parser.add_argument(
        "--wheels", type=lambda text: Path(text).expanduser().absolute() if text else None, metavar="DIR"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.chdir(ROOT)
    try:
        with only_one() as lock:
            set_up(options.venv, options.wheels, lock)
    except SetupError as error:
        sys.exit(f"setup: {error}")
    except KeyboardInterrupt:
        sys.exit("setup: stopped; the next make makes the environment anew")
    except OSError as error:
        hint = "free some space" if error.errno == 28 else "mend that"
        sys.exit(f"setup: {error.strerror or error} ({error.filename or 'no file'}): {hint} and run make again")


if __name__ == "__main__":
    main()
