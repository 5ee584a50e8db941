"""Kinds of output: told apart, a frontier each; and speed-ups beside what they are taken to."""

from __future__ import annotations

import pytest

from leaderboards import cells
from leaderboards.axes import ranked_on
from leaderboards.kinds import ALL_KINDS, by_kind, find_kind, kind, kind_of
from leaderboards.publish import publish, read_board
from leaderboards.rows import load_published, measured_rows
from leaderboards.tables import to_markdown
from leaderboards.terminal import show_frontier
from suite.configurations import UnknownName, find
from suite.history import COMMITTED
from suite.index.reading import read_indexed
from suite.records import Status
from suite.worker.execution import unmeasured
from tests.factories import measurement, row, session_file

NANO = "point-e-nano-text"
FINE, MESH = "point cloud of 1,024 points", "coloured mesh of a grid of 64"
COPIES = f"{NANO}/distilled-2+copied-points@cpu"


@pytest.mark.parametrize(
    ("configuration", "output", "of"),
    [
        (f"{NANO}/fp32@cpu", FINE, "point cloud (1,024)"),
        (COPIES, FINE, "point cloud (256)"),  # a record from before outputs told copies apart
        (COPIES, "point cloud of 1,024 points, 256 of them generated", "point cloud (256)"),
        ("gone/recipe@cpu", "point cloud of 4096 points", "point cloud (4,096)"),
        ("gone/recipe@cpu", "point cloud of 4096 points, 64 of them generated", "point cloud (64)"),
        ("shap-e-nano-text/fp32@cpu", MESH, "mesh"),
        ("gone/recipe@cpu", "a <b>splat</b>", "a  b splat /b"),
        ("gone/recipe@cpu", "<>", "unknown output"),
        ("gone/recipe@cpu", f"point cloud of {'9' * 400} points", f"point cloud of {'9' * 85}"),
        ("gone/recipe@cpu", None, "unknown output"),
    ],
)
def test_the_kind_of_an_output(configuration, output, of):
    assert kind_of(configuration, output) == of
    assert kind(row(configuration, output=output)) == of


def test_a_recipe_that_copies_points_says_how_many_a_network_made():
    assert find(f"{NANO}/fp32@cpu").output == FINE
    assert find(COPIES).output == f"{FINE}, 256 of them generated"
    made = unmeasured(find(COPIES), Status.CRASHED, "for the test", session="s", board="b", weights="embedded")
    assert made.output == find(COPIES).output
    (shown,) = measured_rows([made])
    assert shown.kind == "point cloud (256)"


def test_what_the_catalogue_says_of_a_cloud_without_its_upsampler_is_what_the_network_makes():
    from suite.catalogue.models import MODELS
    from suite.models.point_e.pipeline import build_nano_text

    pipeline = build_nano_text("embedded", "cpu")
    assert MODELS[NANO].points_without == {"upsampler": pipeline.networks["base diffusion"].settings.points}


def test_an_unknown_kind_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown kind 'mush'; nearest: mesh"):
        find_kind("mush", ["mesh", "point cloud (256)"])


def mixed() -> list:
    """Copied points beat the mesh and the full cloud in all three; each is alone in its kind."""
    return [
        measurement("shap-e-nano-text/fp32@cpu", seconds=2.0, hits=120, output=MESH),
        measurement("shap-e-nano-text/bf16@cpu", seconds=3.0, hits=118, output=MESH),
        measurement(f"{NANO}/fp32@cpu", seconds=2.0, hits=130, output=FINE),
        measurement(COPIES, seconds=0.01, memory=30_000_000, hits=140, output=FINE),
    ]


def test_each_kind_has_its_own_frontier_and_one_over_all_only_where_it_is_asked_for():
    made = mixed()
    rows = measured_rows(made)
    assert {r.configuration: r.on_frontier for r in rows} == {
        "shap-e-nano-text/fp32@cpu": True,
        "shap-e-nano-text/bf16@cpu": False,
        f"{NANO}/fp32@cpu": True,
        COPIES: True,
    }
    groups = by_kind(rows)
    assert list(groups) == ["mesh", "point cloud (1,024)", "point cloud (256)"]  # the most rows first
    over_all = ranked_on("r_precision", rows, {})
    assert [r.configuration for r in over_all if r.on_frontier] == [COPIES]


def test_terminal_and_page_have_a_table_a_kind(tmp_path, capsys):
    session_file(tmp_path / "laptop" / "0001.json", mixed())
    board = read_board([tmp_path])
    show_frontier("cpu", board.rows["cpu"])
    said = capsys.readouterr().out
    assert "mesh: 1 of 2 on its frontier\n" in said and "point cloud (256): 1 of 1 on its frontier\n" in said
    show_frontier("cpu", board.rows["cpu"], qualities=board.qualities, all_kinds=True)
    assert f"{ALL_KINDS}: 1 of 4 on its frontier\n" in capsys.readouterr().out
    page = to_markdown("cpu", board.rows["cpu"], {})
    parts = page.split("\n\n**")[1:]
    assert [part.split("**")[0] for part in parts] == ["mesh", "point cloud (1,024)", "point cloud (256)"]
    assert ["| ★ | shap-e" in part for part in parts] == [True, False, False]


def test_what_is_not_ranked_is_listed_with_its_reason_and_counted(tmp_path, capsys):
    failed = measurement(f"{NANO}/steps-8@cpu", status=Status.CRASHED, reason="segmentation\nfault")
    session_file(tmp_path / "laptop" / "0001.json", [*mixed(), failed, measurement(f"{NANO}/w3@cpu", hits=70)])
    show_frontier("cpu", read_board([tmp_path]).rows["cpu"])
    said = capsys.readouterr().out
    assert f"1 not ranked, status crashed: {NANO}/steps-8 (segmentation fault)\n" in said
    assert f"1 not ranked, simulated: {NANO}/w3\n" in said


# Speed-ups


def test_a_speed_up_stands_beside_what_it_is_taken_to(tmp_path, capsys):
    """fp32 was measured again on a day on which the machine was slower: the seconds of this table would say x8."""
    made = [
        measurement(seconds=2.0, reference_s=2.0, session="monday"),
        measurement(f"{NANO}/steps-16@cpu", seconds=0.5, hits=128, reference_s=2.0, session="monday"),
        measurement(seconds=4.0, reference_s=4.0, session="tuesday", measured_at="2026-11-24T04:00:00Z"),
    ]
    session_file(tmp_path / "history" / "laptop" / "0001.json", made)
    board = read_board([tmp_path / "history"])
    fast = next(r for r in board.rows["cpu"] if r.optimization == "steps-16")
    assert (fast.reference_latency_s, fast.session) == (2.0, "monday")
    assert fast.reference_measured_at == made[0].measured_at
    assert fast.speedup == pytest.approx(fast.reference_latency_s / fast.latency_s)
    assert fast.speedup_low < 4.0 < fast.speedup_high
    publish(board, tmp_path / "out")
    page = (tmp_path / "out" / "cpu.md").read_text()
    assert "| ×4.00 of 2.00 s |" in page and "| ×1.00 of 4.00 s |" in page
    assert "Rows of 2 sessions" in page
    show_frontier("cpu", load_published(tmp_path / "out"))
    said = capsys.readouterr().out
    assert "×4.00 of 2.00 s" in said
    assert cells.sessions([fast]) is None


def test_tables_of_before_the_reference_was_kept_show_it_too():
    old = row(latency_s=0.5, latency_low_s=0.49, latency_high_s=0.51, speedup=4.0)
    assert (old.reference_latency_s, old.session, old.kind) == (None, None, None)
    assert cells.speedup(old) == "×4.00 of 2.00 s"
    assert cells.speedup(row()) == cells.DASH and cells.sessions([old, old]) is None


def test_every_ratio_of_the_committed_tables_is_of_the_seconds_beside_it_or_of_the_pairs_of_its_record():
    rows = [r for r in load_published() if r.source == "measured" and r.speedup is not None]
    assert len(rows) > 50
    records = {(m.session, m.configuration): m for m in read_indexed(COMMITTED).measurements}
    for r in rows:
        reference = records[r.session, r.configuration].reference
        pairs = None if reference is None else reference.latency_ratio
        told = r.reference_latency_s / r.latency_s if pairs is None else 1 / pairs.value
        assert r.speedup == pytest.approx(told)
        assert r.session is not None and r.reference_measured_at is not None
