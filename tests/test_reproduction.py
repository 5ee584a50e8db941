"""The paper's optimizations beside ours: what is put side by side, and when a loss counts as found."""

from __future__ import annotations

from leaderboards import reproduction
from leaderboards.publish import publish, read_board
from suite.catalogue.optimizations import OPTIMIZATIONS
from tests.factories import measurement, row, session_file

FP32, INT8 = "point-e-nano-text/fp32@cpu", "point-e-nano-text/int8-fbgemm-linear@cpu"


def judged(low: float | None, high: float | None):
    difference = None if low is None else (low + high) / 2
    return row(INT8, quality_difference=difference, quality_difference_low=low, quality_difference_high=high)


def test_a_loss_is_found_excluded_or_undecided_by_its_interval():
    assert reproduction.verdict(judged(-0.10, -0.01)) == "found"
    assert reproduction.verdict(judged(-0.02, 0.02)) == "not found: more than 3% is excluded"
    assert reproduction.verdict(judged(-0.04, 0.02)) == "undecided"
    assert reproduction.verdict(judged(None, None)) == "not scored in pairs"
    assert reproduction.verdict(None) == "not measured"


def test_every_recipe_that_stands_for_the_papers_is_in_the_catalogue():
    ours = {name for names in reproduction.QUANTIZATION.values() for name in names}
    assert ours | set(reproduction.QUANTIZATION) <= set(OPTIMIZATIONS)


def test_the_page_has_the_papers_figures_and_ours(tmp_path):
    made = [
        measurement(FP32, seconds=2.0, hits=150),
        measurement(INT8, seconds=1.0, reference_s=2.0, hits=100),
        measurement("point-e-nano-text/steps-16@cpu", seconds=0.5, reference_s=2.0, hits=150),
        measurement("shap-e-nano-text/int8-fbgemm-linear@cpu", seconds=1.0, hits=None),
    ]
    session_file(tmp_path / "history" / "laptop" / "0001_first.json", made)
    publish(read_board([tmp_path / "history"]), tmp_path / "published")
    text = (tmp_path / "published" / "reproduction.md").read_text()
    lines = {
        line.split(" | ")[3]: line for line in text.splitlines() if line.startswith("| int8") or line.startswith("|  |")
    }
    theirs = "int8-fbgemm-linear | ×1.30 | 15.4 % → 11.0 %"
    assert theirs in lines[INT8] and "×2.00" in lines[INT8] and lines[INT8].endswith("| found |")
    assert "int8-tensorrt-all | ×1.80 | 15.4 % → 1.7 % | – | – | – | – | not measured" in text
    assert "shap-e-nano-text/int8" not in text  # not scored
    steps = next(line for line in text.splitlines() if "steps-16" in line)
    assert "×4.00" in steps and "found" in steps
    assert "point-e-40m-text/original@orin | 186 s = 3.1 min | 15.4 %" in text
    assert "(reproduction.md)" in (tmp_path / "published" / "README.md").read_text()


def test_without_measurements_the_papers_figures_stand_alone(tmp_path):
    (tmp_path / "history").mkdir()
    text = reproduction.to_markdown(read_board([tmp_path / "history"]).rows)
    assert text.count("not measured") == len(reproduction.QUANTIZATION) and "## Fewer steps" not in text
