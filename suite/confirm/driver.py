"""Makes objects with the code of one checkout, and times them when it is asked to.

    python driver.py '{"configuration": "…", "weights": "embedded", "prompt": "…"}'

Run by its path, never imported, with the checkout as working directory and first on PYTHONPATH: `suite` is the
checkout's own, of whatever commit. One file drives both sides of a comparison, so it is no difference between them, and
it uses little of a checkout's
code, under the names that this has had. A line on stdin is a task, and a line of JSON on stdout its answer:

    import       {"imported_s": 1.9}
    load         {"loaded_s": 0.6, "peak_memory_bytes": 41000000, "weights_sha256": "…"}: loaded, recipe applied, warm
    turn         {"samples_s": [0.023, …], "stage_samples_s": {"base diffusion": [0.02, …], …}}

or {"failed": "why"}, after which it ends. When stdin ends, or the process that started it, so does this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

TURN_S = 0.1  # of objects at least: a quick one's first after another process ran finds cold caches
WARM_UP_CALLS = 1  # after the first call, as a worker does
PR_SET_PDEATHSIG = 1  # prctl(2)


class Driver:
    """asked: configuration (its id), weights (their kind) and prompt."""

    def __init__(self, asked: dict[str, str]):
        self.asked = asked

    def imported(self) -> dict:
        started = time.perf_counter()
        checkout = Path.cwd()
        suite = importlib.import_module("suite")
        if suite.__file__ is None or Path(suite.__file__).resolve().parents[1] != checkout.resolve():
            raise ImportError(f"this commit has no package named suite (found: {suite.__file__})")
        leave_out_installed()
        from suite.configurations import find
        from suite.devices.backend import backend_of

        self.configuration = find(self.asked["configuration"])
        self.backend = backend_of(self.configuration.device)
        self.backend.find_board()
        self.build = first_of("suite.building", "suite.worker").build
        if not getattr(self.configuration, "is_extension", False):  # others' models may need little of it
            first_of("suite.worker.preload", "suite.preload")  # code, which is no model's memory
        for module in getattr(self.configuration.model, "modules", ()):
            importlib.import_module(module)
        return {"imported_s": time.perf_counter() - started}

    def load(self) -> dict:
        started = time.perf_counter()
        device = self.backend.torch_device()
        gauge = self.backend.memory_gauge()
        self.pipeline = self.build(self.configuration, self.asked["weights"], device)
        self.backend.synchronize()
        gauge.loaded()
        self.object()
        memory = gauge.record({})
        for _ in range(WARM_UP_CALLS):
            self.object()
        return {
            "loaded_s": time.perf_counter() - started,
            "peak_memory_bytes": None if memory is None else memory.peak_memory_bytes,
            "weights_sha256": getattr(self.pipeline, "weights_sha256", None),
        }

    def object(self) -> tuple[float, dict[str, float]]:
        """Make one; its seconds, and those of its stages."""
        from suite.metrics.latency import time_call

        return time_call(
            lambda stage: self.pipeline.generate([self.asked["prompt"]], stage=stage), self.backend.synchronize
        )

    def turn(self) -> dict:
        samples: list[float] = []
        stages: dict[str, list[float]] = {}
        while sum(samples) < TURN_S:
            total, spent = self.object()
            samples.append(total)
            for name, seconds in spent.items():
                stages.setdefault(name, []).append(seconds)
        return {"samples_s": samples, "stage_samples_s": stages}


def leave_out_installed() -> None:
    """An editable installation answers for modules that this commit lacks, with another tree's."""
    for finder in list(sys.meta_path):
        mapping = getattr(sys.modules.get(getattr(finder, "__module__", "")), "MAPPING", {})
        if "suite" in mapping:
            sys.meta_path.remove(finder)


def first_of(*names: str) -> ModuleType:
    """A module under the first of the names that it has had in the course of time."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not name.startswith(str(error.name)):
                raise  # it is there, and something that it needs is not
    raise ImportError(f"this commit has none of {', '.join(names)}: its code is too old, or too new, for this driver")


def why_unknown() -> str:
    """What extensions could not be read, which may be why a name is unknown."""
    try:
        from suite.catalogue.extensions import extensions
    except ImportError:  # of before there were any
        return ""
    return "".join(f"; {problem}" for problem in extensions().problems)


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a stopped one would outlive who stopped it
    with contextlib.suppress(ValueError):
        sys.path.remove(str(Path(__file__).parent))  # whose modules are not to be found by their bare names
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    driver = Driver(json.loads(sys.argv[1]))
    tasks = {"import": driver.imported, "load": driver.load, "turn": driver.turn}
    for line in sys.stdin:
        name, *arguments = line.split()
        try:
            answer = tasks[name](*arguments)
        except Exception as error:  # noqa: BLE001 - whatever that commit does, it is told
            said = (str(error).strip().splitlines() or ["no message"])[0]
            extra = why_unknown() if type(error).__name__ == "UnknownName" else ""
            answer = {"failed": f"{type(error).__name__}: {said}{extra}"}
        print(json.dumps(answer), file=answers, flush=True)
        if "failed" in answer:
            return


if __name__ == "__main__":
    main()
