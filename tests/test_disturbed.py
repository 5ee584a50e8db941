"""Samples that others took time from, or in which the board was held back: marked, replaced, and where a machine is
never quiet, kept and said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from suite.catalogue.devices import DEVICES
from suite.devices.cpu import Cpu
from suite.devices.health import Health, Watch
from suite.devices.waits import WAITED_SHARE, Waits, taken, waits
from suite.metrics.latency import MAX_ROUNDS, MIN_ROUNDS, measure_latency
from suite.records import Latency
from suite.session.summary import disturbed_notes
from suite.worker import passes
from tests.factories import measurement
from tests.jetson_trees import device, orin, write  # noqa: F401 - a fixture
from tests.test_devices_passes import JOB, Answers, Board, Made
from tests.test_latency import Work

SHAKY = [1.0, 1.5, 0.8]


class Says:
    """A witness whose answers are told beforehand; None from then on."""

    def __init__(self, *answers: str | None):
        self.answers, self.forgotten, self.begun = iter(answers), 0, 0

    def begin(self) -> None:
        self.begun += 1

    def disturbed(self, seconds: float) -> str | None:
        return next(self.answers, None)

    def set_aside(self) -> None:
        self.forgotten += 1


def measured(monkeypatch, durations: list[float], witness: Says, budget_s: float = 60) -> Latency:
    work = Work(monkeypatch, durations)
    return measure_latency(work, work.synchronize, first_call_s=1, time_budget_s=budget_s, witness=witness)


def test_a_disturbed_sample_is_replaced_and_kept_in_the_record_with_its_reason(monkeypatch):
    witness = Says(None, "a neighbour", None)
    latency = measured(monkeypatch, [1.0, 1.7, *[1.0] * 20], witness)
    assert latency.samples_s == pytest.approx([1.0] * MIN_ROUNDS)
    assert [(s.seconds, s.why) for s in latency.set_aside] == [(pytest.approx(1.7), "a neighbour")]
    assert latency.disturbed == [] and witness.forgotten == 1 and witness.begun == MIN_ROUNDS + 1
    assert latency.warnings == ["1 disturbed samples were set aside (the last: a neighbour)"]
    assert all(len(stage) == MIN_ROUNDS for stage in latency.stage_samples_s.values())
    assert Latency.model_validate_json(latency.model_dump_json()) == latency


def test_a_machine_that_is_never_quiet_comes_to_an_end_and_says_so(monkeypatch):
    latency = measured(monkeypatch, SHAKY * 20, Says(*["busy"] * 60))
    assert len(latency.samples_s) == MAX_ROUNDS and len(latency.set_aside) == MAX_ROUNDS - 1
    assert latency.disturbed == list(range(MAX_ROUNDS))
    assert any(w.startswith("never quiet: ") and "(the last: busy)" in w for w in latency.warnings)


@pytest.mark.parametrize("pattern", [["x"], ["x", None], [None, "x"], ["x", "x", None], ["x", "x", "x", "x", None]])
def test_no_more_are_set_aside_than_are_kept(monkeypatch, pattern):
    latency = measured(monkeypatch, SHAKY * 40, Says(*pattern * 60))
    assert len(latency.set_aside) <= len(latency.samples_s) == MAX_ROUNDS


def test_the_time_budget_holds_however_busy_it_is(monkeypatch):
    """An object of a minute, a budget of a minute: the first sample is kept, disturbed or not."""
    latency = measured(monkeypatch, [61.0] * 20, Says(*["busy"] * 20), budget_s=60)
    assert latency.set_aside == [] and len(latency.samples_s) == 3
    latency = measured(monkeypatch, [20.0] * 20, Says(*["busy"] * 20), budget_s=60)
    assert len(latency.set_aside) == 2 and sum(latency.samples_s) + 40 <= 180


def test_old_records_have_neither():
    old = measurement().latency.model_dump(mode="json")
    del old["set_aside"], old["disturbed"]
    read = Latency.model_validate(old)
    assert read.set_aside == [] and read.disturbed == []


# What others take from a processor.


def tree(root: Path, queued_ns: dict[int, int], stolen: dict[int, int]) -> Path:
    cores = "".join(f"cpu{n} 5 0 5 900 0 0 0 {ticks} 0 0\n" for n, ticks in stolen.items())
    files = {f"proc/self/task/{t}/schedstat": f"777 {ns} 9\n" for t, ns in queued_ns.items()}
    return write(root, files | {"proc/stat": f"cpu  10 0 10 1800 0 0 0 {sum(stolen.values())} 0 0\n{cores}intr 1\n"})


def test_both_accounts_of_the_kernel_are_read(tmp_path):
    seen = waits(tree(tmp_path, {11: 2_000_000_000, 12: 500}, {0: 30, 1: 7}), processors={1})
    assert seen.queued_s == {"11": 2.0, "12": 5e-7}
    assert seen.stolen_s == 7 / os.sysconf("SC_CLK_TCK")


def test_a_kernel_without_these_accounts_disturbs_nothing(tmp_path):
    nothing = waits(tmp_path)
    assert nothing == Waits({}, None) and taken(nothing, nothing, 1.0) == []
    write(tmp_path, {"proc/self/task/1/schedstat": "", "proc/stat": "cpu0 odd\n"})
    assert waits(tmp_path, processors={0}) == Waits({}, None)


def test_more_than_two_per_cent_of_a_sample_disturbs_it():
    before = Waits({"1": 5.0}, 1.0)

    def found(queued_s: float, stolen_s: float) -> list[str]:
        return taken(before, Waits({"1": 5.0 + queued_s, "2": 0.001}, 1.0 + stolen_s), 1.0)

    assert found(0.9 * WAITED_SHARE, 0.9 * WAITED_SHARE) == []
    assert found(0.03, 0.0) == ["waited 0.03 s of 1 s in the run queue"]
    assert found(0.0, 0.03) == ["waited 0.03 s of 1 s while the host of this virtual machine ran others"]
    assert taken(before, Waits({"1": 5.0, "2": 0.5}, None), 1.0) == ["waited 0.5 s of 1 s in the run queue"]


def busy_call(stage) -> None:
    with stage("work"):
        end = time.perf_counter() + 0.1
        while time.perf_counter() < end:
            pass


def test_a_neighbour_that_takes_the_core_is_seen_in_the_samples():
    """Real processes: this one and a busy neighbour on one core, which they must share."""
    core = min(os.sched_getaffinity(0))
    mine = os.sched_getaffinity(0)
    pin = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    neighbour = subprocess.Popen([sys.executable, "-c", pin])
    try:
        os.sched_setaffinity(0, {core})
        time.sleep(0.5)  # until it runs
        watch = Watch(Cpu(DEVICES["cpu"]))
        latency = measure_latency(busy_call, lambda: None, first_call_s=1, time_budget_s=3, witness=watch)
    finally:
        os.sched_setaffinity(0, mine)
        neighbour.kill()
        neighbour.wait()
    marked = len(latency.set_aside) + len(latency.disturbed)
    assert marked >= MIN_ROUNDS, latency
    assert any("in the run queue" in s.why for s in latency.set_aside)
    assert any(w.startswith("never quiet") for w in latency.warnings)


def test_reading_the_accounts_takes_little():
    """`docs/measuring.md` says how much; a test only holds the order of magnitude, beside a busy neighbour."""
    times = []
    for _ in range(50):
        started = time.perf_counter()
        waits()
        times.append(time.perf_counter() - started)
    assert min(times) < 0.005


# A board that is held back.


class Night(Board):
    """A board whose over-current counter grows in these calls of the network, from the first (the warm-up)."""

    def __init__(self, held_back_in: range, warm_up: int = 1):
        super().__init__()
        self.held_back_in, self.warm_up = held_back_in, warm_up

    def throttle_marks(self) -> dict[str, int]:
        calls = self.events.count("call") - self.warm_up
        return {"oc3_event_cnt": len([n for n in self.held_back_in if n < calls])}


def latency_of(board: Board) -> tuple[Latency, str | None]:
    answers = Answers()
    _, throttle = passes.latency_pass(passes.Run(JOB, Made(board), board, answers, "a prompt", None), 0.1)
    return answers.parts["latency"], throttle


def test_a_board_that_is_held_back_for_a_moment_gives_a_latency_without_that_moment():
    latency, throttle = latency_of(Night(range(1, 3)))
    assert throttle is None
    assert [s.why for s in latency.set_aside] == ["oc3_event_cnt +1"] * 2


def test_a_board_that_is_held_back_all_night_is_throttled():
    latency, throttle = latency_of(Night(range(10_000)))
    assert "oc3_event_cnt +" in throttle
    assert any(w.startswith("never quiet") for w in latency.warnings)


def test_a_sensor_that_vanishes_half_way_is_null_from_then_on_and_said_once(orin):
    zone = "sys/class/thermal/thermal_zone8"
    write(orin, {f"{zone}/type": "tj-thermal\n", f"{zone}/temp": "51000\n"})
    watch = Watch(device(orin))
    counter = next((orin / "sys/class/hwmon").glob("*/oc2_event_cnt"))

    def call(stage) -> None:
        with stage("decoder"):
            time.sleep(0.001)
        (orin / zone / "temp").unlink(missing_ok=True)
        counter.unlink(missing_ok=True)

    latency = measure_latency(call, lambda: None, first_call_s=1, time_budget_s=5, witness=watch)
    assert len(latency.samples_s) >= MIN_ROUNDS and latency.set_aside == []
    assert watch.seen[-1].temperature_c is None and watch.throttled() is None
    (lost,) = [note for note in watch.notes() if "could no longer be read" in note]
    assert lost == "the temperature, oc2_event_cnt could no longer be read at the end"


def test_a_set_aside_look_is_no_part_of_the_verdict():
    class Hot(Board):
        hot = False

        def health(self) -> Health:
            return replace(Health(temperature_c=50.0), slowing=("cpu-alert",) if self.hot else ())

    board = Hot()
    watch = Watch(board)
    watch.begin()
    board.hot = True
    assert watch.disturbed(1.0) == "cpu-alert is held back"
    watch.set_aside()
    board.hot = False
    watch.begin()
    assert watch.disturbed(1.0) is None and watch.throttled() is None


# What is said.


def test_the_summary_names_cells_with_disturbed_samples():
    m = measurement()
    aside = [{"seconds": 2.5, "why": "waited 0.4 s of 2.5 s in the run queue"}]
    told = m.latency.model_copy(
        update={"set_aside": Latency.model_validate(m.latency.model_dump() | {"set_aside": aside}).set_aside}
    )
    (line,) = disturbed_notes([m, m.model_copy(update={"latency": told})])
    assert line == f"{m.configuration}: 1 disturbed samples set aside: waited 0.4 s of 2.5 s in the run queue"
    loud = m.latency.model_copy(update={"disturbed": [0, 1]})
    (line,) = disturbed_notes([m.model_copy(update={"latency": loud})])
    assert "never quiet: 2 of 9 kept are disturbed" in line
