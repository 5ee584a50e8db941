"""Measurements turned into published rows, and the literature's figures."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from leaderboards.literature import MalformedLiterature
from leaderboards.rows import MalformedRows, literature_rows, load_published, measured_rows, repeat_command
from leaderboards.tables import to_json, to_markdown
from suite.records import Interval, Measurement, PublishedRow, Status
from tests.factories import measurement, quality

NANO = "point-e-nano-text"

# The tables of facts.md, section 1, as they stand there: a second transcription to hold literature.toml against.
LATENCY_AND_QUALITY = """
| Point-E 40M text-only | 15.4 % | 16 s | 69 s | 3.1 min |
| Point-E 300M text-only | 33.6 % | 25 s | 1.9 min | 5.2 min |
| Point-E 40M image | 36.5 % | 1.0 min | 3.3 min | 9.7 min |
| Point-E 300M image | 40.3 % | 1.2 min | – | – |
| Point-E 1B image | 41.1 % | 1.5 min | – | – |
| Shap-E 300M text-only | 37.8 % | 13 s | 49 s | 2.5 min |
| Shap-E 300M image | 41.1 % | 1.0 min | – | – |
| CLIP-Mesh | 67.8 % | 17 min | 52 min | – |
| DreamFusion | 75.1 % | 12 h | – | – |
"""
QUANTIZATION = """
| original | – | 15.4 % | ×1 |
| TensorRT | Linear | 10.2 % | ×1.3 |
| TensorRT | all | 1.7 % | ×1.8 |
| PyTorch (FBGEMM) | Linear | 11 % | ×1.3 |
"""


def by_id(rows) -> dict[str, PublishedRow]:
    return {row.configuration: row for row in rows}


def test_a_row_names_the_judge_and_the_gallery_that_scored_it():
    """Two judges' shares of one configuration are otherwise alike but for the number."""
    one = measurement(board="one")
    other = one.model_copy(update={"quality": quality(130, judge="another judge"), "board": "other"})
    unscored = measurement(board="third", hits=None)
    rows = {row.board: row for row in measured_rows([one, other, unscored])}
    assert (rows["one"].judge, rows["other"].judge) == ("clip-nano-judge", "another judge")
    assert rows["one"].gallery_sha256 == "b" * 64
    assert (rows["third"].judge, rows["third"].gallery_sha256) == (None, None)


def test_a_measurement_becomes_a_row():
    m = measurement(hits=130, reference_s=2.0, verdicts={"r_precision": "pass"}, artefacts={"sheet": "outputs/a.png"})
    (row,) = measured_rows([m])
    assert row.latency_s == pytest.approx(2.0)
    assert row.latency_low_s < 2.0 < row.latency_high_s
    assert row.peak_memory_bytes == 60_000_000
    assert row.r_precision == pytest.approx(130 / 153)
    assert row.r_precision_low < row.r_precision < row.r_precision_high
    assert row.prompts == 153
    assert row.speedup == pytest.approx(1.0)
    assert row.fingerprint_id == m.fingerprint.id
    assert (row.measured_at, row.commit, row.source) == (m.measured_at, m.commit, "measured")
    assert row.verdicts == m.verdicts
    assert row.artefacts == m.artefacts
    assert row.on_frontier is True


def test_a_prompt_set_without_a_gallery_of_3001_leaves_its_share_null_and_its_column_out():
    small = measurement(hits=None, quality=quality(130, large=False))
    (row,) = rows = measured_rows([small])
    assert (row.r_precision, row.r_precision_3001) == (pytest.approx(130 / 153), None)
    assert row.on_frontier is True
    assert "| of 3,001 |" not in to_markdown("cpu", rows, {})
    page = to_markdown("cpu", [*rows, *measured_rows([measurement(f"{NANO}/bf16@cpu")])], {})
    assert "| of 3,001 |" in page
    assert Measurement.model_validate_json(small.model_dump_json()) == small


def test_speedup_and_paired_quality_difference_are_against_the_reference():
    rows = by_id(
        measured_rows(
            [
                measurement(hits=130, reference_s=2.0),
                measurement(f"{NANO}/steps-16@cpu", seconds=0.5, hits=120, reference_s=2.0),
            ]
        )
    )
    fast = rows[f"{NANO}/steps-16@cpu"]
    assert fast.speedup == pytest.approx(4.0)
    assert fast.quality_difference == pytest.approx(-10 / 153)
    assert -0.12 < fast.quality_difference_low < fast.quality_difference < fast.quality_difference_high < 0
    assert rows[f"{NANO}/fp32@cpu"].quality_difference is None


@pytest.mark.parametrize(
    "other",
    [
        {"board": "another"},
        {"weights": "official"},
        {"weights_sha256": "c" * 64, "session": "another"},
        {"gallery_sha256": "c" * 64},
        {"protocol": "0"},
        {"quality": quality(130, judge="another judge")},
    ],
)
def test_a_reference_judged_otherwise_gives_no_quality_difference(other):
    rows = measured_rows([measurement(**other), measurement(f"{NANO}/steps-16@cpu", hits=120)])
    assert [row.quality_difference for row in rows if row.optimization == "steps-16"] == [None]


def test_a_student_with_weights_of_its_own_is_compared_with_its_sessions_reference():
    student = measurement(f"{NANO}/distilled-4@cpu", hits=125, weights_sha256="c" * 64)
    assert by_id(measured_rows([measurement(hits=130), student]))[f"{NANO}/distilled-4@cpu"].quality_difference == (
        pytest.approx(-5 / 153)
    )


def test_the_difference_uses_only_prompts_of_both():
    rows = measured_rows([measurement(hits=130), measurement(f"{NANO}/steps-16@cpu", hits=30, prompts=32, smoke=True)])
    assert by_id(rows)[f"{NANO}/steps-16@cpu"].quality_difference == pytest.approx(-2 / 32)


def test_the_same_sessions_reference_comes_before_a_newer_one():
    rows = measured_rows(
        [
            measurement(hits=130, session="old", measured_at="2026-11-01T00:00:00Z"),
            measurement(
                f"{NANO}/steps-16@cpu", hits=130, session="old", seconds=0.5, measured_at="2026-11-01T00:01:00Z"
            ),
            measurement(hits=150, session="new", measured_at="2026-11-02T00:00:00Z"),
        ]
    )
    assert by_id(rows)[f"{NANO}/steps-16@cpu"].quality_difference == 0


def test_a_simulated_recipe_has_quality_but_no_latency_and_is_not_ranked():
    m = measurement(f"{NANO}/w3@cpu", hits=90, reference_s=2.0)
    timed = m.model_copy(update={"latency": measurement().latency, "speedup_vs_original": Interval(value=9.0)})
    (row,) = measured_rows([timed])
    assert row.simulated
    assert (row.latency_s, row.latency_low_s, row.speedup, row.speedup_vs_original) == (None, None, None, None)
    assert row.r_precision == pytest.approx(90 / 153)
    assert row.on_frontier is None


@pytest.mark.parametrize("status", [Status.CRASHED, Status.OUT_OF_MEMORY, Status.TIMED_OUT, Status.UNSUPPORTED])
def test_a_failed_cell_has_a_row_without_figures(status):
    (row,) = measured_rows([measurement(status=status)])
    assert (row.status, row.reason) == (status, f"made to be {status.value}")
    figures = [
        name for name in PublishedRow.model_fields if re.search(r"_s$|_bytes$|_j$|precision|speedup|_diff", name)
    ]
    assert len(figures) > 10
    assert [name for name in figures if getattr(row, name) not in (None, {})] == []  # null or empty, never 0
    assert row.prompts is None
    assert row.on_frontier is None


def test_nan_is_not_known():
    m = measurement()
    broken = m.latency.model_copy(update={"median": m.latency.median.model_copy(update={"high": math.nan})})
    (row,) = measured_rows([m.model_copy(update={"latency": broken})])
    assert row.latency_high_s is None
    assert "NaN" not in to_json([row])


def test_a_smoke_run_never_replaces_a_full_one():
    full = measurement(seconds=2.0, measured_at="2026-11-01T00:00:00Z")
    smoke = measurement(seconds=9.0, prompts=32, hits=20, smoke=True, measured_at="2026-11-02T00:00:00Z")
    (row,) = measured_rows([full, smoke])
    assert (row.smoke, row.prompts) == (False, 153)
    (alone,) = measured_rows([smoke])
    assert (alone.smoke, alone.on_frontier) == (True, True)


def test_a_cell_that_was_once_not_run_has_no_second_row():
    missing = measurement(status=Status.NEEDS_WEIGHTS, weights=None, measured_at="2026-11-25T00:00:00Z")
    assert [row.status for row in measured_rows([measurement(), missing])] == [Status.OK]
    assert [row.status for row in measured_rows([missing])] == [Status.NEEDS_WEIGHTS]


def test_another_machines_cells_have_no_row():
    assert measured_rows([measurement(f"{NANO}/fp32@orin", status=Status.NOT_HERE)]) == []


def test_each_board_and_each_gallery_has_its_own_frontier():
    slow = [measurement(board="laptop", seconds=2.0), measurement(board="server", seconds=0.2)]
    assert [row.on_frontier for row in measured_rows(slow)] == [True, True]
    galleries = [measurement(), measurement("other-model/fp32@cpu", seconds=0.2, gallery_sha256="c" * 64)]
    assert [row.on_frontier for row in measured_rows(galleries)] == [True, True]
    same = [measurement(), measurement("other-model/fp32@cpu", seconds=0.2, weights_sha256="c" * 64)]
    assert [row.on_frontier for row in measured_rows(same)] == [False, True]


def test_a_lone_row_of_other_conditions_is_not_ranked():
    usual = [measurement(), measurement(f"{NANO}/steps-16@cpu", seconds=0.5, hits=120)]
    lone = measurement(f"{NANO}/steps-8@cpu", seconds=0.1, hits=150, threads=2, measured_at="2026-11-30T00:00:00Z")
    marks = {row.optimization: row.on_frontier for row in measured_rows([*usual, lone])}
    assert marks == {"fp32": True, "steps-16": True, "steps-8": None}


def test_many_smoke_runs_of_other_conditions_push_no_full_row_aside():
    short = [measurement(f"{NANO}/steps-{n}@cpu", hits=8, prompts=8, smoke=True, threads=2) for n in (4, 8, 16)]
    marks = {row.optimization: row.on_frontier for row in measured_rows([measurement(), *short])}
    assert marks == {"fp32": True, "steps-4": None, "steps-8": None, "steps-16": None}


def test_a_full_row_at_chance_keeps_no_smoke_run_out():
    chance = measurement(hits=2)
    short = measurement(f"{NANO}/steps-16@cpu", hits=8, prompts=8, smoke=True)
    marks = {row.optimization: row.on_frontier for row in measured_rows([chance, short])}
    assert marks == {"fp32": None, "steps-16": True}


def test_rows_do_not_depend_on_the_order_of_the_history():
    measurements = [measurement(f"{NANO}/{name}@cpu") for name in ("steps-4", "fp32", "bf16", "left-the-catalogue")]
    forward = measured_rows(measurements)
    assert forward == measured_rows(reversed(measurements))
    assert [row.optimization for row in forward] == ["fp32", "bf16", "steps-4", "left-the-catalogue"]


def test_the_command_that_repeats_a_cell():
    rows = by_id(measured_rows([measurement(), measurement(f"{NANO}/left-the-catalogue@cpu")]))
    assert repeat_command(rows[f"{NANO}/fp32@cpu"]) == (
        f'pytest "suite/test_configurations.py::test_configuration[{NANO}/fp32@cpu]"'
    )
    assert "no longer" in repeat_command(rows[f"{NANO}/left-the-catalogue@cpu"])


def cells_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]


def seconds(text: str) -> float:
    value, unit = text.split()
    return float(value) * {"s": 1, "min": 60, "h": 3600}[unit]


def model_name(text: str) -> str:
    return text.lower().replace("-only", "").replace(" ", "-")


def test_every_value_of_the_latency_and_quality_table_is_published():
    rows = by_id(literature_rows())
    expected = {}
    for name, r_precision, *latencies in cells_of(LATENCY_AND_QUALITY):
        for device, text in zip(("v100", "t4", "orin"), latencies):
            if text != "–":
                figures = (seconds(text), float(r_precision.split()[0]) / 100)
                expected[f"{model_name(name)}/original@{device}"] = figures
    assert len(expected) == 18
    for name, (latency_s, r_precision) in expected.items():
        assert rows[name].latency_s == pytest.approx(latency_s), name
        assert rows[name].r_precision == pytest.approx(r_precision), name
    timed = {name for name, row in rows.items() if row.latency_s is not None}
    assert timed == set(expected)


def test_every_value_of_the_quantization_table_is_published():
    rows = by_id(literature_rows())
    places = {
        "original": ("original@t4", "original@cpu"),
        "TensorRT Linear": ("int8-tensorrt-linear@t4",),
        "TensorRT all": ("int8-tensorrt-all@t4",),
        "PyTorch (FBGEMM) Linear": ("int8-fbgemm-linear@cpu",),
    }
    found = set()
    for library, layers, r_precision, speed in cells_of(QUANTIZATION):
        for place in places[f"{library} {layers}".removesuffix(" –")]:
            row = rows[f"point-e-40m-text/{place}"]
            assert row.speedup_vs_original == pytest.approx(float(speed[1:]))
            assert row.r_precision == pytest.approx(float(r_precision.split()[0]) / 100)
            assert "not state" in row.source_note
            found.add(row.configuration)
    assert {name for name, row in rows.items() if row.speedup_vs_original is not None} == found


def test_literature_is_sourced_unique_and_never_ranked():
    rows = literature_rows()
    assert len({row.configuration for row in rows}) == len(rows) == 22
    for row in rows:
        assert (row.source, row.on_frontier, row.board, row.protocol) == ("published", None, None, None)
        assert "EMS'23" in row.source_note or "arXiv" in row.source_note
        assert 0 < row.r_precision < 1
        assert row.speedup is None  # theirs is against the original code, ours against fp32
    openai = [row for row in rows if row.device == "v100"]
    assert all("OpenAI" in row.source_note for row in openai)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[row]]\nmodel = ", "Invalid value"),
        ('[[row]]\nmodel = "a"\ndevice = "t4"\nlatency = 3.0\nsources = ["x"]', "row 1: latency"),
        ('[[row]]\nmodel = "a"\ndevice = "t4"\nsources = ["x"]', "no [sources] entry x"),
        ('[[row]]\nmodel = "a"\ndevice = "t4"\nsources = []', "row 1: sources"),
    ],
)
def test_a_malformed_literature_file_is_named(tmp_path, text, named):
    path = tmp_path / "literature.toml"
    path.write_text(text)
    with pytest.raises(MalformedLiterature, match=re.escape(named)) as raised:
        literature_rows(path)
    assert str(path) in str(raised.value)


def test_published_files_are_read_back(tmp_path):
    rows = [*measured_rows([measurement()]), *literature_rows()]
    (tmp_path / "cpu.json").write_text(to_json(rows))
    assert load_published(tmp_path) == rows


SHARE = {"value": 0.5, "low": 0.4, "high": 0.6}
GATE = {"meshes": 1, "watertight": SHARE, "components": 1, "degenerate_faces": 0}


@pytest.mark.parametrize(
    ("there", "read"),
    [
        ({"invented": 1}, {}),
        ({"meshes": GATE | {"watertight": SHARE | {"level": 0.95}, "holes": 3}}, {"meshes": GATE}),
        ({"attributes": {"colour": SHARE | {"level": 0.95}, "texture": SHARE}}, {"attributes": {"colour": SHARE}}),
        ({"attribute_differences": {"texture": SHARE}}, {"attribute_differences": {}}),
    ],
)
def test_what_a_later_version_adds_to_a_row_or_to_a_part_of_it_is_ignored(tmp_path, there, read):
    (row,) = json.loads(to_json(measured_rows([measurement()])))
    (tmp_path / "cpu.json").write_text(json.dumps([row | there]))
    (found,) = load_published(tmp_path)
    assert found.model_dump(mode="json") == row | read


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attribute_differences", {"colour": {"value": 1e300}}),
        ("chamfer_to_fp32", 1e308),
        ("meshes", GATE | {"components": -1}),
        ("attributes", None),
        ("meshes", [1]),
    ],
)
def test_a_value_that_no_measurement_has_is_refused_by_field(tmp_path, field, value):
    (row,) = json.loads(to_json(measured_rows([measurement()])))
    (tmp_path / "cpu.json").write_text(json.dumps([row | {field: value}]))
    with pytest.raises(MalformedRows, match=f"row 0: {field}"):
        load_published(tmp_path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{}", "expected a list"),
        ("[1", "cpu.json"),
        ("[" * 100_000, "nested too deep to be read"),
        ('[{"model": "a"}]', "row 0: protocol"),
    ],
)
def test_a_malformed_published_file_is_named(tmp_path, text, named):
    (tmp_path / "cpu.json").write_text(text)
    with pytest.raises(MalformedRows, match=re.escape(named)):
        load_published(tmp_path)


def test_the_document_describes_every_field_in_order():
    text = (Path(__file__).parents[1] / "docs" / "published-rows.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines] == list(PublishedRow.model_fields)
    assert all(cell.strip() for line in lines for cell in line.strip("|").split("|"))
    never = {line.split("`")[1] for line in lines if line.rstrip("| ").rpartition("|")[2].strip().startswith("never")}
    nullable = {
        name
        for name, field in PublishedRow.model_fields.items()
        if type(None) in getattr(field.annotation, "__args__", ())
    }
    assert never == set(PublishedRow.model_fields) - nullable


def test_every_row_has_every_field():
    for item in json.loads(to_json([*measured_rows([measurement()]), *literature_rows()])):
        assert list(item) == list(PublishedRow.model_fields)
