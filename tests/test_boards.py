"""Two boards never take each other's rows, share a frontier, a baseline, a budget, a lock or a journal."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from dashboard import data, runs
from leaderboards.best import Question
from leaderboards.choice import Limits
from leaderboards.compare import compare
from leaderboards.publish import publish, read_board
from leaderboards.rows import load_published, measured_rows
from leaderboards.terminal import show_answers, show_frontier
from suite.baselines.__main__ import main as baselines_main
from suite.budgets.rules import entry
from suite.catalogue.devices import DEVICES
from suite.configurations import find
from suite.devices.backend import passing_line
from suite.devices.cpu import Cpu
from suite.history import COMMITTED, latest, read_folder
from suite.judging.baselines import load_baselines
from suite.records import Measurement, Status
from suite.saving import Journal
from suite.session.recording import Wanted, begin, differences
from suite.session.run_lock import RunLock
from tests import warm_server
from tests.factories import measurement, quality, session_file
from tests.test_identity import host

NANO = "point-e-nano-text"
FP32, STEPS, FEWER, BF16 = (f"{NANO}/{name}@cpu" for name in ("fp32", "steps-16", "steps-8", "bf16"))
COMMITTED_BOARDS = {"cpu-amd-epyc-003596", "cpu-amd-epyc-family-25-model-1-003596", "epyc-zen3-2-cores"}


@pytest.fixture(scope="module")
def boards(tmp_path_factory) -> tuple[str, str]:
    """Two hosts from one image."""
    root = tmp_path_factory.mktemp("hosts")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TEXT3D_BOARD", raising=False)
        names = (host(root / name, etc__hostname=name) for name in ("one", "other"))
        first, second = (Cpu(DEVICES["cpu"], tree).find_board().id for tree in names)
    assert first != second
    return first, second


def night(board: str, factor: float, day: int, **others) -> list[Measurement]:
    """One board's session: what `factor` times as slow a machine measures, whose other figures are the same."""
    common = {"board": board, "session": f"{board}-{day}", "measured_at": f"2026-11-{day:02}T04:00:00Z"} | others
    return [
        measurement(FP32, seconds=2 * factor, hits=130, reference_s=2 * factor, **common),
        measurement(STEPS, seconds=0.5 * factor, hits=126, reference_s=2 * factor, **common),
        measurement(BF16, seconds=3 * factor, hits=125, reference_s=2 * factor, **common),
    ]


# Rows and frontiers.


def test_a_slower_host_of_the_same_image_keeps_its_rows_and_its_frontier(boards, tmp_path, capsys):
    fast, slow = boards
    session_file(tmp_path / "committed" / fast / "0001_first.json", night(fast, 1, day=1))
    session_file(tmp_path / "local" / slow / "0001_first.json", night(slow, 2, day=2))
    board = read_board([tmp_path / "committed", tmp_path / "local"])
    rows = board.rows["cpu"]
    measured = [row for row in rows if row.source == "measured"]
    assert Counter(row.board for row in measured) == {fast: 3, slow: 3}
    marks = {(row.board, row.optimization): row.on_frontier for row in measured}
    assert marks == {(b, name): name != "bf16" for b in boards for name in ("fp32", "steps-16", "bf16")}
    assert [row.speedup for row in measured if row.optimization == "steps-16"] == [pytest.approx(4.0)] * 2

    show_frontier("cpu", rows)
    said = capsys.readouterr().out
    assert [f"board {b}, embedded prompts: 2 on the frontier, 1 beaten" in said for b in boards] == [True, True]
    show_answers(board, Question(Limits(max_latency_s=0.7), device="cpu"))
    one, other = capsys.readouterr().out.split("\ncpu, board ")[1:]
    answers = {text.split(",")[0]: text for text in (one, other)}
    assert "1 of 3 ranked rows fit" in answers[fast] and "none of 3 ranked rows fits" in answers[slow]

    publish(board, tmp_path / "published")
    page = (tmp_path / "published" / "cpu.md").read_text()
    assert [f"## Board {b}, embedded prompts" in page for b in boards] == [True, True]
    text = (tmp_path / "published" / "reproduction.md").read_text()
    assert [f"| {STEPS} ({b}) |" in text for b in boards] == [True, True]

    published = load_published(tmp_path / "published")
    assert data.boards(published, "cpu") == [slow, fast]  # the one that measured last is opened first
    for b in boards:
        ((_, shown),) = data.comparisons(published, "cpu", b).items()
        assert {row.board for row in shown} == {b} and len(shown) == 3
        found = runs.measurements_of(shown, (tmp_path / "committed", tmp_path / "local"))
        assert {m.board for m in found.values()} == {b} and len(found) == 3


def random_night(generator: random.Random, board: str) -> list[Measurement]:
    """Anything that a history may hold, ties in time and session included."""
    made = []
    for _ in range(generator.randrange(1, 7)):
        status = generator.choice([Status.OK] * 5 + [Status.CRASHED, Status.NEEDS_WEIGHTS, Status.NOT_HERE])
        smoke = generator.random() < 0.3
        made.append(
            measurement(
                generator.choice([FP32, STEPS, FEWER, BF16]),
                seconds=generator.choice([0.5, 1.0, 1.02, 2.0]),
                memory=generator.choice([50_000_000, 60_000_000, 60_500_000]),
                hits=None if status != Status.OK else generator.choice([0, 2, 5, 7, 8]),
                prompts=8,
                status=status,
                board=board,
                weights=generator.choice(["embedded", "embedded", None]) if status != Status.OK else "embedded",
                session=generator.choice(["first", "second"]),
                measured_at=f"2026-11-2{generator.randrange(3)}T04:00:00Z",
                threads=generator.choice([1, 1, 1, 2]),
                smoke=smoke,
                reference_s=generator.choice([None, 2.0]),
            )
        )
    return made


def test_what_a_board_has_does_not_hang_on_what_another_measured(boards):
    generator = random.Random(11)
    for _ in range(120):
        one, other = (random_night(generator, board) for board in boards)
        # Mixed, but in order within a board: of several cells of one moment the last one read counts.
        turns = [one] * len(one) + [other] * len(other)
        generator.shuffle(turns)
        reading = {id(made): iter(made) for made in (one, other)}
        together = [next(reading[id(made)]) for made in turns]
        apart = {board: measured_rows([m for m in together if m.board == board]) for board in boards}
        rows = measured_rows(together)
        assert {board: [row for row in rows if row.board == board] for board in boards} == apart
        assert len(latest(together)) == sum(len(latest(made)) for made in (one, other))


def test_cells_of_one_moment_and_session_name_on_two_boards_are_both_read(boards, tmp_path):
    for board in boards:
        session_file(tmp_path / board / "0001_first.json", [measurement(board=board, session="same")])
    assert {m.board for m in read_folder(tmp_path).measurements} == set(boards)


def test_failed_cells_of_two_boards_are_told_apart_on_the_page(boards, tmp_path):
    for board in boards:
        session_file(tmp_path / "h" / board / "0001.json", [measurement(status=Status.CRASHED, board=board)])
    publish(read_board([tmp_path / "h"]), tmp_path / "out")
    page = (tmp_path / "out" / "cpu.md").read_text()
    assert [f"| crashed | made to be crashed | {board} |" in page for board in boards] == [True, True]


def test_the_committed_boards_keep_names_rows_and_frontiers_beside_this_machines(boards):
    committed = read_folder(COMMITTED)
    assert committed.problems == []
    assert {m.board for m in committed.measurements} == COMMITTED_BOARDS
    assert {path.name for path in COMMITTED.iterdir() if path.is_dir()} == COMMITTED_BOARDS
    before = measured_rows(committed.measurements)
    local, _ = boards
    fingerprint = next(m.fingerprint for m in committed.measurements if m.fingerprint and m.configuration == FP32)
    # The same chip, libraries and gallery a thousandfold as fast: only the board keeps it from beating everything.
    winner = measurement(FP32, seconds=0.001, hits=None, board=local, measured_at="2027-01-01T00:00:00Z")
    winner = winner.model_copy(
        update={
            "fingerprint": fingerprint.model_copy(update={"board": local}),
            "quality": quality(153, judge=next(m.quality.judge for m in committed.measurements if m.quality)),
        }
    )
    after = measured_rows([*committed.measurements, winner])
    assert [row for row in after if row.board != local] == before
    assert [row.on_frontier for row in after if row.board == local] == [True]


# Baselines and budgets.


def test_a_baseline_judges_its_own_board_alone(boards, tmp_path, monkeypatch, capsys):
    fast, slow = boards
    pins = tmp_path / "baselines"
    monkeypatch.setattr("suite.baselines.__main__.FOLDER", pins)
    files = [
        str(session_file(tmp_path / "runs" / f"{day}.json", night(fast, 1, day=day, canary_s=0.001)))
        for day in (1, 2, 3)
    ]
    assert baselines_main(["pin", *files]) == 0
    assert load_baselines(fast, pins) is not None and load_baselines(slow, pins) is None
    later = [*night(fast, 1, day=4, canary_s=0.001), *night(slow, 2, day=4, canary_s=0.001)]
    found = compare(later, pins)
    assert found[slow] is None and {c.verdict.value for c in found[fast]} == {"pass"}
    # A record that names the wrong board is not judged by this one's figures either.
    (change,) = compare([later[3].model_copy(update={"board": fast})], pins)[fast][0].changes
    assert change.verdict.value == "no-baseline" and f"board {fast} then, {slow} now" in change.reason


def test_budgets_are_made_of_one_boards_sessions(boards):
    """Three nights of one machine and the newest of another: what the other measured makes no third of a level."""
    fast, slow = boards
    old = [m for day in (1, 2, 3) for m in night(fast, 1, day=day, canary_s=0.001)]
    new = night(slow, 2, day=4, canary_s=0.002)
    budgets = entry(find(FP32), [m for m in [*old, *new] if m.configuration == FP32])
    assert {b.source for b in budgets if b.name != "r_precision"} == {"unset"}
    assert all("1 of at least 3 sessions" in b.reason for b in budgets if b.name != "r_precision")
    limit = next(b for b in entry(find(FP32), [m for m in old if m.configuration == FP32]) if b.name == "latency_s")
    assert (limit.source, limit.canary_s) == ("measured", 0.001) and fast in limit.reason


# Runs.


def test_the_header_of_a_session_says_when_its_board_is_of_this_boot_only(monkeypatch):
    monkeypatch.delenv("TEXT3D_BOARD", raising=False)
    board = Cpu(DEVICES["cpu"]).find_board()

    def header(**named: str) -> list[str]:
        run = warm_server.session("--collect-only", "-q", **named)
        return [line for line in run.stdout.splitlines() if line.startswith("text3d-bench:")]

    said = header()
    assert any(line.startswith(f"text3d-bench: board {board.id},") for line in said)
    expected = [f"text3d-bench: {passing_line('cpu', board)}"] if board.passing else []
    assert [line for line in said if "of this boot only" in line] == expected
    said = header(TEXT3D_BOARD="Lab PC")
    assert any(line.startswith("text3d-bench: board lab-pc,") for line in said)
    assert not any("of this boot only" in line for line in said)


def test_two_boards_have_two_run_locks_and_two_journals(boards, tmp_path):
    one, other = (RunLock(board) for board in boards)
    assert one.path != other.path
    journal = Journal(tmp_path / boards[0] / "journal" / "20261101T000000-1")
    journal.begin()
    journal.write("cell", measurement(board=boards[0]))
    recorder, crashed, _ = begin(tmp_path / boards[1], "20261102T000000-1", resume=True)
    assert (recorder.measurements, crashed) == ({}, [])
    assert recorder.session == "20261102T000000-1"
    recorder, _, _ = begin(tmp_path / boards[0], "20261103T000000-1", resume=True)
    assert recorder.session == journal.session and len(recorder.measurements) == 1


def test_a_resumed_cell_of_another_board_is_measured_again(boards):
    """As where a card's journal also holds cells of the processor, whose board was of an earlier boot."""
    one, other = boards
    held, now = measurement(board=one), measurement(board=other)
    wanted = Wanted(weights="embedded", prompts=153, fingerprint=now.fingerprint)
    assert differences(held, wanted) == [f"journal has board {one}, this session has {other}"]
