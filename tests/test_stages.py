"""Where the time and memory go: rows by stage, their order, and the sections of the published tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from leaderboards import stages
from leaderboards.rows import measured_rows
from leaderboards.tables import to_csv, to_markdown
from suite.records import Cost, Latency, MachinePeak, Memory, StageCost, Status
from tests.factories import latency, measurement, row

NANO, IMAGE, SHAP = "point-e-nano-text", "point-e-nano-image", "shap-e-nano-text"
DOCUMENT = Path(__file__).parents[1] / "docs" / "stages.md"
PEAK = MachinePeak(flops_per_s={"float32": 1e11}, bytes_per_s=1e10)


def timed(**seconds: float) -> Latency:
    """Nine samples whose stages take these seconds, the fifth being the median."""
    whole = latency(sum(seconds.values()))
    shares = {stage.replace("_", " "): value / sum(seconds.values()) for stage, value in seconds.items()}
    samples = {stage: [share * sample for sample in whole.samples_s] for stage, share in shares.items()}
    return whole.model_copy(update={"stage_samples_s": samples})


def cost(floor_s: float = 0.5, stages: tuple[str, ...] = ("text encoder", "base diffusion"), **extra: float) -> Cost:
    def of(stage: str, seconds: float) -> StageCost:
        parameters = None if stage in extra else 1000
        return StageCost(flops={"float32": 5 * 10**9}, bytes_moved=2 * 10**9, parameters=parameters, floor_s=seconds)

    return Cost(
        stages={stage: of(stage, floor_s) for stage in stages},
        extra_stages={stage.replace("_", " "): of(stage, seconds) for stage, seconds in extra.items()},
        peak=PEAK,
    )


def staged(configuration: str = f"{NANO}/fp32@cpu", **others):
    """A measurement with two stages of 0.5 and 1.5 s, their peaks and cost."""
    memory = Memory(
        kind="process",
        peak_memory_bytes=60_000_000,
        stage_peak_memory_bytes={"text encoder": 30_000_000, "base diffusion": 60_000_000},
    )
    fields = {"latency": timed(text_encoder=0.5, base_diffusion=1.5), "memory": memory, "cost": cost()}
    return measurement(configuration).model_copy(update=fields | others)


# Rows


def test_a_row_has_its_stages_in_the_order_in_which_they_ran():
    (made,) = measured_rows([staged(extra_stage_samples_s={"NeRF views": [3.0, 1.0, 2.0]})])
    assert list(made.stage_latency_s) == ["text encoder", "base diffusion"]
    assert made.stage_latency_s["base diffusion"] == pytest.approx(1.5)
    assert sum(made.stage_latency_s.values()) == pytest.approx(made.latency_s)
    assert made.extra_stage_latency_s == {"NeRF views": 2.0}
    assert list(made.stage_peak_memory_bytes) == ["text encoder", "base diffusion"]


def test_a_row_has_its_cost_and_the_floor_of_what_is_timed():
    (made,) = measured_rows([staged(cost=cost(0.5, NeRF_views=9.0))])
    assert made.stage_flops == {"text encoder": 5 * 10**9, "base diffusion": 5 * 10**9, "NeRF views": 5 * 10**9}
    assert made.stage_parameters == {"text encoder": 1000, "base diffusion": 1000}
    assert made.stage_floor_s["NeRF views"] == 9.0
    assert made.floor_s == 1.0  # the views are no part of the latency
    assert (made.peak_flops_per_s, made.peak_bytes_per_s) == ({"float32": 1e11}, 1e10)


@pytest.mark.parametrize("known", [cost(stages=("base diffusion",)), None])
def test_the_floor_is_not_known_where_a_timed_stage_was_not_counted(known):
    (made,) = measured_rows([staged(cost=known)])
    assert made.floor_s is None
    assert "over the floor" not in to_markdown("cpu", [made], {}).split("## Published")[0].split("### Cost")[0]


def test_a_simulated_recipe_has_neither_stages_nor_floor():
    (made,) = measured_rows([staged(f"{NANO}/w3@cpu", extra_stage_samples_s={"NeRF views": [1.0]})])
    assert (made.stage_latency_s, made.extra_stage_latency_s, made.floor_s) == ({}, {}, None)


def test_the_csv_keeps_the_order_of_the_stages():
    text = to_csv(measured_rows([staged()]))
    assert text.index('""text encoder"": 0.5') < text.index('""base diffusion"": 1.5')


# Order and choice


def of(name: str, *order: str, latency_s: float = 1.0, **fields):
    return row(name, latency_s=latency_s, stage_latency_s={stage: 1.0 / len(order) for stage in order}, **fields)


ROWS = [
    of(f"{NANO}/fp32@cpu", "text encoder", "base diffusion", "upsampler"),
    of(
        f"{SHAP}/fp32@cpu",
        "text encoder",
        "latent diffusion",
        "mesh decoder",
        extra_stage_latency_s={"NeRF views": 2.0},
    ),
    of(f"{IMAGE}/fp32@cpu", "text encoder", "text-to-image", "image encoder", "base diffusion", "upsampler"),
    of(
        "shap-e-nano-image/fp32@cpu",
        "text encoder",
        "text-to-image",
        "image encoder",
        "latent diffusion",
        "mesh decoder",
    ),
]


@pytest.mark.parametrize("rows", [ROWS, ROWS[::-1], ROWS[1:] + ROWS[:1]])
def test_the_union_of_stages_keeps_every_pipelines_order(rows):
    union = stages.in_order(rows)
    assert sorted(union) == sorted({stage for r in rows for stage in r.stage_latency_s})
    for r in rows:
        assert [stage for stage in union if stage in r.stage_latency_s] == list(r.stage_latency_s)
    assert stages.extra_in_order(rows) == ["NeRF views"]


def test_two_orders_that_cannot_both_hold_still_name_each_stage_once():
    assert sorted(stages.in_order([of("a/fp32@cpu", "x", "y"), of("b/fp32@cpu", "y", "x")])) == ["x", "y"]


def test_shown_are_each_models_reference_and_its_fastest():
    rows = [
        of(f"{NANO}/{name}@cpu", "base diffusion", latency_s=seconds)
        for name, seconds in (("steps-16", 0.5), ("fp32", 2.0), ("steps-8", 0.2), ("bf16", 3.0), ("steps-4", 0.1))
    ]
    rows += [row(f"{NANO}/w3@cpu", latency_s=None), of(f"{IMAGE}/bf16@cpu", "base diffusion")]
    chosen = [f"{r.model}/{r.optimization}" for r in stages.reference_and_fastest(rows)]
    assert chosen == [f"{NANO}/fp32", f"{NANO}/steps-4", f"{NANO}/steps-8", f"{IMAGE}/bf16"]


def test_a_row_that_was_throttled_is_not_shown():
    throttled = of(f"{NANO}/fp32@cpu", "base diffusion", status=Status.THROTTLED)
    assert stages.reference_and_fastest([throttled]) == []


def test_shares_are_of_the_sum_or_of_a_whole():
    assert stages.shares({"a": 1.0, "b": 3.0}) == {"a": 0.25, "b": 0.75}
    assert stages.shares({"a": 1.0, "b": 3.0}, 4.0) == {"a": 0.25, "b": 0.75}
    assert stages.shares({}) == {}


# The page


def lines_of(page: str, heading: str) -> list[list[str]]:
    """The cells of the tables below a heading."""
    part = re.split(r"\n#{2,3} ", page.split(heading, 1)[1], maxsplit=1)[0]
    return [[c.strip() for c in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")]


def test_the_page_shows_seconds_and_memory_by_stage_with_shares():
    made = measured_rows(
        [
            staged(extra_stage_samples_s={"NeRF views": [2.0]}),
            staged(f"{NANO}/steps-16@cpu", latency=timed(text_encoder=0.1, base_diffusion=0.4)),
        ]
    )
    table = lines_of(to_markdown("cpu", made, {}), "## Where the time and memory go on board laptop")
    assert table[0] == ["configuration", "latency", "text encoder", "base diffusion", "(NeRF views)"]
    assert table[2] == [f"{NANO}/fp32", "2.00 s", "0.500 s (25.0 %)", "1.50 s (75.0 %)", "2.00 s"]
    assert table[3] == [f"{NANO}/steps-16", "0.500 s", "0.100 s (20.0 %)", "0.400 s (80.0 %)", "–"]
    assert table[4] == ["configuration", "text encoder", "base diffusion"]
    assert table[6] == [f"{NANO}/fp32", "30.0 MB (50.0 %)", "60.0 MB (100.0 %)"]


def test_a_model_without_a_stage_has_a_dash_there():
    page = "\n\n".join(stages.sections("laptop", ROWS))
    text = next(line for line in page.splitlines() if line.startswith(f"| {NANO}/fp32"))
    assert text.count("–") == 5  # text-to-image, image encoder, latent diffusion, mesh decoder, NeRF views
    assert "### Cost" not in page


def test_the_page_shows_the_cost_over_the_floor():
    made = measured_rows([staged(cost=cost(0.25, NeRF_views=1.0), extra_stage_samples_s={"NeRF views": [2.0]})])
    page = to_markdown("cpu", made, {})
    table = lines_of(page, "### Cost")
    assert table[0][-3:] == ["floor", "measured", "over the floor"]
    assert table[2][1:] == ["text encoder", "1,000", "5", "2", "0.250 s", "0.500 s", "×2.00"]
    assert table[4][1:] == ["(NeRF views)", "–", "5", "2", "1.00 s", "2.00 s", "×2.00"]
    assert table[5][1:] == ["all that is timed", "2,000", "10", "4", "0.500 s", "2.00 s", "×4.00"]
    assert "float32 100 GFLOP/s, copies 10.0 GB/s" in page
    main = lines_of(page, "## Board laptop")
    assert main[2][main[0].index("over the floor")] == "×4.00"


def test_rows_of_older_runs_have_no_section():
    assert stages.sections("laptop", [row()]) == []
    assert "## Where" not in to_markdown("cpu", [row()], {})


def test_diversity_is_a_column_only_where_it_was_measured():
    assert "diversity" not in to_markdown("cpu", [row()], {})
    table = lines_of(to_markdown("cpu", [row(diversity=0.01234)], {}), "## Board laptop")
    assert table[2][table[0].index("diversity")] == "0.0123"


# The document


def test_the_documents_shares_follow_from_its_seconds():
    lines = re.findall(r"^\| (Point-E [^|]+) \|(.*)\|$", DOCUMENT.read_text(), re.M)
    assert len(lines) == 5
    for name, cells in lines:
        *parts, whole = [cell.strip() for cell in cells.split("|")]
        found = [re.fullmatch(r"([\d.]+) s \(([\d.]+) %\)", part) for part in parts if part != "–"]
        seconds = [float(match[1]) for match in found]
        assert float(whole.removesuffix(" s")) == pytest.approx(sum(seconds), abs=0.006), name
        for match, value in zip(found, seconds):
            assert float(match[2]) == pytest.approx(100 * value / sum(seconds), abs=0.05), name
