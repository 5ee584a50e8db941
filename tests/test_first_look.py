"""The smoke run as a newcomer sees it: a line a cell, borrowed outcomes, and the session told at the end."""

from __future__ import annotations

import os
import re
from types import SimpleNamespace

import pytest
from PIL import Image

from leaderboards import session as told
from leaderboards.__main__ import main
from leaderboards.rows import measured_rows
from suite import sheets
from suite.catalogue.models import MODELS
from suite.catalogue.optimizations import REFERENCE
from suite.configurations import find, matrix
from suite.devices.backend import slug
from suite.history import read_session
from suite.objects import read
from tests import warm_server
from tests.factories import measurement, session_file

CELL = "suite/test_configurations.py::test_configuration[point-e-nano-image/{}@cpu]"


def test_the_smoke_run_has_each_embedded_models_reference_and_two_recipes():
    smoke = [c for c in matrix() if "smoke" in c.marks and c.device.name == "cpu"]
    embedded = [model for model in MODELS.values() if "embedded" in model.weights]
    assert {c.model.name for c in smoke} == {model.name for model in embedded}
    for model in embedded:
        recipes = [c.optimization.name for c in smoke if c.model is model]
        assert recipes[0] == REFERENCE and len(recipes) == 3
        assert all(find(f"{model.name}/{recipe}@cpu").budgets for recipe in recipes)


@pytest.fixture(scope="module")
def looked(tmp_path_factory) -> SimpleNamespace:
    """One session into a pipe. Its reference takes 4 steps, so that it is not what the committed history has."""
    storage = tmp_path_factory.mktemp("look")
    board = slug(f"look {os.getpid()}")
    run = warm_server.session(
        *("-p", "tests.quick_reference", CELL.format("fp32"), CELL.format("steps-16")),
        *("--outcomes", "committed", "--time-budget", "0.2", "--benchmark-save=look"),
        f"--benchmark-storage=file://{storage}",
        TEXT3D_BOARD=board,
    )
    assert run.returncode == 0, run.stdout
    path = storage / board / "0001_look.json"
    return SimpleNamespace(
        said=run.stdout, path=path, cells={m.optimization: m for m in read_session(path).measurements}
    )


def test_each_cell_has_a_line_as_it_ends_with_the_time_left(looked):
    first, second = re.findall(r"^\[\d/2\] .*$", looked.said, re.M)
    assert re.match(r"\[1/2\] point-e-nano-image/fp32@cpu  [\d.]+ .*m?s  .* MB  .*, about \d+ (s|min) left$", first)
    assert re.match(r"\[2/2\] point-e-nano-image/steps-16@cpu  .*  ×[\d.]+  .* MB  92.2%", second)
    assert "left" not in second
    assert not re.search(r"^\.+$", looked.said, re.M)  # pytest's own letters would stand between


def test_a_real_session_keeps_objects_that_keep_copies(looked, tmp_path, capsys):
    (named,) = {len(one.files) for cell in looked.cells.values() for one in cell.objects}
    assert named == 2 and [len(cell.objects) for cell in looked.cells.values()] == [4, 4]
    assert main(["keep", str(looked.path), "--smoke", "--history", str(tmp_path / "history")]) == 0
    said = capsys.readouterr()
    assert "16 files of objects kept" in said.out and said.err == ""
    for one in looked.cells["steps-16"].objects:
        assert read([tmp_path / "objects"], one.files["ply"], "ply")


def test_a_slow_cell_that_agrees_takes_the_committed_outcomes(looked):
    cell = looked.cells["steps-16"]
    assert cell.quality.borrowed.scored_here == 4 and len(cell.quality.outcomes) == 153
    assert cell.quality.r_precision.value == pytest.approx(141 / 153)
    assert cell.smoke is True
    assert "1 slow cells scored a few prompts here" in looked.said
    assert cell.quality.borrowed.session in looked.said


def test_one_that_does_not_agree_keeps_its_few_and_says_so(looked):
    cell = looked.cells["fp32"]
    assert cell.quality.borrowed is None and len(cell.quality.outcomes) == 4 and cell.smoke is True
    assert "prompts scored here came out otherwise in the committed session" in looked.said


def test_a_session_is_told_with_its_frontier_its_meaning_and_what_to_type_next(looked, capsys):
    assert main(["session", str(looked.path)]) == 0
    said = capsys.readouterr().out
    assert "This session alone (0001_look.json)" in said
    assert "What it means:" in said and "What next:" in said and "make dashboard" in said
    picture = looked.path.with_suffix(".png")
    assert f"side by side: {picture}" in said
    with Image.open(picture) as sheet:
        assert sheet.size == (sheets.LABEL_PX + 4 * sheets.SIZE_PX, sheets.LINE_PX + 2 * (sheets.SIZE_PX + 6))
        row = sheet.crop((sheets.LABEL_PX, sheets.LINE_PX, *sheet.size)).convert("RGB")
    colours = {row.getpixel((x, y)) for x in range(0, row.width, 7) for y in range(0, row.height, 7)}
    assert len(colours) > 20  # objects, not an empty sheet


def test_what_a_session_means_names_the_fastest_without_loss_and_how_sure_that_is():
    rows = measured_rows(
        [
            measurement(seconds=2.0, hits=140),
            measurement("point-e-nano-text/steps-16@cpu", seconds=0.5, hits=138, reference_s=2.0),
            measurement("point-e-nano-text/distilled-2@cpu", seconds=0.02, hits=141, reference_s=2.0),
            measurement("point-e-nano-text/steps-4@cpu", seconds=0.01, hits=0, reference_s=2.0),
        ]
    )
    first, others, sure = told.meaning(rows)
    assert "makes an object in 20 ms by distilled-2, 100 times as fast as by fp32 (+0.7 points (" in first
    assert "steps-16 is 4 times as fast" in others
    assert "steps-4 is 200 times as fast for point-e-nano-text, but has lost 91.5 points (" in others
    assert sure.startswith("153 prompts tell differences of about") and "all prompts were scored" in sure


def test_a_session_where_nothing_can_be_compared_says_that():
    assert told.meaning([]) == ["No row has a latency and a quality beside its reference, so nothing can be said."]
    assert told.next_steps([])[0].startswith("make dashboard")


def test_without_a_session_or_with_another_file_it_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(told, "LOCAL", tmp_path)
    with pytest.raises(told.HistoryError, match="no session was saved there"):
        told.newest_session(tmp_path)
    broken = tmp_path / "0001_x.json"
    broken.write_text("[]")
    assert main(["session", str(broken)]) == 2
    assert "neither a measurement nor a pytest-benchmark file" in capsys.readouterr().err


def test_the_newest_session_is_the_one_that_was_written_last(tmp_path):
    for number, board in enumerate(("a", "b")):
        path = session_file(tmp_path / board / "0001_x.json", [measurement()])
        os.utime(path, (1000 + number, 1000 + number))
    assert told.newest_session(tmp_path).parent.name == "b"


def test_a_contact_sheet_gives_its_pictures_back():
    pictures = [Image.new("RGB", (sheets.SIZE_PX, sheets.SIZE_PX), (40 * n, 0, 255 - 40 * n)) for n in range(6)]
    sheet = sheets.contact_sheet(pictures, ["a red cube on a very long plank of green wood"] * 6)
    assert [p.getpixel((100, 100)) for p in sheets.pictures_of(sheet, 6)] == [p.getpixel((0, 0)) for p in pictures]
    with pytest.raises(ValueError, match="of 9 pictures has 896 × 774 px"):
        sheets.pictures_of(sheet, 9)
