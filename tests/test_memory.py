"""Peak memory of a process, seen by the kernel: nothing is missed, stages stand apart.

Each test runs in a process of its own, since a peak is a process's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MB = 2**20

SETUP = """
import json
from suite.devices.cpu import ResidentSet
MB = 2**20
def use(megabytes):
    block = bytearray(megabytes * MB)
    block[::4096] = b"x" * len(block[::4096])  # touch every page, so that it is resident
    return block
use(1)
"""


def run(program: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SETUP + program], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_an_allocation_that_is_freed_before_reading_is_seen():
    found = run("""
gauge = ResidentSet()
gauge.loaded()
use(200)
print(json.dumps({"peak": gauge.peak_bytes()}))
""")
    assert found["peak"] == pytest.approx(200 * MB, rel=0.05)


def test_stages_stand_apart_and_the_peak_is_the_highest_of_them():
    found = run("""
gauge = ResidentSet()
kept = use(50)
gauge.loaded()
stages = {}
for name, megabytes in (("encoder", 100), ("diffusion", 300), ("decoder", 20)):
    gauge.restart()
    use(megabytes)
    stages[name] = gauge.peak_bytes()
print(gauge.record(stages).model_dump_json())
""")
    stages = found["stage_peak_memory_bytes"]
    assert stages["encoder"] == pytest.approx(150 * MB, rel=0.07)  # above the level before the model was loaded
    assert stages["diffusion"] == pytest.approx(350 * MB, rel=0.07)
    assert stages["decoder"] == pytest.approx(70 * MB, rel=0.15)
    assert found["peak_memory_bytes"] == stages["diffusion"]
    assert found["kind"] == "process"
    assert found["process_peak_memory_bytes"] > found["peak_memory_bytes"]


def peaks(before: str = "", loading: str = "") -> tuple[int, int]:
    """Peak of loading and peak of generating, in bytes, of a model that keeps 50 MB and takes 20 more to generate."""
    found = run(f"""
{before}
gauge = ResidentSet()
{loading}
model = use(50)
gauge.loaded()
gauge.restart()
use(20)
print(gauge.record({{"diffusion": gauge.peak_bytes()}}).model_dump_json())
""")
    return found["load_peak_memory_bytes"], found["peak_memory_bytes"]


@pytest.mark.parametrize(
    ("before", "loading", "load_peak"),
    [
        ("", "", 50),
        ("", "use(200)  # a checkpoint that is read, converted and dropped", 200),
        ("kept = use(50); use(200)  # as the worker's canary", "", 50),
    ],
    ids=["plain", "the peak of loading is kept apart", "what was used before the model is not the model's"],
)
def test_the_peaks_are_of_the_model_alone(before, loading, load_peak):
    loaded, generated = peaks(before, loading)
    assert loaded == pytest.approx(load_peak * MB, rel=0.07 if load_peak > 100 else 0.12)
    assert generated == pytest.approx(70 * MB, rel=0.15)


def test_what_was_freed_below_a_block_in_use_is_not_counted():
    """glibc cannot shrink a heap below what is in use, and keeps blocks there once larger ones were freed."""
    found = run("""
use(30)  # from now on glibc by itself takes blocks below 30 MB from the heap
gauge = ResidentSet()
blocks = [use(1) for _ in range(200)]
in_use = blocks.pop()
blocks.clear()
gauge.loaded()
gauge.restart()
print(json.dumps({"stage": gauge.peak_bytes()}))
""")
    assert found["stage"] < 20 * MB


def test_without_stages_the_peak_since_loading_counts():
    found = run("""
gauge = ResidentSet()
gauge.loaded()
use(100)
print(gauge.record({}).model_dump_json())
""")
    assert found["peak_memory_bytes"] == pytest.approx(100 * MB, rel=0.07)


def test_the_memory_pass_of_a_worker_sees_each_stage():
    """The worker's own code around a made pipeline, on the real backend."""
    found = run("""
import torch
from suite.devices.backend import backend_of
from suite.catalogue.devices import DEVICES
from suite.worker.job import Job
from suite.models.pipeline import Pipeline
from suite.worker.passes import Run, memory_pass
backend = backend_of(DEVICES["cpu"])
backend.torch_device()
class Answers:
    def part(self, field, value):
        self.memory = value
class Made(Pipeline):
    model, networks, weights_sha256 = "made", {}, None
    def make(self, prompts, sample, stage):
        with stage("text encoder"):
            torch.ones(10 * MB)  # 40 MB
        with stage("base diffusion"):
            for _ in range(2):
                torch.ones(50 * MB)  # 200 MB, freed each time
class Answers:
    def part(self, field, value):
        self.memory = value
answers, gauge = Answers(), backend.memory_gauge()
gauge.loaded()
job = Job(None, "embedded", 0)
assert memory_pass(Run(job, Made(), backend, answers, "a prompt"), gauge) > 0
print(answers.memory.model_dump_json())
""")
    assert found["stage_peak_memory_bytes"]["base diffusion"] == pytest.approx(200 * MB, rel=0.1)
    assert found["stage_peak_memory_bytes"]["text encoder"] == pytest.approx(40 * MB, rel=0.3)
    assert found["peak_memory_bytes"] == found["stage_peak_memory_bytes"]["base diffusion"]


def test_a_kernel_that_does_not_let_the_mark_be_reset_is_no_crash_of_the_model():
    """Some containers close /proc/self/clear_refs; a peak that cannot be told apart is not known, and says so."""
    found = run("""
from pathlib import Path
writing = Path.write_text
def refuse(self, *arguments, **options):
    if str(self) == "/proc/self/clear_refs":
        raise PermissionError(13, "Permission denied", str(self))
    return writing(self, *arguments, **options)
Path.write_text = refuse
gauge = ResidentSet()
gauge.loaded()
use(100)
print(gauge.record({}).model_dump_json())
""")
    assert found["peak_memory_bytes"] == pytest.approx(100 * MB, rel=0.07)
