"""What a device should do that has not measured: the arithmetic, the counts it stands on, and what is said of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.object_counts import model_counts
from leaderboards.__main__ import main
from leaderboards.predicting import (
    FLOAT32,
    HALF,
    INT8,
    Arithmetic,
    Case,
    Efficiency,
    Work,
    computed,
    efficiencies,
    efficiency,
    expected_latency,
    expected_memory,
    factor_off,
    floors,
    peaks_of_tpcs,
)
from leaderboards.predictions import (
    ARITHMETICS,
    counts,
    find_mode,
    known_cases,
    measured_cases,
    memory_cases,
    memory_off,
    modes,
    parts_of,
    predict,
    predictions,
    published_cases,
)
from leaderboards.publish import read_board
from suite.catalogue.models import MODELS
from suite.history import COMMITTED, read_folder
from suite.names import UnknownName
from suite.records import Fingerprint, MachinePeak
from tests.factories import measurement, session_file

TEXT = "point-e-40m-text"
DOCUMENT = Path(__file__).parents[1] / "docs" / "predictions.md"


def case(machine: str, share: float, kind: str = FLOAT32) -> Case:
    return Case(f"{machine} {share}", machine, kind, share, 1.0, "here")


# The arithmetic.


def test_half_the_efficiency_is_twice_the_time_and_nothing_beats_the_floor():
    known = {FLOAT32: Efficiency(0.5, 4.0), HALF: Efficiency(0.25, None)}
    told = expected_latency({FLOAT32: 10.0}, known)
    assert (told.value, told.low, told.high) == (20.0, 10.0, 80.0)  # 20 / 4 would be below the floor
    assert expected_latency({FLOAT32: 10.0, HALF: 1.0}, known).high is None  # half was never tried
    assert expected_latency({INT8: 1.0}, known) is None


def test_a_machine_is_told_from_others_alone_and_counts_once():
    cases = [case("a", 0.2), case("b", 0.4), *[case("c", 0.8)] * 20]
    assert efficiency(cases, FLOAT32, without="c") == pytest.approx(math.sqrt(0.2 * 0.4))
    assert efficiency(cases, FLOAT32) == pytest.approx((0.2 * 0.4 * 0.8) ** (1 / 3))
    assert factor_off(cases[0], cases) == pytest.approx(0.2 / math.sqrt(0.4 * 0.8))
    assert factor_off(case("a", 0.2), [case("a", 0.2), case("a", 0.9)]) is None
    worst = max(max(f, 1 / f) for f in (factor_off(c, cases) for c in cases))
    assert efficiencies(cases)[FLOAT32].off == pytest.approx(worst)


def test_what_one_machine_measured_reaches_to_half_precision():
    known = efficiencies([case("a", 0.2, HALF), case("b", 0.3, HALF), case("a", 0.02, INT8)])
    assert known[INT8].value == pytest.approx(0.02)
    assert known[INT8].off == pytest.approx(math.sqrt(0.2 * 0.3) / 0.02)


def test_a_stage_bound_by_traffic_takes_the_time_of_its_traffic():
    peak = MachinePeak(flops_per_s={"float32": 10.0, "int8": 40.0}, bytes_per_s=1.0)
    work = Work({"attention": 20, "other": 40}, bytes_moved=8)
    mixed = Arithmetic("float32", "int8")
    assert floors([(work, mixed)], peak) == pytest.approx({FLOAT32: 2 * 8 / 3, INT8: 8 / 3})
    wide = MachinePeak(flops_per_s=peak.flops_per_s, bytes_per_s=8.0)
    assert floors([(work, mixed)], wide) == pytest.approx({FLOAT32: 2.0, INT8: 1.0})
    assert floors([(work, Arithmetic("float16", "float16"))], peak) is None


def test_an_orin_at_maxn_is_its_data_sheet():
    peak = peaks_of_tpcs(8, 1301e6, 204.8e9)
    assert peak.flops_per_s["float32"] == pytest.approx(5.3e12, rel=0.01)
    assert peak.flops_per_s["int8"] == pytest.approx(85e12, rel=0.01)
    assert find_mode("orin", "MODE_30W") == modes("orin")["30W"]
    slower = [entry.peak.flops_per_s["float32"] for entry in modes("orin").values()]
    assert slower == sorted(slower, reverse=True)


def test_memory_is_weights_and_operations_or_what_loading_takes():
    told = expected_memory(weights=100, loading=0, operation=10, known=[4.0, 9.0])
    assert told.value == pytest.approx(160) and (told.low, told.high) == pytest.approx((120, 280))
    assert expected_memory(weights=10, loading=400, operation=1, known=[4.0]).high == 400
    assert expected_memory(100, 0, 10, []) is None


# What it stands on.


def test_an_entry_of_the_counts_is_what_the_recipe_does():
    found = model_counts(TEXT, ("dpmpp-16",))
    committed = counts()[TEXT]
    assert found.recipes["dpmpp-16"] == committed.recipes["dpmpp-16"]
    assert (found.parameters, found.largest_bytes) == (committed.parameters, committed.largest_bytes)


def read_again(model: str, work: Work) -> float:
    """Bytes that our Shap-E reads and the original does not.

    diffusers asks for queries, keys and values one by one, and so reads the tokens three times where the original reads
    them once. Point-E's network is as the original.

    Of n tokens of width w: 2 · 4nw bytes a layer, whose attention has 4n²w operations.
    """
    tokens = 1024 + 2  # the latents, the condition and the time step
    return 2 * work.flops["attention"] / tokens if model.startswith("shap-e") else 0.0


def test_counts_are_those_that_measured_rows_recorded():
    """Of every published size in the committed history: the diffusion stages, whose evaluations are all alike."""
    compared = 0
    for m in read_folder(COMMITTED, set_aside=False).measurements:
        model, _, recipe = m.configuration.rpartition("@")[0].partition("/")
        if m.cost is None or not MODELS[model].full_size or recipe not in ("fp32", "bf16", "original"):
            continue
        for stage, work in counts()[model].work("fp32").items():
            if stage.endswith("diffusion") or stage == "upsampler":
                flops, moved = computed(work, ARITHMETICS[recipe])
                moved -= read_again(model, work) if recipe == "original" else 0.0
                assert dict(m.cost.stages[stage].flops) == dict(flops), (m.configuration, stage)
                assert m.cost.stages[stage].bytes_moved == pytest.approx(moved, rel=0.01), (m.configuration, stage)
                compared += 1
    assert compared >= 12


def test_every_published_size_is_counted():
    assert {name for name, model in MODELS.items() if model.full_size} == set(counts()) & set(MODELS)


def test_no_case_of_the_device_itself_is_used():
    assert {"v100", "cpu"} <= {c.machine for c in known_cases(without="t4")} < {c.machine for c in known_cases()}
    assert "orin" not in {c.machine for c in published_cases()}  # the paper's mode is not known
    assert {c.machine for c in published_cases("orin", "30W")} == {"orin"}


def test_the_interval_holds_every_case_that_it_was_tried_on():
    for left in ("t4", "v100", "cpu"):
        cases = known_cases()
        for own in (c for c in cases if c.machine == left and c.kind != INT8):
            off = factor_off(own, cases)
            assert max(off, 1 / off) <= efficiencies(cases)[own.kind].off * (1 + 1e-9)


def test_a_processors_peaks_are_told_from_the_other_rows():
    assert len(memory_cases()) >= 8
    for own in memory_cases():
        assert memory_off(own) == pytest.approx(1.0, abs=0.1), own.configuration


# Predictions.


def test_less_power_is_slower_and_fewer_steps_are_faster():
    known = efficiencies(known_cases(without="orin"))
    by_mode = [predict(TEXT, "fp32", "orin", mode, known).latency_s.value for mode in modes("orin")]
    assert by_mode == sorted(by_mode)
    found = {p.configuration: p for p in predictions("orin", "MAXN", TEXT, known)}
    assert found[f"{TEXT}/steps-16@orin"].speedup == pytest.approx(127 / 31, rel=0.01)
    assert found[f"{TEXT}/fp16@orin"].peak_memory_bytes.value < found[f"{TEXT}/fp32@orin"].peak_memory_bytes.value
    assert found[f"{TEXT}/int8-tensorrt-all@orin"].peak_memory_bytes is None
    for p in found.values():
        assert p.floor_s <= p.latency_s.low <= p.latency_s.value <= p.latency_s.high


def test_what_a_machine_or_model_cannot_do_is_not_predicted():
    known = efficiencies(known_cases(without="t4"))
    assert predict(TEXT, "bf16", "t4", "default", known) is None
    assert predict(TEXT, "fp32", "t4", "default", known) is not None
    with pytest.raises(UnknownName, match="launches, which are not counted"):
        parts_of("cuda-graphs")
    with pytest.raises(UnknownName, match="no published size has a student"):
        parts_of("distilled-4+fp16")
    with pytest.raises(UnknownName, match="MAXN"):
        find_mode("orin", "MAXM")


# What is said of them.


def test_as_json(capsys):
    assert main(["predict", "--device", "orin", "--mode", "30W", "--model", TEXT, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {p["mode"] for p in said["predictions"]} == {"30W"} and "https://" in said["peaks"]["30W"]["source"]
    assert said["note"].endswith("never ranked.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "orim"], "orin"),
        (["--mode", "60W"], "50W"),
        (["--model", "point-e-40m-txt"], TEXT),
        (["--check", "nowhere"], "nowhere"),
    ],
)
def test_wrong_names_are_answered(capsys, arguments, said):
    assert main(["predict", *arguments]) == 2
    assert said in capsys.readouterr().err


def orin(recipe: str, seconds: float, memory: int = 2**30, mode: str | None = "MODE_30W"):
    made = measurement(f"{TEXT}/{recipe}@orin", seconds=seconds, memory=memory, hits=None, weights="random")
    assert isinstance(made.fingerprint, Fingerprint)
    return made.model_copy(update={"fingerprint": made.fingerprint.model_copy(update={"power_mode": mode})})


def test_the_first_orin_is_held_against_its_prediction(tmp_path, capsys):
    known = efficiencies(known_cases(without="orin"))
    told = predict(TEXT, "fp32", "orin", "30W", known)
    good = session_file(tmp_path / "good" / "orin-1" / "0001.json", [orin("fp32", told.latency_s.value)])
    assert main(["predict", "--check", str(tmp_path / "good")]) == 0
    said = capsys.readouterr().out
    assert "×1.00" in said and "30W" in said and "1 of 1 measurements held against predictions, 0 outside" in said
    slow = [orin("fp32", told.latency_s.high * 1.1), orin("cuda-graphs", 1.0), orin("fp16", 9.0, mode=None)]
    slow.append(measurement("point-e-nano-text/fp32@orin"))
    session_file(tmp_path / "slow" / "orin-1" / "0001.json", slow)
    assert main(["predict", "--check", str(tmp_path / "slow")]) == 1
    said = capsys.readouterr().out
    assert "OUTSIDE" in said and "launches, which are not counted" in said
    assert "fp16@orin: its power mode is not recorded: give --mode, one of MAXN, 50W, 30W, 15W" in said
    assert "point-e-nano-text/fp32@orin: embedded: predictions are of the published sizes" in said
    assert main(["predict", "--check", str(good), "--mode", "15W"]) == 0  # told otherwise than recorded
    assert "15W" in capsys.readouterr().out
    assert main(["predict", "--check", str(good), "--model", "point-e-40m-txt"]) == 2
    assert f"nearest: {TEXT}" in capsys.readouterr().err


def test_this_processors_rows_are_held_against_other_machines(capsys):
    assert main(["predict", "--device", "cpu", "--check", str(COMMITTED)]) == 0
    assert f"{TEXT}/bf16@cpu (bfloat16)" in capsys.readouterr().out


def test_best_names_them_where_nothing_is_measured_and_no_row_is_made_of_them(tmp_path, capsys):
    session_file(tmp_path / "laptop" / "0001.json", [measurement()])
    assert main(["best", "--history", str(tmp_path), "--device", "orin", "--model", TEXT]) == 0
    said = capsys.readouterr().out
    assert "none measured; predicted at MAXN: " in said and f"{TEXT}/fp16" in said
    assert main(["best", "--history", str(tmp_path), "--device", "orin", "--model", TEXT, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["predicted"][0]["configuration"].startswith(TEXT) and told["answers"] == []
    rows = [row for found in read_board([tmp_path]).rows.values() for row in found]
    assert {row.source for row in rows} == {"measured", "published"}


def test_the_document_is_what_the_command_prints(capsys):
    """Modes, configurations and floors, which counts and peaks alone decide, are equal. Latencies hang on the history
    as well: where rows came to it that move them far, the tables are to be written again."""

    def rows(text: str) -> dict[tuple[str, ...], list[str]]:
        lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
        return {tuple(line[:2]): line for line in lines if line[0] in modes("orin") and len(line) == 7}

    assert main(["predict", "--device", "orin", "--markdown"]) == 0
    printed, written = rows(capsys.readouterr().out), rows(DOCUMENT.read_text(encoding="utf-8"))
    assert len(written) > 60
    for key, line in written.items():
        told = printed[key]
        assert line[4] == told[4], f"{key}: `python -m leaderboards predict --markdown` has {told}"
        assert seconds(line[2]) == pytest.approx(seconds(told[2]), rel=0.3), (
            f"{key}: now {told}; write the tables again"
        )


def seconds(text: str) -> float:
    value, unit = text.replace(",", "").split()
    return float(value) * {"s": 1, "ms": 1e-3}[unit]


def test_a_row_whose_networks_nobody_counted_is_no_case():
    """Through ONNX Runtime only the text encoder is torch's: its floor over the whole latency says nothing."""
    whole = next(
        m for m in read_folder(COMMITTED, set_aside=False).measurements if m.configuration == f"{TEXT}/fp32@cpu"
    )
    assert len(measured_cases([whole])) == 1
    stages = {name: cost for name, cost in whole.cost.stages.items() if name == "text encoder"}
    assert measured_cases([whole.model_copy(update={"cost": whole.cost.model_copy(update={"stages": stages})})]) == []


def test_a_row_below_its_own_floor_is_no_case():
    """Its peak was measured in a disturbed moment. One such is committed: Shap-E's `sparse-decode` on Zen 3."""
    rows = read_folder(COMMITTED, set_aside=False).measurements
    (below,) = (m for m in rows if m.configuration == "shap-e-300m-text/sparse-decode@cpu" and m.latency is not None)
    assert sum(stage.floor_s for stage in below.cost.stages.values()) > below.latency.median.value
    assert measured_cases([below]) == []
    assert all(case.efficiency <= 1 for case in known_cases())
