"""The speed-up against the originals' own code: which latencies it is made of, and where it is kept."""

from __future__ import annotations

import json

import pytest

from leaderboards.rows import measured_rows
from leaderboards.tables import to_csv, to_markdown
from suite.configurations import find, matrix
from suite.judging.against_original import against_original
from suite.judging.intervals import ratio
from suite.records import Interval, Measurement, Status
from tests.factories import measurement
from tests.test_plugin import CELL, bench, budgets, journals  # noqa: F401 - fixtures

MODEL = "point-e-40m-text"
FEW = ["-p", "tests.quick_reference", "--quality-prompts", "0", "--time-budget", "0.3"]


def timed(recipe: str, seconds: float, **others) -> Measurement:
    return measurement(f"{MODEL}/{recipe}@cpu", seconds=seconds, weights="random", hits=None, **others)


ORIGINAL = timed("original", 8.0)


# The rule.


def test_it_is_the_originals_latency_over_the_cells_own_with_the_interval_of_both():
    faster = timed("onednn", 2.0)
    found = against_original(faster, ORIGINAL)
    assert found == ratio(ORIGINAL.latency.median, faster.latency.median)
    assert found.value == pytest.approx(4.0) and found.low < 4.0 < found.high


def test_the_original_against_itself_is_exactly_1():
    assert against_original(ORIGINAL, ORIGINAL) == Interval(value=1.0, low=1.0, high=1.0)


def test_one_sample_on_either_side_gives_a_ratio_without_an_interval():
    for pair in ((timed("fp32", 2.0, samples=1), ORIGINAL), (timed("fp32", 2.0), timed("original", 8.0, samples=1))):
        found = against_original(*pair)
        assert (found.value, found.low, found.high) == (pytest.approx(4.0), None, None)


@pytest.mark.parametrize(
    "other",
    [
        {"session": "another"},
        {"board": "another"},
        {"weights": "official"},
        {"threads": 2},
        {"torch": "2.0"},
        {"protocol": "0"},
        {"extrapolated": True},
        {"latency": None},
        {"status": Status.THROTTLED},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_was_not_measured_alike_has_none(other):
    assert against_original(timed("fp32", 2.0), timed("original", 8.0)) is not None
    made = {"weights": "random", "hits": None} | other
    assert against_original(timed("fp32", 2.0), measurement(f"{MODEL}/original@cpu", **made)) is None
    assert against_original(measurement(f"{MODEL}/fp32@cpu", **made), ORIGINAL) is None


def test_other_files_of_weights_of_one_kind_are_no_obstacle():
    assert against_original(timed("fp32", 2.0, weights_sha256="c" * 64, gallery_sha256="d" * 64), ORIGINAL) is not None


@pytest.mark.parametrize("status", [Status.UNSUPPORTED, Status.CRASHED, Status.OUT_OF_MEMORY])
def test_an_original_that_did_not_run_gives_none(status):
    assert against_original(timed("fp32", 2.0), timed("original", 8.0, status=status)) is None
    assert against_original(timed("fp32", 2.0), None) is None


def test_another_models_original_and_a_simulated_recipe_have_none():
    assert against_original(measurement("point-e-1b-image/fp32@cpu", weights="random", hits=None), ORIGINAL) is None
    latency = timed("fp32", 2.0).latency
    assert against_original(timed("w3", 2.0).model_copy(update={"latency": latency}), ORIGINAL) is None


# Where it stands.


def test_rows_and_tables_have_it_with_its_interval_where_any_row_has_one():
    found = against_original(timed("fp32", 2.0), ORIGINAL)
    ours, original = (
        timed("fp32", 2.0, speedup_vs_original=found),
        ORIGINAL.model_copy(update={"speedup_vs_original": against_original(ORIGINAL, ORIGINAL)}),
    )
    rows = {row.optimization: row for row in measured_rows([ours, original, timed("bf16", 1.0, session="another")])}
    fields = ("speedup_vs_original", "speedup_vs_original_low", "speedup_vs_original_high")
    assert [getattr(rows["fp32"], name) for name in fields] == [found.value, found.low, found.high]
    assert [getattr(rows["original"], name) for name in fields] == [1.0, 1.0, 1.0]
    assert [getattr(rows["bf16"], name) for name in fields] == [None, None, None]
    page = to_markdown("cpu", list(rows.values()), {})
    assert f"| ×4.00 ({found.low:.2f} to {found.high:.2f}) |" in page and "| ×1.00 |" in page
    assert ",".join(fields) in to_csv(list(rows.values())).splitlines()[0]
    assert "against the original" not in to_markdown("cpu", [rows["bf16"]], {})


def test_a_record_survives_json_with_it_and_an_older_one_without_the_key_reads_as_null():
    ours = timed("fp32", 2.0, speedup_vs_original=Interval(value=4.0, low=3.9, high=4.1))
    assert Measurement.model_validate_json(ours.model_dump_json()) == ours
    older = json.loads(timed("fp32", 2.0).model_dump_json())
    assert older.pop("speedup_vs_original") is None
    assert Measurement.model_validate(older).speedup_vs_original is None


def test_a_models_reference_and_original_are_measured_before_its_other_recipes():
    for model in {configuration.model.name for configuration in matrix()}:
        recipes = [c.optimization.name for c in matrix() if c.model.name == model and c.device.name == "cpu"]
        assert recipes[:2] == ["fp32", "original"]
    assert find(f"{MODEL}/bf16@cpu").original.id == f"{MODEL}/original@cpu"


# In sessions.


def read(bench) -> dict[str, Measurement]:
    (journal,) = journals(bench.folder)
    return {m.optimization: m for m in journal.read().measurements}


def test_a_cell_measured_before_the_original_has_it_in_the_journal_and_in_the_saved_file(bench, budgets):
    plugins = ["-p", "tests.stand_in_original", "-p", "tests.other_budgets"]
    cells = [CELL.format("steps-4"), CELL.format("original")]
    result = bench(*plugins, *cells, *FEW, "--benchmark-save=both", **budgets(peak_memory_bytes=1e12))
    assert result.returncode == 0, result.stdout
    made = read(bench)
    assert made["steps-4"].speedup_vs_original == against_original(made["steps-4"], made["original"])
    assert made["steps-4"].speedup_vs_original.value != 1 and made["original"].speedup_vs_original.value == 1
    assert "of original" in result.stdout
    content = json.loads((bench.folder / "0001_both.json").read_text())
    saved = {cell["optimization"]: cell for cell in content["cells"]}
    assert {name: Measurement.model_validate(cell) for name, cell in saved.items()} == made
    assert [row["extra_info"]["measurement"] for row in content["benchmarks"]] == list(saved.values())


def test_a_resumed_cell_has_it_and_without_the_original_it_is_null(bench, budgets):
    plugins, more = ["-p", "tests.stand_in_original", "-p", "tests.other_budgets"], budgets(peak_memory_bytes=1e12)
    result = bench(*plugins, CELL.format("steps-4"), *FEW, **more)
    assert result.returncode == 0 and "of original" not in result.stdout, result.stdout
    first = read(bench)["steps-4"]
    assert first.speedup_vs_original is None  # the original is not measured unless it is asked for
    (journal,) = journals(bench.folder)
    (journal.folder / "closed").unlink()
    assert bench(*plugins, CELL.format("original"), *FEW, "--resume", **more).returncode == 0
    second = read(bench)
    assert second["steps-4"].measured_at == first.measured_at
    assert second["steps-4"].speedup_vs_original == against_original(first, second["original"])
