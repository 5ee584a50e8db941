"""A worker process a configuration: every way to end becomes a status, and the parent goes on."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from suite.configurations import find
from suite.history import latest
from suite.objects import FOLDER, read
from suite.records import Status
from suite.worker import execution, launching
from suite.worker.job import Job
from tests import bad_models
from tests.factories import measurement as made

ROOT = Path(__file__).parents[1]


def run(configuration, prompts=0, **limits):
    job = Job(configuration=configuration, weights="embedded", quality_prompts=prompts, time_budget_s=0.2)
    return execution.measure(job, session="test", board="here", **limits)


@pytest.mark.parametrize(
    "builder, status, words",
    [
        ("crash", Status.CRASHED, "ValueError: this model is broken"),
        ("segfault", Status.CRASHED, "SIGSEGV"),
        ("killed", Status.OUT_OF_MEMORY, "probably"),
        ("quits", Status.CRASHED, "exit code 7"),
        ("hungry", Status.OUT_OF_MEMORY, "memory"),
        ("absent_builder", Status.CRASHED, "absent_builder"),
        ("undecodable", Status.CRASHED, "bad ? name"),
    ],
)
def test_a_bad_model_becomes_a_status_with_its_reason(builder, status, words):
    measurement = run(bad_models.configuration(builder))
    assert measurement.status == status
    assert words in measurement.reason
    assert "\n" not in measurement.reason
    assert measurement.latency is None and measurement.quality is None


def test_a_hang_is_stopped_at_the_timeout(monkeypatch):
    """The clock jumps to shortly before the end when the worker is where it hangs, however long that took."""
    clock, jump = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + jump[0])
    started = time.monotonic()

    def progress(phase, fraction):
        if phase == "memory":
            jump[0] = started + 1000 - clock() - 0.5

    measurement = run(bad_models.configuration("hang"), timeout_s=1000, progress=progress)
    assert measurement.status == Status.TIMED_OUT
    assert "after 1000 s, while memory" in measurement.reason
    assert 1000 <= time.monotonic() - started < 2000  # the worker would sleep for an hour


def test_silence_within_the_cells_time_is_no_hang(monkeypatch):
    """One object of a full-size model may take most of the cell's time on a processor, and says nothing meanwhile."""
    waits = []
    monkeypatch.setattr(execution, "wait", lambda pipes, patience: waits.append(patience) or wait(pipes, patience))
    assert run(bad_models.configuration("quits"), timeout_s=5000).status == Status.CRASHED
    assert min(waits) > 4900


def test_a_dead_fork_server_is_named_and_the_next_cell_runs():
    measurement = run(bad_models.configuration("serverless"))
    assert measurement.status == Status.CRASHED
    assert "the fork server ended" in measurement.reason and "signal" not in measurement.reason
    assert "exit code 7" in run(bad_models.configuration("quits")).reason


def test_a_worker_that_dies_before_its_child_is_noticed_at_once_and_the_child_ends_too(tmp_path):
    told = tmp_path / "child"
    job = Job(configuration=bad_models.configuration("orphaning"), weights=str(told), quality_prompts=0)
    measurement = execution.measure(job, session="test", board="here", timeout_s=60)
    assert measurement.status == Status.CRASHED and "SIGSEGV" in measurement.reason
    child = int(told.read_text())
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Dead:
    exitcode, sentinel = 0, None

    def is_alive(self):
        return False

    def join(self, timeout=None):
        pass


@pytest.mark.parametrize("garbage", [b"garbage", b"\x80\x04\x95", pickle.dumps(5), pickle.dumps(("part", "latency"))])
def test_garbage_in_the_pipe_is_a_crash_with_a_row(garbage):
    answers, said = multiprocessing.Pipe(duplex=False)
    said.send_bytes(garbage)
    lifeline, _ = multiprocessing.Pipe()
    parts, status, reason = execution._listen(
        launching.Started(Dead(), answers, lifeline), 5, lambda *_: None, lambda: None
    )
    assert (parts, status) == ({}, Status.CRASHED) and "cannot be read" in reason


def test_an_answer_that_is_no_measurement_is_refused_by_field_and_the_cell_keeps_its_row(monkeypatch):
    parts = {"memory": {"kind": "process", "peak_memory_bytes": 0}}
    monkeypatch.setattr(execution, "_ask", lambda *asked: (parts, Status.OK, None))
    measurement = run(find("point-e-nano-text/fp32@cpu"))
    assert measurement.status == Status.CRASHED and measurement.memory is None
    assert "memory.peak_memory_bytes: Input should be greater than 0" in measurement.reason


def test_an_exit_code_is_a_signal_only_where_there_is_such_a_signal():
    assert "SIGSEGV" in execution._death(128 + 11, "latency")[1]
    assert "exit code 250 and no answer" in execution._death(250, "latency")[1]


def test_a_row_that_was_not_run_has_the_weights_of_the_one_that_it_replaces():
    cell = find("point-e-nano-text/fp32@cpu")
    ran = made(cell.id, board="here", weights="embedded", measured_at="2026-11-23T04:00:00Z")
    row = execution.unmeasured(
        cell, Status.UNSUPPORTED, "no such engine", session="s", board="here", weights="embedded"
    )
    assert [m.status for m in latest([ran, row])] == [Status.UNSUPPORTED]


def test_a_job_is_identified_as_it_would_be_measured_without_measuring():
    jobs = [
        Job(configuration=c, weights="embedded", quality_prompts=0)
        for c in (find("point-e-nano-text/steps-4@cpu"), bad_models.configuration("absent_builder"))
    ]
    found = execution.identify(jobs)
    measured = execution.measure(replace(jobs[0], time_budget_s=0.1), session="s", board="b")
    assert found[jobs[0].configuration.id] == measured.fingerprint
    assert "absent_builder" in found[jobs[1].configuration.id]


def test_what_a_dying_worker_could_not_identify_says_how_it_died():
    good = Job(configuration=find("point-e-nano-text/steps-4@cpu"), weights="embedded", quality_prompts=0)
    bad = replace(good, configuration=bad_models.configuration("dies_loading"))
    found = execution.identify([good, bad])
    assert found[good.configuration.id].threads >= 1
    assert "exit code 9" in found[bad.configuration.id]


def test_a_recipe_that_finds_it_cannot_run_is_unsupported():
    measurement = run(bad_models.configuration("late_crash", bad_models.REFUSED))
    assert (measurement.status, measurement.reason) == (Status.UNSUPPORTED, "this torch has no such engine")


def test_a_crash_in_the_quality_pass_keeps_latency_and_memory():
    measurement = run(bad_models.configuration("late_crash"), prompts=2)
    assert measurement.status == Status.CRASHED
    assert measurement.latency is not None and measurement.latency.median.value > 0.009
    assert measurement.memory is not None


def test_a_real_configuration_gives_every_part(tmp_path):
    phases = []
    job = Job(
        configuration=find("point-e-nano-text/steps-4@cpu"),
        weights="embedded",
        quality_prompts=2,
        time_budget_s=3,
        artefacts=tmp_path,
    )
    m = execution.measure(job, session="s", board="b", progress=lambda name, fraction: phases.append(name))
    assert m.status == Status.OK and m.reason is None
    assert m.evaluations == 2 * 7
    assert len(m.latency.samples_s) >= 2
    assert set(m.latency.stage_samples_s) == {"text encoder", "base diffusion", "upsampler"}
    stages = [sum(samples) for samples in zip(*m.latency.stage_samples_s.values(), strict=True)]
    shares = [inside / total for inside, total in zip(stages, m.latency.samples_s, strict=True)]
    assert max(shares) > 0.9 and all(share <= 1 for share in shares)  # a neighbour may come between two stages
    assert 1e6 < m.memory.peak_memory_bytes < m.memory.process_peak_memory_bytes
    assert len(m.quality.outcomes) == 2
    assert m.energy is None  # nothing counts it here; not 0
    assert m.canary_s > 0
    assert m.fingerprint.threads >= 1 and len(m.fingerprint.weights_sha256) == 64
    assert Path(m.artefacts["contact sheet"]).exists()
    assert [one.prompt for one in m.objects] == [outcome.prompt for outcome in m.quality.outcomes]
    for one in m.objects:
        assert one.note is None and set(one.files) == {"png", "ply"}
        assert read([tmp_path / FOLDER], one.files["ply"], "ply").startswith(b"ply\n")
    assert list(dict.fromkeys(phases)) == ["loading", "memory", "latency", "cost", "quality"]


def test_from_the_second_cell_on_a_worker_starts_within_a_fifth_of_a_second_of_its_processors_time():
    """In processor time, which neighbours do not take; to load torch takes well over a second of it."""
    launching.ForkServer().get_ready()
    seconds = []
    for _ in range(5):
        here, there = launching.server().Pipe(duplex=False)
        with launching._no_main_module():
            process = launching.server().Process(target=bad_models.say_what_starting_took, args=(there,))
            process.start()
        seconds.append(here.recv())
        process.join()
    assert min(seconds) < 0.2


def test_no_orphan_outlives_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "from suite.worker import execution\nfrom suite.worker.job import Job\nfrom tests import bad_models\n"
        "job = Job(configuration=bad_models.configuration('hang'), weights='embedded', quality_prompts=0)\n"
        "execution.measure(job, session='s', board='b', progress=lambda p, f: print(p, flush=True))\n"
    )
    mark = f"TEXT3D_TEST_ORPHAN={os.getpid()}-{time.monotonic()}"
    name, value = mark.split("=")
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {name: value, "PYTHONPATH": str(ROOT)},
    )
    assert b"memory" in iter(lambda: parent.stdout.readline().strip(), b"")
    assert len(_processes_with(mark)) >= 3  # parent, fork server, worker
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 120  # on a busy machine; the orphan would sleep for an hour
    while _processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _processes_with(mark) == []


def _processes_with(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass
    return found
