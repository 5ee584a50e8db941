"""What the dashboard's tests share: a published folder made from runs, a page without a browser, a page in one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard import answers, data, runs, screenshot
from leaderboards.publish import publish, read_board
from suite.records import Cost, MachinePeak, Measurement, Memory, StageCost, Status, Verdict
from tests.factories import measurement, session_file

ROOT = Path(__file__).parents[1]
APP = ROOT / "dashboard" / "app.py"
NANO = "point-e-nano-text"
FRONTIER = "screens/frontier.py"
PATIENCE_S = 600  # of the page's script, on a machine that measures something else meanwhile


def matrix() -> list[Measurement]:
    """Two boards of `cpu`; on the first, two on the frontier, one beaten, one simulated, one crashed."""
    return [
        measurement(reference_s=2.0, verdicts={"latency_ratio": Verdict.PASS, "r_precision": Verdict.UNCERTAIN}),
        measurement(f"{NANO}/steps-16@cpu", seconds=0.5, hits=126, reference_s=2.0),
        measurement(f"{NANO}/bf16@cpu", seconds=3.0, hits=125, reference_s=2.0),
        measurement(f"{NANO}/w3@cpu", hits=70),
        measurement(f"{NANO}/steps-8@cpu", status=Status.CRASHED, reason="segmentation fault"),
        measurement(f"{NANO}/fp32@cpu", seconds=9.0, board="old-laptop", measured_at="2026-11-01T04:00:00Z"),
    ]


def with_stages(made: Measurement, text_share: float = 0.25, views_s: float | None = None) -> Measurement:
    """The same with two stages, their peaks of memory, their cost at half their time, perhaps another decoding."""
    whole = made.latency.samples_s
    shares = {"text encoder": text_share, "base diffusion": 1 - text_share}
    floors = {stage: share * made.latency.median.value / 2 for stage, share in shares.items()}
    stages = {
        stage: StageCost(flops={"float32": 10**9}, bytes_moved=10**8, parameters=500, floor_s=floor)
        for stage, floor in floors.items()
    }
    update = {
        "latency": made.latency.model_copy(
            update={"stage_samples_s": {stage: [share * s for s in whole] for stage, share in shares.items()}}
        ),
        "memory": Memory(
            kind="process",
            peak_memory_bytes=60_000_000,
            stage_peak_memory_bytes={"text encoder": 30_000_000, "base diffusion": 60_000_000},
        ),
        "cost": Cost(stages=stages, peak=MachinePeak(flops_per_s={"float32": 1e11}, bytes_per_s=1e10)),
        "extra_stage_samples_s": {} if views_s is None else {"NeRF views": [views_s]},
    }
    return made.model_copy(update=update)


def publish_runs(folder: Path, measurements: list[Measurement]) -> Path:
    """The tables of one session, below the folder."""
    session_file(folder / "history" / "laptop" / "0001_first.json", measurements)
    publish(read_board([folder / "history"]), folder / "tables")
    return folder / "tables"


def publish_nights(folder: Path, measurements: list[Measurement]) -> Path:
    """The same, a file a session."""
    for session in dict.fromkeys(m.session for m in measurements):
        its = [m for m in measurements if m.session == session]
        session_file(folder / "history" / str(its[0].board) / f"{session}.json", its)
    publish(read_board([folder / "history"]), folder / "tables")
    return folder / "tables"


def when(night: int) -> str:
    return (datetime(2026, 9, 1, 4, tzinfo=timezone.utc) + timedelta(days=night)).isoformat()


def a_night(night: int, cell: str = f"{NANO}/fp32@orin", seconds: float = 2.0, **others) -> Measurement:
    """Of a device whose latency is judged in seconds."""
    others.setdefault("commit", f"{night:010x}")
    return measurement(cell, seconds=seconds, session=f"night-{night}", measured_at=when(night), **others)


def nights(count: int = 30, cell: str = f"{NANO}/fp32@orin", noise: float = 0.01, seed: int = 0, **others) -> list:
    chance = np.random.default_rng(seed)
    return [a_night(n, cell, 2.0 * float(np.exp(chance.normal(0, noise))), **others) for n in range(count)]


def open_app(monkeypatch: pytest.MonkeyPatch, folder: Path, page: str | None = None, **query: str) -> AppTest:
    """A page, the frontier where none is named, run once on this folder of tables with this state in its address.
    A page that is named sees the runs beside the tables, and no others."""
    monkeypatch.setenv(data.VARIABLE, str(folder))
    if (folder.parent / "history").is_dir() and page is not None:
        monkeypatch.setenv(runs.VARIABLE, str(folder.parent / "history"))
    app = AppTest.from_file(APP, default_timeout=PATIENCE_S)
    for name, value in query.items():
        app.query_params[name] = value
    app.switch_page(page or FRONTIER)
    app.run()
    assert not app.exception
    return app


def specs(page: AppTest) -> list[dict]:
    """Its figures, as Plotly gets them."""
    return [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]


def prose(page: AppTest) -> str:
    elements = [*page.markdown, *page.caption, *page.info, *page.warning, *page.error, *page.code]
    return "\n".join(element.value for element in elements).replace(answers.HARD_SPACE, " ")


@contextlib.contextmanager
def chromium_on(folder: Path) -> Iterator[tuple[str, object]]:
    """The served dashboard's address and a browser's page; a skip, with the reason, where there is no browser."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
    if screenshot.find_chromium() is None:
        pytest.skip(f"no Chromium: none of {', '.join(screenshot.CHROMIUMS)} is on the path")
    with screenshot.serve(folder) as url, screenshot.browser() as page:
        yield url, page


def heavy_modules(script: str, folder: Path) -> list[str]:
    """What a fresh process prints, with these tables published; its last line is which heavy packages it has loaded."""
    heavy = '{"torch", "diffusers", "open_clip", "torchvision"}'
    script += f"print(sorted({{name.split('.')[0] for name in sys.modules}} & {heavy}))\n"
    environment = os.environ | {data.VARIABLE: str(folder), "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()
